"""What the tests in containers share: an engine, the images, a stand-in of OpenEnv's repository, and the flow."""

import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from engine import base_image, browsergym_image, client, training_image
from prefect.testing.utilities import prefect_test_harness
from stand_in_checkout import StandInCheckout

__all__ = ["base_image", "browsergym_image", "client", "training_image"]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def flow() -> Iterator[ModuleType]:
    with prefect_test_harness(server_startup_timeout=240):
        spec = importlib.util.spec_from_file_location("train", ROOT / "flows" / "train.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def stand_in_checkout(client: Any, training_image: str, tmp_path: Path) -> Iterator[StandInCheckout]:
    known = {image.id for image in client.images.list()}
    yield StandInCheckout(tmp_path / "checkout", training_image)
    for image in client.images.list(filters={"label": "browser-control.image"}):
        if image.id not in known and any("stand_ins" in variable for variable in image.attrs["Config"]["Env"]):
            for name in image.tags:
                client.images.remove(name, force=True)
