"""Promotion: the rule, the pointer to the adapter in use, and the way back."""

import json
import subprocess
import sys
from collections.abc import Callable
from math import erfc, sqrt
from pathlib import Path
from typing import Any

import pytest

from browser_control import configuration
from browser_control.cli import main
from browser_control.configuration import Configuration, Promotion
from browser_control.errors import ConfigurationError, EnvironmentLost, UserError
from browser_control.language.version import VERSION
from browser_control.pipeline import judging
from browser_control.pipeline.parameters import Parameters
from browser_control.pipeline.run import begin
from browser_control.pipeline.start import fetch_promoted
from browser_control.records import archive, promotion
from browser_control.records.registry import Candidate, Promoted, Registry
from browser_control.run_directory import RunDirectory, read_json, write_json, write_text
from browser_control.training.statistics import mcnemar

Make = Callable[..., str]
BASE = 3  # of twenty episodes


def settings(**sections: object) -> Configuration:
    return Configuration.model_validate(
        {
            "name": "small",
            "model": {"name": "/nowhere"},
            "training": {"web_tasks": ["click-button"], "updates": 1},
            **sections,
        }
    )


def evaluation(successes: int, episodes: int = 20, checkpoint: str = "step-000001", lot: int = 0) -> dict[str, Any]:
    rate = {"successes": successes, "rate": successes / episodes}
    score = {"pages": episodes, "unscorable": 0, "strict": rate, "success": rate, "exempt": False}
    return {
        "checkpoint": checkpoint,
        "pages": "evaluation",
        "lot": lot,
        "overall": score,
        "web_tasks": {"click-button": score},
        "episodes": [
            {"web_task": "click-button", "page": f"{lot} {number}", "strict": won, "success": won}
            for number in range(episodes)
            for won in [number < successes]
        ],
    }


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Archives a run whose adapter solves `successes` of twenty episodes; returns the URL."""

    def make(
        run_id: str,
        successes: int,
        *,
        drawn: int = 8,
        episodes: int = 20,
        lot: int = 0,
        beside: str = "",
        language: int = VERSION,
        **sections: object,
    ) -> str:
        chosen = settings(**sections)
        run = RunDirectory(tmp_path / "runs" / run_id)
        configuration.write(chosen, run.config)
        write_json(run.step(1) / "state.json", {"sampler": {"drawn": drawn}, "language": language})
        write_text(run.step(1) / "adapter_model.safetensors", run_id)
        write_json(run.evaluation("base"), evaluation(BASE, episodes, "base", lot))
        write_json(run.evaluation("after"), evaluation(successes, episodes, lot=lot))
        if beside:  # the run began when that one was in use, and judged it on its own pages
            write_json(run.start, {"promoted": {"archive": beside}})
            known = json.loads((Path(beside) / "evaluation/after.json").read_text())["overall"]["strict"]["successes"]
            write_json(run.evaluation("promoted"), evaluation(known, episodes, lot=lot))
        url = str(tmp_path / "archives" / run_id)
        archive.write(run, url, run_id, chosen, archive.Origin(git_commit=None))
        return url

    return make


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models", "small")


@pytest.mark.parametrize(
    ("rule", "old", "new", "words"),
    [
        ({}, 3, 15, "promoted: 12 pages won, 0 lost of 20"),
        ({}, 15, 15, "not promoted, no better: 0 pages won, 0 lost"),
        ({}, 15, 3, "not promoted, no better: 0 pages won, 12 lost"),
        ({}, 14, 15, "not promoted, better, but it may be chance"),
        ({"significance": 1}, 14, 15, "promoted: 1 page won"),
        ({"significance": 1, "min_gain": 0.1}, 14, 15, "less than promotion.min_gain 0.1"),
        ({"min_success": 0.9}, 3, 15, "below promotion.min_success 0.9"),
    ],
)
def test_the_rule(rule: dict[str, float], old: int, new: int, words: str) -> None:
    both = [promotion.episodes(evaluation(successes)) for successes in (old, new)]
    decision = promotion.decide(Promotion.model_validate(rule), promotion.compare(*both), "run x")
    assert words in decision.reason
    assert decision.promoted == decision.reason.startswith("promoted")
    assert "\n" not in decision.reason


def test_unscorable_episodes_are_no_losses_and_too_many_decide_nothing() -> None:
    old, new = (promotion.episodes(evaluation(successes)) for successes in (3, 15))
    for seed in range(2):
        old["click-button", f"0 {seed}"] = None
    comparison = promotion.compare(old, new)
    assert (comparison.gained, comparison.lost, comparison.paired) == (12, 0, 18)
    assert promotion.decide(Promotion(), comparison, "run x").promoted
    new["click-button", "0 19"] = None
    decision = promotion.decide(Promotion(), promotion.compare(old, new), "run x")
    assert not decision.promoted
    assert "only 17 of 20 episodes" in decision.reason


def test_the_rule_names_no_run() -> None:
    assert settings(promotion={"significance": 0.5}).digest == settings().digest


def test_the_first_must_beat_the_base_model(registry: Registry, make: Make) -> None:
    assert "against the base model" in registry.promote(make("worse", 2)).reason
    assert registry.read().promoted is None
    assert registry.promote(make("better", 15)).promoted
    promoted = registry.read().promoted
    assert promoted is not None
    assert (promoted.run_id, promoted.checkpoint, promoted.successes) == ("better", "checkpoints/step-000001", 15)


def test_only_a_better_one_replaces_it_and_seeds_advance_all_the_same(registry: Registry, make: Make) -> None:
    for run_id, successes, drawn in (("one", 10, 8), ("worse", 4, 24), ("same", 10, 16), ("two", 18, 40)):
        registry.promote(make(run_id, successes, drawn=drawn))
        if run_id == "same":
            assert registry.read().seeds_drawn == 24
    record = registry.read()
    assert record.promoted is not None
    assert record.promoted.run_id == "two"
    assert [each.run_id for each in record.history] == ["one"]
    assert record.seeds_drawn == 40
    assert "in use already" in registry.promote(record.promoted.archive).reason


@pytest.mark.parametrize("damage", ["altered", "manifest"])
def test_an_archive_that_does_not_verify_is_refused(registry: Registry, make: Make, damage: str) -> None:
    url = make("damaged", 15)
    if damage == "manifest":
        (Path(url) / archive.MANIFEST).unlink()
    else:
        (Path(url) / "checkpoints/step-000001/adapter_model.safetensors").write_text("other")
    decision = registry.promote(url)
    assert not decision.promoted
    assert "archive at" in decision.reason
    assert not registry.path.exists()


def test_an_adapter_judged_on_other_pages_is_not_compared_unless_the_one_in_use_is_played_on_these(
    registry: Registry, make: Make
) -> None:
    registry.promote(make("one", 10))
    better = make("two", 18, lot=1)
    refused = registry.promote(better)
    assert not refused.promoted
    assert "judged on other pages" in refused.reason
    assert f"browser-control promote {better}" in refused.reason
    asked: list[tuple[int, str]] = []

    def judge(candidate: Candidate, promoted: Promoted) -> dict[str, Any]:
        asked.append((candidate.lot, promoted.run_id))
        return evaluation(9, lot=candidate.lot)

    assert "promoted: 9 pages won, 0 lost of 20" in registry.promote(better, judge=judge).reason
    assert asked == [(1, "one")]
    assert "in use already" in registry.promote(better, judge=judge).reason
    assert len(asked) == 1  # what is refused anyway is not played


def test_what_cannot_be_played_again_is_said_and_nobody_is_sent_round_in_a_circle(
    registry: Registry, make: Make
) -> None:
    registry.promote(make("one", 10))
    better = make("two", 18, lot=1)

    def other_pages(candidate: Candidate, promoted: Promoted) -> dict[str, Any]:
        return evaluation(9, lot=2)

    def gone(candidate: Candidate, promoted: Promoted) -> dict[str, Any]:
        archive.verify("/nowhere")
        raise AssertionError

    refused = registry.promote(better, judge=other_pages)
    assert "run one could not be played on all pages" in refused.reason
    assert "browser-control promote" not in refused.reason
    assert "the adapter in use could not be judged: there is no complete" in registry.promote(better, judge=gone).reason


def test_no_two_runs_of_a_name_are_judged_on_the_same_lot(registry: Registry, make: Make) -> None:
    assert [registry.take_lot() for _ in range(3)] == [0, 1, 2]
    registry.promote(make("one", 10))
    assert registry.take_lot() == 3


def test_the_final_set_decides_nothing(registry: Registry, make: Make, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "runs" / "final")
    make("final", 18)
    write_json(run.evaluation("after"), {**evaluation(18), "pages": "final"})
    url = str(tmp_path / "archives" / "again")
    archive.write(run, url, "again", settings(), archive.Origin(git_commit=None))
    assert "final set, which decides nothing" in registry.promote(url).reason


def test_web_tasks_with_too_few_pages_decide_nothing_beside_held_out_ones() -> None:
    old, new = evaluation(3), evaluation(15)
    for judged, won in ((old, False), (new, True)):
        judged["web_tasks"]["click-test"] = {**judged["web_tasks"]["click-button"], "exempt": True}
        judged["episodes"].append({"web_task": "click-test", "page": "x", "strict": won, "success": won})
    assert promotion.compare(promotion.episodes(old), promotion.episodes(new)).paired == 20
    for judged in (old, new):
        judged["episodes"] = judged["episodes"][-1:]
    assert promotion.compare(promotion.episodes(old), promotion.episodes(new)).gained == 1


def test_where_no_page_can_be_held_out_the_record_counts_those_that_there_are(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    make("few", 18)
    run = RunDirectory(tmp_path / "runs" / "few")
    none = {"successes": 0, "rate": None}
    for name, successes in {"base": BASE, "after": 18}.items():
        judged = evaluation(successes, checkpoint="base" if name == "base" else "step-000001")
        judged["exempt"] = judged["overall"]
        judged["overall"] = {"pages": 0, "unscorable": 0, "strict": none, "success": none}
        judged["web_tasks"]["click-button"]["exempt"] = True
        write_json(run.evaluation(name), judged)
    url = str(tmp_path / "archives" / "few-pages")
    archive.write(run, url, "few-pages", settings(), archive.Origin(git_commit=None))
    assert registry.promote(url).promoted
    promoted = registry.read().promoted
    assert promoted is not None
    assert (promoted.successes, promoted.episodes) == (18, 20)


def test_success_is_strict_unless_training_rewards_what_browsergym_counts(registry: Registry, make: Make) -> None:
    def partly(run_id: str, reward: str) -> str:
        url = make(run_id, 3, training={"web_tasks": ["click-button"], "updates": 1, "reward": reward})
        run = RunDirectory(Path(url).parents[1] / "runs" / run_id)
        judged = evaluation(3)
        for each in judged["episodes"]:
            each["success"] = True
        write_json(run.evaluation("after"), judged)
        chosen = settings(training={"web_tasks": ["click-button"], "updates": 1, "reward": reward})
        archive.write(run, f"{url}-partly", run_id, chosen, archive.Origin(git_commit=None))
        return f"{url}-partly"

    assert "no better" in registry.promote(partly("one", "strict")).reason
    assert registry.promote(partly("two", "browsergym")).promoted


def test_an_adapter_of_another_language_is_judged_again_and_nothing_starts_from_it(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    registry.promote(make("one", 10))
    record = json.loads(registry.path.read_text())
    assert record["promoted"]["language"] == VERSION
    record["promoted"]["language"] = VERSION + 1
    del record["sha256"]  # edited by hand
    write_json(registry.path, record)
    with pytest.raises(ConfigurationError, match=f"as version {VERSION + 1} does, and this is version {VERSION}"):
        registry.refuse_another_shape(settings())
    assert registry.promote(make("two", 18)).promoted
    old = make("three", 20, language=VERSION + 1)  # trained under that one, and archived under ours
    assert json.loads((Path(old) / archive.MANIFEST).read_text())["language"] == VERSION
    assert f"as version {VERSION + 1} does" in registry.promote(old).reason


def test_an_adapter_of_another_shape_needs_another_name(registry: Registry, make: Make) -> None:
    registry.promote(make("one", 10, model={"name": "some/model"}))
    assert "has lora" in registry.promote(make("two", 19, lora={"rank": 4})).reason
    assert "not of 'small'" in registry.promote(make("three", 19, name="large")).reason
    with pytest.raises(ConfigurationError, match=r"has model\.name some/model, not other; set start_from=base"):
        registry.refuse_another_shape(settings(model={"name": "other"}))


def test_of_two_processes_that_promote_at_once_the_better_wins(registry: Registry, make: Make, tmp_path: Path) -> None:
    code = "import sys; from browser_control.records.registry import Registry; " + (
        "print([Registry(sys.argv[1], 'small').promote(url).promoted for url in sys.argv[2:]])"
    )
    runs = [make(f"run-{number}", number, drawn=number) for number in (6, 8, 10, 12, 14, 16)]
    commands = [[sys.executable, "-c", code, str(tmp_path / "models"), *order] for order in (runs, runs[::-1])]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
    assert [process.wait(60) for process in processes] == [0, 0]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    record = registry.read()
    assert record.promoted is not None
    assert record.promoted.run_id == "run-16"
    assert record.seeds_drawn == 16
    ladder = [each.successes for each in record.history]
    assert ladder == sorted(set(ladder))


def test_a_rollback_goes_back_one_and_says_so(
    registry: Registry, make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    models = ["--models", str(tmp_path / "models")]
    assert main(["promoted", "small", *models]) == 2
    assert "no adapter of 'small' was promoted yet" in capsys.readouterr().err
    one = make("one", 10)
    assert main(["promote", one, *models]) == 0
    assert main(["rollback", "small", *models]) == 2
    assert "run one is the first" in capsys.readouterr().err
    two = make("two", 18, lot=1, beside=one)
    assert main(["promote", two, *models]) == 0
    assert main(["promote", make("three", 4, lot=2, beside=two), *models]) == 1
    assert "not promoted, no better" in capsys.readouterr().out
    assert main(["rollback", "small", *models]) == 0
    assert "two" in capsys.readouterr().out
    record = registry.read()
    assert record.promoted is not None
    assert record.promoted.run_id == "one"
    assert [each.run_id for each in record.rolled_back] == ["two"]
    assert main(["promoted", "small", *models]) == 0
    shown = capsys.readouterr().out
    assert "rolled back" in shown
    assert "0.50" in shown
    assert main(["rollback", "small", *models]) == 2


def test_nothing_is_rolled_back_to_a_damaged_archive(
    registry: Registry, make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = make("one", 10)
    registry.promote(first)
    registry.promote(make("two", 18))
    (Path(first) / "config.yaml").unlink()
    assert main(["rollback", "small", "--models", str(tmp_path / "models")]) == 1
    assert "config.yaml is missing" in capsys.readouterr().err
    promoted = registry.read().promoted
    assert promoted is not None
    assert promoted.run_id == "two"


def test_a_damaged_record_is_named(registry: Registry) -> None:
    write_text(registry.path, '{"promoted": 3}')
    with pytest.raises(UserError, match=r"promoted\.json is damaged"):
        registry.read()


def test_a_run_takes_a_copy_of_the_promoted_adapter_and_keeps_to_it(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(settings().model_dump(mode="json")))
    models = str(tmp_path / "models")
    chosen = Parameters(config=str(config), runs=str(tmp_path / "runs"), archives=str(tmp_path / "archives"))
    registry.promote(make("one", 10, drawn=8))
    registry.promote(make("worse", 4, drawn=24))
    with begin(chosen.model_copy(update={"start_from": "promoted", "models": models})) as run:
        assert run.id.endswith("-on")
        start = fetch_promoted(run, models, "promoted")
        assert (start.from_promoted, start.seeds_drawn) == (True, 24)
        assert (run.directory.promoted / "adapter_model.safetensors").read_text() == "one"
        registry.promote(make("two", 18))
        assert fetch_promoted(run, models, "promoted") == start
        assert read_json(run.directory.start)["promoted"]["run_id"] == "one"
        with pytest.raises(ConfigurationError, match="was begun from promoted"):
            fetch_promoted(run, models, "base")
    with pytest.raises(ConfigurationError, match=r"the promoted adapter .* has lora"):
        wider = {"start_from": "promoted", "models": models, "overrides": ["lora.rank=4"]}
        with begin(chosen.model_copy(update=wider)):
            pass


def test_a_promoted_adapter_whose_archive_is_gone_ends_no_run_from_the_base_model(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(settings().model_dump(mode="json")))
    models = str(tmp_path / "models")
    url = Path(make("one", 10))
    registry.promote(str(url))
    url.rename(url.with_name("elsewhere"))
    chosen = Parameters(config=str(config), runs=str(tmp_path / "runs"), archives=str(tmp_path / "archives"))
    with begin(chosen) as run:
        start = fetch_promoted(run, models, "base")
        assert not start.judged
        assert "browser-control rollback small" in start.trouble
    with begin(chosen.model_copy(update={"run_id": "other"})) as run, pytest.raises(UserError, match="cannot start"):
        fetch_promoted(run, models, "promoted")


def test_an_adapter_in_use_that_cannot_be_played_ends_the_command_with_a_sentence(
    registry: Registry,
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(candidate: Candidate, promoted: Promoted) -> dict[str, Any]:
        raise EnvironmentLost("the service at http://nowhere is gone")

    registry.promote(make("one", 10))
    better = make("two", 18, lot=1)
    monkeypatch.setattr(judging, "promote", lambda url, models: registry.promote(url, judge=fails))
    assert main(["promote", better, "--models", str(tmp_path / "models")]) == 1
    assert "error: the service at http://nowhere is gone" in capsys.readouterr().err


def test_two_policies_are_compared_on_however_many_pages() -> None:
    assert mcnemar(5, 0) == pytest.approx(2 / 2**5)
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(2000, 0) < 1e-300
    assert mcnemar(1100, 1000) == pytest.approx(erfc(99 / sqrt(2 * 2100)), rel=0.01)  # normal, with Yates's correction
