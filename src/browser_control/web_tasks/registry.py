"""Which web tasks there are, and how they are called.

A name is `SOURCE.NAME`, such as `miniwob.click-test`; a bare name is MiniWoB's. A configuration holds names as text.
Programs ask here when they start, before they do anything else.
"""

from browser_control.configuration import Configuration, nearest
from browser_control.errors import ConfigurationError
from browser_control.web_tasks import miniwob

MINIWOB = "miniwob"
SECTIONS = ("warm_start", "training", "evaluation")  # of a configuration, that name web tasks


def web_tasks() -> tuple[str, ...]:
    """All there are, by the names that everything else uses: a bare one for MiniWoB's."""
    return miniwob.WEB_TASKS


def find(name: str) -> str:
    """The one name of the web task that `name` means: BrowserGym writes `browsergym/miniwob.click-test`.

    Raises:
        ConfigurationError: there is none; one sentence that names the nearest.
    """
    bare = name.removeprefix("browsergym/").removeprefix(f"{MINIWOB}.")
    if bare not in web_tasks():
        raise ConfigurationError(f"there is no web task {name!r:.100}{nearest(bare, web_tasks())}")
    return bare


def few_pages(web_task: str) -> int | None:
    """How many distinct pages the web task has, where they are fewer than 50; else None."""
    return miniwob.FEW_PAGES.get(web_task)


def resolve(settings: Configuration) -> Configuration:
    """The configuration with every web task under its one name.

    Raises:
        ConfigurationError: there is no such web task; one sentence that says which setting names it.
    """
    changes = {}
    for section in SECTIONS:
        values = getattr(settings, section)
        try:
            found = tuple(find(name) for name in values.web_tasks)
        except ConfigurationError as error:
            raise ConfigurationError(f"{section}.web_tasks: {error}") from None
        changes[section] = values.model_copy(update={"web_tasks": found})
    return settings.model_copy(update=changes)
