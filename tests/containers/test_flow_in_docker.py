"""The flow on Docker, for real, from images to an archive; and beside it, as processes, with the same numbers."""

import importlib.util
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prefect.testing.utilities import prefect_test_harness

from browser_control.pipeline import archive
from browser_control.pipeline.runtimes.docker import RUN_LABEL

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "training.web_tasks=[click-button, enter-text]",
    "training.updates=2",
    "training.groups=2",
    "training.group_size=2",
    "training.resample_limit=0",
    "warm_start.demonstrations=0",
    "warm_start.web_tasks=[]",
    "evaluation.episodes=2",
    "environment.sessions=4",
]


@pytest.fixture(scope="module")
def openenv(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A repository of OpenEnv's shape: its core as the package index has it, and a place for environments."""
    folder = tmp_path_factory.mktemp("openenv")
    spec = importlib.util.find_spec("openenv")
    assert spec is not None and spec.submodule_search_locations
    source = Path(next(iter(spec.submodule_search_locations)))
    (folder / "src").mkdir()
    subprocess.run(["cp", "-r", str(source), str(folder / "src")], check=True)
    (folder / "envs" / "browsergym_env").mkdir(parents=True)
    (folder / "envs" / "browsergym_env" / "README.md").write_text("A place for the environment.\n")
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], [*author, "commit", "-qm", "OpenEnv"]):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    return str(folder)


@pytest.fixture(scope="module")
def flow() -> Iterator[ModuleType]:
    with prefect_test_harness(server_startup_timeout=240):
        spec = importlib.util.spec_from_file_location("train", ROOT / "flows" / "train.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def places(folder: Path) -> dict[str, str]:
    return {name: str(folder / name) for name in ("runs", "archives", "models")}


@pytest.mark.timeout(900)
def test_a_run_in_docker_goes_from_nothing_to_an_archive_with_the_numbers_of_a_process(
    flow: ModuleType,
    client: Any,
    base_image: str,
    training_image: str,
    browsergym_image: str,
    openenv: str,
    tmp_path: Path,
) -> None:
    in_docker = flow.train(
        runtime="docker",
        training_base=base_image,
        browsergym_base=base_image,
        openenv_url=openenv,
        openenv_ref="main",
        overrides=SMALL,
        **places(tmp_path / "docker"),
    )
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

    as_processes = flow.train(runtime="process", overrides=SMALL, **places(tmp_path / "process"))
    assert numbers(Path(as_processes)) == numbers(Path(in_docker))


def numbers(folder: Path) -> list[Any]:
    """All that a run came to, but for the time that it took."""
    evaluations = [json.loads((folder / "evaluation" / f"{name}.json").read_text()) for name in ("base", "after")]
    found: list[Any] = [each["web_tasks"] for each in evaluations]
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        kept = ("success/", "update/", "train/")
        found.append({key: value for key, value in json.loads(line).items() if key.startswith(kept)})
    assert len(found) == 4
    return found
