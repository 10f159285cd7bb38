"""Trains a policy by GRPO: a configuration in, checkpoints and metrics out.

python -m browser_control.fine_tune_local --config-file-name lfm2_350m_local_lora.yaml

Started again with the same run directory it continues from the newest checkpoint that is whole. With
`training.processes` it starts so many of itself, a GPU each; `accelerate launch -m` and `torchrun -m` do so too.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from browser_control.errors import ConfigurationError
from browser_control.programs import program
from browser_control.training import launcher, parallel


def main(argv: Sequence[str] | None = None) -> int:
    parser = program.parser("fine_tune_local", "Trains a policy by GRPO.")
    parser.add_argument(
        "--initial-adapter",
        type=Path,
        metavar="DIR",
        help="checkpoint of another run to start from, in place of a warm start; only where this run has none yet",
    )
    parser.add_argument(
        "--seeds-drawn", type=int, default=0, metavar="N", help="training seeds that it has seen, to be passed over"
    )
    return program.run(parser, _fine_tune, argv)


def _fine_tune(job: program.Job) -> int:
    initial: Path | None = job.arguments.initial_adapter
    if initial is not None and not initial.is_dir():
        raise ConfigurationError(f"there is no checkpoint {str(initial)!r} to start from")
    wanted = job.configuration.training.processes
    if wanted > 1 and not parallel.launched():
        return launcher.launch("browser_control.fine_tune_local", job.argv, wanted, job.preemption)
    cpu = job.configuration.model.device == "cpu"
    with parallel.join(cpu) as processes, program.at_work(job, processes) as work:
        from browser_control.training.trainer import Initial, Trainer

        start = None if initial is None else Initial(initial, job.arguments.seeds_drawn)
        Trainer(work.policy, work.environments, job.configuration, job.run, job.preemption, processes, start).train()
    return 0


if __name__ == "__main__":
    sys.exit(main())
