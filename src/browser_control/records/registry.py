"""Promoted adapters: `models/<name>/promoted.json` points at the archive whose adapter is in use, and remembers others.

A process that changes it holds a lock on the folder; a reader needs none, since the file is renamed into place.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from browser_control import configuration
from browser_control.configuration import LOTS, Configuration, Promotion
from browser_control.errors import ArchiveInvalid, ConfigurationError, RecordDamaged, UserError
from browser_control.integrity import SEAL, read_sealed, write_sealed
from browser_control.language.version import VERSION
from browser_control.records import archive, promotion
from browser_control.records.promotion import Decision


class Promoted(BaseModel):
    """An adapter that was found good enough.

    Attributes:
        run_id: of the run that made it.
        archive: URL of that run's archive.
        checkpoint: the adapter's folder within the archive.
        successes, episodes: pages on which the whole task was done, of all in the evaluation that it was promoted for.
        web_tasks: success rate of each.
        shape: base model and LoRA shape that it fits; see `Configuration.shape`.
        seeds_drawn: training seeds that it has seen.
        language: version of listing, prompt and actions that it was trained to read and say.
        at: when, in UTC.
        because: the sentence that the flow said.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    archive: str
    checkpoint: str
    successes: int
    episodes: int
    web_tasks: dict[str, float]
    shape: dict[str, Any]
    seeds_drawn: int
    language: int = 1
    at: str
    because: str


