"""What is said where there is no engine, or none for us; in processes of their own, for the SDK leaves sockets open."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import docker
import pytest
from processes import wait_until

from browser_control.errors import EngineUnavailable
from browser_control.pipeline import engine

JUMP = 1000.0  # seconds
CONNECT = """
import os, sys
import requests.utils
from browser_control.errors import EngineUnavailable
from browser_control.pipeline import engine
if len(sys.argv) > 1:
    os.seteuid(int(sys.argv[1]))
try:
    engine.connect()
except EngineUnavailable as error:
    print(error)
"""


def words(*arguments: str, **environ: str) -> str:
    command = [sys.executable, "-c", CONNECT, *arguments]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    return done.stdout


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9", "nonsense://"])
def test_no_engine_is_one_sentence(host: str) -> None:
    assert words(DOCKER_HOST=host).startswith("no Docker Engine answers: install and start one")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_an_engine_that_this_user_may_not_use_is_one_sentence(client: object) -> None:
    assert words("65534").startswith("the Docker Engine may not be used by this user: join the group docker")


class Engine(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"OK")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def restarting() -> Iterator[tuple[Any, HTTPServer]]:
    """A client of an engine that has its port and does not listen yet; and that engine."""
    server = HTTPServer(("127.0.0.1", 0), Engine, bind_and_activate=False)
    server.server_bind()
    client = docker.DockerClient(f"tcp://127.0.0.1:{server.server_port}", version="1.41")
    yield client, server
    client.close()
    server.server_close()


def test_an_engine_that_starts_again_is_waited_for(restarting: tuple[Any, HTTPServer]) -> None:
    client, server = restarting

    def start() -> None:
        server.server_activate()
        server.handle_request()

    starting = threading.Timer(0.5, start)
    starting.start()
    engine.wait_for(client, 60)
    starting.join()


def test_one_that_stays_away_is_one_sentence(restarting: tuple[Any, HTTPServer]) -> None:
    with pytest.raises(EngineUnavailable, match="does not answer any more: start it again"):
        engine.wait_for(restarting[0], 0)


def test_one_that_answered_before_is_not_taken_for_one_that_was_never_there(
    restarting: tuple[Any, HTTPServer],
) -> None:
    with pytest.raises(EngineUnavailable, match="does not answer any more"), engine.answering(known=True):
        restarting[0].info()


class Jumping:
    """An engine's word on every ping, which may come after this process stood still for long.

    Attributes:
        word: of a status and whether we stood still, for a ping's number.
        asked: pings so far.
    """

    def __init__(self, word: Callable[[int], tuple[int, bool]]) -> None:
        self.word = word
        self.asked = 0
        self._jumped = 0.0

    def answer(self) -> int:
        status, jumps = self.word(self.asked)
        self.asked += 1
        self._jumped += JUMP * jumps
        return status

    def clock(self) -> float:
        return time.monotonic() + self._jumped


def watched(jumping: Jumping, monkeypatch: pytest.MonkeyPatch, until: Callable[[Jumping, engine.Watch], bool]) -> bool:
    """Whether the watch took the engine for lost, at a patience of a minute."""

    class Answers(Engine):
        def do_GET(self) -> None:
            self.send_response(jumping.answer())
            self.send_header("Content-Length", "0")
            self.end_headers()

    monkeypatch.setattr(engine, "_WATCH", 0.02)
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=jumping.clock))
    cut = threading.Event()
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.02,))
        serving.start()
        client = docker.DockerClient(f"tcp://127.0.0.1:{server.server_port}", version="1.41")
        watch = engine.Watch(client, cut.set, 60.0)
        wait_until(lambda: until(jumping, watch), 60)
        watch.end()
        client.close()
        server.shutdown()
        serving.join()
    assert cut.is_set() == watch.lost
    return watch.lost


@pytest.mark.parametrize("failed", [{2}, {2, 3}, {2, 4, 6, 8}])
def test_a_pause_of_our_own_is_not_the_engines(failed: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether we stood still while it was asked, or between two questions."""
    jumping = Jumping(lambda number: (500 if number in failed else 200, number in failed))
    assert not watched(jumping, monkeypatch, lambda jumping, watch: jumping.asked > 12 or watch.lost)


def test_an_engine_that_does_not_answer_is_lost_for_all_our_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    jumping = Jumping(lambda number: (500, True))
    assert watched(jumping, monkeypatch, lambda jumping, watch: watch.lost)
    assert 7 <= jumping.asked <= 8  # the first one, and as many as a minute has room for at ten seconds each
