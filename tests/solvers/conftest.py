"""A running service for the solvers to play on; tests that need it are skipped where there is no Chromium."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from browser_control.environment.chromium import find_chromium
from browser_control.environment.client import Environments
from browser_control.errors import BrowserNotFound

SESSIONS = 4


@pytest.fixture(scope="session")
def environments() -> Iterator[Environments]:
    """Sessions of a service of the solvers' own, with turns enough for the longest web task."""
    try:
        find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "browser_control.environment", "--port", "0", "--max-turns", "25"]
    process = subprocess.Popen(
        [*command, "--sessions", str(SESSIONS)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )
    with process:
        assert process.stdout is not None
        greeting = process.stdout.readline()
        try:
            assert greeting.startswith("environment ready on "), greeting
            with Environments([greeting.split()[3].rstrip(",")], sessions=SESSIONS) as environments:
                yield environments
        finally:
            process.terminate()
