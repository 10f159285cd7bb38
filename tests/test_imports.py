"""The two worlds meet at a command line: flows import no PyTorch, programs no Prefect and no Docker."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORCHESTRATION = ["flows.train", "flows.evaluate", "flows.sweep"]
PROGRAMS = [
    "browser_control.fine_tune_local",
    "browser_control.training.trainer",
    "browser_control.programs.warm_start",
    "browser_control.programs.evaluate",
    "browser_control.training.evaluation",
    "browser_control.programs.fetch_model",
    "browser_control.environment.service",
]
LIGHT = ["browser_control.configuration", "browser_control.programs.program", "browser_control.fine_tune_local"]


def imported_by(module: str) -> set[str]:
    """Names of the top-level packages that are loaded once `module` is."""
    code = f"import sys, {module}; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(found.stdout.split())


@pytest.mark.parametrize("module", ORCHESTRATION)
def test_flows_import_no_torch(module: str) -> None:
    assert not {"torch", "transformers", "peft"} & imported_by(module)


@pytest.mark.parametrize("module", PROGRAMS)
def test_programs_import_no_prefect_and_no_docker(module: str) -> None:
    assert not {"prefect", "prefect_docker", "docker"} & imported_by(module)


@pytest.mark.parametrize("module", LIGHT)
def test_arguments_are_parsed_before_torch_is_imported(module: str) -> None:
    assert not {"torch", "transformers", "prefect"} & imported_by(module)
