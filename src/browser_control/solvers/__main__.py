"""`python -m browser_control.solvers`: plays solvers on an environment service and says what they solve."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from browser_control.environment.client import Environments
from browser_control.errors import EXIT_USER_ERROR, UserError
from browser_control.solvers import SOLVERS
from browser_control.solvers.coverage import document, mean_turns
from browser_control.solvers.playing import Result, play

DRAWS = 2  # seeds for each page that is asked for: some show a page that was there before
DESCRIPTION = """Plays scripted solvers and prints a table: web task, episodes solved, mean turns, and the seeds that
failed, each with the reason."""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m browser_control.solvers", description=DESCRIPTION)
    parser.add_argument("web_tasks", nargs="*", metavar="WEB_TASK", help="what to play (default: all solvers)")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the service (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=50, help="different pages a web task (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them (default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=8, help="sessions to use (default: %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write docs/web_tasks.md there, all solvers")
    options = parser.parse_args(arguments)
    for web_task in options.web_tasks:
        if web_task not in SOLVERS:
            parser.error(f"there is no solver for {web_task!r}")
    if options.write and options.web_tasks:
        parser.error("--write needs all solvers to play: name no web task")
    return options


def run(options: argparse.Namespace) -> dict[str, list[Result]]:
    """Plays what is asked for and prints a line a web task; raises EnvironmentUnreachable."""
    results: dict[str, list[Result]] = defaultdict(list)
    seeds = range(options.first_seed, options.first_seed + DRAWS * options.episodes)
    web_tasks = options.web_tasks or sorted(SOLVERS)
    with Environments([options.url], sessions=options.sessions) as environments:
        for web_task in web_tasks:
            played = sorted(play(environments, [(web_task, seed) for seed in seeds]), key=lambda result: result.seed)
            results[web_task] = different(played)[: options.episodes]
            print(line(results[web_task]), flush=True)
    return results


def different(results: Sequence[Result]) -> list[Result]:
    """The first result of each page, and those of episodes that had none."""
    first = {result.page: result for result in reversed(results)}
    return [result for result in results if not result.page or first[result.page] is result]


def line(episodes: Sequence[Result]) -> str:
    """One web task: how many episodes were solved, their mean turns, and the failures."""
    failed = sorted((episode for episode in episodes if episode.failure), key=lambda episode: episode.seed)
    reasons = "; ".join(f"{episode.seed}: {episode.failure}" for episode in failed)
    solved = len(episodes) - len(failed)
    return f"{episodes[0].web_task:30} {solved:4}/{len(episodes)} {mean_turns(episodes):6.1f}  {reasons}".rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        results = run(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return EXIT_USER_ERROR
    if options.write:
        options.write.write_text(document(results, options.episodes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
