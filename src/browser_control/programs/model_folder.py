"""Whether a folder holds a whole model, told from names, headers and sizes: no weight is read, no PyTorch imported.

What only the loaded model can tell (a weight that is in no file, logits that are not the head's) is refused in
`policy.load`.
"""

import json
from pathlib import Path
from typing import Any

from browser_control.errors import ModelUnavailable

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
_INDEX = "model.safetensors.index.json"


def check(folder: Path) -> None:
    """Raises ModelUnavailable unless config, weights and tokenizer are there, whole, and fit together."""
    config = _read(folder, "config.json")
    _check_weights(folder)
    text = config.get("text_config") or {}
    rows = config.get("vocab_size") or (text.get("vocab_size") if isinstance(text, dict) else None)
    _check_tokenizer(folder, rows)


def _read(folder: Path, name: str) -> dict[str, Any]:
    if not (folder / name).is_file():
        raise ModelUnavailable(f"the folder {folder} holds no model: {name} is missing")
    try:
        read: dict[str, Any] = json.loads((folder / name).read_text())
    except ValueError as error:
        raise ModelUnavailable(f"the model in {folder} is damaged: {name} is no JSON; fetch it anew") from error
    return read


def _check_weights(folder: Path) -> None:
    listed = set(_read(folder, _INDEX).get("weight_map", {}).values()) if (folder / _INDEX).is_file() else set()
    if missing := sorted(name for name in listed if not (folder / name).is_file()):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelUnavailable(f"the model in {folder} is incomplete: {missing[0]}{more} is missing; fetch it anew")
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        pickles = ", and pickles are never loaded" if list(folder.glob("pytorch_model*.bin")) else ""
        raise ModelUnavailable(f"the folder {folder} holds no weights: there is no .safetensors file in it{pickles}")
    for path in found:
        _check_safetensors(path)


def _check_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy"):  # compares the header with the length of the file
            pass
    except (SafetensorError, OSError) as error:
        raise ModelUnavailable(
            f"the weights in {path} are damaged or cut short ({error}); fetch the model anew"
        ) from error


def _check_tokenizer(folder: Path, rows: int | None) -> None:
    """Raises ModelUnavailable without a tokenizer, or where it has tokens that the model has no embedding for."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ModelUnavailable(f"the folder {folder} holds no tokenizer: {_TOKENIZERS[0]} is missing")
    path = folder / _TOKENIZERS[0]
    if not path.is_file():
        return  # of a slow tokenizer `policy.load` asks the same
    from tokenizers import Tokenizer

    try:
        largest = max(Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True).values(), default=-1)
    except Exception as error:  # what the Rust side raises has no type of its own
        raise ModelUnavailable(f"the tokenizer in {path} is damaged ({error}); fetch the model anew") from error
    if rows is not None and largest >= rows:
        raise ModelUnavailable(
            f"the tokenizer in {folder} is larger than the model: its last token is number {largest}, and the model"
            f" has embeddings for {rows}; use the tokenizer that belongs to the model"
        )
