"""The recipe's bookkeeping: which runs there are, and what its table says of them."""

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import recipe

from browser_control.errors import ConfigurationError
from browser_control.run_directory import write_json


def asked(output: Path, *variants: str) -> argparse.Namespace:
    return argparse.Namespace(
        config="smollm2_135m_miniwob.yaml",
        only_variants=False,
        variant=list(variants),
        seeds=[0, 1],
        set=["training.groups=2"],
        benchmark=True,
        output=output,
    )


def result(variant: str, seed: int, won: int, **seconds: float) -> dict[str, Any]:
    rate = {"strict": {"rate": 0.7}, "success": {"rate": 0.75}}
    return {
        "variant": variant,
        "seed": seed,
        "seconds": {name.replace("_", " "): value for name, value in seconds.items()},
        "development": {"pages": 11, "unscorable": 1, "strict": {"successes": won}},
        "benchmark": {"all": rate} if seed == 0 else {},
    }


def test_every_seed_of_every_variant_is_a_run_with_its_own_settings(tmp_path: Path) -> None:
    found = recipe.recipes(asked(tmp_path, "No GRPO, small: training.updates=0 lora.rank=8"))
    names = ["as-configured-seed0", "no-grpo-small-seed0", "as-configured-seed1", "no-grpo-small-seed1"]
    assert [each.name for each in found] == names
    assert found[1].changes == ("training.groups=2", "training.updates=0", "lora.rank=8", "seed=0")
    with pytest.raises(ConfigurationError, match="rankk"):
        recipe.recipes(asked(tmp_path, "wrong: lora.rankk=8"))


def test_the_table_has_a_row_a_run_and_a_column_a_split(tmp_path: Path) -> None:
    began = {"pages": 11, "unscorable": 1, "strict": {"successes": 4}}
    both = result("a", 0, 5, warm_start=60.4, GRPO=30.2)
    both["warm_start"] = {"overall": began, "gained": 2, "lost": 1, "p": 1.0}
    lines = recipe.table([both, result("a", 1, 9, warm_start=61)]).splitlines()
    before = "0.40 [0.17, 0.69]: 2, 1 (p = 1)"
    assert lines[2] == f"| a | 0 | 91 (warm start 60, GRPO 30) | 0.50 [0.24, 0.76] | {before} | 0.750, 0.700 |"
    assert lines[3].startswith("| a | 1 | 61 (warm start 61) | 0.90 [") and lines[3].endswith(" |  |  |")


def test_what_has_a_result_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--seeds", "0", "--output", str(tmp_path), "--set", "training.groups=2"]
    write_json(recipe.recipes(asked(tmp_path))[0].result, result("as configured", 0, 5, GRPO=1.0))
    assert recipe.main(options) == 0  # there is no GPU and no hour for it: it would not come back
    assert "| as configured | 0 | 1 (GRPO 1) |" in capsys.readouterr().out
