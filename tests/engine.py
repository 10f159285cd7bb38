"""A Docker Engine and images for the tests that need them; skipped, with a reason, where there is none.

Fixtures: a folder's conftest.py that wants them imports them.
"""

import gc
import os
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


def _built(client: Any, image: Image) -> str:
    output: list[str] = []
    try:
        return images.ensure(client, ROOT, image, {}, output.append)[0]
    except BuildFailed as error:
        pytest.fail(f"{error}\n" + "\n".join(output[-60:]))
