"""What holds for all tests."""

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

DISTRIBUTED = "PYTEST_XDIST_WORKER" in os.environ  # as by `make test`
if DISTRIBUTED:  # PyTorch takes every core by itself
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background has them ignore SIGINT, and so would every program they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Of some things there is one: a Docker Engine with its images, a Prefect server with its workers, the undisturbed run
# that faults are compared with. Tests that use it, by folder or file, run one after the other. They take long, so they
# begin first: else one process would be left with them at the end.
ENGINE, SERVER, UNDISTURBED = "engine", "server", "undisturbed"
TOGETHER = {
    "containers": ENGINE,
    "test_images.py": ENGINE,
    "test_engine.py": ENGINE,
    "test_engine_breaks.py": ENGINE,
    "test_runtimes.py": ENGINE,
    "server": SERVER,
    "faults": UNDISTURBED,
}


def group_of(nodeid: str) -> str:
    """Which tests one process runs, in their order: those of a file, and those that share something."""
    path = Path(nodeid.partition("::")[0])
    return TOGETHER.get(path.parent.name) or TOGETHER.get(path.name) or path.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("faults"):  # `make faults` sees to that by itself
            continue
        if "client" in getattr(item, "fixturenames", ()) and group_of(item.nodeid) != ENGINE:
            raise pytest.UsageError(
                f"{item.path.name} uses the Docker Engine: TOGETHER of tests/conftest.py must say so"
            )
    if DISTRIBUTED:
        order = {group: number for number, group in enumerate(dict.fromkeys(TOGETHER.values()))}
        items.sort(key=lambda item: order.get(group_of(item.nodeid), len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False  # the order above
    return Groups(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """In CI a skipped test is a failure: there, everything that tests need has to be there."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report
