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
BASE = os.environ.get("BROWSER_CONTROL_TEST_BASE", "python:3.12-slim")


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    connected, unavailable = _connected()
    if unavailable:
        pytest.skip(unavailable)
    yield connected
    connected.close()


def _connected() -> tuple[Any, str]:
    """A client, or why there is none."""
    try:
        return engine.connect(), ""
    except EngineUnavailable as error:
        unavailable = str(error)
    with warnings.catch_warnings():  # of the socket that the SDK leaves open: an error at the end of all tests
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    return None, unavailable


def unusable() -> str:
    """Why tests in Docker are skipped on this machine, in a sentence that says what to do; empty where they are not."""
    connected, unavailable = _connected()
    if connected is None:
        return unavailable
    try:
        return without_base(connected)
    finally:
        connected.close()


def without_base(client: Any) -> str:
    """Why there is no base image, and what to set, in a sentence; empty where the engine has it, or could pull it."""
    try:
        client.images.get(BASE)
    except ImageNotFound:
        try:
            client.images.pull(BASE)
        except (DockerException, requests.RequestException):
            return (
                f"{BASE} cannot be pulled: set BROWSER_CONTROL_TEST_BASE to the name of a Debian image with Python that"
                " the engine has, as `docker/scripts/base-image.sh NAME` makes one"
            )
    return ""


@pytest.fixture(scope="session")
def base_image(client: Any) -> str:
    """A Debian with Python."""
    if words := without_base(client):
        pytest.skip(words)
    return BASE


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
