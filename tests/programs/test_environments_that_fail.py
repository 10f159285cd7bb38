"""A program whose environment fails says so and ends: nothing that came of it is called training, or a score."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paper_service import Instead, page, paper_service
from tiny import make_configuration

from browser_control import configuration
from browser_control.run_directory import RunDirectory, read_json

ModelFolder = Callable[[str], Path]
TRAIN = "browser_control.fine_tune_local"
EVALUATE = "browser_control.programs.evaluate"


def observation(text: str, reward: float | None, done: bool = False, **metadata: Any) -> dict[str, Any]:
    seen = {"goal": "Click.", "text": text, "error": "", "metadata": metadata}
    return {"type": "observation", "data": {"observation": seen, "reward": reward, "done": done}}


def gone(request: dict[str, Any]) -> dict[str, Any] | None:
    """What our service says where Chromium died and cannot be started."""
    if request["type"] != "reset":
        return None
    return observation("", None, True, unscorable="no browser can be started: exit code 127")


def refuses(request: dict[str, Any]) -> dict[str, Any] | None:
    """A server that is healthy and begins no episode."""
    failure = {"code": "EXECUTION_ERROR", "message": "the moon is in the wrong house"}
    return {"type": "error", "data": failure} if request["type"] == "reset" else None


def run(module: str, url: str, folder: Path, model: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    settings = make_configuration(
        model={"name": str(model), "device": "cpu"},
        environment={"sessions": 4, "max_turns": 2},
        evaluation={"episodes": 3},
    )
    configuration.write(settings, folder / "tiny.yaml")
    command = [sys.executable, "-m", module, "--config-file-name", str(folder / "tiny.yaml")]
    command += ["--run-directory", str(folder / "run"), *more]
    environ = {**os.environ, "BROWSERGYM_URL": url, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=250)


def test_a_browser_that_is_gone_for_good_ends_training_and_the_same_command_continues(
    model_folder: ModelFolder, tmp_path: Path
) -> None:
    directory = RunDirectory(tmp_path / "run")

    def broken_after_two_updates(request: dict[str, Any]) -> dict[str, Any] | None:
        trained = directory.metrics.exists() and len(directory.metrics.read_text().splitlines()) >= 2
        return gone(request) if trained and not mended else None

    mended = False
    with paper_service(broken_after_two_updates) as url:
        ended = run(TRAIN, url, tmp_path, model_folder("llama"))
        assert ended.returncode == 1
        assert ended.stderr.splitlines()[-1] == (
            "error: 3 updates in a row came to nothing: no episode could be scored: unscorable:"
            " no browser can be started: exit code 127; the same command continues"
        )
        assert "Traceback" not in ended.stderr
        assert not directory.result.exists()
        assert directory.steps()[-1] == directory.step(2)
        mended = True
        assert run(TRAIN, url, tmp_path, model_folder("llama")).returncode == 0
    assert read_json(directory.result)["updates"] == 4
    assert len(directory.metrics.read_text().splitlines()) == 4


@pytest.mark.parametrize("instead", [gone, refuses])
def test_an_environment_that_begins_no_episode_trains_nothing_and_scores_nothing(
    model_folder: ModelFolder, tmp_path: Path, instead: Instead
) -> None:
    reason = "no browser can be started" if instead is gone else "the moon is in the wrong house"
    with paper_service(instead) as url:
        trained = run(TRAIN, url, tmp_path, model_folder("llama"))
        assert trained.returncode == 1
        assert "came to nothing: no episode could be scored" in trained.stderr
        assert reason in trained.stderr
        output = tmp_path / "scores.json"
        judged = run(EVALUATE, url, tmp_path, model_folder("llama"), "--checkpoint", "base", "--output", str(output))
    assert judged.returncode == 1
    assert "no page of click-button could be begun" in judged.stderr
    assert reason in judged.stderr
    assert not RunDirectory(tmp_path / "run").result.exists()
    assert not output.exists()


def test_a_service_that_ends_episodes_too_early_is_refused(model_folder: ModelFolder, tmp_path: Path) -> None:
    def short(request: dict[str, Any]) -> dict[str, Any] | None:
        return {"type": "state", "data": {"max_steps": 1}} if request["type"] == "state" else None

    with paper_service(short) as url:
        refused = run(TRAIN, url, tmp_path, model_folder("llama"))
    assert refused.returncode == 2
    assert "ends episodes after 1 turns, and environment.max_turns is 2" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_a_server_that_lists_pages_as_browsergym_does_is_refused_in_one_sentence(
    model_folder: ModelFolder, tmp_path: Path
) -> None:
    def foreign(request: dict[str, Any]) -> dict[str, Any] | None:
        if request["type"] == "state":
            return None
        seed = request["data"].get("seed", 0)
        return observation(f"RootWebArea 'Click Test Task {seed}', focused\n\t[13] button 'Click Me!', clickable", 0.0)

    with paper_service(foreign) as url:
        refused = run(TRAIN, url, tmp_path, model_folder("llama"))
    assert refused.returncode == 2
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("error: the environment lists pages in another way than this project")
    assert "Traceback" not in refused.stderr


def test_a_reward_that_is_null_at_a_reset_is_none_yet(model_folder: ModelFolder, tmp_path: Path) -> None:
    """As OpenEnv's own server sends it."""

    def null(request: dict[str, Any]) -> dict[str, Any] | None:
        return observation(page(request["data"]["seed"]), None) if request["type"] == "reset" else None

    with paper_service(null) as url:
        assert run(TRAIN, url, tmp_path, model_folder("llama")).returncode == 0
