"""The chat template of an exported model: what asks by it asks exactly as training did."""

import json
from typing import Any

from browser_control.language import prompts
from browser_control.policy import chat

# Turns by which a page is asked about, whatever the model's own template makes of a system turn.
SYSTEM = {"role": "system", "content": prompts.SYSTEM}


def messages(text: str) -> list[dict[str, str]]:
    return [SYSTEM, {"role": "user", "content": text}]


def exported(tokenizer: Any) -> str:
    """The tokenizer's own template where it asks as training did; with thinking off and its date fixed; else ours.

    Raises:
        ConfigurationError: see `policy.chat.pieces`.
    """
    around = chat.pieces(tokenizer)
    wanted = f"{around.before}?{around.after}"
    own = str(tokenizer.get_chat_template()) if tokenizer.chat_template else ""
    settled = f"{{% set enable_thinking = false %}}{{% set thinking = false %}}{chat.dated(chat.TODAY)}{own}"
    for template in (own, settled) if own else ():
        if _says(tokenizer, template) == wanted:
            return template
    # ours: the user's words between what stood around them in training, and the conversation before them left out
    before, after = (json.dumps(part) for part in (around.before, around.after))
    return f"{{{{ {before} }}}}{{{{ messages[-1]['content'] }}}}{{{{ {after} if add_generation_prompt else '' }}}}"


def _says(tokenizer: Any, template: str) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                messages("?"), chat_template=template, tokenize=False, add_generation_prompt=True
            )
        )
    except Exception:  # a template may refuse in any way it likes
        return ""
