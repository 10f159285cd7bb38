"""What an update measured is written where it can be seen."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from browser_control.run_directory import RunDirectory
from browser_control.training.metrics import Metrics

KEY = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def fresh_wandb() -> Iterator[None]:
    """It reads the environment once a process; its own process ends here."""
    wandb.teardown()
    yield
    wandb.teardown()


def test_an_update_that_is_done_again_after_a_kill_is_logged_once(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    for after in (0, 1):
        metrics = Metrics(run, after)
        for update in (1, 2):
            if update > after:
                metrics.log(update, {"success/all": after + update / 10, "success/none": None})
        metrics.close()
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [(line["update"], line["success/all"]) for line in lines] == [(1, 0.1), (2, 1.2)]
    assert list(run.logs.glob("events.out.tfevents.*"))


def test_with_its_key_weights_and_biases_gets_the_same(
    fresh_wandb: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = RunDirectory(tmp_path / "run")
    metrics = Metrics(run, 0)
    metrics.log(1, {"success/all": 0.5})
    metrics.close()
    wandb.teardown()  # its process has written what it was told
    [kept] = run.logs.rglob("*.wandb")
    assert b"success/all" in kept.read_bytes()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_without_an_answer_from_weights_and_biases_training_goes_on(
    fresh_wandb: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "not a key")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_MODE", "online")
    metrics = Metrics(RunDirectory(tmp_path / "run"), 0)
    metrics.log(1, {"success/all": 0.5})
    metrics.close()
    assert "logging without Weights & Biases: " in capsys.readouterr().out
