"""Bookkeeping of `benchmarks/own_web_tasks.py`: which runs there are, and what its table says of them."""

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import own_web_tasks

from browser_control import configuration
from browser_control.errors import ConfigurationError
from browser_control.run_directory import write_json
from browser_control.web_tasks import registry

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_own", {})


def asked(output: Path, *sources: str, held_out: bool = False) -> argparse.Namespace:
    return argparse.Namespace(
        sources=list(sources),
        config=str(ROOT / "examples" / "gpu.yaml"),
        seed=3,
        demonstrations=2,
        adapter=output / "adapter",
        held_out=held_out,
        set=["training.updates=1"],
        output=output,
    )


def result(name: str, **stages: int) -> dict[str, Any]:
    scores = {
        stage: {"pages": 10, "unscorable": int(stage == "GRPO"), "strict": {"successes": won}}
        for stage, won in stages.items()
    }
    seconds = {"demonstrations": 60.4, "GRPO": 30.2}
    judging = dict.fromkeys(stages, 1.0)
    return {"name": name, "seed": 3, "seconds": seconds, "judging": judging, "web_tasks": {f"{name}.a": scores}}


def test_each_source_is_a_run_and_held_out_once_more(tmp_path: Path) -> None:
    shop, library = (str(ROOT / "examples" / name) for name in ("shop", "library"))
    found = own_web_tasks.learnings(asked(tmp_path, shop, library, held_out=True))
    assert [each.name for each in found] == [
        "shop-seed3",
        "library-seed3",
        "all-but-shop-seed3",
        "all-but-library-seed3",
    ]
    assert [stage for stage, _ in found[0].before] == ["base", "transfer"]
    assert not found[2].before
    settings = configuration.load(found[2].config, found[2].changes)
    assert settings.judged_web_tasks == ("shop.order-shirts",)
    assert settings.training.web_tasks == settings.warm_start.web_tasks
    assert len(settings.training.web_tasks) == 6 and "shop.order-shirts" not in settings.training.web_tasks
    assert settings.warm_start.demonstrations == 12 and settings.training.updates == 1 and settings.seed == 3
    with pytest.raises(ConfigurationError, match="holds no web tasks"):
        own_web_tasks.learnings(asked(tmp_path, str(tmp_path)))


def test_the_table_has_a_row_a_web_task_and_a_column_a_stage() -> None:
    lines = own_web_tasks.table([result("shop", base=0, GRPO=9), result("all but shop", GRPO=3)]).splitlines()
    assert lines[0] == "| run | web task | pages | base | GRPO |"
    assert lines[2] == "| shop | shop.a | 10 | 0.00 [0.00, 0.28] | 1.00 [0.70, 1.00], 1 unscorable |"
    assert lines[3].startswith("| all but shop | all but shop.a | 10 |  | 0.33 [")
    assert lines[5] == "shop, seed 3: learning took 91 s (demonstrations 60 s, GRPO 30 s)"


def test_the_seconds_of_what_was_ended_and_went_on_are_not_those_of_the_last_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [learning] = own_web_tasks.learnings(asked(tmp_path, str(ROOT / "examples" / "shop")))

    def program(learning: own_web_tasks.Learning, url: str, name: str) -> float:
        learning.run.logs.mkdir(parents=True, exist_ok=True)
        (learning.run.logs / f"{name}.log").touch()
        return 12.0

    monkeypatch.setattr(own_web_tasks.recipe, "program", program)
    program(learning, "", "fine_tune_local")  # an attempt that was ended
    own_web_tasks._learn(learning, "", "demonstrations", "programs.warm_start")
    own_web_tasks._learn(learning, "", "GRPO", "fine_tune_local")
    assert own_web_tasks.learned(learning) == {"demonstrations": 12.0, "GRPO": None}
    told = own_web_tasks.table([{**result("shop", GRPO=9), "seconds": own_web_tasks.learned(learning)}])
    assert told.splitlines()[-1] == ("shop, seed 3: learning took several attempts (demonstrations 12 s, GRPO resumed)")


def test_what_has_a_result_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = asked(tmp_path, str(ROOT / "examples" / "shop"))
    write_json(own_web_tasks.learnings(options)[0].result, result("shop", base=1))
    arguments = [*options.sources, "--config", options.config, "--seed", "3", "--output", str(tmp_path)]
    assert own_web_tasks.main(arguments) == 0  # there is no GPU and no hour for it: it would not come back
    assert "| shop | shop.a | 10 | 0.10 [" in capsys.readouterr().out
