"""Waits until the environment plays an episode, and says what it saw: `python -m browser_control.programs.health_gate`.

It runs where training will run, so that what it reaches, training reaches.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from browser_control.programs import program
from browser_control.web_tasks import registry


def main(argv: Sequence[str] | None = None) -> int:
    parser = program.parser(
        "programs.health_gate", "Waits until the environment plays an episode; prints a line for each URL."
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="to wait at most (default: %(default)s)")
    return program.run(parser, _work, argv)


def _work(job: program.Job) -> None:
    from browser_control.environment.health import pass_gate

    settings = job.configuration
    seen = pass_gate(
        settings.environment.urls,
        settings.judged_web_tasks[0],
        job.arguments.seconds,
        waiting=lambda words: print(f"waiting for {words}", flush=True),
        max_turns=settings.environment.max_turns,
        digests=registry.digests(registry.named(settings)),
    )
    for health in seen:
        print(json.dumps(asdict(health)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
