"""Whether a file is what was written: a digest within each JSON file, line and folder, compared when it is read.

A disk that flips a bit, a copy that was cut short and an editor's slip all look alike: what was written is not what is
there. Nothing of that is read as a number.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from browser_control.errors import CheckpointDamaged, RecordDamaged
from browser_control.run_directory import read_json, write_json

SEAL = "sha256"  # the last key of a JSON file
DIGESTS = "digests.json"  # of a checkpoint
_LINE_SEAL = "crc32"  # the last key of a line


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object with its digest as the last key, whole or not at all."""
    write_json(path, seal(value))


def seal(value: Mapping[str, Any]) -> dict[str, Any]:
    return {**value, SEAL: value_digest(json.loads(json.dumps(value)))}


def read_sealed(path: Path) -> dict[str, Any]:
    """The object without its digest; an earlier release's has none, and is read as it is.

    Raises:
        RecordDamaged: it is not JSON, or not what was written.
    """
    return unsealed(path.read_bytes(), str(path))


def unsealed(content: bytes, name: str) -> dict[str, Any]:
    """`read_sealed` of what was read of the file that `name` names."""
    try:
        value = json.loads(content)
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise RecordDamaged(f"{name} is damaged: it is cut short, or no JSON") from error
    digest = value.pop(SEAL, None)
    if digest is not None and digest != value_digest(value):
        raise RecordDamaged(f"{name} is damaged: it is not what was written")
    return value


def is_sealed(path: Path) -> bool:
    """Whether the file is there and what was written."""
    try:
        read_sealed(path)
    except (FileNotFoundError, RecordDamaged):
        return False
    return True


def line(value: Mapping[str, Any]) -> str:
    """An object as a line of a JSON Lines file, with a check of its own."""
    return json.dumps({**value, _LINE_SEAL: _check(json.loads(json.dumps(value)))}) + "\n"


def lines(content: bytes) -> Iterator[dict[str, Any] | None]:
    """The objects of a JSON Lines file in order; None for a line that is not what was written."""
    for each in content.split(b"\n"):
        if each.strip():
            yield _line(each)


def _line(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    check = value.pop(_LINE_SEAL, None)
    return value if check is None or check == _check(value) else None


def write_digests(folder: Path) -> None:
    """Lists every file of a folder with its digest, which is written last."""
    write_json(folder / DIGESTS, {path.name: file_digest(path) for path in sorted(folder.iterdir())})


def verify_folder(folder: Path) -> None:
    """Raises `CheckpointDamaged` unless every file is what was written."""
    try:
        digests = dict(read_json(folder / DIGESTS))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointDamaged(f"{folder} has no readable {DIGESTS}") from error
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointDamaged(f"{path} is missing")
        if file_digest(path) != digest:
            raise CheckpointDamaged(f"{path} is damaged")


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def value_digest(value: Any) -> str:
    """sha256 of what JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _check(value: Any) -> str:
    return f"{zlib.crc32(json.dumps(value, sort_keys=True).encode()):08x}"
