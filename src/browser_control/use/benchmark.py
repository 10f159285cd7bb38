"""`browser-control benchmark`, and the same as a program without Prefect and Docker:

    python -m browser_control.use.benchmark miniwob --adapter runs/RUN/checkpoints/warm-start --output DIR

Writes `DIR/benchmark.json`, `DIR/benchmark.md` (the table of all web tasks) and `DIR/episodes.jsonl` (what was said).
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from browser_control import progress, proxies
from browser_control.errors import EXIT_USER_ERROR, BrowserControlError, UserError
from browser_control.language.version import VERSION

if TYPE_CHECKING:
    from browser_control.training.rollout import Episode

DEFAULT_CONFIG = "smollm2_135m_local_lora.yaml"
HEADS = ("", "web tasks", "episodes", "strict", "95%", "BrowserGym", "95%", "turns")
Told = Callable[[int, int, float], None]  # how many were played, of how many, and the share that was won strictly


@dataclass(frozen=True)
class Result:
    """What was judged, its scores, and where they are."""

    scores: dict[str, Any]
    folder: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("benchmark", choices=("miniwob",), help="BrowserGym's, of 125 web tasks")
    parser.add_argument(
        "--adapter",
        default="promoted",
        metavar="ADAPTER",
        help="an archive, promoted, base, or the folder of a checkpoint or of a run (default: promoted)",
    )
    parser.add_argument(
        "--subset",
        choices=("all", "56", "heldout23"),
        default="all",
        help="of its web tasks: all, the literature's 56, or PipelineRL's 23 held-out ones (default: all)",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="(default: benchmarks of this name in runs)")
    parser.add_argument("--sessions", type=int, metavar="N", help="episodes at a time (default: as in training)")
    parser.add_argument("--environment", nargs="+", metavar="URL", help="services that run (default: one of our own)")
    parser.add_argument(
        "--config",
        default=DEFAULT_CONFIG,
        metavar="NAME",
        help="configuration that says what promoted and base are (default: %(default)s)",
    )
    parser.add_argument("--models", default="models", metavar="DIR", help="where promotion is kept (default: models)")
    parser.add_argument(
        "--base", default="", metavar="MODEL", help="base model, where it is not where it was in training"
    )


def judge(chosen: argparse.Namespace, told: Told = lambda done, total, strict: None) -> Result:
    """Plays what was chosen and writes it.

    Raises:
        UserError: what was asked for is wrong.
        BrowserControlError: the service or the environment failed.
    """
    from browser_control.use import adapter

    if chosen.sessions is not None and chosen.sessions < 1:
        raise UserError(f"--sessions must be at least 1, not {chosen.sessions}")
    found = adapter.find(chosen.adapter, chosen.config, chosen.models, chosen.base)
    with _environments(chosen, chosen.sessions or found.settings.environment.sessions) as environments:
        from browser_control.training import benchmark
        from browser_control.training.transcripts import write_episodes

        policy = adapter.load(found, device="auto")
        web_tasks = benchmark.SUBSETS[chosen.subset]
        began = datetime.now(UTC)
        played = benchmark.run(policy, environments, web_tasks, _counting(web_tasks, told))
        seconds = (datetime.now(UTC) - began).total_seconds()
    settings = found.settings
    trained = set() if found.untrained else {*settings.warm_start.web_tasks, *settings.training.web_tasks}
    scores = {
        "benchmark": chosen.benchmark,
        "subset": chosen.subset,
        "judged": found.name,
        "base": policy.base.name,
        "language": VERSION,
        "at": began.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        **benchmark.scores(played, trained),
    }
    folder = chosen.output or Path("runs") / f"benchmark-{began:%Y%m%d-%H%M%S}"
    write(scores, folder)
    write_episodes(played, folder / "episodes.jsonl")
    return Result(scores, folder)


def _counting(web_tasks: Sequence[str], told: Told) -> "Callable[[Episode], None]":
    from browser_control.web_tasks import benchmark

    total = len({drawn for drawn in benchmark.episodes() if drawn[0] in set(web_tasks)})
    done = won = 0

    def count(episode: "Episode") -> None:
        nonlocal done, won
        done, won = done + 1, won + episode.strict
        told(done, total, won / done)

    return count


@contextlib.contextmanager
def _environments(chosen: argparse.Namespace, sessions: int) -> Iterator[Any]:
    """Open sessions of the services that were named, or of one of our own."""
    from browser_control.environment.client import Environments
    from browser_control.use.playing import service
    from browser_control.web_tasks.benchmark import MAX_TURNS

    with contextlib.ExitStack() as services:
        urls = chosen.environment or [services.enter_context(service(MAX_TURNS, sessions))]
        yield services.enter_context(Environments(urls, sessions, MAX_TURNS))


def write(scores: dict[str, Any], folder: Path) -> None:
    from browser_control.run_directory import write_json, write_text

    write_json(folder / "benchmark.json", scores)
    write_text(folder / "benchmark.md", markdown(scores))


# ---------------------------------------------------------------- tables


def summary(scores: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a subset, under `HEADS`."""
    return [_row(title, score) for title, score in scores["subsets"].items()]


def families(scores: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a family of several web tasks; the others are rows of `web_tasks`."""
    return [
        _row(f"{first} and {len(score['members']) - 1} more", score)
        for first, score in scores["families"].items()
        if len(score["members"]) > 1
    ]


def web_tasks(scores: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a web task."""
    return [_row(name, score) for name, score in scores["web_tasks"].items()]


def _row(title: str, score: dict[str, Any]) -> tuple[str, ...]:
    kinds = [
        words
        for kind in (score["strict"], score["success"])
        for words in (f"{kind['rate']:.3f}", f"{kind['low']:.2f}-{kind['high']:.2f}")
    ]
    turns = "" if score["mean_turns"] is None else f"{score['mean_turns']:.1f}"
    return (title, str(score["count"]), str(score["episodes"]), *kinds, turns)


def markdown(scores: dict[str, Any]) -> str:
    """All tables, to be read or pasted."""
    parts = [f"# {scores['judged']} by BrowserGym's protocol for MiniWoB, {scores['at']}"]
    for rows in (summary(scores), families(scores), web_tasks(scores)):
        if rows:
            lines = [HEADS, ("---", *["---:"] * (len(HEADS) - 1)), *rows]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m browser_control.use.benchmark", description="Judges a policy by a public benchmark's protocol."
    )
    add_arguments(parser)
    chosen = parser.parse_args(argv)
    proxies.spare_loopback()

    def told(done: int, total: int, strict: float) -> None:
        if done % 16 == 0 or done == total:
            progress.report("benchmark", done, total, strict)

    try:
        result = judge(chosen, told)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return EXIT_USER_ERROR
    except BrowserControlError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    for title, score in result.scores["subsets"].items():
        kinds = {kind: [score[kind][each] for each in ("rate", "low", "high")] for kind in ("strict", "success")}
        print(f"{title} ({score['count']} web tasks): {json.dumps(kinds)}", flush=True)
    print(f"written: {result.folder}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
