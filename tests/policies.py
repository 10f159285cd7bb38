"""A tiny policy of each architecture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_configuration, save_model

from browser_control.policy import policy


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the folder of a tiny model with random weights, once a session for each architecture."""
    made: dict[str, Path] = {}

    def make(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = tmp_path_factory.mktemp(architecture)
            save_model(architecture, made[architecture])
        return made[architecture]

    return make


@pytest.fixture
def make_policy(model_folder: Callable[[str], Path]) -> Callable[..., policy.Policy]:
    """A fresh policy; its adapter is not zero, so that it matters."""

    def make(architecture: str = "llama", **sections: Any) -> policy.Policy:
        made = policy.load(make_configuration(architecture, **sections), model_folder(architecture))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in policy.trainable(made.model):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        return made

    return make
