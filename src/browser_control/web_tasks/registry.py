"""Which web tasks there are, and how they are called.

A name is `SOURCE.NAME`, such as `miniwob.click-test`; a bare name is MiniWoB's. Other sources are folders of the user's
own and `flight`, the airline forms of the miniwob package, which are told to this module first (`use`). A configuration
holds names as text. Programs ask here when they start, before they do anything else.
"""

from collections.abc import Iterable
from pathlib import Path

from browser_control.configuration import Configuration, nearest
from browser_control.errors import ConfigurationError
from browser_control.web_tasks import miniwob, task_file
from browser_control.web_tasks.task_file import WebTask

MINIWOB = "miniwob"
FLIGHT = "flight"
SECTIONS = ("warm_start", "training", "evaluation")  # of a configuration, that name web tasks


_own: dict[str, WebTask] = {}


def use(folders: Iterable[str | Path]) -> None:
    """Adds the web tasks of these folders to those that there are, or reads them again.

    Raises:
        ConfigurationError: a file that is wrong, or two web tasks of one name; one sentence.
    """
    for folder in folders:
        for web_task in task_file.read_all(_flight() if str(folder) == FLIGHT else Path(folder).absolute()):
            known = _own.get(web_task.name)
            if web_task.source == MINIWOB or (known is not None and known.folder != web_task.folder):
                other = "MiniWoB's" if known is None else str(known.folder)
                raise ConfigurationError(
                    f"{web_task.folder}: there is another {web_task.name!r}, {other}: rename one of the folders"
                )
            _own[web_task.name] = web_task


def _flight() -> Path:
    return Path(__file__).parent / FLIGHT


def is_flight(web_task: WebTask) -> bool:
    """Whether it plays on a form of the miniwob package."""
    return web_task.folder.parent == _flight()


def web_tasks() -> tuple[str, ...]:
    """All there are, by the names that everything else uses: a bare one for MiniWoB's."""
    return (*miniwob.WEB_TASKS, *_own)


def own(name: str) -> WebTask | None:
    """The user's own web task of that name; None for MiniWoB's."""
    return _own.get(name)


def all_own() -> tuple[WebTask, ...]:
    return tuple(_own.values())


def find(name: str) -> str:
    """The one name of the web task that `name` means: BrowserGym writes `browsergym/miniwob.click-test`.

    Raises:
        ConfigurationError: there is none; one sentence that names the nearest.
    """
    bare = name.removeprefix("browsergym/").removeprefix(f"{MINIWOB}.")
    if bare in web_tasks():
        return bare
    hint = nearest(bare, web_tasks())
    if not hint and "." in bare:
        hint = ": environment.web_tasks names the folders of web tasks, and flight"
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
    folders = tuple(folder if folder == FLIGHT else str(Path(folder).absolute()) for folder in given)
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
