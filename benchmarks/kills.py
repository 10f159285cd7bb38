"""Is a run unkillable? The real program, killed with SIGKILL at random moments, against an undisturbed run.

    python benchmarks/kills.py --kills 20

A tiny model with random weights and the environment's protocol without a browser (tests/policy). A moment is counted
from where the program begins to train, and is uniform over 1.6 times the share that a kill has of the undisturbed run's
time, so that warm start, rollout, optimizer step and the writing of checkpoints are all hit.
"""

import argparse
import hashlib
import json
import os
import random
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
    parser.add_argument("--updates", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, paper_service() as url:
        config = write_config(Path(folder), url, chosen.updates)
        code, seconds = life(config, Path(folder) / "whole", None)
        assert code == 0, code
        print(f"undisturbed: {seconds:.1f} s of training", flush=True)
        moments = random.Random(chosen.seed)
        kills = 0
        while kills < chosen.kills:
            code, lived = life(config, Path(folder) / "killed", moments.uniform(0, 1.6 * seconds / chosen.kills))
            if code == 0:
                break
            kills += 1
            print(f"kill {kills} after {lived:.2f} s: {left_behind(Path(folder) / 'killed')}", flush=True)
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


def life(config: Path, root: Path, seconds: float | None) -> tuple[int, float]:
    """Runs the program until it is done, or killed so long after it begins; its exit code and seconds of work."""
    command = [sys.executable, "-m", "browser_control.fine_tune_local", "--config-file-name", str(config)]
    process = subprocess.Popen([*command, "--run-directory", str(root)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(BEGINS):
                break
        began = time.monotonic()
        timer = threading.Timer(seconds, process.kill) if seconds is not None else None
        if timer is not None:
            timer.start()
        process.stdout.read()
        code = process.wait()
        if timer is not None:
            timer.cancel()
        return code, time.monotonic() - began
    finally:
        process.kill()
        process.wait()


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
