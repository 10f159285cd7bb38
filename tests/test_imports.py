"""What may import what: two worlds that meet at a command line, and rooms of which none imports upward."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "browser_control"
ORCHESTRATION = ["flows.train", "flows.evaluate", "flows.sweep", "flows.benchmark"]
PROGRAMS = [
    "browser_control.fine_tune_local",
    "browser_control.training.trainer",
    "browser_control.training.warm_start",
    "browser_control.training.evaluation",
    "browser_control.programs.warm_start",
    "browser_control.programs.evaluate",
    "browser_control.programs.fetch_model",
    "browser_control.programs.benchmark",
    "browser_control.use.export",
    "browser_control.use.playing",
    "browser_control.use.serving",
    "browser_control.environment.service",
]
LIGHT = [
    "browser_control.configuration",
    "browser_control.programs.program",
    "browser_control.fine_tune_local",
    "browser_control.records.registry",
    "browser_control.language.actions",
    "browser_control.language.prompts",
]
# From the ground up; those in one row know nothing of each other.
ORDER = [
    {"allowance", "drivers", "errors", "gpus", "leash", "proxies", "run_directory", "preemption", "progress"},
    {"integrity"},
    {"configuration"},
    {"language", "configuration_help"},
    {"web_tasks"},
    {"environment"},
    {"solvers"},
    {"authoring"},
    {"policy"},
    {"training"},
    {"programs", "records"},
    {"pipeline", "fine_tune_local", "use"},
    {"cli"},
]


def imported_by(modules: Sequence[str]) -> dict[str, set[str]]:
    """Names of the top-level packages that are loaded once each of `modules` is, one after the other in one process."""
    code = """if True:
        import importlib, json, sys
        for module in sys.argv[1:]:
            importlib.import_module(module)
            print(json.dumps([module, sorted({name.split(".")[0] for name in sys.modules})]))"""
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *modules], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {module: set(names) for module, names in map(json.loads, found.stdout.splitlines())}


def who_imports(packages: set[str], modules: Sequence[str]) -> list[str]:
    """Those of `modules` once which are loaded, one of `packages` is."""
    loaded = imported_by(modules)
    assert list(loaded) == [*modules]
    return [module for module, names in loaded.items() if names & packages]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_used(path: Path) -> Iterator[str]:
    """Rooms of our package that a module imports, also inside of functions and for types only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "browser_control":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("browser_control."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (each.name.split(".")[1] for each in node.names if each.name.startswith("browser_control."))


def test_flows_import_no_torch() -> None:
    assert who_imports({"torch", "transformers", "peft"}, ORCHESTRATION) == []


def test_programs_import_no_prefect_and_no_docker() -> None:
    assert who_imports({"prefect", "prefect_docker", "docker"}, PROGRAMS) == []


def test_arguments_are_parsed_before_torch_is_imported() -> None:
    assert who_imports({"torch", "transformers", "prefect"}, LIGHT) == []


def test_who_imports_what_is_found_out() -> None:
    assert who_imports({"yaml"}, ["browser_control.errors", "browser_control.configuration"]) == [
        "browser_control.configuration"
    ]


def test_every_module_is_in_a_room_of_the_order() -> None:
    known = set().union(*ORDER)
    assert {room_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"} == known


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_imports_upward(path: Path) -> None:
    if path.parent == PACKAGE and path.name == "__init__.py":
        return
    room = room_of(path)
    level = next(number for number, rooms in enumerate(ORDER) if room in rooms)
    allowed = set().union(*ORDER[:level]) | {room}
    if level == 0:
        allowed |= ORDER[0]
    assert set(rooms_used(path)) <= allowed


def test_no_two_modules_import_each_other() -> None:
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    uses: dict[str, set[str]] = {}
    for name, path in names.items():
        imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        uses[name] = {f"{node.module}.{alias.name}" for node in imports for alias in node.names}
        uses[name] |= {str(node.module) for node in imports}
    assert not [(one, other) for one in names for other in uses[one] & names.keys() if one in uses[other]]
