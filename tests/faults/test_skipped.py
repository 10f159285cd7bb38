"""`make faults` says which cells it skips, and what to do about it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASKS = "import run; print(run.skipped(run.unusable()))"


def asked(**environ: str) -> str:
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), **environ}
    done = subprocess.run([sys.executable, "-c", ASKS], env=where, capture_output=True, text=True, check=True)
    return done.stdout


def test_without_an_engine_it_says_that_the_cells_in_docker_are_skipped() -> None:
    assert "cells in Docker are skipped: no Docker Engine answers" in asked(DOCKER_HOST="unix:///nowhere")


@pytest.mark.faults
def test_without_a_base_image_it_says_what_to_set(client: object) -> None:
    words = asked(BROWSER_CONTROL_TEST_BASE="localhost:1/none")  # where no registry is
    assert "cells in Docker are skipped: localhost:1/none cannot be pulled: set BROWSER_CONTROL_TEST_BASE to" in words
