"""The contract of every runtime: what it promises for a stage and for a service, with real programs."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser_control.errors import ServiceFailed
from browser_control.pipeline.runtimes import ProcessSettings, RuntimeSettings, make_runtime
from browser_control.pipeline.runtimes.base import Reason, Runtime, Service, Stage, StageError
from browser_control.pipeline.runtimes.process import free_port

SETTINGS: list[RuntimeSettings] = [ProcessSettings(grace=2.0)]


@pytest.fixture(params=SETTINGS, ids=lambda settings: str(settings.type))
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    yield make_runtime(request.param)


def stage(tmp_path: Path, program: str, **environ: str) -> Stage:
    return Stage("stand-in", (sys.executable, "-c", program), tmp_path / "logs" / "stand-in.log", environ)


def service(tmp_path: Path, program: str, port: int) -> Service:
    command = (sys.executable, "-c", program, str(port))
    return Service("stand-in", command, tmp_path / "logs" / "service.log", port=port)


HTTP = """
import http.server, sys
print("serving", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_a_stage_hands_on_its_lines_and_keeps_all_in_the_log(runtime: Runtime, tmp_path: Path) -> None:
    lines: list[str] = []
    program = "import sys; print('out'); print('näher', file=sys.stderr, flush=True); print('last', end='')"
    runtime.run(stage(tmp_path, program), lines.append)
    assert sorted(lines) == ["last", "näher", "out"]
    assert sorted((tmp_path / "logs" / "stand-in.log").read_text().split()) == ["last", "näher", "out"]


def test_a_stage_gets_its_variables(runtime: Runtime, tmp_path: Path) -> None:
    lines: list[str] = []
    runtime.run(stage(tmp_path, "import os; print(os.environ['COLOUR'])", COLOUR="blue"), lines.append)
    assert lines == ["blue"]


@pytest.mark.parametrize(
    ("program", "exit_code", "reason", "retriable"),
    [
        ("raise SystemExit(2)", 2, "configuration", False),
        ("raise SystemExit(75)", 75, "preempted", True),
        ("raise ValueError('no')", 1, "crashed", True),
        ("raise MemoryError", 1, "out_of_memory", False),
        ("import os; os.kill(os.getpid(), 9)", -9, "killed", True),
        ("import os; os.kill(os.getpid(), 11)", -11, "killed", True),
    ],
)
def test_a_failed_stage_says_why(
    runtime: Runtime, tmp_path: Path, program: str, exit_code: int, reason: Reason, retriable: bool
) -> None:
    with pytest.raises(StageError) as caught:
        runtime.run(stage(tmp_path, f"print('before', flush=True)\n{program}"))
    error = caught.value
    assert (error.exit_code, error.reason, error.retriable) == (exit_code, reason, retriable)
    assert error.tail[0] == "before"
    assert error.command[0] == sys.executable


def test_a_program_that_is_not_there_is_a_crash(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="127") as caught:
        runtime.run(Stage("absent", ("no-such-program",), tmp_path / "absent.log"))
    assert caught.value.tail == ("no-such-program: No such file or directory",)


def test_an_error_while_reading_stops_the_stage_and_lets_it_save(runtime: Runtime, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    program = f"""
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(saved)!r}).touch(), sys.exit(75)))
print("ready", flush=True)
time.sleep(60)
"""
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runtime.run(stage(tmp_path, program), _interrupt)
    assert saved.exists()
    assert time.monotonic() - started < 10


def test_a_stage_that_will_not_stop_is_killed_with_all_it_started(runtime: Runtime, tmp_path: Path) -> None:
    program = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen(["sleep", "600"], start_new_session=True).pid, flush=True)
time.sleep(600)
"""
    pids: list[int] = []

    def read(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runtime.run(stage(tmp_path, program), read)
    assert not _exists(pids[0])


def test_what_a_finished_stage_left_behind_is_stopped(runtime: Runtime, tmp_path: Path) -> None:
    lines: list[str] = []
    program = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    runtime.run(stage(tmp_path, program), lines.append)
    assert not _exists(int(lines[0]))


def test_a_service_answers_at_its_url_and_is_gone_afterwards(runtime: Runtime, tmp_path: Path) -> None:
    port = free_port()
    with runtime.serve(service(tmp_path, HTTP, port)) as served:
        _wait_for(served.urls[0])
        assert served.alive
        assert "serving" in served.tail()
    with runtime.serve(service(tmp_path, HTTP, port)) as served:  # the port is free again
        _wait_for(served.urls[0])


def test_a_service_that_died_is_seen_and_starts_again(runtime: Runtime, tmp_path: Path) -> None:
    once = "import pathlib, sys\nflag = pathlib.Path('once')\nif not flag.exists(): flag.touch(); sys.exit('dying')\n"
    directory = os.getcwd()
    os.chdir(tmp_path)
    try:
        with runtime.serve(service(tmp_path, once + HTTP, free_port())) as served:
            _wait_until(lambda: not served.alive)
            assert "dying" in served.tail()
            served.restart()
            _wait_for(served.urls[0])
            assert served.alive
    finally:
        os.chdir(directory)


def test_an_error_inside_the_block_stops_the_service(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), runtime.serve(service(tmp_path, HTTP, free_port())) as served:
        raise ZeroDivisionError
    assert not served.alive


def test_a_taken_port_is_said_in_one_sentence(runtime: Runtime, tmp_path: Path) -> None:
    port = free_port()
    with (
        runtime.serve(service(tmp_path, HTTP, port)) as served,
        pytest.raises(ServiceFailed, match=f"port {port} is taken"),
    ):
        _wait_for(served.urls[0])
        with runtime.serve(service(tmp_path, HTTP, port)):
            raise AssertionError("started twice")


def test_nothing_outlives_a_caller_that_was_killed(tmp_path: Path) -> None:
    child = (
        "import subprocess, os, json, time;"
        "other = subprocess.Popen(['sleep', '600'], start_new_session=True).pid;"
        "print(json.dumps([os.getpid(), other]), flush=True); time.sleep(600)"
    )
    program = f"""
import pathlib, sys
from browser_control.pipeline.runtimes import ProcessSettings, make_runtime
from browser_control.pipeline.runtimes.base import Stage
stage = Stage("child", (sys.executable, "-c", {child!r}), pathlib.Path({str(tmp_path / "child.log")!r}))
make_runtime(ProcessSettings(grace=1)).run(stage, lambda line: print(line, flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        pids = json.loads(caller.stdout.readline())
        assert all(map(_exists, pids))
        caller.send_signal(signal.SIGKILL)
    _wait_until(lambda: not any(map(_exists, pids)))


def _interrupt(line: str) -> None:
    raise KeyboardInterrupt


def _exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_for(url: str) -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except OSError:
            return False

    _wait_until(answers)


def _wait_until(condition, seconds: float = 10.0) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
