"""What a person reads at the end: success before and after, and where to look."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browser_control.run_directory import RunDirectory
from browser_control.training.statistics import wilson

TITLES = {
    "base": "base",
    "promoted": "promoted",
    "archived": "archived",  # an adapter that the flow `evaluate` was given
    "warm-start": "warm start",
    "after": "after training",
}


@dataclass(frozen=True)
class Score:
    """Episodes of one kind, and how many of them succeeded."""

    successes: int
    episodes: int

    @property
    def rate(self) -> float:
        return self.successes / self.episodes if self.episodes else 0.0

    def __str__(self) -> str:
        low, high = wilson(self.successes, self.episodes)
        return f"{self.rate:.2f} [{low:.2f}, {high:.2f}]"


Scores = dict[str, Score]  # by web task


def read_scores(evaluation: Mapping[str, Any]) -> Scores:
    """The scores in an evaluation file, by web task; unscorable episodes count neither way."""
    return {
        name: Score(int(values["successes"]), int(values["episodes"]) - int(values.get("unscorable", 0)))
        for name, values in evaluation["web_tasks"].items()
    }


def total(scores: Scores) -> Score:
    """All web tasks together."""
    return Score(sum(score.successes for score in scores.values()), sum(score.episodes for score in scores.values()))


def table(evaluations: Mapping[str, Scores]) -> list[dict[str, str]]:
    """One row a web task and one for all, one column an evaluation: success with its 95% Wilson interval."""
    web_tasks = list(dict.fromkeys(name for scores in evaluations.values() for name in scores))
    rows = [
        {
            "web task": name,
            **{TITLES[key]: str(scores[name]) for key, scores in evaluations.items() if name in scores},
        }
        for name in web_tasks
    ]
    overall = {TITLES[key]: str(total(scores)) for key, scores in evaluations.items()}
    return [*rows, {"web task": "all", **overall}]


def counted(number: int, noun: str) -> str:
    """1 page, 2 pages."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def markdown(run_id: str, rows: Sequence[Mapping[str, str]], places: Mapping[str, str]) -> str:
    """The summary artifact: what came out, and where to look."""
    columns = list(rows[-1])
    lines = [
        f"# {run_id}",
        "",
        "Success on held-out pages, with its 95% Wilson interval:",
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
        " ".join([f"[{address}]({address})", *words]) if address.startswith(("http://", "https://")) else f"`{place}`"
    )


def command(name: str) -> str:
    """A program of this Python's environment as a shell finds it."""
    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) or not beside.exists():
        return name
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)


def places(directory: RunDirectory, archive_url: str, ui: str) -> dict[str, str]:
    """Where to look, in the order in which a person would."""
    return {
        "archive": archive_url,
        "check it": f"{command('browser-control')} verify {archive_url}",
        "curves": f"{command('tensorboard')} --logdir {directory.logs}",
        "logs": str(directory.logs),
        "Prefect": ui,
    }
