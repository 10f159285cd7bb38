"""The ablation's bookkeeping: what is run again, for how long, and what its table says."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import ablation

from browser_control import configuration
from browser_control.run_directory import write_json


def asked(output: Path, minutes: float = 1.0) -> ablation.Ablation:
    return ablation.Ablation("x.yaml", output / "adapter", 0, minutes, (), ("http://127.0.0.1:1",), output)


def result(folder: Path, variant: str, seed: int, won: set[int], updates: int = 5) -> dict[str, Any]:
    """Of a run that was judged on ten pages."""
    path = folder / f"{variant}-{seed}.json"
    pages = [{"web_task": "one", "page": str(number), "strict": number in won} for number in range(10)]
    score = {"pages": 10, "unscorable": 0}
    write_json(path, {"overall": score, "web_tasks": {"one": {"exempt": False}}, "episodes": pages})
    strict = {"successes": len(won), "rate": len(won) / 10}
    differing = None if variant == ablation.START else 0.5
    return {
        "variant": variant,
        "seed": seed,
        "updates": updates,
        "strict": strict,
        "differing_groups": differing,
        "evaluation": str(path),
    }


def test_the_table_pairs_each_run_with_the_plain_one_of_its_seed(tmp_path: Path) -> None:
    results = [
        result(tmp_path, ablation.START, 0, {0}),
        result(tmp_path, ablation.PLAIN, 0, {0, 1, 2}),
        result(tmp_path, "entropy", 0, {0, 1, 2, 3, 4}),
        result(tmp_path, ablation.PLAIN, 1, {0, 1, 2}),
        result(tmp_path, "entropy", 1, {1, 2, 3}, updates=7),
    ]
    lines = ablation.table(results).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| start", "| plain", "| entropy"]
    assert "0.50 [0.24, 0.76], 5, 50% | 0.30 [0.11, 0.60], 7, 50%" in lines[4]
    assert "3 pages won, 1 lost of 20" in lines[4]  # 3 and 4 with seed 0, 3 with seed 1; 0 lost with seed 1
    assert lines[3].endswith("|  |") and "0.10" in lines[2]


def test_what_has_a_result_is_not_run_again(tmp_path: Path) -> None:
    wanted = asked(tmp_path)
    write_json(wanted.result("linear decay", 1), {"updates": 3})
    assert ablation.one(wanted, "linear decay", ["training.decay=linear"], 1) == {"updates": 3}


def test_a_run_whose_updates_took_the_minutes_is_trained_no_further(tmp_path: Path) -> None:
    wanted = asked(tmp_path, minutes=0.5)
    run = wanted.run("entropy", 0)
    run.root.mkdir(parents=True)
    lines = [json.dumps({"update": number, "time/seconds": 11.0}) + "\n" for number in (1, 2, 3)]
    run.metrics.write_text("".join(lines))
    ablation.train(wanted, run, [])  # there is no such configuration: it would fail if it were started
    run.metrics.write_text("".join(lines[:2]) + lines[2][:-5])  # an update that is half written does not count
    with pytest.raises(SystemExit, match="cannot be trained"):
        ablation.train(wanted, run, [])


def test_every_switch_is_one_of_the_configuration() -> None:
    for changes in ablation.SWITCHES.values():
        configuration.load("smollm2_135m_miniwob.yaml", changes)
    named = {
        change.partition("=")[0].removeprefix("training.") for each in ablation.SWITCHES.values() for change in each
    }
    assert named == set(configuration.OFF)
