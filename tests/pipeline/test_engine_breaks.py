"""Connections to a real Docker Engine that break, or hang, under a program: it goes on, and so does what it says."""

import contextlib
import io
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from meddler import Meddler, meddling
from processes import wait_until

from browser_control.errors import EngineUnavailable
from browser_control.pipeline import engine
from browser_control.pipeline.runtimes import DockerSettings, container, make_runtime
from browser_control.pipeline.runtimes.base import Stage
from browser_control.pipeline.runtimes.docker import DockerRuntime
from browser_control.pipeline.runtimes.ownership import caller

PROGRAM = """
import os, sys, time
out = sys.stdout.buffer
for part in range(3):
    while part and not os.path.exists(f"go-{part}"):
        time.sleep(0.02)
    if part:
        out.write(b"other half\\n")
    for number in range(100 * part, 100 * part + 100):
        out.write(b"%d %s\\n\\n" % (number, b"x" * (40_000 if number % 50 == 7 else 3)))
        if number % 10 == 3:
            out.write(b"caf\\xe9\\n")
    out.write(b"one half, " if part < 2 else b"end")
    out.flush()
    open(f"said-{part}", "w").close()
"""


@pytest.fixture
def meddler(client: Any) -> Iterator[Meddler]:
    """Between a runtime and the engine of this machine."""
    if not engine.is_local(client):
        pytest.skip("takes an engine of this machine")
    with meddling(Path("/var/run/docker.sock")) as made:
        yield made


@pytest.fixture
def runtime(
    meddler: Meddler, training_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DockerRuntime]:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{meddler.port}")
    settings = DockerSettings(
        run_id=f"breaks-{uuid.uuid4().hex[:8]}",
        run_directory=tmp_path,
        source=tmp_path,
        gpus="none",
        training_image=training_image,
        browsergym_image=training_image,
        grace=1.0,
    )
    made = make_runtime(settings)
    assert isinstance(made, DockerRuntime)
    with contextlib.closing(made):
        yield made


def stage(runtime: DockerRuntime, folder: Path, program: str = PROGRAM) -> Stage:
    command = (runtime.python, "-c", f"import os; os.chdir({str(folder)!r})\n{program}")
    return Stage("talks", command, folder / "logs" / "talks.log", writes=(folder,))


class Running:
    """A stage that runs in a thread of its own."""

    def __init__(self, runtime: DockerRuntime, stage: Stage) -> None:
        self.lines: list[str] = []
        self.error: BaseException | None = None

        def run() -> None:
            try:
                runtime.run(stage, self.lines.append)
            except BaseException as error:
                self.error = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def end(self) -> list[str]:
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.lines


def disturbed_twice(runtime: DockerRuntime, meddler: Meddler, client: Any, folder: Path) -> list[str]:
    """The lines of a program that speaks while nobody listens, and then again, up to its end."""
    running = Running(runtime, stage(runtime, folder))
    heard = folder / "logs" / "talks.log"
    name = f"browser-control-{runtime.settings.run_id}-talks"
    for part in (1, 2):
        wait_until(lambda words=f"\n{100 * part - 1} ": heard.exists() and words in heard.read_text(), 60)  # type: ignore[misc]
        meddler.does("refuses")
        (folder / f"go-{part}").touch()
        wait_until((folder / f"said-{part}").exists, 60)
        if part == 2:
            wait_until(lambda: client.containers.get(name).status == "exited", 60)
        meddler.does("passes on")
    return running.end()


def test_what_is_said_while_the_engine_is_away_is_heard_once(
    runtime: DockerRuntime, meddler: Meddler, client: Any, tmp_path: Path
) -> None:
    lines = disturbed_twice(runtime, meddler, client, tmp_path)
    numbers = [int(line.split()[0]) for line in lines if line[:1].isdigit()]
    assert numbers == list(range(300))
    assert sum(line.endswith(" " + "x" * 40_000) for line in lines) == 6
    others = [line for line in lines if line and not line[0].isdigit()]
    assert sorted(others) == ["caf\ufffd"] * 30 + ["end"] + ["one half, other half"] * 2
    assert lines.count("") == 300


def test_a_log_that_began_anew_is_read_from_about_where_it_was_left(
    runtime: DockerRuntime, meddler: Meddler, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that comes while the program runs is lost; some may come twice."""
    monkeypatch.setattr(container, "_WHOLE", 0)
    running = Running(runtime, stage(runtime, tmp_path))
    heard = tmp_path / "logs" / "talks.log"
    wait_until(lambda: heard.exists() and "\n99 " in heard.read_text(), 60)
    meddler.does("refuses")
    (tmp_path / "go-1").touch()
    wait_until((tmp_path / "said-1").exists, 60)
    meddler.does("passes on")
    wait_until(lambda: "\n199 " in heard.read_text(), 60)
    (tmp_path / "go-2").touch()
    numbers = [int(line.split()[0]) for line in running.end() if line[:1].isdigit()]
    assert {number for number in range(300) if numbers.count(number) != 1} <= set(range(100))
    assert set(numbers) == set(range(300))


def test_an_engine_that_hangs_for_good_is_one_sentence(
    runtime: DockerRuntime, meddler: Meddler, client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its container lives on, and keeps the folder until it is gone."""
    runtime.patience = 1.0
    owner = tmp_path.stat().st_uid
    running = Running(runtime, stage(runtime, tmp_path))
    wait_until((tmp_path / "said-0").exists, 60)
    meddler.does("hangs")
    with pytest.raises(EngineUnavailable, match="does not answer any more: start it again"):
        running.end()
    assert f"{runtime.settings.run_id}-talks may still run" in caplog.text
    assert (tmp_path / "said-0").stat().st_uid == tmp_path.stat().st_uid == caller()[0]
    meddler.does("passes on")
    runtime.reap()  # as the next attempt does
    label = {"label": f"browser-control.run={runtime.settings.run_id}"}
    assert client.containers.list(all=True, filters=label) == []
    assert (tmp_path / "said-0").stat().st_uid == tmp_path.stat().st_uid == owner


def test_an_engine_that_does_not_answer_for_a_moment_is_asked_again_to_stop_it(
    runtime: DockerRuntime, meddler: Meddler, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ANSWER", 0.5)
    owner = tmp_path.stat().st_uid
    back = threading.Timer(1.5, meddler.does, ("passes on",))

    def interrupted(line: str) -> None:
        meddler.does("hangs")
        back.start()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runtime.run(stage(runtime, tmp_path), interrupted)
    back.join()
    label = {"label": f"browser-control.run={runtime.settings.run_id}"}
    assert client.containers.list(all=True, filters=label) == []
    assert tmp_path.stat().st_uid == owner


def test_a_build_whose_engine_hangs_is_one_sentence(meddler: Meddler, base_image: str) -> None:
    client = docker.DockerClient(f"tcp://127.0.0.1:{meddler.port}")
    said: list[str] = []
    with (
        contextlib.closing(client),
        pytest.raises(EngineUnavailable, match="does not answer any more"),
        engine.attended(client, 1.0),
    ):
        for event in client.api.build(fileobj=dockerfile(base_image), rm=True, forcerm=True, decode=True):
            said.append(str(event.get("stream")).strip())
            if said[-1] == "begun":
                meddler.does("hangs")
    assert said[-1] == "begun"


def dockerfile(base_image: str) -> io.BytesIO:
    return io.BytesIO(f"FROM {base_image}\nRUN echo begun && sleep 20 # {uuid.uuid4().hex}\n".encode())
