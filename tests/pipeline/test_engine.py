"""What is said where there is no engine, or none for us; in processes of their own, for the SDK leaves sockets open."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import docker
import pytest

from browser_control.errors import EngineUnavailable
from browser_control.pipeline import engine

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
