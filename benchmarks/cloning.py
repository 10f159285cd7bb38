"""How fast is a step of behaviour cloning? Made-up pages of many lengths, one completion each.

    python benchmarks/cloning.py --model FOLDER [--config NAME] [--batch 32] [--padded] [--trace FILE]

`--padded` reads completions side by side, padded, as before they were read in a row. Prints the mean milliseconds
of a step whose shape was met before, and the gradient's distance from that of the other way of reading.
"""

import argparse
import json
import random
import statistics
import time
from pathlib import Path

import torch

from browser_control import configuration
from browser_control.language import prompts
from browser_control.language.actions import Action
from browser_control.policy import policy
from browser_control.policy.devices import Fetched
from browser_control.policy.sampling import Completion
from browser_control.training import warm_start

WORDS = ("book", "seat", "order", "table", "window", "river", "stone", "paper", "cloud", "green", "music")


def batch(made: policy.Policy, size: int, generator: random.Random) -> list[Completion]:
    completions = []
    for _ in range(size):
        names = [" ".join(generator.choices(WORDS, k=2)) for _ in range(round(generator.lognormvariate(2.3, 0.9)) + 1)]
        page = "\n".join(f'button "{name}" [{number}]' for number, name in enumerate(names, start=11))
        wanted = generator.randrange(len(names))
        prompt = prompts.build(page, f"Press {names[wanted]}, please.")
        completions.append(made.imitate(prompt, Action("click", prompt.elements[wanted].bid)))
    return [each for each in completions if each.decisions]


def gradient(made: policy.Policy, completions: list[Completion]) -> torch.Tensor:
    parameters = policy.trainable(made.model)
    for parameter in parameters:
        parameter.grad = None
    made.log_probs(completions).sum().backward()
    return torch.cat([parameter.grad.flatten().float() for parameter in parameters if parameter.grad is not None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="smollm2_135m_miniwob.yaml", metavar="NAME")
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=60, help="of which the first half does not count")
    parser.add_argument("--padded", action="store_true")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="of one step, for chrome://tracing")
    options = parser.parse_args()
    settings = configuration.load(options.config)
    made = policy.load(settings, options.model)
    generator = random.Random(0)
    batches = [batch(made, options.batch, generator) for _ in range(8)]
    rows = made._rows
    made._rows = None
    padded = gradient(made, batches[0][:32])
    made._rows = rows
    difference = ((gradient(made, batches[0][:32]) - padded).norm() / padded.norm()).item()
    if options.padded:
        made._rows = None
    optimizer = policy.adamw(made.model, 1e-4)
    losses, half = list[Fetched](), options.steps // 2
    for step in range(options.steps):
        if step in (0, 1, half):
            _ = [loss.item() for loss in losses]  # waits for what is under way
            began = time.perf_counter()
        losses.append(Fetched(warm_start.clone(made, optimizer, batches[step % len(batches)], settings)))
        if step == 0:
            first = losses[0].item(), time.perf_counter() - began
        elif step > 1:
            losses[step - 1].item()  # as a warm start looks at the loss of the step before
    last = losses[-1].item()
    seconds = (time.perf_counter() - began) / (options.steps - half)
    if options.trace:
        with torch.profiler.profile() as profile:
            warm_start.clone(made, optimizer, batches[0], settings)
        profile.export_chrome_trace(str(options.trace))
        print(profile.key_averages().table(sort_by="self_cuda_time_total", row_limit=12))
    figures = {
        "padded": options.padded,
        "completions": options.batch,
        "tokens": round(statistics.mean(sum(each.length for each in every) for every in batches)),
        "ms": round(1000 * seconds, 1),
        "first_ms": round(1000 * first[1], 1),
        "losses": [first[0], last],
        "gradient_difference": float(f"{difference:.2g}"),
    }
    if torch.cuda.is_available():
        figures["memory_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 1)
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
