"""How a model is spoken to: what its chat template puts around a prompt, and the tokens that end its answer."""

import contextlib
from datetime import date
from typing import Any, NamedTuple

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from browser_control.errors import ConfigurationError
from browser_control.language import prompts

TODAY = date(2024, 7, 26)  # what Llama's own templates say where nothing tells them the date
_ANOTHER_DAY = date(2023, 3, 1)
_DATE_CODES = [f"%{sign}{code}" for code in "aAbBcdeFHIjmMpSwxXyYZz" for sign in ("-", "")]
_MARKER = "\x00"


class Pieces(NamedTuple):
    """What stands before and behind the user's words; and whether the template wrote a date among it, ours."""

    before: str
    after: str
    dated: bool = False


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


def pieces(tokenizer: PreTrainedTokenizerFast) -> Pieces:
    """What the tokenizer's chat template puts before and behind the user's words; plain text where it has none.

    A template that refuses or drops a system turn has our words at the head of the user's. Where it can switch
    thinking, thinking is off: the policy answers with an action. Where it writes the date, it is always `TODAY`, so
    that a policy reads tomorrow what it was trained on.

    Raises:
        ConfigurationError: the template cannot be used.
    """
    if not tokenizer.chat_template:
        return Pieces(f"{prompts.SYSTEM}\n\n", "\nAction: ")
    template = str(tokenizer.get_chat_template())
    text = _render(tokenizer, template, TODAY)
    dated = text != _render(tokenizer, template, _ANOTHER_DAY)
    if text.count(_MARKER) != 1 or prompts.SYSTEM not in text:
        raise ConfigurationError("the model's chat template does not repeat what the user says once and as it is")
    before, _, after = text.partition(_MARKER)
    return Pieces(before, after, dated)


def _render(tokenizer: PreTrainedTokenizerFast, template: str, day: date) -> str:
    """The chat up to where the assistant begins."""
    template = dated(day) + template

    def render(turns: list[dict[str, str]]) -> str:
        switches: dict[str, Any] = {
            "enable_thinking": False,
            "thinking": False,
        }  # Qwen's and SmolLM's; DeepSeek's and Granite's
        return str(
            tokenizer.apply_chat_template(
                turns, chat_template=template, tokenize=False, add_generation_prompt=True, **switches
            )
        )

    with contextlib.suppress(TemplateError):
        text = render([_turn("system", prompts.SYSTEM), _turn("user", _MARKER)])
        if prompts.SYSTEM in text:
            return text
    try:
        return render([_turn("user", f"{prompts.SYSTEM}\n\n{_MARKER}")])
    except (TemplateError, TypeError, ValueError) as error:
        raise ConfigurationError(f"the model's chat template does not take a user's turn alone: {error}") from error


def dated(day: date) -> str:
    """A macro that takes the place of the function with which templates ask for the date."""
    replaced = "".join(f"|replace('{code}', '{day.strftime(code)}')" for code in _DATE_CODES)
    return "{% macro strftime_now(form) %}{{ form" + replaced + " }}{% endmacro %}"


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
