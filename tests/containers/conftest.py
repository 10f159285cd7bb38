"""What the tests in containers share: an engine, the images, and the flow."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from engine import base_image, browsergym_image, client, openenv, training_image
from prefect.testing.utilities import prefect_test_harness
from stand_in_checkout import StandInCheckout

__all__ = ["base_image", "browsergym_image", "client", "openenv", "training_image"]

ROOT = Path(__file__).resolve().parents[2]


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
