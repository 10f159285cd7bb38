"""A run that is killed with SIGKILL at any moment, and started again each time, ends as the undisturbed one does."""

import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tiny import PaperEnvironments, make_configuration

from browser_control import policy
from browser_control.preemption import Preemption
from browser_control.run_directory import RunDirectory
from browser_control.training import Trainer

KILLS = 4
UPDATES = 10
# a fresh process in no time, which has imported what takes long and computed nothing
FORKS = multiprocessing.get_context("forkserver")


def train(folder: Path, root: Path) -> None:
    """What a killed process was doing: the whole program but for its arguments."""
    configuration = make_configuration("llama", training={"updates": UPDATES})
    environments = PaperEnvironments(8, lambda taken: float(taken[-1] == "click('11')"))
    Trainer(policy.load(configuration, folder), environments, configuration, RunDirectory(root), Preemption()).train()


def life(folder: Path, root: Path, seconds: float) -> int:
    """Trains until it is done or so many seconds are over; the exit code, negative for a signal."""
    process = FORKS.Process(target=train, args=(folder, root))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def adapter(root: Path) -> bytes:
    return (RunDirectory(root).step(UPDATES) / "adapter_model.safetensors").read_bytes()


def test_a_run_killed_at_random_moments_ends_with_the_same_adapter(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    FORKS.set_forkserver_preload(["browser_control.training"])
    folder = model_folder("llama")
    assert life(folder, tmp_path / "first", 0.0) == -signal.SIGKILL  # and the fork server is up
    began = time.monotonic()
    assert life(folder, tmp_path / "whole", 120) == 0
    took = time.monotonic() - began

    moments = random.Random(0)
    codes = [life(folder, tmp_path / "killed", moments.uniform(0.05, 0.6) * took) for _ in range(KILLS)]
    assert codes.count(-signal.SIGKILL) >= 2, codes
    assert life(folder, tmp_path / "killed", 120) == 0
    assert adapter(tmp_path / "killed") == adapter(tmp_path / "whole")
    metrics = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("killed", "whole")]
    assert [len(lines) for lines in metrics] == [UPDATES, UPDATES]
