"""Training on a web task of the user's own: the programs of a run, a tiny model, a real browser."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import make_configuration

from browser_control import configuration
from browser_control.authoring.served import service
from browser_control.environment.chromium import find_chromium
from browser_control.errors import BrowserNotFound
from browser_control.integrity import read_sealed, write_sealed
from browser_control.run_directory import RunDirectory

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
NAME = "shop.order-shirts"


def test_a_run_takes_a_web_task_of_ones_own_from_its_solution_to_a_judged_adapter(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    try:
        find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    settings = make_configuration(
        model={"name": str(model_folder("llama")), "device": "cpu"},
        environment={"sessions": 4, "max_turns": 5, "web_tasks": [str(SHOP)]},
        policy={"actions": ["click", "fill", "select"]},
        warm_start={"web_tasks": [NAME], "demonstrations": 6},
        training={"web_tasks": [NAME], "updates": 1, "groups": 1, "group_size": 2},
        evaluation={"web_tasks": [NAME, "click-test-2"], "episodes": 4},
    )
    configuration.write(settings, tmp_path / "own.yaml")
    directory = RunDirectory(tmp_path / "run")
    write_sealed(tmp_path / "scores" / "click-test-2.json", {"checkpoint": "base"})

    def run(url: str, module: str, *more: str) -> str:
        command = [sys.executable, "-m", f"browser_control.{module}", "--config-file-name", str(tmp_path / "own.yaml")]
        command += ["--run-directory", str(directory.root), *more]
        environ = {**os.environ, "BROWSERGYM_URL": url, "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=250)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    with service(SHOP, 5) as url:
        assert f'"web_task": "{NAME}"' in run(url, "programs.health_gate")
        assert "6 of 6 demonstrations succeeded" in run(url, "programs.warm_start")
        run(url, "fine_tune_local")
        judged = run(url, "programs.evaluate", "--each", "--output", str(tmp_path / "scores"))
    assert read_sealed(tmp_path / "scores" / "click-test-2.json")["checkpoint"] == "step-000001"
    scores = read_sealed(tmp_path / "scores" / f"{NAME}.json")
    assert list(scores["web_tasks"]) == [NAME]
    assert f"latest of {NAME}: " in judged
    assert scores["sampling"].startswith("fast for a CPU")
    assert f"sampling is {scores['sampling']}" in judged.splitlines()
    assert scores["web_tasks"][NAME]["pages"] == 4
    assert not scores["web_tasks"][NAME]["exempt"]
    assert len(directory.metrics.read_text().splitlines()) == 1
