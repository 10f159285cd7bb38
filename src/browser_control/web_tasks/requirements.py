"""What applications of web tasks need of Python beside this project's packages."""

import shlex
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement

from browser_control.errors import ConfigurationError
from browser_control.web_tasks import registry
from browser_control.web_tasks.server_file import Application


def wanted(web_tasks: Iterable[str]) -> tuple[str, ...]:
    """The requirements of these web tasks' applications, each once, in alphabetical order."""
    return tuple(sorted({text for each in _applications(web_tasks) for text in each.server.requirements}))


def check(web_tasks: Iterable[str]) -> None:
    """Raises ConfigurationError where this Python lacks what one of their applications needs."""
    for each in _applications(web_tasks):
        if words := trouble(each):
            raise ConfigurationError(words)


def trouble(application: Application) -> str:
    """What this Python lacks of it, and what installs that; empty where it lacks nothing."""
    lacking = [text for text in application.server.requirements if not _is_there(Requirement(text))]
    if not lacking:
        return ""
    command = shlex.join([sys.executable, "-m", "pip", "install", *lacking])
    needed = " and ".join(lacking)
    return f"the server of {application.name} needs {needed}, which this Python has not: install it by `{command}`"


def _applications(web_tasks: Iterable[str]) -> Iterator[Application]:
    for found in filter(None, map(registry.own, web_tasks)):
        if found.application is not None:
            yield found.application


def _is_there(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False
