"""`browser-control play`: an adapter at work on a web task, or on any page, and a person who watches."""

import argparse
import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from browser_control.errors import ArchiveInvalid, ConfigurationError, UserError

if TYPE_CHECKING:
    from browser_control.use.playing import Environments, Played

_FILMS = (".gif", ".webm")
_LIVE_TURNS = 10  # of a page that no web task says anything of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "web_task",
        nargs="?",
        metavar="WEB_TASK",
        help="such as click-button or flight.aa-one-way, or one of your own: its folder, or its name if the adapter was"
        " trained with it",
    )
    parser.add_argument("--url", help="play on the page of this address, or on an HTML file, instead")
    parser.add_argument("--goal", default="", metavar="WORDS", help="with --url: what is to be done there")
    parser.add_argument(
        "--until", default="", metavar="JAVASCRIPT", help="with --url: what is true in the page once it is done"
    )
    parser.add_argument(
        "--adapter", default="promoted", metavar="ARCHIVE", help="an archive, promoted or base (default: promoted)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the page (default: 0)")
    parser.add_argument(
        "--max-turns", type=int, default=0, metavar="N", help=f"(default: as in training; with --url {_LIVE_TURNS})"
    )
    parser.add_argument("--visible", action="store_true", help="show the browser's window")
    parser.add_argument(
        "--step", action="store_true", help="ask before each action; else Ctrl-C has the next one asked"
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="write a film, .gif or .webm, each action drawn on its page"
    )
    parser.add_argument("--keep", type=Path, metavar="FILE", help="append what was played to this file of JSON lines")
    parser.add_argument("--environment", metavar="URL", help="a service that runs (default: one of our own)")


def run(chosen: argparse.Namespace) -> int:
    """Plays, and writes what was asked for; raises UserError."""
    _refuse(chosen)
    if chosen.visible:
        from browser_control.environment import chromium

        os.environ[chromium.VISIBLE_VARIABLE] = "1"  # of the service that is started, too
        chromium.find_chromium()
    from browser_control.language import actions
    from browser_control.use import adapter, playing
    from browser_control.use.person import Person

    @cache
    def find() -> adapter.Adapter:
        return adapter.find(chosen.adapter, chosen.config, chosen.models, chosen.base)

    def trained_with() -> Sequence[str]:
        with contextlib.suppress(UserError, ArchiveInvalid):  # said below, where the name is right
            return find().settings.environment.web_tasks
        return ()

    web_task, folders = what_is_played(chosen, trained_with)
    found = find()
    turns = chosen.max_turns or (_LIVE_TURNS if chosen.url else found.settings.environment.max_turns)
    person = Person(chosen.step)
    shown = actions.shows(found.settings.policy.actions)
    with _environments(chosen, turns, folders, shown) as environments:
        policy = adapter.load(found, device="auto")
        with person.at_the_keyboard():
            played = playing.play(
                policy,
                environments,
                web_task,
                chosen.seed,
                turns,
                pictures=chosen.record is not None,
                person=person,
                say=lambda words: print(words, flush=True),
            )
    _write(chosen, played)
    return 0


def _refuse(chosen: argparse.Namespace) -> None:
    """What contradicts itself."""
    if chosen.record and chosen.record.suffix.lower() not in _FILMS:
        raise UserError(f"--record writes a film: name a file that ends in .gif or .webm, not {chosen.record}")
    if bool(chosen.web_task) == bool(chosen.url):
        raise UserError("name a web task, such as click-button, or a page with --url and --goal")
    if chosen.url and not chosen.goal.strip():
        raise UserError("--url needs --goal: say what is to be done on that page")
    if chosen.url and chosen.environment:
        raise UserError("--url plays in a browser of its own: leave --environment out")
    if not chosen.url and (chosen.goal or chosen.until):
        raise UserError("--goal and --until are for --url: a web task has its own")
    if chosen.visible and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError("--visible needs a display: DISPLAY and WAYLAND_DISPLAY are not set")
    if chosen.visible and chosen.environment:
        raise UserError("--visible shows a browser of its own: leave --environment out")


def what_is_played(chosen: argparse.Namespace, trained_with: Callable[[], Sequence[str]]) -> tuple[str, list[Path]]:
    """What is played, by its name or address, and the folders of web tasks that a service has to know for it.

    Args:
        trained_with: sources of web tasks that the adapter was trained with; asked where nothing else is of that name.
    """
    from browser_control.web_tasks import registry, task_file

    if chosen.url:
        return _address(chosen.url), []
    if (Path(chosen.web_task) / task_file.FILE).is_file():
        own = task_file.read(Path(chosen.web_task))
        registry.use([own.folder.parent])
        return own.name, [own.folder.parent]
    source, dot, _ = chosen.web_task.partition(".")
    if source == registry.FLIGHT:
        registry.use([registry.FLIGHT])
        return registry.find(chosen.web_task), [Path(registry.FLIGHT)]
    try:
        return registry.find(chosen.web_task), []
    except ConfigurationError as error:
        if not dot and "/" not in chosen.web_task:
            raise
        for folder in map(Path, trained_with() if dot else ()):
            if folder.name == source and folder.is_dir():
                registry.use([folder])
                return registry.find(chosen.web_task), [folder]
        raise UserError(
            f"there is no web task {chosen.web_task!r}: one of your own is named by its folder, in which task.yaml is"
        ) from error


def _address(url: str) -> str:
    """A URL as it is, and that of a file of this machine; raises UserError."""
    if Path(url).is_file():
        return Path(url).absolute().as_uri()
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "file") or not (parts.netloc or parts.path):
        raise UserError(f"--url {url!r} is no address and no file: write it as https://example.org/page")
    return url


@contextlib.contextmanager
def _environments(
    chosen: argparse.Namespace, turns: int, folders: list[Path], shown: frozenset[str]
) -> "Iterator[Environments]":
    if chosen.url:
        from browser_control.environment.chromium import find_chromium
        from browser_control.environment.live import LiveEnvironments

        with LiveEnvironments(find_chromium(), _address(chosen.url), chosen.goal, chosen.until, turns, shown) as live:
            yield live
        return
    from browser_control.environment.client import Environments
    from browser_control.use import playing

    with contextlib.ExitStack() as services:
        url = chosen.environment or services.enter_context(playing.service(turns, folders=folders))
        yield services.enter_context(Environments([url], 1, turns, shown))


def _write(chosen: argparse.Namespace, played: "Played") -> None:
    if chosen.keep:
        chosen.keep.parent.mkdir(parents=True, exist_ok=True)
        with chosen.keep.open("a") as file:
            file.write(json.dumps(played.demonstration(), ensure_ascii=False) + "\n")
        print(f"kept: {chosen.keep}")
    if chosen.record:
        from browser_control.use import film

        film.write(played, chosen.record)
        print(f"recorded: {chosen.record}")
