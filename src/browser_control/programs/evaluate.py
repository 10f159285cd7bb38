"""Judges a checkpoint on held-out pages and writes its scores.

python -m browser_control.programs.evaluate --config-file-name NAME --run-directory DIR --output FILE
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from browser_control import progress
from browser_control.errors import CheckpointDamaged, ConfigurationError
from browser_control.programs import program
from browser_control.run_directory import RunDirectory


def main(argv: Sequence[str] | None = None) -> int:
    parser = program.parser("programs.evaluate", "Judges a checkpoint on held-out pages.")
    parser.add_argument(
        "--checkpoint",
        default="latest",
        help="base (the untrained model), warm-start, latest (of the run), or a folder (default: latest)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="where the scores are written")
    return program.run(parser, _evaluate, argv)


def _evaluate(job: program.Job) -> None:
    wanted: str = job.arguments.checkpoint
    if wanted not in ("base", "warm-start", "latest") and not Path(wanted).is_dir():
        raise ConfigurationError(f"there is no checkpoint {wanted!r}: base, warm-start, latest or a folder")
    with program.at_work(job) as (policy, environments):
        from browser_control.run_directory import write_json
        from browser_control.training import checkpoint
        from browser_control.training.evaluation import evaluate
        from browser_control.training.rollout import Episode

        folder = _folder(wanted, job.run)
        if folder is not None:
            try:
                checkpoint.load(folder, policy, job.configuration, may_differ=checkpoint.ANOTHER_RUN)
            except CheckpointDamaged as error:
                raise ConfigurationError(str(error)) from error
        total = len(job.configuration.judged_web_tasks) * job.configuration.evaluation.episodes
        done = won = 0

        def count(episode: Episode) -> None:
            nonlocal done, won
            job.preemption.check()
            done, won = done + 1, won + episode.success
            if done % 8 == 0 or done == total:
                progress.report(f"evaluate {wanted}", done, total, won / done)

        scores = evaluate(policy, environments, job.configuration, count)
        write_json(job.arguments.output, {"checkpoint": "base" if folder is None else folder.name, **scores})
        overall = scores["overall"]
        print(f"{wanted}: {overall['success']} [{overall['low']}, {overall['high']}] over {total} episodes", flush=True)


def _folder(wanted: str, run: RunDirectory) -> Path | None:
    """The checkpoint that is meant; None is the base model."""
    from browser_control.training import checkpoint

    match wanted:
        case "base":
            return None
        case "warm-start":
            return run.warm_start
        case "latest":
            return checkpoint.newest(run) or (run.warm_start if run.warm_start.exists() else None)
        case _:
            return Path(wanted)


if __name__ == "__main__":
    sys.exit(main())
