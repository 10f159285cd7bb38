"""What holds for all tests."""

import os
import signal
from collections.abc import Generator
from typing import Any

import pytest

# A shell that starts the tests in the background has them ignore SIGINT, and so would every program they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """In CI a skipped test is a failure: there, everything that tests need has to be there."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report
