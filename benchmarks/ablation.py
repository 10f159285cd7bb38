"""What is each of GRPO's switches worth? Equal minutes from one adapter, over several seeds, on the same pages.

    setsid nohup .venv/bin/python benchmarks/ablation.py --config smollm2_135m_miniwob.yaml \\
        --adapter runs/RUN/checkpoints/warm-start --minutes 3 --seeds 0 1 \\
        --environment http://127.0.0.1:8080 --output runs/ablation > ablation.log 2>&1 &

Every variant is trained by `fine_tune_local` until its updates have taken the minutes, each of them whole, then judged
by `programs.evaluate` on lot 0 of the held-out pages: development pages, not a benchmark's. Loading and evaluations do
not count. A learning rate that decays needs to know its last update: `linear decay` gets as many as the plain run of
its seed made.

Each run has a folder in DIR and leaves `DIR/results/VARIANT-seedN.json`; the same command goes on where it was stopped,
and does again what has no result. Whenever something is new, `DIR/ablation.md` has the table.

`--variant 'NAME: SECTION.KEY=VALUE SECTION.KEY=VALUE'` takes others in place of the switches; `plain` is always there.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browser_control import configuration
from browser_control.errors import EXIT_PREEMPTED
from browser_control.records.promotion import Episodes, compare, episodes
from browser_control.records.summary import interval
from browser_control.run_directory import RunDirectory, read_json, write_json, write_text
from browser_control.use.playing import service

PLAIN = "plain"
START = "start"
SWITCHES: Mapping[str, tuple[str, ...]] = {
    PLAIN: (),
    "entropy": ("training.entropy=0.01",),
    "silent temperature": ("training.silent_temperature=1.5",),
    "imitation": ("training.imitation=1",),
    "baseline of a state": ("training.baseline=state",),
    "turns that grow": ("training.first_turns=4", "training.first_turns_updates=8"),
    "linear decay": ("training.decay=linear",),
}
_ENDLESS = 100_000  # updates: the minutes end a run
_POLL_SECONDS = 0.5
_PATIENCE = 3  # times that a program may end for a reason that is nobody's mistake


@dataclass(frozen=True)
class Ablation:
    """What is asked for."""

    config: str
    adapter: Path
    seeds_drawn: int
    minutes: float
    overrides: tuple[str, ...]
    urls: tuple[str, ...]
    output: Path

    def run(self, name: str, seed: int) -> RunDirectory:
        return RunDirectory(self.output / _named(name, seed))

    def result(self, name: str, seed: int) -> Path:
        return self.output / "results" / f"{_named(name, seed)}.json"


def _named(name: str, seed: int) -> str:
    return f"{re.sub('[^a-z0-9]+', '-', name.lower())}-seed{seed}"


# ---------------------------------------------------------------- running


def one(ablation: Ablation, name: str, switches: Sequence[str], seed: int) -> dict[str, Any]:
    """Trains and judges one variant, or reads what came of it."""
    path = ablation.result(name, seed)
    if path.exists():
        found: dict[str, Any] = read_json(path)
        return found
    run = ablation.run(name, seed)
    updates = _ENDLESS
    if any(switch.startswith("training.decay=") for switch in switches):
        updates = read_json(ablation.result(PLAIN, seed))["updates"]
    changes = [*ablation.overrides, f"seed={seed}", *switches, f"training.updates={updates}"]
    if name != START:
        train(ablation, run, changes)
    evaluation = judge(ablation, run, "latest" if name != START else str(ablation.adapter), changes)
    lines = _metrics(run)
    result = {
        "variant": name,
        "seed": seed,
        "changes": list(switches),
        "updates": len(lines),
        "seconds": round(sum(line["time/seconds"] for line in lines), 1),
        "differing_groups": _mean([1 - line["rollout/zero_variance_groups"] for line in lines]),
        "strict": evaluation["overall"]["strict"],
        "success": evaluation["overall"]["success"],
        "evaluation": str(run.evaluation("ablation")),
    }
    write_json(path, result)
    return result


def train(ablation: Ablation, run: RunDirectory, changes: Sequence[str]) -> None:
    """GRPO until its updates have taken the minutes; a run that was stopped goes on."""
    arguments = ["--initial-adapter", str(ablation.adapter), "--seeds-drawn", str(ablation.seeds_drawn)]

    def enough() -> bool:
        seconds: float = sum(line["time/seconds"] for line in _metrics(run))
        return seconds >= 60 * ablation.minutes

    for _ in range(_PATIENCE):
        if run.result.exists() or enough():
            return
        code = _program(ablation, run, "fine_tune_local", arguments, changes, enough)
        if code in (0, EXIT_PREEMPTED):
            return
        print(f"{run.root.name}: fine_tune_local ended with {code}: {run.logs}", flush=True)
    raise SystemExit(f"{run.root.name} cannot be trained; its log is {run.logs / 'fine_tune_local.log'}")


def judge(ablation: Ablation, run: RunDirectory, checkpoint: str, changes: Sequence[str]) -> Any:
    """The evaluation of a run's newest checkpoint, or of an adapter; all play the pages that the first one chose."""
    chosen = ablation.output / "pages.json"
    pages = run.pages("evaluation", 0)
    if chosen.exists():
        pages.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(chosen, pages)
    arguments = ["--checkpoint", checkpoint, "--output", str(run.evaluation("ablation"))]
    if code := _program(ablation, run, "programs.evaluate", arguments, changes):
        raise SystemExit(f"{run.root.name} cannot be judged ({code}); its log is {run.logs / 'programs.evaluate.log'}")
    shutil.copy(pages, chosen)
    return read_json(run.evaluation("ablation"))


