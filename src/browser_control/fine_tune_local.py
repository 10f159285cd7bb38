"""Trains a policy by GRPO: a configuration in, checkpoints and metrics out.

python -m browser_control.fine_tune_local --config-file-name lfm2_350m_local_lora.yaml

Started again with the same run directory it continues from the newest checkpoint that is whole. With
`training.processes` it starts so many of itself, a GPU each; `accelerate launch -m` and `torchrun -m` do so too.
"""

import sys
from collections.abc import Sequence

from browser_control import launcher, parallel, program


def main(argv: Sequence[str] | None = None) -> int:
    return program.run(program.parser("fine_tune_local", "Trains a policy by GRPO."), _fine_tune, argv)


def _fine_tune(job: program.Job) -> int:
    wanted = job.configuration.training.processes
    if wanted > 1 and not parallel.launched():
        return launcher.launch("browser_control.fine_tune_local", job.argv, wanted, job.preemption)
    cpu = job.configuration.model.device == "cpu"
    with parallel.join(cpu) as processes, program.at_work(job, processes) as (policy, environments):
        from browser_control.training import Trainer

        Trainer(policy, environments, job.configuration, job.run, job.preemption, processes).train()
    return 0


if __name__ == "__main__":
    sys.exit(main())
