"""Python packages with classes derived from BrowserGym's `AbstractBrowserTask`, as BrowserGym registers them.

A package is imported by a process of its own: it may take seconds, print, and bring anything along. What BrowserGym
calls `browsergym/ID` is the web task `browsergym.ID` here. `python -m browser_control.web_tasks.packages NAME` prints
what there is as one line of JSON.
"""

import functools
import hashlib
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browser_control.configuration import contents
from browser_control.errors import ConfigurationError

PREFIX = "browsergym"  # of the names that BrowserGym gives to environments
NEEDED = "BrowserGym and Playwright: pip install browsergym-core, in Python 3.11 or 3.12"
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_SECONDS = 120.0  # that an import may take
_WORDS = 300  # characters of somebody else's that a sentence takes


@dataclass(frozen=True)
class Package:
    """A package that imports, and the web tasks that it registers."""

    name: str
    names: tuple[str, ...]  # `browsergym.ID`
    digest: str  # twelve hex digits that change with its files


def is_package(source: str) -> bool:
    """Whether `source` can only be the name of a module, and no folder."""
    return bool(_DOTTED.fullmatch(source)) and not Path(source).is_dir()


@functools.cache
def read(name: str) -> Package:
    """The package of that name.

    Raises:
        ConfigurationError: it does not import, or registers nothing; one sentence.
    """
    command = [sys.executable, "-W", "ignore", "-m", "browser_control.web_tasks.packages", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
        found = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        raise ConfigurationError(f"the package {name} does not import within {_SECONDS:g} seconds") from None
    if "error" in found:
        raise ConfigurationError(found["error"])
    return Package(name, tuple(found["names"]), found["digest"])


def entry(package: str, name: str) -> Any:
    """What BrowserGym would play the web task `name` with: a `BrowserEnv`, of which nothing is started yet.

    Raises whatever the import raises.
    """
    import gymnasium

    importlib.import_module(package)
    spec = gymnasium.spec(f"{PREFIX}/{name.removeprefix(f'{PREFIX}.')}")
    assert callable(spec.entry_point)
    return spec.entry_point(**spec.kwargs)


def said(error: BaseException) -> str:
    """What an exception of somebody else's code says, in one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:_WORDS].rstrip(": ")


def _look(name: str) -> dict[str, Any]:
    try:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError
    except ModuleNotFoundError:
        where = f"install it into {sys.prefix}, or name a folder that there is"
        return {"error": f"there is neither a folder nor a Python package {name!r}: {where}"}
    try:
        import browsergym.core.registration  # noqa: F401
        import gymnasium
    except ImportError:
        return {"error": f"the web tasks of the package {name} need {NEEDED}"}
    known = set(gymnasium.registry)
    try:
        module = importlib.import_module(name)
    except BaseException as error:  # whatever it is: that package is of no use
        return {"error": f"the package {name} does not import: {said(error)}"}
    found = [each.partition("/")[2] for each in gymnasium.registry if each not in known]
    found = [each for each in found if f"{PREFIX}/{each}" in gymnasium.registry]
    if not found:
        return {"error": f"the package {name} registers no task (browsergym.core.registration.register_task)"}
    return {"names": [f"{PREFIX}.{each}" for each in found], "digest": _digest(Path(str(module.__file__)))}


def _digest(file: Path) -> str:
    if file.name == "__init__.py":
        return contents(file.parent)
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def main(arguments: Sequence[str] | None = None) -> int:
    [name] = sys.argv[1:] if arguments is None else arguments
    answer = os.dup(1)
    os.dup2(2, 1)  # what a package prints is no answer of ours
    os.write(answer, (json.dumps(_look(name)) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
