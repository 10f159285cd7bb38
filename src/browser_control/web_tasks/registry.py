"""Which web tasks there are, and how they are called.

A name is `SOURCE.NAME`, such as `miniwob.click-test`; a bare name is MiniWoB's. Other sources are folders of the user's
own, `flight`, the airline forms of the miniwob package, and Python packages with BrowserGym's classes, which are told
to this module first (`use`). A configuration holds names as text. Programs ask here when they start, before they do
anything else.
"""

from collections.abc import Iterable
from pathlib import Path

from browser_control.configuration import Configuration, nearest
from browser_control.errors import ConfigurationError
from browser_control.web_tasks import miniwob, packages, task_file
from browser_control.web_tasks.packages import Package
from browser_control.web_tasks.task_file import WebTask

MINIWOB = "miniwob"
FLIGHT = "flight"
SECTIONS = ("warm_start", "training", "evaluation")  # of a configuration, that name web tasks


_own: dict[str, WebTask] = {}
_of_packages: dict[str, Package] = {}


def use(sources: Iterable[str | Path]) -> None:
    """Adds the web tasks of these folders and packages to those that there are, or reads them again.

    Raises:
        ConfigurationError: a file that is wrong, two web tasks of one name, a package that does not import; one
            sentence.
    """
    for folder in sources:
        if is_package(folder):
            package = packages.read(str(folder))
            _of_packages.update(dict.fromkeys(package.names, package))
            continue
        for web_task in task_file.read_all(_flight() if str(folder) == FLIGHT else Path(folder).absolute()):
            known = _own.get(web_task.name)
            if web_task.source == MINIWOB or (known is not None and known.folder != web_task.folder):
                other = "MiniWoB's" if known is None else str(known.folder)
                raise ConfigurationError(
                    f"{web_task.folder}: there is another {web_task.name!r}, {other}: rename one of the folders"
                )
            _own[web_task.name] = web_task


def is_package(source: str | Path) -> bool:
    """Whether a source is a Python package, and neither a folder nor `flight`."""
    return str(source) != FLIGHT and isinstance(source, str) and packages.is_package(source)


def _flight() -> Path:
    return Path(__file__).parent / FLIGHT


def is_flight(web_task: WebTask) -> bool:
    """Whether it plays on a form of the miniwob package."""
    return web_task.folder.parent == _flight()


def web_tasks() -> tuple[str, ...]:
    """All there are, by the names that everything else uses: a bare one for MiniWoB's."""
    return (*miniwob.WEB_TASKS, *_own, *_of_packages)


def own(name: str) -> WebTask | None:
    """The user's own web task of that name; None for MiniWoB's."""
    return _own.get(name)


def package_of(name: str) -> Package | None:
    """The Python package that registers the web task; None for all others."""
    return _of_packages.get(name)


def any_package() -> bool:
    """Whether there are web tasks of a package."""
    return bool(_of_packages)


def digest(name: str) -> str:
    """Twelve hex digits that change with what the web task is made of; empty for MiniWoB's."""
    found = _own.get(name) or _of_packages.get(name)
    return found.digest if found else ""


def digests(names: Iterable[str]) -> dict[str, str]:
    """Of those of `names` that are not MiniWoB's, but of a package one only: its classes change together."""
    one = {package_of(name) or name: name for name in names}
    return {name: found for name in one.values() if (found := digest(name))}


def all_own() -> tuple[WebTask, ...]:
    return tuple(_own.values())


def find(name: str) -> str:
    """The one name of the web task that `name` means: BrowserGym writes `browsergym/miniwob.click-test`.

    `browsergym.miniwob.click-test` is the class of the package browsergym.miniwob, where that is a source.

    Raises:
        ConfigurationError: there is none; one sentence that names the nearest.
    """
    bare = name.removeprefix("browsergym/").removeprefix(f"{MINIWOB}.")
    if bare in web_tasks():
        return bare
    of_package = name.replace("browsergym/", f"{packages.PREFIX}.", 1)
    if of_package in _of_packages:
        return of_package
    hint = nearest(bare, web_tasks())
    if not hint and "." in bare:
        hint = ": environment.web_tasks names the folders and packages of web tasks, and flight"
    raise ConfigurationError(f"there is no web task {name!r:.100}{hint}")


def few_pages(web_task: str) -> int | None:
    """How many distinct pages the web task has, where they are fewer than 50; else None."""
    if (found := own(web_task)) is not None:
        return found.goals if found.goals < task_file.ENOUGH_PAGES else None
    return miniwob.FEW_PAGES.get(web_task)


def named(settings: Configuration) -> tuple[str, ...]:
    """The web tasks that a configuration names anywhere, each once."""
    return tuple(dict.fromkeys(name for section in SECTIONS for name in getattr(settings, section).web_tasks))


def resolve(settings: Configuration) -> Configuration:
    """The configuration with every web task under its one name, and the folders of web tasks as absolute paths.

    Raises:
        ConfigurationError: there is no such web task; one sentence that says which setting names it.
    """
    given = settings.environment.web_tasks
    folders = tuple(each if each == FLIGHT or is_package(each) else str(Path(each).absolute()) for each in given)
    try:
        use(folders)
    except ConfigurationError as error:
        raise ConfigurationError(f"environment.web_tasks: {error}") from None
    changes: dict[str, object] = {"environment": settings.environment.model_copy(update={"web_tasks": folders})}
    for section in SECTIONS:
        values = getattr(settings, section)
        try:
            found = tuple(find(name) for name in values.web_tasks)
        except ConfigurationError as error:
            raise ConfigurationError(f"{section}.web_tasks: {error}") from None
        changes[section] = values.model_copy(update={"web_tasks": found})
    return settings.model_copy(update=changes)
