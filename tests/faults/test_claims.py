"""Two processes of `make faults` run every test once, whichever of them takes it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

MODULE = """
import pytest

@pytest.fixture(scope="module")
def shared():
    yield
    print("let go of " + __name__)

def test_first(shared): pass

def test_second(shared): pass
"""


def test_what_another_process_has_taken_is_passed_over_and_what_it_needs_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "claims").mkdir()
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / name).write_text(MODULE)
    taken = hashlib.sha256(b"test_a.py::test_second").hexdigest()
    (tmp_path / "claims" / taken).write_text("another's")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "claims", "--rootdir", str(tmp_path), str(tmp_path)]
    environ = {
        **os.environ,
        "FAULTS_CLAIMS": str(tmp_path / "claims"),
        "PYTHONPATH": str(Path(__file__).parent),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    assert done.stdout.index("let go of test_a") < done.stdout.index("let go of test_b")
    assert len(list((tmp_path / "claims").iterdir())) == 4
