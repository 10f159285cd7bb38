"""How fast is an update of the policy, on one GPU and on several? LFM2-350M's shape, random weights.

    python benchmarks/update.py --model FOLDER
    accelerate launch --num_processes 2 benchmarks/update.py --model FOLDER

The batch is the same whatever the number of processes: samples of as many prompts, 232 tokens each, sampled by the
policy itself, with made-up advantages. The model is what `benchmarks/model.py --save FOLDER` writes.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from model import settings

from browser_control.language import prompts
from browser_control.policy import policy
from browser_control.training import grpo, parallel

PAGE = 'button "ok" [3]\nbutton "no" [4]'
WORDS = ("go", "to", "the", "page", "and", "press")


def batch(made: policy.Policy, samples: int) -> list[grpo.Sample]:
    generator = np.random.default_rng(0)
    asked = [prompts.build(PAGE, " ".join(generator.choice(WORDS, 180))) for _ in range(samples)]
    completions = made.act([policy.Request(prompt, np.random.default_rng(row)) for row, prompt in enumerate(asked)])
    return [grpo.Sample(each, row % 2 / 2, row % 2 / 2 - 0.5) for row, each in enumerate(completions)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--updates", type=int, default=8, help="of which the first two do not count")
    options = parser.parse_args()
    with parallel.join(cpu=False) as processes:
        made = policy.load(settings(options.model), options.model)
        samples = batch(made, options.samples)
        optimizer = policy.adamw(made.model, 1e-4)
        seconds = []
        for _ in range(options.updates):
            began = time.perf_counter()
            statistics_of = grpo.update(
                made,
                optimizer,
                samples,
                episodes=len(samples),
                clip=grpo.Clip(0.2, 0.28),
                max_gradient_norm=1.0,
                tokens_per_micro_batch=16384,
                processes=processes,
            )
            seconds.append(time.perf_counter() - began)
        median = statistics.median(seconds[2:])
        found = {
            "processes": processes.size,
            "tokens": statistics_of.tokens,
            "seconds": round(median, 4),
            "tokens_per_second": round(statistics_of.tokens / median),
            "gradient_norm": statistics_of.gradient_norm,
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
