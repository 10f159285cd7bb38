"""Judging outside of the run that made an adapter: on which pages, and what is said of old evaluations."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tiny import make_configuration

from browser_control.errors import ConfigurationError
from browser_control.integrity import write_digests, write_sealed
from browser_control.language.version import VERSION
from browser_control.pipeline import judging
from browser_control.programs import evaluate
from browser_control.records import summary
from browser_control.records.registry import Candidate
from browser_control.run_directory import RunDirectory
from browser_control.training.held_out import HeldOut


def candidate() -> Candidate:
    """An archive's account of an evaluation on three pages of two web tasks."""
    lines = [
        {"web_task": "click-link", "seed": 7, "page": "a"},
        {"web_task": "click-button", "seed": 3, "page": "b"},
        {"web_task": "click-link", "seed": 9, "page": "c"},
    ]
    settings = make_configuration(evaluation={"web_tasks": ["click-link", "click-button"], "episodes": 2})
    return Candidate(
        url="x", manifest={}, settings=settings, after={"lot": 4, "language": VERSION, "episodes": lines}, start={}
    )


def test_the_adapter_in_use_is_played_on_the_archives_pages_and_none_is_chosen(tmp_path: Path) -> None:
    directory, judged = RunDirectory(tmp_path), candidate()
    judging.take_pages(directory, judged)
    arguments = SimpleNamespace(pages="evaluation", lot=4)
    job = SimpleNamespace(configuration=judged.settings, run=directory, arguments=arguments)
    pages = evaluate._pages(cast(Any, job), cast(Any, None))  # without an environment none can be looked for
    assert pages == [HeldOut("click-link", ((7, "a"), (9, "c")), 2), HeldOut("click-button", ((3, "b"),), 1)]


def test_a_run_that_has_chosen_its_pages_keeps_them(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.pages("evaluation", 4).parent.mkdir()
    directory.pages("evaluation", 4).write_text("mine")
    judging.take_pages(directory, candidate())
    assert directory.pages("evaluation", 4).read_text() == "mine"


def test_web_tasks_with_fewer_pages_than_asked_for_are_named() -> None:
    scores = {"one": summary.Score(1, 1, 50), "two": summary.Score(1, 1, 30), "three": summary.Score(1, 1, 2, True)}
    assert summary.fewer_pages({"base": scores}, 50) == "two 30 of 50 pages: they weigh less in all"
    assert summary.fewer_pages({"base": scores}, 30) == ""


def test_an_evaluation_of_a_release_without_strict_success_is_one_sentence() -> None:
    old = {"web_tasks": {"click-button": {"successes": 3, "episodes": 4, "rate": 0.75}}}
    with pytest.raises(ConfigurationError, match="an earlier release wrote this run's evaluations") as raised:
        summary.read_scores(old)
    assert "\n" not in str(raised.value)


def _asked(
    folder: Path | None, seeds: int = 2, lot: int = 0, pages: str = "evaluation", **changes: Any
) -> dict[str, Any]:
    """What tells the judgement of this checkpoint on that many pages from others."""
    arguments = SimpleNamespace(pages=pages, lot=lot)
    job = SimpleNamespace(configuration=make_configuration(**changes), arguments=arguments)
    held_out = [HeldOut("click-link", tuple((seed, f"page {seed}") for seed in range(seeds)), seeds)]
    return evaluate._judged(cast(Any, job), "base model", folder, held_out)


def _checkpoint(folder: Path, weights: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_text(weights)
    write_digests(folder)
    return folder


def test_only_scores_of_the_same_checkpoint_pages_and_settings_are_kept(tmp_path: Path) -> None:
    output = tmp_path / "click-link.json"
    one = _checkpoint(tmp_path / "a" / "step-1", "1")
    write_sealed(output, {**_asked(one), "overall": {}})
    same = _checkpoint(tmp_path / "b" / "step-1", "1")
    assert evaluate._is_judged(output, _asked(same), pictures=False)
    for other in (
        _asked(None),
        _asked(_checkpoint(tmp_path / "c" / "step-1", "2")),
        _asked(one, seeds=3),
        _asked(one, lot=1),
        _asked(one, pages="final"),
        _asked(one, policy={"decoding": "free"}),
        _asked(one, evaluation={"greedy": False}),
    ):
        assert not evaluate._is_judged(output, other, pictures=False)


def test_scores_without_the_pictures_that_are_asked_for_are_made_again(tmp_path: Path) -> None:
    output = tmp_path / "click-link.json"
    write_sealed(output, _asked(None))
    assert not evaluate._is_judged(output, _asked(None), pictures=True)
    (tmp_path / "click-link.pictures.zip").touch()
    assert evaluate._is_judged(output, _asked(None), pictures=True)


def test_damaged_scores_are_made_again_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "click-link.json"
    write_sealed(output, _asked(None))
    output.write_text(output.read_text().replace("base", "else"))
    assert not evaluate._is_judged(output, _asked(None), pictures=False)
    assert capsys.readouterr().out == f"{output} is damaged: it is not what was written; it is judged again\n"
