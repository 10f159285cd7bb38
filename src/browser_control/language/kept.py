"""Episodes that were played and kept (`browser-control play --keep FILE`), and those that a run learns from.

A file holds JSON lines, one an episode. A run takes a copy of its files when it begins and reads only that, so that a
run that was stopped goes on with what it began with, whatever became of the files.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from browser_control.errors import ConfigurationError, RecordDamaged, short
from browser_control.integrity import file_digest, read_sealed, write_sealed
from browser_control.language.version import VERSION


class KeptTurn(BaseModel):
    """What was said to a page.

    Attributes:
        page: as the environment listed it.
        viewport: first and last line of `page` that the viewport showed.
        reading: the line of the longest text, and the first and last character that it showed of it.
        said: the action as the policy spells it; perhaps none.
        by: who said it.
        error: why it did nothing; empty where it did.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    page: str
    viewport: tuple[int, int] | None = None
    reading: tuple[int, int, int] | None = None
    said: str
    by: Literal["policy", "person"]
    error: str = ""


class KeptEpisode(BaseModel):
    """One line of a file.

    Attributes:
        web_task: its name, or the address of a page that is none.
        language: version of what the policy reads and says (`language.version`).
        strict: whether the whole task was done.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    web_task: str
    seed: int
    language: int
    goal: str
    strict: bool
    turns: tuple[KeptTurn, ...]


def read(path: Path) -> list[KeptEpisode]:
    """The episodes of a file, won and lost.

    Raises:
        ConfigurationError: it cannot be read, a line is no episode, or another version of the listing wrote it.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "it is no text"
        raise ConfigurationError(f"warm_start.kept: {path} cannot be read: {words}") from error
    episodes = [_episode(line, f"warm_start.kept: line {number} of {path}") for number, line in enumerate(lines, 1)]
    if not episodes:
        raise ConfigurationError(f"warm_start.kept: {path} is empty: `browser-control play --keep` adds episodes to it")
    return episodes


def _episode(line: str, where: str) -> KeptEpisode:
    try:
        episode = KeptEpisode.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        words = f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}" if key else short(line)
        raise ConfigurationError(f"{where} is no episode that `browser-control play --keep` wrote ({words})") from error
    if episode.language != VERSION:
        raise ConfigurationError(
            f"{where} was kept under version {episode.language} of what the policy reads, and this is {VERSION}:"
            " play it again"
        )
    return episode


def check(files: Sequence[str], copy: Path) -> list[KeptEpisode]:
    """The episodes of `files`; none where there is a copy already, and nobody reads the files any more.

    Raises:
        ConfigurationError: as `read`.
    """
    return [] if copy.exists() else [episode for each in files for episode in read(Path(each))]


def take(files: Sequence[str], copy: Path) -> None:
    """Copies the episodes of `files` to `copy`, once: a copy that is there is left as it is.

    Raises:
        ConfigurationError: as `read`.
    """
    if not (found := check(files, copy)):
        return
    paths = [Path(each) for each in files]
    episodes = [episode.model_dump(mode="json") for episode in found]
    digests = [{"name": path.name, "sha256": file_digest(path)} for path in paths]
    write_sealed(copy, {"files": digests, "episodes": episodes})


def taken(copy: Path) -> tuple[list[KeptEpisode], list[dict[str, Any]]]:
    """The episodes that `take` copied, and name and sha256 of the files that they are from.

    Raises:
        RecordDamaged: the copy is not what was written.
    """
    value = read_sealed(copy)
    try:
        return [KeptEpisode.model_validate_json(json.dumps(each)) for each in value["episodes"]], value["files"]
    except (KeyError, TypeError, ValidationError) as error:
        raise RecordDamaged(f"{copy} is damaged: it is not what was written; choose another run_id") from error
