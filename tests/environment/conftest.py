"""A running service for the tests of this folder; they are skipped where there is no Chromium."""

from collections.abc import Iterator

import pytest
from service_process import Service, start_service, stop_service

from browser_control.environment.chromium import find_chromium
from browser_control.errors import BrowserNotFound


@pytest.fixture(scope="session")
def chromium() -> str:
    """Skips the test where there is no Chromium."""
    try:
        return str(find_chromium())
    except BrowserNotFound as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def service(chromium: str) -> Iterator[Service]:
    """One service for all tests that do not harm it."""
    running = start_service("--sessions", "3", "--max-turns", "4")
    yield running
    assert stop_service(running) == 0


@pytest.fixture
def own_service(chromium: str) -> Iterator[Service]:
    """A service of one test's own."""
    running = start_service("--sessions", "2", "--browsers", "1")
    yield running
    if running.process.poll() is None:
        stop_service(running)
