"""Archives of runs that trained a tiny model."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from policies import make_policy, model_folder
from tiny import make_configuration

from browser_control import configuration
from browser_control.policy import policy
from browser_control.records import archive
from browser_control.run_directory import RunDirectory, write_json
from browser_control.training import checkpoint

__all__ = ["make_policy", "model_folder"]
Trained = tuple[str, policy.Policy]


def evaluation(name: str, successes: int, pages: int = 20) -> dict[str, Any]:
    rate = {"successes": successes, "rate": successes / pages}
    score = {"pages": pages, "unscorable": 0, "strict": rate, "success": rate, "exempt": False}
    lines = [
        {"web_task": "click-button", "page": str(number), "strict": number < successes, "success": number < successes}
        for number in range(pages)
    ]
    return {
        "checkpoint": name,
        "pages": "evaluation",
        "lot": 0,
        "overall": score,
        "web_tasks": {"click-button": score},
        "episodes": lines,
    }


@pytest.fixture
def trained(tmp_path: Path, model_folder: Callable[[str], Path]) -> Callable[..., Trained]:
    """Archives a run whose adapter is not zero; returns the archive, and the policy as it was trained."""

    def train(
        architecture: str = "llama",
        change: Callable[[Path], None] = lambda folder: None,
        seed: int = 1,
        **sections: Any,
    ) -> Trained:
        base = Path(shutil.copytree(model_folder(architecture), tmp_path / "base"))
        change(base)
        settings = make_configuration(architecture, **{"model": {"name": str(base), "device": "cpu"}, **sections})
        made = policy.load(settings, base)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in policy.trainable(made.model):
                parameter += torch.randn(parameter.shape, generator=generator) * 0.1
        run = RunDirectory(tmp_path / "runs" / "tiny-run")
        configuration.write(settings, run.config)
        checkpoint.save(run.step(1), made, settings, {})
        write_json(run.evaluation("base"), evaluation("base", 3))
        write_json(run.evaluation("after"), evaluation(run.step(1).name, 15))
        url = str(tmp_path / "archives" / "tiny-run")
        archive.write(run, url, "tiny-run", settings, archive.Origin(git_commit="c0ffee"))
        return url, made

    return train
