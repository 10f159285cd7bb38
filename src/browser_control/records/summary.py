"""What a person reads at the end: both kinds of success before and after, and where to look."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browser_control.errors import ConfigurationError
from browser_control.run_directory import RunDirectory
from browser_control.training.statistics import wilson

TITLES = {
    "base": "base",
    "promoted": "promoted",
    "archived": "archived",  # an adapter that the flow `evaluate` was given
    "warm-start": "warm start",
    "after": "after training",
}
BROWSERGYM = "as BrowserGym counts"
SHORT = "(BrowserGym)"  # in a row of a table, which has little room


@dataclass(frozen=True)
class Score:
    """Both kinds of success on distinct pages.

    Attributes:
        strict: pages on which the whole task was done.
        success: pages on which it succeeded as BrowserGym counts.
        pages: that could be scored.
        exempt: whether the web task has too few pages to hold any out: they may have been trained on.
    """

    strict: int
    success: int
    pages: int
    exempt: bool = False

    @property
    def rate(self) -> float:
        return self.strict / self.pages if self.pages else 0.0

    def __str__(self) -> str:
        return interval(self.strict, self.pages)

    @property
    def as_browsergym_counts(self) -> str:
        return interval(self.success, self.pages)


Scores = dict[str, Score]  # by web task


def interval(successes: int, pages: int) -> str:
    """A rate with its 95% Wilson interval; a dash where no page could be scored."""
    if not pages:
        return "-"
    low, high = wilson(successes, pages)
    return f"{successes / pages:.2f} [{low:.2f}, {high:.2f}]"


def read_scores(evaluation: Mapping[str, Any]) -> Scores:
    """The scores in an evaluation file, by web task; unscorable episodes count neither way.

    Raises:
        ConfigurationError: an earlier release wrote it, and it does not say how often the whole task was done.
    """
    if any("strict" not in values for values in evaluation["web_tasks"].values()):
        raise ConfigurationError(
            "an earlier release wrote this run's evaluations, which do not say how often the whole task was done"
            " (strict): judge its adapter again, in a new run directory"
        )
    return {
        name: Score(
            values["strict"]["successes"],
            values["success"]["successes"],
            values["pages"] - values["unscorable"],
            values["exempt"],
        )
        for name, values in evaluation["web_tasks"].items()
    }


def total(scores: Scores) -> Score:
    """All held-out pages together; where there are none, those of the exempt web tasks."""
    held_out = [score for score in scores.values() if not score.exempt]
    counted = held_out or list(scores.values())
    return Score(
        sum(score.strict for score in counted),
        sum(score.success for score in counted),
        sum(score.pages for score in counted),
        exempt=not held_out,
    )


def sentence(scores: Scores) -> str:
    """All pages together in a few words, with BrowserGym's count where it is another."""
    overall = total(scores)
    words = f"success {overall}"
    if overall.success != overall.strict:
        words += f", {overall.as_browsergym_counts} {BROWSERGYM}"
    if overall.exempt:
        words += ", on pages that may have been trained on"
    return words


def table(evaluations: Mapping[str, Scores]) -> list[dict[str, str]]:
    """One column an evaluation: strict success with its 95% Wilson interval.

    One row a web task, and one more where BrowserGym counts otherwise; then those with too few pages to hold any out;
    then all held-out pages together, as BrowserGym counts and strictly.
    """
    known = {name: score for scores in evaluations.values() for name, score in scores.items()}
    names = sorted(known, key=lambda name: known[name].exempt)  # stable: else in their order

    def row(title: str, cell: Callable[[Score], str], name: str) -> dict[str, str]:
        cells = {TITLES[key]: cell(scores[name]) for key, scores in evaluations.items() if name in scores}
        return {"web task": title, **cells}

    rows = []
    for name in names:
        few = f" ({counted(known[name].pages, 'page')})" if known[name].exempt else ""
        rows.append(row(name + few, str, name))
        if any(scores[name].success != scores[name].strict for scores in evaluations.values() if name in scores):
            rows.append(row(f"{name} {SHORT}", lambda score: score.as_browsergym_counts, name))
    overall = {key: total(scores) for key, scores in evaluations.items()}
    rows.append(
        {
            "web task": f"all {SHORT}",
            **{TITLES[key]: score.as_browsergym_counts for key, score in overall.items()},
        }
    )
    rows.append({"web task": "all", **{TITLES[key]: str(score) for key, score in overall.items()}})
    return rows


def legend(rows: Sequence[Mapping[str, str]]) -> str:
    """What the numbers of a table are, and the words behind its names."""
    names = [row["web task"] for row in rows]
    words = ["the whole task done"]
    if any(name.endswith(SHORT) for name in names):
        words.append(f"{SHORT}: any positive reward")
    if any(name.endswith((" page)", " pages)")) for name in names):
        words.append("(3 pages): too few to hold any out")
    return "; ".join(words)


def fewer_pages(evaluations: Mapping[str, Scores], asked: int) -> str:
    """Which web tasks have fewer distinct pages than were asked for; empty where none has.

    A mean over pages counts each page once, so that these weigh less in it.
    """
    pages = {name: score.pages for scores in evaluations.values() for name, score in scores.items() if not score.exempt}
    few = [f"{name} {count}" for name, count in pages.items() if count < asked]
    return f"{', '.join(few)} of {asked} pages: they weigh less in all" if few else ""


def counted(number: int, noun: str) -> str:
    """1 page, 2 pages."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def markdown(title: str, rows: Sequence[Mapping[str, str]], places: Mapping[str, str], headline: str = "") -> str:
    """The summary artifact: the one sentence that matters, what came out, and where to look."""
    columns = list(rows[-1])
    lines = [
        f"# {title}",
        "",
        *([f"**{headline}**", ""] if headline else []),
        f"Success on distinct held-out pages with its 95% Wilson interval: {legend(rows)}.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
        *("| " + " | ".join(row.get(column, "") for column in columns) + " |" for row in rows),
        "",
        *(f"- {name}: {_marked(place)}" for name, place in places.items()),
        "",
    ]
    return "\n".join(lines)


def _marked(place: str) -> str:
    """A page as a link, anything else as code, to be copied."""
    address, *words = place.split(" ", 1)
    return (
        " ".join([f"[{address}]({address})", *words])
        if address.startswith(("http://", "https://", "file://"))
        else f"`{place}`"
    )


def command(name: str) -> str:
    """A program of this Python's environment as a shell finds it."""
    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) or not beside.exists():
        return name
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)


def places(directory: RunDirectory, archive_url: str, ui: str, web_task: str = "") -> dict[str, str]:
    """Where to look, in the order in which a person would.

    Args:
        web_task: one to watch the adapter on; empty where there is no adapter, or none that `play` plays.
    """
    program = command("browser-control")
    watch = {"watch it": f"{program} play {web_task} --adapter {archive_url}"} if web_task else {}
    return {
        "report": f"{archive_url.rstrip('/')}/report.html",
        "archive": archive_url,
        **watch,
        "check it": f"{program} verify {archive_url}",
        "curves": f"{command('tensorboard')} --logdir {directory.logs}",
        "logs": str(directory.logs),
        "Prefect": ui,
    }
