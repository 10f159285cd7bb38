"""The flow on Docker, for real, from images to an archive; and beside it, as processes, with the same numbers.

On its way BrowserGym and then training are killed, as the host may kill them at any time.
"""

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from browser_control.pipeline.runtimes.docker import RUN_LABEL
from browser_control.records import archive

SMALL = [
    "training.web_tasks=[click-button, enter-text]",
    "training.updates=3",
    "training.groups=1",
    "training.group_size=3",
    "training.resample_limit=0",
    "training.checkpoint_every=1",
    "warm_start.demonstrations=0",
    "warm_start.web_tasks=[]",
    "evaluation.episodes=1",
    "environment.sessions=3",
]


def places(folder: Path) -> dict[str, str]:
    return {name: str(folder / name) for name in ("runs", "archives", "models")}


class Killer:
    """Kills a container each time that training has done another update, and waits until it was started again."""

    def __init__(self, client: Any, runs: Path, stages: Sequence[str]) -> None:
        self._client = client
        self._runs = runs
        self._stages = stages
        self.killed: list[str] = []
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        for number, stage in enumerate(self._stages, start=1):
            while self._read("metrics.jsonl").count("\n") < number:
                time.sleep(0.02)
            (run,) = self._runs.iterdir()
            self._client.containers.get(f"browser-control-{run.name}-{stage}").kill("SIGKILL")
            self.killed.append(stage)
            while self._read("logs/train.log").count("continuing behind") < number:
                time.sleep(0.02)

    def _read(self, name: str) -> str:
        return "".join(path.read_text() for path in self._runs.glob(f"*/{name}"))


@pytest.mark.timeout(1800)
def test_a_run_in_docker_is_killed_twice_and_ends_in_an_archive_with_the_numbers_of_a_process(
    flow: ModuleType,
    client: Any,
    base_image: str,
    training_image: str,
    browsergym_image: str,
    openenv: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killer = Killer(client, tmp_path / "docker" / "runs", ["environment", "train"])
    in_docker = flow.train(
        runtime="docker",
        training_base=base_image,
        browsergym_base=base_image,
        openenv_url=openenv,
        openenv_ref="main",
        overrides=SMALL,
        **places(tmp_path / "docker"),
    )
    assert killer.killed == ["environment", "train"]
    words = "".join(capfd.readouterr())
    assert "the environment service died during train" in words
    assert "train was killed by signal 9" in words
    assert "the environment was lost" in (Path(in_docker) / "logs" / "train.log").read_text()

    manifest = archive.verify(in_docker)
    assert len(manifest["openenv_commit"]) == 40
    assert [image.split(":")[0] for image in manifest["images"]] == [
        "browser-control/browsergym",
        "browser-control/training",
    ]
    assert {"logs/build-training.log", "logs/train.log", "logs/environment.log"} <= set(manifest["files"])
    label = {"label": f"{RUN_LABEL}={manifest['run_id']}"}
    assert client.containers.list(all=True, filters=label) == []
    assert client.networks.list(filters=label) == []
    (run,) = (tmp_path / "docker" / "runs").iterdir()
    assert {path.stat().st_uid for path in run.rglob("*")} == {tmp_path.stat().st_uid}

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # containers do not have it, and sums depend on it
    as_processes = flow.train(runtime="process", overrides=SMALL, **places(tmp_path / "process"))
    assert numbers(Path(as_processes)) == numbers(Path(in_docker))


def numbers(folder: Path) -> list[Any]:
    """All that a run came to, but for the time that it took."""
    evaluations = [json.loads((folder / "evaluation" / f"{name}.json").read_text()) for name in ("base", "after")]
    found: list[Any] = [each["web_tasks"] for each in evaluations]
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        kept = ("success/", "update/", "train/")
        found.append({key: value for key, value in json.loads(line).items() if key.startswith(kept)})
    assert len(found) == 5
    return found
