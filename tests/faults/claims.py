"""Of the processes that `make faults` runs side by side, one takes a test; or a module whose tests share a run."""

import hashlib
import os
from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Passes over what another process has taken, by a file in the folder `FAULTS_CLAIMS`."""
    if not (claims := os.environ.get("FAULTS_CLAIMS")):
        return None
    together = item.get_closest_marker("together") is not None
    name = item.path.name if together else hashlib.sha256(item.nodeid.encode()).hexdigest()
    try:
        with (Path(claims) / name).open("x") as claim:
            claim.write(str(os.getpid()))
    except FileExistsError:
        if together and (Path(claims) / name).read_text() == str(os.getpid()):
            return None
        # what the test before left set up for this one, and the next does not share; the others who skip tests so
        # (pytest-rerunfailures) reach for the same attribute
        item.session._setupstate.teardown_exact(nextitem)
        return True
    return None
