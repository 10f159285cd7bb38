"""Is a run unkillable? The real program, killed with SIGKILL at random moments, against an undisturbed run.

    python benchmarks/kills.py --kills 20

A tiny model with random weights and the environment's protocol without a browser (tests/policy). Moments are uniform
over the run's updates and counted in these, since the machine's pace changes: 7.3 is 0.3 of an update's time after the
seventh was logged. What a kill undid is done again by the next life, before its own moment comes.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "policy"))
from paper_service import paper_service
from tiny import make_configuration, save_model

from browser_control import configuration
from browser_control.run_directory import RunDirectory

BEGINS = "training "  # the line with which the program starts to work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, paper_service() as url:
        config = write_config(Path(folder), url, chosen.updates)
        code, seconds = life(config, Path(folder) / "whole", None)
        assert code == 0, code
        print(f"undisturbed: {seconds:.1f} s of training", flush=True)
        draw = random.Random(chosen.seed)
        kills = 0
        for moment in sorted(draw.uniform(0, 0.95 * chosen.updates) for _ in range(chosen.kills)):
            delay = moment % 1 * seconds / chosen.updates
            code, lived = life(config, Path(folder) / "killed", (int(moment), delay))
            kills += code == -signal.SIGKILL
            print(f"at {moment:.2f}, {lived:.2f} s into a life: {left_behind(Path(folder) / 'killed')}", flush=True)
        code, _ = life(config, Path(folder) / "killed", None)
        assert code == 0, code
        digests = {name: digest(Path(folder) / name, chosen.updates) for name in ("whole", "killed")}
        lines = {name: len(RunDirectory(Path(folder) / name).metrics.read_text().splitlines()) for name in digests}
        print(
            json.dumps({"kills": kills, "same": len(set(digests.values())) == 1, "adapters": digests, "lines": lines})
        )


def write_config(folder: Path, url: str, updates: int) -> Path:
    (folder / "model").mkdir()
    save_model("llama", folder / "model")
    settings = make_configuration(
        "llama",
        model={"name": str(folder / "model"), "device": "cpu"},
        environment={"urls": [url], "sessions": 8, "max_turns": 2},
        warm_start={"web_tasks": ["click-button"], "demonstrations": 16, "learning_rate": 1e-3},
        training={"updates": updates, "checkpoint_every": 2, "groups": 4},
    )
    configuration.write(settings, folder / "config.yaml")
    return folder / "config.yaml"


def life(config: Path, root: Path, moment: tuple[int, float] | None) -> tuple[int, float]:
    """Runs the program until it is done, or is killed so many seconds after so many updates.

    Returns:
        Its exit code, negative for a signal, and the seconds since it began to train.
    """
    command = [sys.executable, "-m", "browser_control.fine_tune_local", "--config-file-name", str(config)]
    process = subprocess.Popen([*command, "--run-directory", str(root)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(BEGINS):
                break
        began = time.monotonic()
        if moment is not None:
            threading.Thread(target=kill, args=(process, RunDirectory(root).metrics, *moment)).start()
        process.stdout.read()
        return process.wait(), time.monotonic() - began
    finally:
        process.kill()
        process.wait()


def kill(process: "subprocess.Popen[str]", metrics: Path, updates: int, delay: float) -> None:
    while process.poll() is None and updates > (metrics.read_text().count("\n") if metrics.exists() else 0):
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()


def left_behind(root: Path) -> str:
    run = RunDirectory(root)
    steps = run.steps()
    newest = steps[-1].name if steps else "warm-start" if run.warm_start.exists() else "no checkpoint"
    half = [path.name for path in run.checkpoints.glob(".*")] if run.checkpoints.exists() else []
    return newest + (f", half-written {', '.join(half)}" if half else "")


def digest(root: Path, updates: int) -> str:
    weights = RunDirectory(root).step(updates) / "adapter_model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:16]


if __name__ == "__main__":
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    main()
