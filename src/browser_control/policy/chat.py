"""How a model is spoken to: what its chat template puts around a prompt, and the tokens that end its answer."""

from typing import Any

from transformers import PreTrainedTokenizerFast

from browser_control.language import prompts


def stop_tokens(model: Any, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """Tokens that end a free completion: whatever the model or its tokenizer calls the end, and a line break."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    listed = configured if isinstance(configured, list) else [configured]
    newline = tokenizer.encode("\n", add_special_tokens=False)
    return frozenset(
        token
        for token in [*listed, tokenizer.eos_token_id, *(newline if len(newline) == 1 else [])]
        if token is not None
    )


def pieces(tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    """What the tokenizer's chat template puts before and behind the user's words; plain text where it has none."""
    marker = "\x00"
    if not tokenizer.chat_template:
        return f"{prompts.SYSTEM}\n\n", "\nAction: "
    chat = [{"role": "system", "content": prompts.SYSTEM}, {"role": "user", "content": marker}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    before, _, after = str(text).partition(marker)
    return before, after
