"""Programs with the names, arguments, files and exit codes of ours, that take no time: `BROWSER_CONTROL_PROGRAMS`.

`STAND_IN` says who misbehaves, as in `fine_tune_local=crash-once`; each leaves a line in `calls` of the run directory.
A program may be named with what it judges, as `evaluate:base`. `STAND_IN_PLACE` is a folder for what it notes down.
`STAND_IN_SKILL` says how many of ten episodes the trained adapter solves; by itself nine, and one less for each seed.
"""

import argparse
import contextlib
import hashlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import yaml

from browser_control.integrity import DIGESTS, verify_folder, write_digests
from browser_control.language.version import VERSION

CONFIG = """
name: stand-in
model: {name: /nowhere}
training: {web_tasks: [click-button, enter-text], updates: 2}
warm_start: {web_tasks: [enter-text], demonstrations: 4}
environment: {sessions: 2}
"""
SECRETS = ("HF_TOKEN", "WANDB_API_KEY")


def arguments(name: str) -> argparse.Namespace:
    """Parses the common arguments and misbehaves as it was told to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-file-name", required=True)
    parser.add_argument("--run-directory", type=Path, required=True)
    parser.add_argument("--checkpoint")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--pages", default="evaluation")
    parser.add_argument("--lot", type=int, default=0)
    parser.add_argument("--any-language", action="store_true")
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--subset")
    parser.add_argument("--initial-adapter")
    parser.add_argument("--seeds-drawn", type=int, default=0)
    chosen = parser.parse_args()
    with (chosen.run_directory / "calls").open("a") as calls:
        calls.write(f"{name}\n")
    secrets = [f"{each}={digest(os.environ[each])}" for each in SECRETS if each in os.environ]
    with (chosen.run_directory / "secrets").open("a") as seen:
        seen.write(" ".join([name, *secrets]) + "\n")
    first = (chosen.run_directory / "calls").read_text().split().count(name) == 1
    told = dict(part.split("=") for part in said_to(chosen.run_directory).split(",") if part)
    label = f"{name}:{chosen.checkpoint}"
    misbehave(told.get(label, told.get(name)), first, chosen.run_directory)
    return chosen


def said_to(directory: Path) -> str:
    """Who is to misbehave, and how; to a container it is said by a file of the run directory."""
    path = directory / ".stand-in"
    return path.read_text() if path.exists() else os.environ.get("STAND_IN", "")


def digest(secret: str) -> str:
    """Says which secret a program was given without saying it."""
    return hashlib.sha256(secret.encode()).hexdigest()[:8]


def misbehave(how: str | None, first: bool = True, directory: Path | None = None) -> None:
    match how:
        case "crash":
            raise RuntimeError("it was to be expected")
        case "crash-once" if first:
            raise RuntimeError("only the first time")
        case "oom":
            raise MemoryError
        case "eat":  # until the kernel has enough of it
            eaten = []
            while True:
                eaten.append(bytearray(1 << 20))
        case "oom-once" if first:
            raise MemoryError
        case "chatter":
            print("\n".join(f"line {number} of many" for number in range(1000)), flush=True)
        case "refuse":
            print("error: the moon is in the wrong house", file=sys.stderr)
            sys.exit(2)
        case "full-disk":
            raise OSError(28, "No space left on device", "checkpoints/step-000001")
        case "kill-environment-once" if first:
            kill_environment()
        case "wait":  # until it is released, or asked to stop: then it saves its work
            assert directory is not None
            signal.signal(signal.SIGTERM, lambda *_: save_and_leave(directory))
            report("wait", 1, 2)
            while not Path(os.environ["STAND_IN_RELEASE"]).exists():
                time.sleep(0.1)
        case "talk" if first:  # on and on, until it is asked to stop
            assert directory is not None
            signal.signal(signal.SIGTERM, lambda *_: save_and_leave(directory))
            while True:
                report("talk", 1, 2)
                time.sleep(0.5)
        case "hold":  # until somebody does something to it
            note("held", str(os.getpid()))
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
            while not (Path(os.environ["STAND_IN_PLACE"]) / "go").exists():
                time.sleep(0.05)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die-once" if note("died"):
            os.kill(os.getpid(), signal.SIGKILL)
        case "kill-environment":
            kill_environment()
        case "kill-environment-first" if note("killed"):
            kill_environment()
        case "fill":  # the disk of the run, to the last byte
            assert directory is not None
            with (directory / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
                while filler.write(bytes(4096)):
                    pass
        case "starve":  # as a program does that may have no more memory
            resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
            bytearray(1 << 29)
        case "dawdle":  # for longer than a pause of the tests takes
            report("dawdle", 1, 2)
            time.sleep(15)
        case "stay":  # until somebody lets it go, by a file of the run directory
            assert directory is not None
            report("stay", 1, 2)
            while not (directory / ".go").exists():
                time.sleep(0.05)
        case "lose":  # the environment, as soon as somebody takes it away
            from browser_control.environment import health

            report("lose", 1, 2)
            while health.answers(os.environ["BROWSERGYM_URL"]):
                time.sleep(0.2)
            raise RuntimeError("where is the environment?")
        case "lose-once" if first:
            misbehave("lose")
        case "hang-once" if first:
            misbehave("hang")
        case "hang":
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
            report("hang", 1, 2)
            time.sleep(600)
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            report("hang", 1, 2)
            time.sleep(600)


def note(name: str, text: str = "") -> bool:
    """Writes a file of `STAND_IN_PLACE`, whole; whether it was not there before."""
    path = Path(os.environ["STAND_IN_PLACE"]) / name
    new = not path.exists()
    path.with_suffix(".part").write_text(text)
    path.with_suffix(".part").rename(path)
    return new


def kill_environment() -> None:
    os.kill(int(Path(os.environ["STAND_IN_PIDS"]).read_text()), signal.SIGKILL)
    time.sleep(0.5)
    raise RuntimeError("where is the environment?")


def save_and_leave(directory: Path) -> None:
    write_checkpoint(directory / "checkpoints" / "step-000001", b"saved", 4, 1)
    sys.exit(75)


def learned(directory: Path) -> int:
    """Of ten episodes, how many the trained adapter solves."""
    seed = int(yaml.safe_load((directory / "config.yaml").read_text()).get("seed", 0))
    return int(os.environ.get("STAND_IN_SKILL", 9 - seed))


def write_checkpoint(folder: Path, adapter: bytes, skill: int, seeds_drawn: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DIGESTS).unlink(missing_ok=True)
    (folder / "adapter.bin").write_bytes(adapter)
    (folder / "state.json").write_text(
        json.dumps({"skill": skill, "language": VERSION, "sampler": {"drawn": seeds_drawn}})
    )
    write_digests(folder)


def skill(folder: Path) -> int:
    """What `write_checkpoint` said; the base model solves three."""
    if folder.name == "base":
        return 3
    verify_folder(folder)
    return int(json.loads((folder / "state.json").read_text())["skill"])


def report(stage: str, done: int, total: int) -> None:
    values = {"stage": stage, "done": done, "total": total, "success": 0.5}
    print("progress " + json.dumps(values), flush=True)