def _program(
    ablation: Ablation,
    run: RunDirectory,
    name: str,
    arguments: Sequence[str],
    changes: Sequence[str],
    enough: Callable[[], bool] = lambda: False,
) -> int:
    """Runs a program until it ends, or asks it to once there is enough; returns its exit code."""
    command = [sys.executable, "-m", f"browser_control.{name}", "--config-file-name", ablation.config]
    command += ["--run-directory", str(run.root), *arguments, *(part for each in changes for part in ("--set", each))]
    run.logs.mkdir(parents=True, exist_ok=True)
    environ = {**os.environ, "BROWSERGYM_URL": ",".join(ablation.urls)}
    with (run.logs / f"{name}.log").open("a") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                if enough():
                    process.send_signal(signal.SIGTERM)
                    return process.wait()
                time.sleep(_POLL_SECONDS)
            return process.returncode
        finally:
            if process.poll() is None:  # we are asked to end, and so is it; what it has is kept
                process.send_signal(signal.SIGTERM)
                process.wait()


def _metrics(run: RunDirectory) -> list[dict[str, Any]]:
    """One line an update; the last may be half written."""
    if not run.metrics.exists():
        return []
    return [json.loads(line) for line in run.metrics.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None


# ---------------------------------------------------------------- table


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Strict success of each variant and seed, and what it won and lost of the plain run of its seed's pages."""
    by_run = {(each["variant"], each["seed"]): each for each in results}
    seeds = sorted({each["seed"] for each in results})
    rows = [
        ("", *(f"seed {seed}: strict, updates, groups that differ" for seed in seeds), "over plain, paired, all seeds"),
        ("---",) * (2 + len(seeds)),
    ]
    for name in dict.fromkeys(each["variant"] for each in results):
        cells = [_cell(by_run.get((name, seed))) for seed in seeds]
        rows.append((name, *cells, _paired(by_run, name, seeds)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _cell(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return ""
    evaluation = read_json(Path(result["evaluation"]))
    pages = evaluation["overall"]["pages"] - evaluation["overall"]["unscorable"]
    words = interval(result["strict"]["successes"], pages)
    differing = result["differing_groups"]
    return words if differing is None else f"{words}, {result['updates']}, {differing:.0%}"


def _paired(by_run: Mapping[tuple[str, int], Mapping[str, Any]], name: str, seeds: Sequence[int]) -> str:
    """Pages of all seeds together, each against the plain run of its seed."""
    both = [
        (by_run[PLAIN, seed], by_run[name, seed]) for seed in seeds if {(PLAIN, seed), (name, seed)} <= by_run.keys()
    ]
    if name == PLAIN or not both:
        return ""
    old: Episodes = {}
    new: Episodes = {}
    for plain, other in both:
        for pages, result in ((old, plain), (new, other)):
            played = episodes(read_json(Path(result["evaluation"])))
            pages |= {(web_task, f"{result['seed']} {page}"): won for (web_task, page), won in played.items()}
    return str(compare(old, new))


# ---------------------------------------------------------------- command


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="smollm2_135m_miniwob.yaml", metavar="NAME")
    parser.add_argument("--adapter", type=Path, required=True, metavar="DIR", help="checkpoint that all start from")
    parser.add_argument("--seeds-drawn", type=int, default=0, metavar="N", help="training seeds that it has seen")
    parser.add_argument("--minutes", type=float, default=3.0, help="of updates, each run (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="SEED")
    parser.add_argument("--only", nargs="+", metavar="SWITCH", help=f"of {', '.join(SWITCHES)}")
    parser.add_argument("--variant", action="append", default=[], metavar="'NAME: KEY=VALUE ...'")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all of them")
    parser.add_argument("--environment", nargs="+", metavar="URL", help="services that run (default: one of our own)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(argv)
    if unknown := set(options.only or ()) - set(SWITCHES):
        parser.error(f"--only: there is no switch {min(unknown)!r}; there are {', '.join(SWITCHES)}")
    variants = _variants(options)
    settings = configuration.load(options.config, options.set)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_PREEMPTED))
    with _services(options.environment, settings.environment) as urls:
        where = (options.seeds_drawn, options.minutes, tuple(options.set), urls, options.output.absolute())
        ablation = Ablation(options.config, options.adapter.absolute(), *where)
        results = []
        for seed in options.seeds:
            for name, switches in variants.items():
                if name == START and seed != options.seeds[0]:
                    continue  # it plays greedily: each time the same
                results.append(one(ablation, name, switches, seed))
                write_text(ablation.output / "ablation.md", table(results))
                print(f"{name}, seed {seed}: {_cell(results[-1])}", flush=True)
    print(table(results))
    return 0


def _variants(options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    chosen: dict[str, tuple[str, ...]] = {START: (), PLAIN: ()}
    for text in options.variant:
        name, _, changes = text.partition(":")
        chosen[name.strip()] = tuple(changes.split())
    if options.only or not options.variant:
        chosen |= {name: SWITCHES[name] for name in options.only or SWITCHES}
    return chosen


@contextlib.contextmanager
def _services(given: Sequence[str] | None, settings: configuration.Environment) -> Iterator[tuple[str, ...]]:
    if given:
        yield tuple(given)
        return
    with service(settings.max_turns, settings.sessions) as url:
        yield (url,)


if __name__ == "__main__":
    sys.exit(main())
