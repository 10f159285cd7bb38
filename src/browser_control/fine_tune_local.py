"""Trains a policy by GRPO: a configuration in, checkpoints and metrics out.

python -m browser_control.fine_tune_local --config-file-name lfm2_350m_local_lora.yaml

Started again with the same run directory it continues from the newest checkpoint that is whole.
"""

import sys
from collections.abc import Sequence

from browser_control import program


def main(argv: Sequence[str] | None = None) -> int:
    return program.run(program.parser("fine_tune_local", "Trains a policy by GRPO."), _fine_tune, argv)


def _fine_tune(job: program.Job) -> None:
    with program.at_work(job) as (policy, environments):
        from browser_control.training import Trainer

        Trainer(policy, environments, job.configuration, job.run, job.preemption).train()


if __name__ == "__main__":
    sys.exit(main())
