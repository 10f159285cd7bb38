"""`browser-control benchmark`, and the same as a program without Prefect and Docker:

    python -m browser_control.use.benchmark miniwob --adapter runs/RUN/checkpoints/warm-start --output DIR

    python -m browser_control.use.benchmark miniwob --endpoint http://127.0.0.1:8080/v1 --model NAME

Writes `DIR/benchmark.json`, `DIR/benchmark.md` (the table of all web tasks) and `DIR/episodes.jsonl` (what was said).
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from browser_control import progress, proxies
from browser_control.errors import EXIT_USER_ERROR, BrowserControlError, UserError
from browser_control.language.version import VERSION
from browser_control.training import benchmark_tables

if TYPE_CHECKING:
    from browser_control.training.rollout import Episode, Player

DEFAULT_CONFIG = "smollm2_135m_local_lora.yaml"
ENDPOINT_CONFIG = "smollm2_135m_miniwob.yaml"  # whose policy has all verbs
ENDPOINT_SESSIONS = 8
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
        metavar="NAME",
        help="configuration that says what promoted and base are, and what an endpoint may do"
        f" (default: {DEFAULT_CONFIG}, for an endpoint {ENDPOINT_CONFIG})",
    )
    parser.add_argument("--models", default="models", metavar="DIR", help="where promotion is kept (default: models)")
    parser.add_argument(
        "--base", default="", metavar="MODEL", help="base model, where it is not where it was in training"
    )
    other = parser.add_argument_group("another model, behind an OpenAI-compatible endpoint")
    other.add_argument("--endpoint", default="", metavar="URL", help="of its API, such as http://127.0.0.1:8080/v1")
    other.add_argument("--model", default="", metavar="NAME", help="its name there")
    other.add_argument("--api-key-env", default="", metavar="VARIABLE", help="environment variable with the key to it")
    other.add_argument(
        "--grammar", action="store_true", help="send the page's actions as a grammar (llama.cpp's server takes it)"
    )
    other.add_argument(
        "--as-trained", action="store_true", help="do not explain the actions: the model was trained here"
    )
    other.add_argument("--request-fields", default="", metavar="JSON", help="more of each request; null leaves one out")


def judge(chosen: argparse.Namespace, told: Told = lambda done, total, strict: None) -> Result:
    """Plays what was chosen and writes it.

    Raises:
        UserError: what was asked for is wrong.
        BrowserControlError: the service or the environment failed.
    """
    if chosen.sessions is not None and chosen.sessions < 1:
        raise UserError(f"--sessions must be at least 1, not {chosen.sessions}")
    if bool(chosen.endpoint) != bool(chosen.model):
        raise UserError("--endpoint and --model need each other: where the model answers, and its name there")
    with _endpoint(chosen) if chosen.endpoint else _adapter(chosen) as judged:
        from browser_control.training import benchmark
        from browser_control.training.transcripts import write_episodes

        web_tasks = benchmark.SUBSETS[chosen.subset]
        began, clock = datetime.now(UTC), time.perf_counter()
        played = benchmark.run(judged.policy, judged.environments, web_tasks, _counting(web_tasks, told))
        seconds = time.perf_counter() - clock
    scores = {
        "benchmark": chosen.benchmark,
        "subset": chosen.subset,
        "judged": judged.name,
        **judged.told,
        "language": VERSION,
        "at": began.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        **benchmark.scores(played, judged.trained),
    }
    folder = chosen.output or Path("runs") / f"benchmark-{began:%Y%m%d-%H%M%S}"
    benchmark_tables.write(scores, folder)
    write_episodes(played, folder / "episodes.jsonl")
    return Result(scores, folder)


@dataclass(frozen=True)
class _Judged:
    """Who plays where, and what is written about them.

    Attributes:
        told: of the model, into the scores.
        trained: web tasks that it was trained on here.
    """

    policy: "Player"
    environments: Any
    name: str
    told: dict[str, Any]
    trained: frozenset[str] = frozenset()


@contextlib.contextmanager
def _adapter(chosen: argparse.Namespace) -> Iterator[_Judged]:
    from browser_control.use import adapter

    found = adapter.find(chosen.adapter, chosen.config or DEFAULT_CONFIG, chosen.models, chosen.base)
    settings = found.settings
    trained = () if found.untrained else (*settings.warm_start.web_tasks, *settings.training.web_tasks)
    with _environments(chosen, chosen.sessions or settings.environment.sessions) as environments:
        policy = adapter.load(found, device="auto")
        yield _Judged(policy, environments, found.name, {"base": policy.base.name}, frozenset(trained))


@contextlib.contextmanager
def _endpoint(chosen: argparse.Namespace) -> Iterator[_Judged]:
    from browser_control import configuration
    from browser_control.use import endpoint

    settings = configuration.load(chosen.config or ENDPOINT_CONFIG).policy
    sessions = chosen.sessions or ENDPOINT_SESSIONS
    asked = endpoint.Endpoint(
        chosen.endpoint,
        chosen.model,
        settings,
        key=endpoint.read_key(chosen.api_key_env),
        explains=not chosen.as_trained,
        constrains=chosen.grammar,
        fields=endpoint.read_fields(chosen.request_fields),
        at_once=sessions,
    )
    told = {"endpoint": asked.url, "grammar": chosen.grammar, "explained": not chosen.as_trained}
    with contextlib.closing(asked), _environments(chosen, sessions) as environments:
        yield _Judged(asked, environments, chosen.model, told)


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
    print(f"{benchmark_tables.validity(result.scores)}; written: {result.folder}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
