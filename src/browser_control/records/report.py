"""What a report says of a run, from the files of its archive, or of its run directory before there is one.

`report_page` makes the page. Every number is computed here, from the same files as anybody may read.
"""

import base64
import hashlib
import io
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from markupsafe import escape

from browser_control import configuration
from browser_control.configuration import Configuration
from browser_control.errors import ArchiveInvalid, RecordDamaged, UserError
from browser_control.integrity import lines, unsealed
from browser_control.records import archive, promotion, summary
from browser_control.records.promotion import Comparison
from browser_control.records.summary import TITLES, Score, Scores, counted

_SHOWN_CHARACTERS = 2_500  # of what the policy saw at a turn
_EPISODE_BYTES = 2_000_000  # of all episodes that are shown, as HTML spells them: a quote is five bytes
_PICTURE_BYTES = 2_400_000  # of all pictures, as base64 spells them
_LARGEST_PICTURE = 100_000  # bytes; a larger one is none of ours
_WARM_START = "checkpoints/warm-start/state.json"
_GOAL = "Goal: "  # begins the last line of what the policy saw
_CURVE_CHARACTERS = 40
_BLOCKS = "▁▂▃▄▅▆▇█"
_NAMES = ("base", "promoted", "warm-start", "after")


@dataclass(frozen=True)
class Turn:
    """What the policy saw (empty where it was not kept), what it said, and why that did nothing, if it did not.

    `picture` is the page before the action, as WebP in base64; empty where there is none.
    """

    saw: str
    said: str
    error: str
    picture: str = ""


@dataclass(frozen=True)
class Episode:
    """An episode of an evaluation as it was played; strict and success are None where it was unscorable.

    `picture` is the page at its end.
    """

    web_task: str
    seed: int
    strict: bool | None
    success: bool | None
    truncated: bool
    unscorable: str
    turns: tuple[Turn, ...]
    picture: str = ""

    @property
    def pictured(self) -> int:
        """The bytes of its pictures; 0 where it has none."""
        return len(self.picture) + sum(len(turn.picture) for turn in self.turns)

    @property
    def goal(self) -> str:
        """What was to be done; empty where it is not known."""
        found = [line for line in self.turns[0].saw.splitlines() if line.startswith(_GOAL)] if self.turns else []
        return found[-1].removeprefix(_GOAL) if found else ""

    @property
    def cause(self) -> str:
        """Why it was not won, in words that others share; empty where it was."""
        if self.strict:
            return ""
        if self.strict is None:
            return "the environment failed: it counts neither way"
        if self.success:
            return "done in part: BrowserGym counts it, the whole task was not done"
        if not self.truncated:
            return "ended the task with a wrong answer"
        said = [turn.said for turn in self.turns]
        if self.turns and self.turns[-1].error:
            return "out of turns: the last action could not be done"
        if len(said) > 1 and said[-1] == said[-2]:
            return "out of turns: repeated one action"
        return "out of turns: went on with other actions"

    @property
    def outcome(self) -> str:
        return self.cause or "won: the whole task done"


