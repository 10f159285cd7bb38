"""What is said where there is no engine, or none for us; in processes of their own, for the SDK leaves sockets open."""

import os
import subprocess
import sys

import pytest

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
