"""A worker finds the flows, whoever started it."""

from pathlib import Path

import pytest

from browser_control.errors import ConfigurationError
from browser_control.pipeline import checkout

ROOT = Path(__file__).resolve().parents[2]


def test_the_checkout_is_that_of_the_workers_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BROWSER_CONTROL_HOME", raising=False)
    assert checkout.enter() == {"directory": str(ROOT)}
    assert Path.cwd() == ROOT


def test_another_checkout_may_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "train.py").touch()
    monkeypatch.setenv("BROWSER_CONTROL_HOME", str(tmp_path))
    assert checkout.enter() == {"directory": str(tmp_path)}


def test_a_folder_without_flows_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BROWSER_CONTROL_HOME", str(tmp_path))
    with pytest.raises(
        ConfigurationError, match="is no checkout of browser-control: start the worker by `make worker`"
    ):
        checkout.enter()
