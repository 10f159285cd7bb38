"""Clones scripted solvers before GRPO: `python -m browser_control.programs.warm_start`."""

import sys
from collections.abc import Sequence

from browser_control.programs import program
from browser_control.solvers import prerequisites


def main(argv: Sequence[str] | None = None) -> int:
    return program.run(program.parser("programs.warm_start", "Clones scripted solvers before GRPO."), _warm_start, argv)


def _warm_start(job: program.Job) -> None:
    prerequisites.check(job.configuration)
    with program.at_work(job) as work:
        from browser_control.training import checkpoint
        from browser_control.training.warm_start import warm_start

        state = warm_start(work.policy, work.environments, job.configuration, job.preemption, job.run.kept)
        checkpoint.save(job.run.warm_start, work.policy, job.configuration, state)


if __name__ == "__main__":
    sys.exit(main())
