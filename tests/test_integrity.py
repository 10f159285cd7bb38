"""Whatever happens to a file: what is read is what was written, or it is called damaged."""

import json
from pathlib import Path
from typing import Any

import pytest

from browser_control import integrity
from browser_control.errors import CheckpointDamaged, RecordDamaged
from browser_control.run_directory import write_json

VALUE: dict[str, Any] = {"lot": 3, "rate": 0.9, "web_tasks": {"click-button": [True, None, "Añil"]}, "episodes": [1, 2]}


def flips(content: bytes) -> list[bytes]:
    """Every bit of it flipped, one at a time."""
    return [
        content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
        for place in range(len(content))
        for bit in range(8)
    ]


def test_no_flipped_bit_of_a_sealed_file_changes_what_is_read(tmp_path: Path) -> None:
    integrity.write_sealed(tmp_path / "file.json", VALUE)
    content = (tmp_path / "file.json").read_bytes()
    assert integrity.read_sealed(tmp_path / "file.json") == VALUE
    found = 0
    for flipped in flips(content):
        try:
            read = integrity.unsealed(flipped, "file")
        except RecordDamaged:
            found += 1
        else:  # white space, or the name of the seal: then it is a key that nobody knows
            assert {key: value for key, value in read.items() if key in VALUE} == VALUE
    assert found > 0.8 * 8 * len(content)


def test_no_flipped_bit_of_a_line_changes_what_is_read() -> None:
    content = integrity.line(VALUE).encode()
    assert list(integrity.lines(content)) == [VALUE]
    for flipped in flips(content):
        for read in integrity.lines(flipped):
            assert read is None or {key: value for key, value in read.items() if key in VALUE} == VALUE


def test_a_file_that_is_cut_short_is_damaged_wherever(tmp_path: Path) -> None:
    integrity.write_sealed(tmp_path / "file.json", VALUE)
    content = (tmp_path / "file.json").read_bytes().rstrip()
    for length in range(len(content)):
        with pytest.raises(RecordDamaged, match="cut short"):
            integrity.unsealed(content[:length], "file")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"[1]", b"3", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_damaged(content: bytes) -> None:
    with pytest.raises(RecordDamaged):
        integrity.unsealed(content, "file")


def test_what_an_earlier_release_wrote_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", VALUE)
    assert integrity.read_sealed(tmp_path / "file.json") == VALUE
    assert list(integrity.lines(json.dumps(VALUE).encode() + b"\n")) == [VALUE]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff", b"3"])
def test_a_folder_whose_digests_cannot_be_read_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights").write_bytes(b"weights")
    integrity.write_digests(tmp_path)
    integrity.verify_folder(tmp_path)
    (tmp_path / integrity.DIGESTS).write_bytes(content)
    with pytest.raises(CheckpointDamaged, match=r"no readable digests\.json"):
        integrity.verify_folder(tmp_path)