class Record(BaseModel):
    """Everything that `promoted.json` holds.

    Attributes:
        seeds_drawn: training seeds that any run of this name has used, promoted or not. A run from the promoted adapter
            begins after them: else a refused night would be the same the night after.
        lots: of held-out pages that runs of this name were judged on; the next run takes the next.
        promoted: the adapter in use.
        history: those that it replaced, the newest last.
        rolled_back: those that were in use and taken back, the newest last.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    seeds_drawn: int = 0
    lots: int = 0
    promoted: Promoted | None = None
    history: list[Promoted] = Field(default_factory=list)
    rolled_back: list[Promoted] = Field(default_factory=list)


class Candidate(BaseModel):
    """What an archive says of its adapter."""

    url: str
    manifest: dict[str, Any]
    settings: Configuration
    after: dict[str, Any]
    start: dict[str, Any]

    @property
    def checkpoint(self) -> str:
        return f"checkpoints/{self.after['checkpoint']}"

    @property
    def language(self) -> int:
        """Version of listing, prompt and actions that its adapter was trained under.

        Its checkpoint says so; the manifest says what the release reads that archived it, which may be a later one.
        """
        return int(self._state.get("language", 1))

    @property
    def lot(self) -> int:
        """Of held-out pages, that its run was judged on."""
        return int(self.after.get("lot", 0))

    @property
    def seeds_drawn(self) -> int:
        return int(self._state.get("sampler", {}).get("drawn", 0))

    @cached_property
    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = archive.read_json(self.url, f"{self.checkpoint}/state.json")
        return state


Judge = Callable[[Candidate, Promoted], dict[str, Any]]


class Registry:
    """The promoted adapters called `name`. Nothing is created by reading."""

    def __init__(self, models: Path | str, name: str) -> None:
        self.name = name
        self.folder = Path(models).absolute() / name

    @property
    def path(self) -> Path:
        return self.folder / "promoted.json"

    def read(self) -> Record:
        """Raises ConfigurationError where the file is damaged."""
        try:
            return Record.model_validate(read_sealed(self.path))
        except FileNotFoundError:
            return Record()
        except (RecordDamaged, ValidationError) as error:
            raise ConfigurationError(
                f"{self.path} is damaged, or was edited: bring back a copy of it, take its line {SEAL!r} out if you"
                " edited it, or delete it to begin anew"
            ) from error

    def refuse_another_shape(self, settings: Configuration) -> None:
        """Raises ConfigurationError where training cannot go on from the promoted adapter as `settings` describe it."""
        promoted = self.read().promoted
        if promoted is not None and (words := misfit(promoted, settings) or other_language(promoted)):
            raise ConfigurationError(f"{words}; set start_from=base, or give this configuration a name of its own")

    def take_lot(self) -> int:
        """The number of a lot of held-out pages that no run of this name was judged on."""
        with self._locked():
            record = self.read()
            self._write(record.model_copy(update={"lots": record.lots + 1}))
            return record.lots % LOTS

    def promote(self, url: str, rule: Promotion | None = None, judge: Judge | None = None) -> Decision:
        """Puts the adapter of an archive to use, if it is better than the one in use.

        The candidate's archive holds its evaluation and, on the same pages, that of the adapter which was in use when
        its run began.

        Args:
            rule: default: that of the archive's configuration.
            judge: plays the adapter in use on the candidate's pages, where another was promoted meanwhile; returns its
                evaluation. Without it such a candidate is not promoted.
        """
        try:
            candidate = read_candidate(url)
        except ArchiveInvalid as error:
            return Decision(False, f"not promoted, {error}")
        rule = rule or candidate.settings.promotion
        played: dict[str, dict[str, Any]] = {}
        while judge is not None and (unknown := self._not_judged_beside(candidate)) and unknown.archive not in played:
            try:
                played[unknown.archive] = judge(candidate, unknown)  # nobody else waits meanwhile
            except ArchiveInvalid as error:
                return Decision(False, f"not promoted, the adapter in use could not be judged: {error}")
        with self._locked():
            record = self.read()
            decision = self._judge(candidate, record.promoted, rule, played)
            seeds_drawn = candidate.seeds_drawn if candidate.checkpoint != "checkpoints/base" else 0
            changes: dict[str, Any] = {"seeds_drawn": max(record.seeds_drawn, seeds_drawn)}
            if decision.promoted:
                changes["promoted"] = _entry(candidate, decision.reason, seeds_drawn)
                changes["history"] = [*record.history, *([record.promoted] if record.promoted else [])]
            self._write(record.model_copy(update=changes))
        return decision

    def roll_back(self) -> tuple[Promoted, Promoted]:
        """Goes back to the adapter that was in use before; returns the one given up and the one now in use.

        Raises:
            UserError: there is none to go back to, or its archive is not whole.
        """
        with self._locked():
            record = self.read()
            if record.promoted is None or not record.history:
                raise UserError(f"there is no adapter of {self.name!r} to go back to; {self._state(record)}")
            before = record.history[-1]
            archive.verify(before.archive)
            changes = {
                "promoted": before,
                "history": record.history[:-1],
                "rolled_back": [*record.rolled_back, record.promoted],
            }
            self._write(record.model_copy(update=changes))
            return record.promoted, before

    def _not_judged_beside(self, candidate: Candidate) -> Promoted | None:
        """The adapter in use, if the candidate could be compared with it and its own run does not know it."""
        promoted = self.read().promoted
        if promoted is None or self._refusal(candidate, promoted) or _known(candidate) == promoted.archive:
            return None
        return promoted

    def _refusal(self, candidate: Candidate, promoted: Promoted | None) -> str:
        """Why the candidate is not compared at all; empty where it is."""
        if candidate.settings.name != self.name:
            return f"the archive is of {candidate.settings.name!r}, not of {self.name!r}"
        if promoted is not None and promoted.archive == candidate.url:
            return "it is in use already"
        if not any(name.startswith(f"{candidate.checkpoint}/") for name in candidate.manifest["files"]):
            return "the run trained no adapter"
        if "strict" not in candidate.after["overall"]:
            return "an earlier release archived it, whose evaluations do not say on which pages: train anew"
        if candidate.after.get("pages", "evaluation") != "evaluation":
            return "it was judged on the final set, which decides nothing"
        if candidate.language != VERSION:
            return f"{_words(candidate.language)}: train anew"
        if promoted is not None and (words := misfit(promoted, candidate.settings)):
            return f"{words}: give this configuration a name of its own"
        return ""

    def _judge(
        self,
        candidate: Candidate,
        promoted: Promoted | None,
        rule: Promotion,
        played: Mapping[str, dict[str, Any]],
    ) -> Decision:
        if words := self._refusal(candidate, promoted):
            return Decision(False, f"not promoted, {words}")
        incumbent = f"run {promoted.run_id}" if promoted else "the base model"
        strict = candidate.settings.training.reward == "strict"
        success: Literal["strict", "success"] = "strict" if strict else "success"
        try:
            old = _opponent(candidate, promoted, played)
            comparison = promotion.compare(
                promotion.episodes(old, success), promotion.episodes(candidate.after, success)
            )
        except ArchiveInvalid as error:
            return Decision(False, f"not promoted, the adapter in use could not be judged: {error}")
        except (KeyError, ValueError):
            if promoted is not None and promoted.archive in played:
                return Decision(
                    False,
                    f"not promoted, {incumbent} could not be played on all pages of {candidate.url}: the environment"
                    " failed, or shows other pages than it did then",
                )
            return Decision(
                False,
                f"not promoted, {incumbent} was promoted meanwhile and judged on other pages:"
                f" `browser-control promote {candidate.url}` plays it on these",
            )
        return promotion.decide(rule, comparison, incumbent)

    def _state(self, record: Record) -> str:
        return f"run {record.promoted.run_id} is the first" if record.promoted else "nothing was promoted yet"

    def _write(self, record: Record) -> None:
        write_sealed(self.path, record.model_dump(mode="json"))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Waits for whoever changes this record; the kernel lets go of the lock, however its holder ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def read_candidate(url: str) -> Candidate:
    """What an archive says of its adapter, once every file of it was compared with the manifest.

    Raises:
        ArchiveInvalid: it does not verify, or was written before there was promotion.
    """
    url = absolute(url)
    manifest = archive.verify(url)
    settings = configuration.validate(yaml.safe_load(archive.read(url, "config.yaml")), f"{url}/config.yaml")
    after = archive.read_json(url, "evaluation/after.json")
    start = archive.read_json(url, "start.json") if "start.json" in manifest["files"] else {}
    return Candidate(url=url, manifest=manifest, settings=settings, after=after, start=start)


def absolute(url: str) -> str:
    """A folder as an absolute path, so that the pointer holds wherever it is read from; any other URL as it is."""
    return url if "://" in url else os.path.abspath(url)


def misfit(promoted: Promoted, settings: Configuration) -> str:
    """In words, why the promoted adapter does not fit the model that `settings` describe; empty where it does."""
    if key := settings.misfit(promoted.shape):
        has, wanted = promoted.shape.get(key), settings.shape[key]
        return f"the promoted adapter (run {promoted.run_id}) has {key} {has}, not {wanted}"
    return ""


def other_language(promoted: Promoted) -> str:
    """In words, why training cannot go on from an adapter that reads other pages than ours; empty where it can."""
    if promoted.language == VERSION:
        return ""
    return f"the promoted adapter (run {promoted.run_id}): {_words(promoted.language)}"


def _words(language: int) -> str:
    return f"it reads pages and spells actions as version {language} does, and this is version {VERSION}"


def _known(candidate: Candidate) -> str | None:
    """The archive of the adapter that was in use when the candidate's run began."""
    archive_url = (candidate.start.get("promoted") or {}).get("archive")
    return None if archive_url is None else str(archive_url)


