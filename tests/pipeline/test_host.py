"""A machine is the same one under another host name."""

import socket
from pathlib import Path

import pytest

from browser_control.pipeline.runtimes import host


@pytest.fixture
def machine_id(tmp_path: Path) -> Path:
    file = tmp_path / "machine-id"
    file.write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    return file


def test_another_host_name_is_no_other_machine(machine_id: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = host.identity(files=[machine_id])
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed")
    assert host.identity(files=[machine_id]) == before
    assert "3d1219c7" not in before  # the id itself is for this machine alone


def test_clones_that_share_an_engine_are_told_apart_by_their_names(
    machine_id: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = host.identity(alone=False, files=[machine_id])
    monkeypatch.setattr(socket, "gethostname", lambda: "clone")
    assert host.identity(alone=False, files=[machine_id]) != before


@pytest.mark.parametrize("written", ["", "uninitialized\n", None])
def test_a_machine_without_an_id_goes_by_its_name(tmp_path: Path, written: str | None) -> None:
    file = tmp_path / "machine-id"
    if written is not None:
        file.write_text(written)
    assert host.identity(files=[file]) == socket.gethostname()
