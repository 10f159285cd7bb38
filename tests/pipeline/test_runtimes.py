"""The contract of every runtime: what it promises for a stage and for a service, with real programs."""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import marked, wait_until

from browser_control.errors import ServiceFailed
from browser_control.pipeline.runtimes import DockerSettings, ProcessSettings, RuntimeSettings, make_runtime
from browser_control.pipeline.runtimes.base import Reason, Runtime, Service, Stage, StageError
from browser_control.pipeline.runtimes.process import free_port


@pytest.fixture(params=["process", "docker"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    settings: RuntimeSettings = ProcessSettings(grace=2.0)
    if request.param == "docker":
        image = request.getfixturevalue("training_image")
        settings = DockerSettings(
            run_id=f"contract-{uuid.uuid4().hex[:8]}",
            run_directory=tmp_path,
            source=tmp_path,
            gpus="none",
            training_image=image,
            browsergym_image=image,
            grace=2.0,
        )
    with contextlib.closing(make_runtime(settings)) as made:
        yield made


def stage(runtime: Runtime, tmp_path: Path, program: str, **environ: str) -> Stage:
    log = tmp_path / "logs" / "stand-in.log"
    return Stage("stand-in", (runtime.python, "-c", program), log, environ, writes=(tmp_path,))


def service(runtime: Runtime, tmp_path: Path, program: str, port: int = 0, name: str = "service") -> Service:
    where = runtime.listening(port)
    command = (runtime.python, "-c", program, where.host, str(where.port))
    log = tmp_path / "logs" / "service.log"
    return Service(name, command, log, writes=(tmp_path,), port=where.port, published=port)


HTTP = """
import http.server, sys
print("serving", flush=True)
handler = http.server.SimpleHTTPRequestHandler
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), handler).serve_forever()
"""

FETCH = """
import sys, time, urllib.request
for _ in range(100):
    try:
        sys.exit(urllib.request.urlopen(sys.argv[1], timeout=5).status != 200)
    except OSError:
        time.sleep(0.05)
sys.exit("no answer")
"""


def answers(runtime: Runtime, tmp_path: Path, url: str) -> None:
    """From where the programs run, for there a service has to be seen."""
    runtime.run(Stage("fetch", (runtime.python, "-c", FETCH, url), tmp_path / "logs" / "fetch.log"))


def test_a_stage_hands_on_its_lines_and_keeps_all_in_the_log(runtime: Runtime, tmp_path: Path) -> None:
    lines: list[str] = []
    program = "import sys; print('out'); print('näher', file=sys.stderr, flush=True); print('last', end='')"
    runtime.run(stage(runtime, tmp_path, program), lines.append)
    assert sorted(lines) == ["last", "näher", "out"]
    assert sorted((tmp_path / "logs" / "stand-in.log").read_text().split()) == ["last", "näher", "out"]


def test_a_stage_gets_its_variables(runtime: Runtime, tmp_path: Path) -> None:
    lines: list[str] = []
    runtime.run(stage(runtime, tmp_path, "import os; print(os.environ['COLOUR'])", COLOUR="blue"), lines.append)
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
        runtime.run(stage(runtime, tmp_path, f"print('before', flush=True)\n{program}"))
    error = caught.value
    assert (error.exit_code, error.reason, error.retriable) == (exit_code, reason, retriable)
    assert error.tail[0] == "before"
    assert error.command[0] == runtime.python


def test_a_program_that_is_not_there_is_a_crash(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="127") as caught:
        runtime.run(Stage("absent", ("no-such-program",), tmp_path / "absent.log"))
    assert "no-such-program" in caught.value.tail[-1]


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
        runtime.run(stage(runtime, tmp_path, program), _interrupt)
    assert saved.exists()
    assert time.monotonic() - started < 10


def test_a_stage_that_will_not_stop_is_killed_with_all_it_started(runtime: Runtime, tmp_path: Path) -> None:
    mark = str(uuid.uuid4())
    program = """
import signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["sleep", "600"], start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""
    with pytest.raises(KeyboardInterrupt):
        runtime.run(stage(runtime, tmp_path, program, MARK=mark), lambda line: _interrupt(str(len(marked(mark)))))
    assert marked(mark) == []


def test_what_a_finished_stage_left_behind_is_stopped(runtime: Runtime, tmp_path: Path) -> None:
    mark = str(uuid.uuid4())
    program = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    runtime.run(stage(runtime, tmp_path, program, MARK=mark))
    assert marked(mark) == []


def test_what_a_stage_writes_belongs_to_the_caller(runtime: Runtime, tmp_path: Path) -> None:
    runtime.run(stage(runtime, tmp_path, f"open({str(tmp_path / 'made')!r}, 'w').write('x')"))
    made, owner = (tmp_path / "made").stat(), tmp_path.stat()
    assert (made.st_uid, made.st_gid) == (owner.st_uid, owner.st_gid)


def test_a_service_answers_at_its_url_and_is_gone_afterwards(runtime: Runtime, tmp_path: Path) -> None:
    port = free_port()
    with runtime.serve(service(runtime, tmp_path, HTTP, port)) as served:
        answers(runtime, tmp_path, served.urls[0])
        assert served.alive
        assert "serving" in served.tail()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5) as response:  # from this machine, too
            assert response.status == 200
    with runtime.serve(service(runtime, tmp_path, HTTP, port)) as served:  # the port is free again
        answers(runtime, tmp_path, served.urls[0])


WRITES_LATER = """
import pathlib, time
print("serving", flush=True)
while not pathlib.Path(LOGS, "go").exists():
    time.sleep(0.02)
pathlib.Path(LOGS, "new").write_text("written")
time.sleep(600)
"""


def test_a_service_still_writes_where_a_stage_has_ended(runtime: Runtime, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    writer = service(runtime, tmp_path, WRITES_LATER.replace("LOGS", repr(str(logs))))
    with runtime.serve(dataclasses.replace(writer, writes=(logs,))) as served:
        wait_until(lambda: "serving" in served.tail())
        runtime.run(stage(runtime, tmp_path, f"open({str(logs / 'stage')!r}, 'w')"))
        (logs / "go").touch()
        wait_until(lambda: (logs / "new").exists() or not served.alive)
    owner = tmp_path.stat().st_uid
    assert {path.name: path.stat().st_uid for path in logs.iterdir() if path.suffix != ".log"} == {
        name: owner for name in ("go", "new", "stage")
    }


def test_services_beside_each_other_have_urls_of_their_own(runtime: Runtime, tmp_path: Path) -> None:
    with (
        runtime.serve(service(runtime, tmp_path, HTTP, name="first")) as first,
        runtime.serve(service(runtime, tmp_path, HTTP, name="second")) as second,
    ):
        assert first.urls != second.urls
        for served in (first, second):
            answers(runtime, tmp_path, served.urls[0])


def test_a_service_that_died_is_seen_and_starts_again(runtime: Runtime, tmp_path: Path) -> None:
    flag = str(tmp_path / "once")
    once = (
        f"import pathlib, sys\nflag = pathlib.Path({flag!r})\nif not flag.exists(): flag.touch(); sys.exit('dying')\n"
    )
    with runtime.serve(service(runtime, tmp_path, once + HTTP)) as served:
        wait_until(lambda: not served.alive)
        wait_until(lambda: "dying" in served.tail())
        served.restart()
        answers(runtime, tmp_path, served.urls[0])
        assert served.alive


def test_an_error_inside_the_block_stops_the_service(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), runtime.serve(service(runtime, tmp_path, HTTP)) as served:
        raise ZeroDivisionError
    assert not served.alive


def test_a_taken_port_is_said_in_one_sentence(runtime: Runtime, tmp_path: Path) -> None:
    port = free_port()
    with runtime.serve(service(runtime, tmp_path, HTTP, port)) as served:
        answers(runtime, tmp_path, served.urls[0])
        second = service(runtime, tmp_path, HTTP, port, name="second")
        with pytest.raises(ServiceFailed, match=f"port {port} is taken"), runtime.serve(second):
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
    wait_until(lambda: not any(map(_exists, pids)))


def _interrupt(line: str) -> None:
    raise KeyboardInterrupt


def _exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