def _opponent(candidate: Candidate, promoted: Promoted | None, played: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The evaluation to compare with: made in the candidate's own run, where that knew the adapter now in use."""
    if promoted is None:
        return archive.read_json(candidate.url, "evaluation/base.json")
    if promoted.archive in played:
        return played[promoted.archive]
    if _known(candidate) != promoted.archive:
        return archive.read_json(promoted.archive, "evaluation/after.json")  # of a sweep, it may be of the same pages
    if words := candidate.start.get("trouble"):
        raise ArchiveInvalid(words)
    return archive.read_json(candidate.url, "evaluation/promoted.json")


def _entry(candidate: Candidate, because: str, seeds_drawn: int) -> Promoted:
    overall = candidate.after["overall"]
    if not overall["pages"]:  # all web tasks have too few pages to hold any out
        overall = candidate.after["exempt"]
    return Promoted(
        run_id=candidate.manifest["run_id"],
        archive=candidate.url,
        checkpoint=candidate.checkpoint,
        successes=overall["strict"]["successes"],
        episodes=overall["pages"] - overall["unscorable"],
        web_tasks={name: score["strict"]["rate"] or 0.0 for name, score in candidate.after["web_tasks"].items()},
        shape=candidate.settings.shape,
        seeds_drawn=seeds_drawn,
        language=candidate.language,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        because=because,
    )
