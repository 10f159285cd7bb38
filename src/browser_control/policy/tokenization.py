"""Text as tokens, piece by piece: what a model's tokenizer has to do so that an action says what it is made of.

An action is put together from pieces that are tokenized apart: `click button "`, `Ada`, `"`. SentencePiece's tokenizers
(Llama 2, Mistral v1, TinyLlama) put a space before whatever they read, for they take it for the start of a sentence:
the policy would type ` Ada`. Only the head of a prompt is one.
"""

import json
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from browser_control.errors import ConfigurationError

# Metaspace's decoder in words that llguidance knows
_METASPACE = [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
]
_PIECES = ('click button "', "Ada", " Lovelace, ", "1815 .", '" [12]')


def read_as_it_stands(tokenizer: PreTrainedTokenizerFast) -> None:
    """Has `tokenizer` put no space before what it reads, where it does.

    Raises:
        ConfigurationError: pieces that are tokenized apart do not say together what they say apart.
    """
    if not tokenizer.is_fast:
        raise ConfigurationError(
            "the model's tokenizer has no fast version (tokenizer.json), and actions are made with it"
        )
    if _joined(tokenizer) == "".join(_PIECES) and not _has_metaspace(tokenizer):
        return
    _put_no_space_before(tokenizer)
    if (found := _joined(tokenizer)) != "".join(_PIECES):
        raise ConfigurationError(
            f"the model's tokenizer does not keep text as it is: {''.join(_PIECES)!r} becomes {found!r}, and so the"
            " policy could not say what a page needs; take a model with a byte-level or a SentencePiece tokenizer"
        )


def _joined(tokenizer: PreTrainedTokenizerFast) -> str:
    """What the policy says that puts the pieces one behind the other."""
    tokens = [token for piece in _PIECES for token in tokenizer.encode(piece, add_special_tokens=False)]
    return str(tokenizer.decode(tokens, clean_up_tokenization_spaces=False)).strip()


def _put_no_space_before(tokenizer: PreTrainedTokenizerFast) -> None:
    described: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    described["normalizer"] = _without_prepend(described["normalizer"])
    for part in _parts(described["pre_tokenizer"]):
        if part["type"] == "Metaspace":
            part["prepend_scheme"] = "never"
        if part["type"] == "ByteLevel":
            part["add_prefix_space"] = False
    if described["decoder"] and described["decoder"]["type"] == "Metaspace" and described["model"].get("byte_fallback"):
        described["decoder"] = {"type": "Sequence", "decoders": _METASPACE}
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(described))


def _has_metaspace(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether tokens become text by a decoder that llguidance does not know."""
    return type(tokenizer.backend_tokenizer.decoder).__name__ == "Metaspace"


def _without_prepend(normalizer: dict[str, Any] | None) -> dict[str, Any] | None:
    kept = [part for part in _parts(normalizer) if part["type"] != "Prepend"]
    return {"type": "Sequence", "normalizers": kept} if kept else None


def _parts(component: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A component of a tokenizer, or those of a sequence, as the file `tokenizer.json` writes them."""
    if component is None:
        return []
    inner = component.get("normalizers") or component.get("pretokenizers")
    return [component] if inner is None else [part for each in inner for part in _parts(each)]
