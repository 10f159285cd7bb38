"""What the flow costs over the bare programs, with a Prefect server that runs, and how long its import takes.

    .venv/bin/python benchmarks/flow_overhead.py --repeat 5

The programs are the stand-ins of the tests, which take no time, so that the difference is not lost in theirs: once as
the flow runs them, once as a shell would, one after the other with the same arguments beside the same environment.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from browser_control.pipeline.runtimes.process import free_port

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
name: overhead
model: {name: /nowhere}
training: {web_tasks: [click-button, enter-text], updates: 2}
warm_start: {web_tasks: [enter-text], demonstrations: 4}
environment: {sessions: 2}
"""
PROGRAMS = [
    ("fetch_model",),
    ("health_gate",),
    ("evaluate", "--checkpoint", "base", "--output", "{run}/evaluation/base.json"),
    ("warm_start",),
    ("evaluate", "--checkpoint", "warm-start", "--output", "{run}/evaluation/warm-start.json"),
    ("fine_tune_local",),
    ("evaluate", "--checkpoint", "latest", "--output", "{run}/evaluation/after.json"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, metavar="N")
    repeat = parser.parse_args().repeat
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling Prefect anew at every start costs seconds, as in make
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "config.yaml").write_text(CONFIG)
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "BROWSER_CONTROL_PROGRAMS": "stand_ins",
            "PYTHONPATH": str(ROOT / "tests"),
        }
        with server(folder, environ) as url:
            environ["PREFECT_API_URL"] = url
            flow_run(folder, environ, "warm-up")
            pairs = [
                (
                    timed(lambda number=number: flow_run(folder, environ, f"flow-{number}")),
                    timed(lambda number=number: bare_run(folder, environ, f"bare-{number}")),
                )
                for number in range(repeat)
            ]
    flow, bare = zip(*pairs, strict=True)
    report("flow", flow)
    report("bare programs", bare)
    report("overhead", [with_flow - without for with_flow, without in pairs])
    import_seconds("import flows.train")
    report("import flows.train", [import_seconds("import flows.train") for _ in range(repeat)])


def report(what: str, seconds: "list[float] | tuple[float, ...]") -> None:
    print(
        json.dumps(
            {
                "what": what,
                "median_s": round(statistics.median(seconds), 2),
                "min_s": round(min(seconds), 2),
                "max_s": round(max(seconds), 2),
                "of": len(seconds),
            }
        ),
        flush=True,
    )


def timed(what: Callable[[], None]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def flow_run(folder: Path, environ: dict[str, str], run_id: str) -> None:
    """The whole of `python flows/train.py`, from the start of its interpreter to its end."""
    places = [part for name in ("runs", "archives", "models") for part in (f"--{name}", str(folder / name))]
    command = [sys.executable, str(ROOT / "flows" / "train.py"), "--config", str(folder / "config.yaml"), *places]
    call([*command, "--run-id", run_id], environ)


def bare_run(folder: Path, environ: dict[str, str], run_id: str) -> None:
    run = folder / "runs" / run_id
    run.mkdir()
    port = free_port()
    where = ["--host", "127.0.0.1", "--port", str(port), "--sessions", "3", "--max-turns", "4"]
    service = subprocess.Popen([sys.executable, "-m", "stand_ins.environment", *where], env=environ)
    try:
        environ = {**environ, "BROWSERGYM_URL": f"http://127.0.0.1:{port}"}
        common = ["--config-file-name", str(folder / "config.yaml"), "--run-directory", str(run)]
        (run / "config.yaml").write_text(CONFIG)
        for name, *arguments in PROGRAMS:
            chosen = [argument.format(run=run) for argument in arguments]
            call([sys.executable, "-m", f"stand_ins.{name}", *common, *chosen], environ)
    finally:
        service.terminate()
        service.wait()


def call(command: list[str], environ: dict[str, str]) -> None:
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")


def import_seconds(statement: str) -> float:
    """Within a fresh interpreter, compiled files at hand."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


@contextlib.contextmanager
def server(folder: Path, environ: dict[str, str]) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=subprocess.STDOUT)
    try:
        while not answers(f"http://127.0.0.1:{port}/api/health"):
            if process.poll() is not None:
                sys.exit((folder / "server.log").read_text())
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
