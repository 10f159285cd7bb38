"""Plays a public benchmark with a checkpoint, by its protocol, and writes its scores.

python -m browser_control.programs.benchmark --config-file-name NAME --run-directory DIR --output FILE

`browser-control benchmark` is for people; this is what the flow starts.
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from browser_control import progress
from browser_control.errors import CheckpointDamaged, ConfigurationError
from browser_control.language.version import VERSION
from browser_control.programs import program
from browser_control.run_directory import write_json

if TYPE_CHECKING:
    from browser_control.training.rollout import Episode


def main(argv: Sequence[str] | None = None) -> int:
    parser = program.parser("programs.benchmark", "Plays BrowserGym's MiniWoB benchmark.")
    parser.add_argument("--checkpoint", default="base", help="base (the untrained model), or a folder (default: base)")
    parser.add_argument("--subset", choices=("all", "56", "heldout23"), default="all", help="(default: all)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="where the scores are written")
    return program.run(parser, _benchmark, argv)


def _benchmark(job: program.Job) -> None:
    wanted: str = job.arguments.checkpoint
    if wanted != "base" and not Path(wanted).is_dir():
        raise ConfigurationError(f"there is no checkpoint {wanted!r}: base or a folder")
    with program.at_work(job) as work:
        from browser_control.training import benchmark
        from browser_control.training.transcripts import write_episodes

        trained = _load(wanted, work, job)
        done = won = 0

        def count(episode: "Episode") -> None:
            nonlocal done, won
            job.preemption.check()
            done, won = done + 1, won + episode.strict
            if done % 16 == 0 or done == total:
                progress.report("benchmark", done, total, won / done)

        web_tasks = benchmark.SUBSETS[job.arguments.subset]
        total = len(benchmark.starts(web_tasks))
        began = datetime.now(UTC).isoformat(timespec="seconds")
        played = benchmark.run(work.policy, work.environments, web_tasks, count)
        told = {"benchmark": "miniwob", "subset": job.arguments.subset, "base": work.policy.base.name, "at": began}
        write_episodes(played, job.arguments.output.with_suffix(".episodes.jsonl"))
        write_json(job.arguments.output, {**told, "language": VERSION, **benchmark.scores(played, trained)})


def _load(wanted: str, work: program.Work, job: program.Job) -> set[str]:
    """Reads the checkpoint into the policy; returns the web tasks that it was trained on."""
    from browser_control.training import checkpoint

    if wanted == "base":
        return set()
    try:
        state = checkpoint.load(
            Path(wanted), work.policy, job.configuration, may_differ=checkpoint.ANOTHER_RUN, any_language=True
        )
    except CheckpointDamaged as error:
        raise ConfigurationError(str(error)) from error
    written: dict[str, Any] = state["configuration"]
    return {*written["warm_start"]["web_tasks"], *written["training"]["web_tasks"]}


if __name__ == "__main__":
    sys.exit(main())
