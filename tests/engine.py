"""A Docker Engine and images for the tests that need them; skipped, with a reason, where there is none.

Fixtures: a folder's conftest.py that wants them imports them.
"""

import gc
import importlib.util
import os
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.errors import DockerException, ImageNotFound

from browser_control.errors import BuildFailed, EngineUnavailable
from browser_control.pipeline import engine, images
from browser_control.pipeline.images import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    unavailable = ""
    try:
        connected = engine.connect()
    except EngineUnavailable as error:
        unavailable = str(error)
    if unavailable:
        with warnings.catch_warnings():  # of the socket that the SDK leaves open: an error at the end of all tests
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        pytest.skip(unavailable)
    yield connected
    connected.close()


@pytest.fixture(scope="session")
def base_image(client: Any) -> str:
    """A Debian with Python; where no image can be pulled, docker/scripts/base-image.sh makes one."""
    name = os.environ.get("BROWSER_CONTROL_TEST_BASE", "python:3.12-slim")
    try:
        client.images.get(name)
    except ImageNotFound:
        try:
            client.images.pull(name)
        except (DockerException, requests.RequestException) as error:
            pytest.skip(f"{name} cannot be pulled, and BROWSER_CONTROL_TEST_BASE names no other: {error}")
    return name


@pytest.fixture(scope="session")
def training_image(client: Any, base_image: str) -> str:
    return _built(client, Image("training", {"BASE_IMAGE": base_image, "TORCH_BACKEND": "cpu"}))


@pytest.fixture(scope="session")
def browsergym_image(client: Any, base_image: str) -> str:
    return _built(client, Image("browsergym", {"BASE_IMAGE": base_image}))


@pytest.fixture(scope="session")
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


def _built(client: Any, image: Image) -> str:
    output: list[str] = []
    try:
        return images.ensure(client, ROOT, image, {}, output.append)[0]
    except BuildFailed as error:
        pytest.fail(f"{error}\n" + "\n".join(output[-60:]))
