"""What is learned of web tasks of one's own: untrained, from MiniWoB alone, after demonstrations, after GRPO.

    setsid nohup .venv/bin/python benchmarks/own_web_tasks.py examples/shop examples/library flight \\
        --adapter ADAPTER --gpus 0 1 2 3 --cores 16 --output runs/own &

Each source is a run of its own, by examples/gpu.yaml, with a GPU, that many cores of the host and a service on them. It
is judged on the same held-out pages each time: the base model, the adapter of `--adapter` before any training on the
source, after the solutions were cloned, and after GRPO. With `--held-out` there is one run more a source, which is
trained on all other sources and judged on this one.

Each run leaves `DIR/results/NAME-seedN.json`; the same command does what has none. It goes on with a run that was ended
in the middle: each web task is judged by itself, and what was learned or judged is not learned or judged again. The
table is in `DIR/own_web_tasks.md`; with `--table` that of what there is so far, and nothing is run.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import recipe

from browser_control import configuration
from browser_control.records.summary import interval
from browser_control.run_directory import read_json, write_json
from browser_control.use.playing import service
from browser_control.web_tasks import registry

BASE, TRANSFER, DEMONSTRATED, TRAINED = "base", "transfer", "demonstrations", "GRPO"


@dataclass(frozen=True)
class Learning(recipe.Recipe):
    """One run.

    Attributes:
        sources: of the web tasks that are trained or judged.
        before: what is judged before any training: stage and checkpoint.
    """

    sources: tuple[str, ...]
    before: tuple[tuple[str, str], ...]


def learnings(options: argparse.Namespace) -> list[Learning]:
    """All that is asked for; raises ConfigurationError where a source is none."""
    names = {each: names_of(each) for each in options.sources}
    before = ((BASE, "base"), *([(TRANSFER, str(options.adapter.absolute()))] if options.adapter else []))
    found = [_learning(options, names, source, (source,), before) for source in options.sources]
    if options.held_out:
        others = {source: tuple(each for each in options.sources if each != source) for source in options.sources}
        found += [_learning(options, names, source, taught, ()) for source, taught in others.items()]
    return found


def _learning(
    options: argparse.Namespace,
    names: Mapping[str, Sequence[str]],
    judged: str,
    taught: Sequence[str],
    before: tuple[tuple[str, str], ...],
) -> Learning:
    trained = [name for source in taught for name in names[source]]
    sources = tuple(dict.fromkeys((judged, *taught)))
    changes = (
        f"environment.web_tasks=[{','.join(sources)}]",
        f"warm_start.web_tasks=[{','.join(trained)}]",
        f"warm_start.demonstrations={options.demonstrations * len(trained)}",
        f"training.web_tasks=[{','.join(trained)}]",
        f"evaluation.web_tasks=[{','.join(names[judged])}]",
        *options.set,
        f"seed={options.seed}",
    )
    configuration.load(options.config, changes)
    name = Path(judged).name if judged in taught else f"all but {Path(judged).name}"
    return Learning(options.config, name, changes, options.seed, False, options.output.absolute(), sources, before)


def names_of(source: str) -> list[str]:
    """The web tasks of a source; raises ConfigurationError where it is none."""
    registry.use([source])
    folder = source if source == registry.FLIGHT else Path(source).name
    return [each.name for each in registry.all_own() if each.source == folder]


# ---------------------------------------------------------------- running


def learn(learning: Learning) -> dict[str, Any]:
    """One run and its judgements, as far as they are not there."""
    settings = configuration.load(learning.config, learning.changes)
    sessions, sources = settings.environment.sessions, [Path(each) for each in learning.sources]
    with service(settings.environment.max_turns, sessions, sources) as url:
        for stage, checkpoint, program in stages(learning):
            if program and stage not in learned(learning):
                _learn(learning, url, stage, program)
            where = ("--each", "--output", str(_judged(learning, stage)))  # which judges what is not yet judged
            recipe.program(learning, url, "programs.evaluate", "--checkpoint", checkpoint, *where)
    result = found(learning)
    write_json(learning.result, result)
    return result


def _learn(learning: Learning, url: str, stage: str, program: str) -> None:
    """Runs a program of the stage; how long it took is not known where it was ended before and goes on."""
    again = (learning.run.logs / f"{program}.log").exists()
    took = recipe.program(learning, url, program)
    write_json(_seconds(learning), {**learned(learning), stage: None if again else took})


def stages(learning: Learning) -> list[tuple[str, str, str]]:
    """What is judged: stage, checkpoint, and the program that comes first."""
    settings = configuration.load(learning.config, learning.changes)
    asked = [(stage, checkpoint, "") for stage, checkpoint in learning.before]
    if settings.warm_start.demonstrations:
        asked.append((DEMONSTRATED, "warm-start", "programs.warm_start"))
    if settings.training.updates:
        asked.append((TRAINED, "latest", "fine_tune_local"))
    return asked


def found(learning: Learning) -> dict[str, Any]:
    """What there is of a run, done or not: the scores of each web task by stage, and the seconds of learning."""
    scores = {stage: judged(learning, stage) for stage, _, _ in stages(learning)}
    names = configuration.load(learning.config, learning.changes).judged_web_tasks
    return {
        "name": learning.variant,
        "seed": learning.seed,
        "changes": list(learning.changes),
        "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
        "seconds": learned(learning),
        "judging": {stage: sum(each["seconds"] for each in of.values()) for stage, of in scores.items() if of},
        "web_tasks": {
            name: {stage: of[name]["web_tasks"][name] for stage, of in scores.items() if name in of}
            for name in names
            if any(name in of for of in scores.values())
        },
    }


def judged(learning: Learning, stage: str) -> dict[str, dict[str, Any]]:
    """The scores of the web tasks that were judged, by name."""
    return {path.stem: read_json(path) for path in sorted(_judged(learning, stage).glob("*.json"))}


def learned(learning: Learning) -> dict[str, float | None]:
    """The seconds of what was learned, by stage; None where that took several attempts."""
    path = _seconds(learning)
    return dict(read_json(path)) if path.exists() else {}


def _judged(learning: Learning, stage: str) -> Path:
    return learning.run.evaluation(stage).with_suffix("")


def _seconds(learning: Learning) -> Path:
    return learning.run.root / "seconds.json"


# ---------------------------------------------------------------- table


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """One row a web task; below, the seconds of each run."""
    stages = [each for each in (BASE, TRANSFER, DEMONSTRATED, TRAINED) if any(each in r["judging"] for r in results)]
    rows = [("run", "web task", "pages", *stages), ("---",) * (3 + len(stages))]
    for each in results:
        for name, scores in each["web_tasks"].items():
            pages = max(score["pages"] for score in scores.values())
            cells = [_success(scores[stage]) if stage in scores else "" for stage in stages]
            rows.append((each["name"], name, str(pages), *cells))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    for each in results:
        lines += ["", f"{each['name']}, seed {each['seed']}: {_time(each['seconds'])}"]
    return "\n".join(lines) + "\n"


def _time(seconds: Mapping[str, float | None]) -> str:
    known = {stage: value for stage, value in seconds.items() if value is not None}
    parts = ", ".join(f"{stage} {known[stage]:.0f} s" if stage in known else f"{stage} resumed" for stage in seconds)
    total = f"{sum(known.values()):.0f} s" if len(known) == len(seconds) else "several attempts"
    return f"learning took {total} ({parts})"


def _success(score: Mapping[str, Any]) -> str:
    words = interval(score["strict"]["successes"], score["pages"] - score["unscorable"])
    return f"{words}, {score['unscorable']} unscorable" if score["unscorable"] else words


# ---------------------------------------------------------------- command


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="folder of web tasks, or flight")
    parser.add_argument("--config", default="examples/gpu.yaml", metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--demonstrations", type=int, default=64, metavar="N", help="a web task (default: 64)")
    parser.add_argument("--adapter", type=Path, metavar="DIR", help="judged on each source before any training")
    parser.add_argument("--held-out", action="store_true", help="also train on all sources but one, and judge that")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all of them")
    parser.add_argument("--gpus", nargs="+", default=[""], metavar="N", help="one run on each (default: one run)")
    parser.add_argument("--cores", type=int, default=0, help="of the host for each run (default: all)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--table", action="store_true", help="only print the table of what there is")
    options = parser.parse_args(argv)
    if options.table:
        print(table([found(each) for each in learnings(options)]))
        return 0
    return recipe.run(learnings(options), learn, options, table, "own_web_tasks.md")


if __name__ == "__main__":
    sys.exit(main())
