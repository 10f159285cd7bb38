"""What does a configuration learn from the base model on, in which time? Several seeds and variants, one a GPU.

    setsid nohup .venv/bin/python benchmarks/recipe.py --config smollm2_135m_miniwob.yaml --seeds 0 1 2 \\
        --gpus 0 1 2 3 --cores 16 --variant 'no GRPO: training.updates=0' --benchmark --output runs/recipe &

Each run is the flow's: warm start, GRPO, the judgement of development pages, and with `--benchmark` BrowserGym's
protocol, which plays pages that nothing else plays. It has one GPU, that many cores of the host and a service of its
own on them. Seconds count the two programs that learn, loading included.

Each run leaves `DIR/results/VARIANT-seedN.json`; the same command does what has none. Whenever something is new,
`DIR/recipe.md` has the table. A run that fails is said, and the others go on.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browser_control import configuration
from browser_control.records.promotion import compare, episodes
from browser_control.records.summary import interval
from browser_control.run_directory import RunDirectory, read_json, write_json, write_text
from browser_control.use.playing import service

AS_CONFIGURED = "as configured"


@dataclass(frozen=True)
class Recipe:
    """One run."""

    config: str
    variant: str
    changes: tuple[str, ...]
    seed: int
    benchmark: bool
    output: Path

    @property
    def name(self) -> str:
        return f"{re.sub('[^a-z0-9]+', '-', self.variant.lower())}-seed{self.seed}"

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.output / self.name)

    @property
    def result(self) -> Path:
        return self.output / "results" / f"{self.name}.json"


def recipes(options: argparse.Namespace) -> list[Recipe]:
    """All that is asked for, seed by seed; raises ConfigurationError where a variant is none."""
    variants: dict[str, tuple[str, ...]] = {} if options.only_variants else {AS_CONFIGURED: ()}
    for text in options.variant:
        name, _, changes = text.partition(":")
        variants[name.strip()] = tuple(changes.split())
    found = []
    for seed in options.seeds:
        for name, changes in variants.items():
            settings = (*options.set, *changes, f"seed={seed}")
            configuration.load(options.config, settings)
            found.append(Recipe(options.config, name, settings, seed, options.benchmark, options.output.absolute()))
    return found


# ---------------------------------------------------------------- running


def place(places: "multiprocessing.Queue[tuple[str, frozenset[int]]]") -> None:
    """Gives this process, and all that it starts, a GPU and cores of its own."""
    gpu, cores = places.get()
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    if cores:
        os.sched_setaffinity(0, cores)


def learn(recipe: Recipe) -> dict[str, Any]:
    """One run from the base model to its judgement; what of it was done before is done again."""
    settings = configuration.load(recipe.config, recipe.changes)
    run, seconds = recipe.run, {}
    with service(settings.environment.max_turns, settings.environment.sessions) as url:
        if settings.warm_start.demonstrations:
            seconds["warm start"] = program(recipe, url, "programs.warm_start")
        checkpoint = "warm-start"
        if settings.training.updates:
            seconds["GRPO"] = program(recipe, url, "fine_tune_local")
            checkpoint = "latest"
        judged = run.evaluation("recipe")
        program(recipe, url, "programs.evaluate", "--checkpoint", checkpoint, "--output", str(judged))
        began, both = run.evaluation("recipe-warm-start"), len(seconds) == 2  # a warm start, and GRPO after it
        if both:
            program(recipe, url, "programs.evaluate", "--checkpoint", "warm-start", "--output", str(began))
        adapter = run.root if checkpoint == "latest" else run.warm_start
        bench = recipe.output / "benchmarks" / recipe.name
        if recipe.benchmark:
            arguments = ["miniwob", "--adapter", str(adapter), "--environment", url, "--output", str(bench)]
            command(recipe, "use.benchmark", [*arguments, "--base", settings.model.name])
    result = {
        "variant": recipe.variant,
        "seed": recipe.seed,
        "changes": list(recipe.changes),
        "seconds": seconds,
        "development": read_json(judged)["overall"],
        "warm_start": _before(began, judged) if both else {},
        "benchmark": _splits(bench / "benchmark.json") if recipe.benchmark else {},
    }
    write_json(recipe.result, result)
    return result


def program(recipe: Recipe, url: str, name: str, *arguments: str) -> float:
    """Seconds that one of the training programs took for this run; raises RuntimeError where it failed."""
    changes = [*recipe.changes, f"environment.urls=[{url}]"]
    overrides = [part for each in changes for part in ("--set", each)]
    where = ["--config-file-name", recipe.config, "--run-directory", str(recipe.run.root)]
    return command(recipe, name, [*where, *arguments, *overrides])


def command(recipe: Recipe, name: str, arguments: Sequence[str]) -> float:
    """Seconds that it took; raises RuntimeError where it failed."""
    recipe.run.logs.mkdir(parents=True, exist_ok=True)
    log, began = recipe.run.logs / f"{name}.log", time.perf_counter()
    with log.open("a") as output:
        asked = [sys.executable, "-m", f"browser_control.{name}", *arguments]
        code = subprocess.run(asked, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise RuntimeError(f"{name} of {recipe.name} ended with {code}: {log}")
    return round(time.perf_counter() - began, 1)


def run(
    wanted: Sequence[Recipe],
    learn: Callable[[Any], dict[str, Any]],
    options: argparse.Namespace,
    table: Callable[[Sequence[Mapping[str, Any]]], str],
    file: str,
) -> int:
    """Has each of them learned on a GPU of its own, as many at a time as there are; the exit code.

    Args:
        options: `gpus`, `cores` and `output` of the command line.
        file: of `options.output`, which always has the table of what there is.
    """
    context = multiprocessing.get_context("spawn")
    places: multiprocessing.Queue[tuple[str, frozenset[int]]] = context.Queue()
    for number, gpu in enumerate(options.gpus):
        cores = range(number * options.cores, (number + 1) * options.cores)
        places.put((gpu, frozenset(cores)))
    failed = 0
    with concurrent.futures.ProcessPoolExecutor(len(options.gpus), context, place, (places,)) as pool:
        running = {pool.submit(learn, each): each for each in wanted if not each.result.exists()}
        for future in concurrent.futures.as_completed(running):
            if error := future.exception():
                failed += 1
                print(error, file=sys.stderr, flush=True)
                continue
            print(json.dumps(future.result()), flush=True)
            write_text(options.output / file, table([read_json(e.result) for e in wanted if e.result.exists()]))
    print(table([read_json(each.result) for each in wanted if each.result.exists()]))
    return int(failed > 0)


def _before(began: Path, judged: Path) -> dict[str, Any]:
    """What GRPO began with, and the pages of it that were newly won and newly lost."""
    old = read_json(began)
    compared = compare(episodes(old), episodes(read_json(judged)))
    return {"overall": old["overall"], "gained": compared.gained, "lost": compared.lost, "p": compared.p}


def _splits(path: Path) -> dict[str, Any]:
    """Of each split of the benchmark the rates of both kinds of success, each with its interval."""
    return {
        name: {"strict": each["strict"], "success": each["success"]}
        for name, each in read_json(path)["subsets"].items()
    }


# ---------------------------------------------------------------- table


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """One row a run."""
    splits = list(dict.fromkeys(name for each in results for name in each["benchmark"]))
    rows = [
        (
            "variant",
            "seed",
            "seconds",
            "development, strict",
            "before GRPO: won, lost since",
            *(f"{split}: BrowserGym, strict" for split in splits),
        ),
        ("---",) * (5 + len(splits)),
    ]
    for each in results:
        development, parts = each["development"], each["seconds"]
        seconds = f"{sum(parts.values()):.0f} ({', '.join(f'{name} {value:.0f}' for name, value in parts.items())})"
        judged = _strict(development)
        before = each.get("warm_start") and (
            f"{_strict(each['warm_start']['overall'])}: {each['warm_start']['gained']}, {each['warm_start']['lost']}"
            f" (p = {each['warm_start']['p']:.2g})"
        )
        cells = [_rates(each["benchmark"][split]) if split in each["benchmark"] else "" for split in splits]
        rows.append((each["variant"], str(each["seed"]), seconds, judged, before or "", *cells))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _strict(overall: Mapping[str, Any]) -> str:
    return interval(overall["strict"]["successes"], overall["pages"] - overall["unscorable"])


def _rates(split: Mapping[str, Any]) -> str:
    return f"{split['success']['rate']:.3f}, {split['strict']['rate']:.3f}"


# ---------------------------------------------------------------- command


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="smollm2_135m_miniwob.yaml", metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--variant", action="append", default=[], metavar="'NAME: KEY=VALUE ...'")
    parser.add_argument("--only-variants", action="store_true", help="not also as configured")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all of them")
    parser.add_argument("--gpus", nargs="+", default=[""], metavar="N", help="one run on each (default: one run)")
    parser.add_argument("--cores", type=int, default=0, help="of the host for each run (default: all)")
    parser.add_argument("--benchmark", action="store_true", help="play BrowserGym's protocol too")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(argv)
    return run(recipes(options), learn, options, table, "recipe.md")


if __name__ == "__main__":
    sys.exit(main())
