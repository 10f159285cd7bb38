"""What saturates first: a program that says a gigabyte, 10,000 updates, 1,000 archives; 256 sessions, 20 runs on a GPU.

    .venv/bin/python benchmarks/load.py            # all
    .venv/bin/python benchmarks/load.py log

Memory is the peak of this process, which is what a flow's would be, and each part runs in a process of its own.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from browser_control import leash
from browser_control.pipeline.runtimes.base import Stage
from browser_control.pipeline.runtimes.process import ProcessRuntime

SAYS = "import sys\nfor _ in range({times}): sys.stdout.write('{letter}' * {length} + '\\n')"
GIGABYTE = 1 << 30


def log(folder: Path) -> dict[str, float]:
    """A program that says a gigabyte in lines of a hundred characters."""
    return said(folder, times=GIGABYTE // 100, length=99)


def line(folder: Path) -> dict[str, float]:
    """A program that says one line of a hundred megabytes."""
    return said(folder, times=1, length=100_000_000)


def said(folder: Path, times: int, length: int) -> dict[str, float]:
    code = SAYS.format(times=times, length=length, letter="x")
    lines = 0

    def count(_: str) -> None:
        nonlocal lines
        lines += 1

    ProcessRuntime().run(Stage("talker", (sys.executable, "-c", code), folder / "log"), count)
    return {"lines_read": lines, "log_mb": round((folder / "log").stat().st_size / 1e6)}


def updates(folder: Path, number: int = 10_000) -> dict[str, float]:
    """`metrics.jsonl` of so many updates: logged one by one, taken up again by a run that continues."""
    from browser_control.run_directory import RunDirectory
    from browser_control.training.metrics import Metrics

    run = RunDirectory(folder)
    values = {f"time/part-{part}": 0.1234567 for part in range(30)}
    metrics = Metrics(run, 0)
    begun = time.perf_counter()
    for update in range(1, number + 1):
        metrics.log(update, values)
    metrics.close()
    logged = time.perf_counter()
    Metrics(run, number).close()
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        "ms_an_update": round((logged - begun) / number * 1000, 2),
        "taken_up_s": round(time.perf_counter() - logged, 2),
        "files": len(files),
        "mb": round(sum(path.stat().st_size for path in files) / 1e6, 1),
    }


def archives(folder: Path, number: int = 1000) -> dict[str, float]:
    """A registry with so many adapters behind it, and the name of the next run behind so many that are finished."""
    from browser_control import configuration
    from browser_control.integrity import write_sealed
    from browser_control.pipeline import run
    from browser_control.pipeline.parameters import Parameters
    from browser_control.records.registry import Promoted, Record, Registry

    settings = configuration.load("smollm2_135m_local_lora.yaml")
    chosen = Parameters(runs=str(folder / "runs"), archives=str(folder / "archives"), models=str(folder / "models"))
    for _ in range(number):
        name = run.next_run_id(settings, chosen) if _ == 0 else f"{settings.name}-{settings.digest[:8]}-{_ + 1}"
        (folder / "archives" / name).mkdir(parents=True)
        (folder / "archives" / name / "manifest.json").write_text("{}")
    begun = time.perf_counter()
    run.next_run_id(settings, chosen)
    named = time.perf_counter()
    entry = Promoted(
        run_id="one",
        archive=str(folder / "archives" / "one"),
        checkpoint="checkpoints/step-000001",
        successes=1,
        episodes=2,
        web_tasks=dict.fromkeys(settings.judged_web_tasks, 0.5),
        shape=settings.shape,
        seeds_drawn=0,
        at="2026-11-27T00:00:00+00:00",
        because="promoted",
    )
    registry = Registry(folder / "models", settings.name)
    record = Record(promoted=entry, history=[entry] * number)
    write_sealed(registry.path, record.model_dump(mode="json"))
    written = time.perf_counter()
    registry.take_lot()
    return {
        "next_run_id_s": round(named - begun, 3),
        "lot_taken_s": round(time.perf_counter() - written, 3),
        "registry_mb": round(registry.path.stat().st_size / 1e6, 2),
    }


def sessions(folder: Path, number: int = 256) -> dict[str, float | str]:
    """A service with so many sessions, all with an episode under way, and a client too many."""
    from websockets.sync.client import ClientConnection, connect

    def play(connection: ClientConnection, seed: int) -> None:
        for message in (
            {"type": "reset", "data": {"seed": seed, "task_name": "click-test"}},
            {"type": "step", "data": {"action_str": "noop()"}},
        ):
            connection.send(json.dumps(message))
            answer = json.loads(connection.recv(timeout=120))
            assert answer["type"] == "observation", answer

    command = [sys.executable, "-m", "browser_control.environment", "--port", "0", "--sessions", str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        address = service.stdout.readline().split()[3].rstrip(",").replace("http", "ws", 1) + "/ws"
        begun = time.perf_counter()
        connections = [connect(address) for _ in range(number)]
        for seed, connection in enumerate(connections):
            play(connection, seed)
        opened = time.perf_counter()
        for seed, connection in enumerate(connections):
            play(connection, seed)
        again = time.perf_counter()
        with connect(address) as one_too_many:
            refused = json.loads(one_too_many.recv(timeout=120))["data"]["message"]
        memory = sum(proportional(pid) for pid in [service.pid, *leash.descendants(service.pid)])
        connections.pop().close()
        with connect(address) as next_one:
            play(next_one, 0)
        for connection in connections:
            connection.close()
        service.terminate()
    return {
        "first_episodes_s": round(opened - begun, 1),
        "next_episodes_s": round(again - opened, 1),
        "one_too_many": refused,
        "service_mb": round(memory / 1e6),
    }


def proportional(pid: int) -> int:
    """Bytes of a process, of what it shares its part."""
    try:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def queue(folder: Path, number: int = 20) -> dict[str, float]:
    """So many runs of stand-ins, started at once, of which each wants the one GPU of this machine."""
    root = Path(__file__).resolve().parents[1]
    sys.path.insert(0, str(root / "tests"))
    from stand_ins import CONFIG

    (folder / "config.yaml").write_text(CONFIG)
    environ = {
        **os.environ,
        "BROWSER_CONTROL_PROGRAMS": "stand_ins",
        "PYTHONPATH": str(root / "tests"),
        "PREFECT_HOME": str(folder / "prefect"),
        "CUDA_VISIBLE_DEVICES": "0",
        "STAND_IN": "",
    }
    where = [part for name in ("runs", "archives", "models") for part in (f"--{name}", str(folder / name))]
    command = [sys.executable, str(root / "flows" / "train.py"), "--config", str(folder / "config.yaml"), *where]
    command += ["--set", "model.device=cuda"]
    with prefect_server(folder) as url:
        environ["PREFECT_API_URL"] = url
        running = [
            subprocess.Popen([*command, "--run-id", f"run-{each}"], env=environ, stderr=subprocess.DEVNULL)
            for each in range(number)
        ]
        codes = [process.wait() for process in running]
    lots = json.loads(next(folder.glob("models/*/promoted.json")).read_text())["lots"]
    archived = len(list(folder.glob("archives/*/manifest.json")))
    return {"succeeded": codes.count(0), "archived": archived, "lots_taken": lots}


@contextlib.contextmanager
def prefect_server(folder: Path) -> Iterator[str]:
    from browser_control.pipeline.server import temporary_server

    with temporary_server(folder / "server.log") as server:
        server.wait()
        yield os.environ["PREFECT_API_URL"]


PARTS: dict[str, Callable[[Path], Mapping[str, float | str]]] = {
    "log": log,
    "line": line,
    "updates": updates,
    "archives": archives,
    "sessions": sessions,
    "queue": queue,
}


def measure(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        found = PARTS[name](Path(folder))
        seconds = round(time.perf_counter() - begun, 1)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"part": name, "seconds": seconds, **found, "memory_mb": round((after - before) / 1024)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    for name in parser.parse_args().parts:
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(name,))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