@dataclass(frozen=True)
class Cause:
    """Failures that share a cause: how many before and after, and of which web tasks those after are, most first."""

    words: str
    before: int | None
    after: int
    web_tasks: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Report:
    """What is known of one run.

    Attributes:
        where: archive or run directory, as it was named.
        evaluations: by name (`base`, `after`, ...), as the files hold them.
        metrics: of each update.
        damaged: lines of metrics that are not what was written, and so are left out.
        episodes: by evaluation; empty where an earlier release archived it.
        origin: of the manifest: commits, images, versions and seeds.
        from_promoted: whether training began from the promoted adapter.
        lot: of held-out pages, that the run was judged on.
        warm_start_seconds: that the warm start took; 0 where there was none, or an earlier release made it.
    """

    id: str
    where: str
    settings: Configuration
    evaluations: dict[str, dict[str, Any]]
    metrics: tuple[dict[str, Any], ...]
    episodes: dict[str, tuple[Episode, ...]]
    origin: dict[str, Any]
    from_promoted: bool
    lot: int
    warm_start_seconds: float = 0.0
    damaged: int = 0

    @property
    def sampling(self) -> str:
        """How fast the sampler read, and why; empty where an earlier release made the evaluations."""
        return next((str(each["sampling"]) for each in self.evaluations.values() if "sampling" in each), "")

    @property
    def title(self) -> str:
        return title(self.settings)

    @property
    def scores(self) -> dict[str, Scores]:
        return {name: summary.read_scores(evaluation) for name, evaluation in self.evaluations.items()}

    def total_of(self, name: str) -> Score | None:
        """All held-out pages of an evaluation together; None where it was not made."""
        return summary.total(self.scores[name]) if name in self.evaluations else None

    @property
    def last(self) -> str:
        """The name of the newest evaluation."""
        return list(self.evaluations)[-1]

    @property
    def comparison(self) -> Comparison | None:
        """Of the base model and the last evaluation; None where there is one, or they are of other pages."""
        return None if self.last == "base" else self._compared("base", self.last)

    def _compared(self, before: str, after: str) -> Comparison | None:
        try:
            return promotion.compare(*(promotion.episodes(self.evaluations[name]) for name in (before, after)))
        except (KeyError, ValueError):
            return None

    @property
    def headline(self) -> str:
        words = headline(self.scores, self.comparison)
        if not self.metrics and self.settings.warm_start.demonstrates and self.last != "base":
            words += " All of it is the warm start's: GRPO made no update."
        return words

    @property
    def stages(self) -> str:
        """What the warm start brought, and what GRPO did to that; empty where there were not both."""
        chain = ["promoted" if self.from_promoted else "base", "warm-start", "after"]
        if not self.metrics or not all(name in self.evaluations for name in chain):
            return ""
        sentences = []
        for stage, (before, after) in zip(("The warm start", "GRPO"), pairwise(chain), strict=True):
            rates = [summary.total(self.scores[name]).rate for name in (before, after)]
            pages = self._compared(before, after)
            sentences.append(f"{stage}: {rates[0]:.2f} to {rates[1]:.2f}{f', {_paired(pages)}' if pages else ''}.")
        return " ".join(sentences)

    @property
    def extremes(self) -> str:
        """Which web tasks have the lowest success at the end, and which fell most; empty where all were won."""
        scores = self.scores
        last = {name: score for name, score in scores[self.last].items() if score.pages}
        if not last or all(score.strict == score.pages for score in last.values()):
            return ""
        low = min(score.rate for score in last.values())
        lowest = [name for name, score in last.items() if score.rate == low]
        words = f"Lowest at the end: {_few(lowest)} ({low:.2f})."
        for before, since in (("base", ""), ("warm-start", " since the warm start")):
            earlier = scores.get(before, {}) if self.last != before else {}
            falls = {name: earlier[name].strict - score.strict for name, score in last.items() if name in earlier}
            if not falls:
                continue
            worst = max(falls.values())
            fell = [name for name, pages in falls.items() if pages == worst]
            words += (
                f" Fell most{since}: {_few(fell)} (by {counted(worst, 'page')})."
                if worst > 0
                else f" None fell{since}."
            )
        return words

    @property
    def curve(self) -> str:
        """Strict success in training in a few characters; empty where there was no update."""
        values = [float(each["strict/all"]) for each in self.metrics if each.get("strict/all") is not None]
        if not values:
            return ""
        every = -(-len(values) // _CURVE_CHARACTERS)
        drawn = "".join(_BLOCKS[round(value * (len(_BLOCKS) - 1))] for value in values[::every])
        return f"{values[0]:.2f} {drawn} {values[-1]:.2f}"

    @property
    def causes(self) -> list[Cause]:
        """Of the failures after training, the most frequent first."""
        after = [each for each in self.episodes.get(self.last, ()) if each.cause]
        base = self.episodes.get("base")
        before = Counter(each.cause for each in base or ())
        tally = Counter(each.cause for each in after)
        web_tasks = {words: Counter(each.web_task for each in after if each.cause == words) for words in tally}
        return [
            Cause(words, None if base is None else before[words], count, tuple(web_tasks[words].most_common()))
            for words, count in tally.most_common()
        ]

    @property
    def shown(self) -> dict[str, list[Episode]]:
        """Episodes of which it is known what the policy saw, failures first, by web task; as many as a page carries."""
        kept: dict[str, list[Episode]] = {}
        room, picture_room = _EPISODE_BYTES, _PICTURE_BYTES
        known = [each for each in self.episodes.get(self.last, ()) if each.turns and each.turns[0].saw]
        for each in one_of_each_first(known):
            room -= sum(len(escape(turn.saw + turn.said + turn.error).encode()) + 200 for turn in each.turns)
            if room < 0:
                break
            picture_room -= each.pictured
            kept.setdefault(each.web_task, []).append(each if picture_room >= 0 else _without_pictures(each))
        return {name: sorted(kept[name], key=lambda each: bool(each.strict)) for name in sorted(kept)}

    @property
    def seconds(self) -> dict[str, float]:
        """Where the time of warm start, training and evaluations went, without what loads the model."""
        parts = {
            "GRPO: waiting for pages": "time/environment",
            "GRPO: generation": "time/generation",
            "GRPO: gradient steps": "time/training",
        }
        updates = self.metrics
        spent = {words: sum(float(each.get(key) or 0) for each in updates) for words, key in parts.items() if updates}
        whole = sum(float(each.get("time/seconds") or 0) for each in self.metrics)
        if (rest := whole - sum(spent.values())) > 0:
            spent["GRPO: the rest"] = rest
        if self.warm_start_seconds:
            spent = {"warm start": self.warm_start_seconds, **spent}
        for name, evaluation in self.evaluations.items():
            spent[f"evaluation: {TITLES[name]}"] = float(evaluation.get("seconds") or 0)
        return {words: seconds for words, seconds in spent.items() if seconds >= 0.05}  # what is not 0.0 s

    @property
    def command(self) -> str:
        """That does the same again, in a checkout of the same commit."""
        start = " --start-from promoted" if self.from_promoted else ""
        return f'make train ARGS="--config {self.where.rstrip("/")}/config.yaml --run-id {self.id}-again{start}"'


def title(settings: Configuration) -> str:
    """A run by what it does: model, web tasks, seed."""
    name = settings.name.removesuffix("-lora")
    return f"{name} · {counted(len(settings.training.web_tasks), 'web task')} · seed {settings.seed}"


def headline(scores: Mapping[str, Scores], comparison: Comparison | None = None) -> str:
    """The one sentence that matters: whether it learned, and how sure that is."""
    name = list(scores)[-1]
    after = summary.total(scores[name])
    if name == "base" or "base" not in scores:
        return f"Success {after} on {counted(after.pages, 'page')}."
    before = summary.total(scores["base"])
    change = after.rate - before.rate
    pages = f"on {counted(after.pages, 'page' if after.exempt else 'held-out page')}"
    pages += ", which may have been trained on" if after.exempt else ""
    if change == 0:
        words = f"Success stayed at {after} {pages}"
    else:
        words = f"Success {'rose' if change > 0 else 'fell'} from {before} to {after} {pages}"
    if comparison is None:
        return words + "."
    if change == 0:
        return f"{words}: {_paired(comparison)}."
    return f"{words}: {_paired(comparison)}, {'more than chance' if comparison.p < 0.05 else 'which may be chance'}."


def _paired(comparison: Comparison) -> str:
    same = comparison.paired - comparison.gained - comparison.lost
    words = f"{counted(comparison.gained, 'page')} newly won, {comparison.lost} newly lost, {same} as before"
    return f"{words} (exact McNemar, p = {comparison.p:.2g})"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read(where: str) -> Report:
    """Reads an archive, or a run directory; raises UserError where it is neither or holds no evaluation yet."""
    is_archive = archive.exists(where)
    if not is_archive and not (Path(where) / "config.yaml").is_file():
        raise UserError(f"{where!r} is neither an archive nor a run directory")
    origin = archive.read_manifest(where) if is_archive else {}
    return _read(where, str(origin.get("run_id") or Path(where).resolve().name), origin)


def of_run(folder: Path, where: str, origin: dict[str, Any]) -> Report:
    """The report of a run that is about to be archived at `where`."""
    return _read(str(folder), folder.name, origin, where)


def _read(url: str, run_id: str, origin: dict[str, Any], where: str = "") -> Report:
    files = {name: content for name in _wanted() if (content := _content(url, name)) is not None}
    for name, content in files.items() if "files" in origin else ():
        if not archive.is_listed(origin["files"], name, content):
            raise ArchiveInvalid(f"{name} of the archive at {url} was altered")
    evaluations = {
        name: unsealed(files[f"evaluation/{name}.json"], f"{url}/evaluation/{name}.json")
        for name in _NAMES
        if f"evaluation/{name}.json" in files
    }
    if not evaluations:
        raise UserError(f"{url} holds no evaluation yet")
    if any("strict" not in each["overall"] for each in evaluations.values()):
        raise UserError(f"{url} is of an earlier release, whose evaluations hold one kind of success only")
    start = unsealed(files.get("start.json", b"{}"), f"{url}/start.json")
    metrics = tuple(lines(files.get("metrics.jsonl", b"")))
    return Report(
        id=run_id,
        where=where or url,
        settings=configuration.validate(yaml.safe_load(files["config.yaml"]), f"{url}/config.yaml"),
        evaluations=evaluations,
        metrics=tuple(each for each in metrics if each is not None),
        damaged=metrics.count(None),
        episodes={
            name: _episodes(
                files[f"evaluation/{name}.episodes.jsonl"],
                files.get(f"evaluation/{name}.pictures.zip"),
                evaluations[name],
                f"{url}, evaluation {name}",
            )
            for name in evaluations
            if f"evaluation/{name}.episodes.jsonl" in files
        },
        origin=origin,
        from_promoted=start.get("start_from") == "promoted",
        lot=int(start.get("lot", 0)),
        warm_start_seconds=float(json.loads(files.get(_WARM_START, b"{}")).get("seconds", 0)),
    )


def _wanted() -> Iterator[str]:
    yield from ("config.yaml", "metrics.jsonl", "start.json", _WARM_START)
    for name in _NAMES:
        yield from (f"evaluation/{name}{kind}" for kind in (".json", ".episodes.jsonl", ".pictures.zip"))


def _content(url: str, name: str) -> bytes | None:
    try:
        return archive.read(url, name)
    except ArchiveInvalid:
        return None


def _episodes(content: bytes, archived: bytes | None, evaluation: Mapping[str, Any], name: str) -> tuple[Episode, ...]:
    written = evaluation.get("transcripts")  # an earlier release's evaluations do not say
    if written is not None and written != hashlib.sha256(content).hexdigest():
        raise RecordDamaged(f"{name}: its episodes are damaged: they are not what was written")
    pictures = _pictures(archived) if archived else {}
    return tuple(_episode(json.loads(line), pictures) for line in content.splitlines())


def _pictures(archived: bytes) -> dict[str, str]:
    """By name (`training.pictures.name`), in base64; none where the file is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(archived)) as file:
            found = [each for each in file.infolist() if each.file_size <= _LARGEST_PICTURE]
            return {each.filename: base64.b64encode(file.read(each)).decode() for each in found}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):  # each for another bit that flips
        return {}


def _episode(line: dict[str, Any], pictures: Mapping[str, str]) -> Episode:
    def picture(turn: int) -> str:
        return pictures.get(f"{line['web_task']}/{line['seed']}/{turn}.webp", "")

    turns = tuple(
        Turn(_clipped(turn.get("saw", "")), str(turn["said"]), str(turn.get("error", "")), picture(number))
        for number, turn in enumerate(line["turns"])
    )
    return Episode(**{**line, "turns": turns, "picture": picture(len(turns))})


def _without_pictures(episode: Episode) -> Episode:
    return replace(episode, picture="", turns=tuple(replace(turn, picture="") for turn in episode.turns))


def _clipped(text: str) -> str:
    """The beginning and the end, where the goal is."""
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    half = _SHOWN_CHARACTERS // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters …\n{text[-half:]}"


def one_of_each_first(known: Sequence[Episode]) -> list[Episode]:
    """Each web task's first failure and first success before another of either, failures first."""
    seen = Counter[tuple[str, bool | None]]()
    ranked = []
    for each in known:
        kind = (each.web_task, each.strict)
        ranked.append((seen[kind], bool(each.strict), each))
        seen[kind] += 1
    return [each for *_, each in sorted(ranked, key=lambda found: found[:2])]
