"""A run that is killed with SIGKILL at any moment, and started again each time, ends as the undisturbed one does."""

import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tiny import PaperEnvironments, make_configuration

from browser_control.policy import policy
from browser_control.preemption import Preemption
from browser_control.run_directory import RunDirectory
from browser_control.training.trainer import Trainer

KILLS = (0, 2, 3, 6)  # updates after which, and a random part of the next one or two
UPDATES = 10
# a fresh process in no time, which has imported what takes long and computed nothing
FORKS = multiprocessing.get_context("forkserver")


def train(folder: Path, root: Path) -> None:
    """What a killed process was doing: the whole program but for its arguments."""
    configuration = make_configuration("llama", training={"updates": UPDATES})
    environments = PaperEnvironments(8, lambda taken: float(taken[-1] == "click('11')"))
    Trainer(policy.load(configuration, folder), environments, configuration, RunDirectory(root), Preemption()).train()


def life(folder: Path, root: Path, kill_after: int | None = None, delay: float = 0.0) -> int:
    """Trains until it is done, or is killed a moment after so many updates; the exit code, negative for a signal."""
    process = FORKS.Process(target=train, args=(folder, root))
    process.start()
    if kill_after is not None:
        while process.is_alive() and logged(root) < kill_after:
            time.sleep(0.005)
        process.join(delay)
        process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def logged(root: Path) -> int:
    metrics = RunDirectory(root).metrics
    return metrics.read_text().count("\n") if metrics.exists() else 0


def adapter(root: Path) -> bytes:
    return (RunDirectory(root).step(UPDATES) / "adapter_model.safetensors").read_bytes()


def test_a_run_killed_at_random_moments_ends_with_the_same_adapter(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    FORKS.set_forkserver_preload(["browser_control.training.trainer"])
    folder = model_folder("llama")
    assert life(folder, tmp_path / "whole") == 0
    moments = random.Random()
    delays = [moments.uniform(0, 0.2) for _ in KILLS]
    for updates, delay in zip(KILLS, delays, strict=True):
        assert life(folder, tmp_path / "killed", updates, delay) == -signal.SIGKILL
    assert life(folder, tmp_path / "killed") == 0
    assert adapter(tmp_path / "killed") == adapter(tmp_path / "whole"), delays
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole") == UPDATES
