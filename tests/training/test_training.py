"""A run that was stopped, killed or damaged ends as the undisturbed one does."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import PaperEnvironments, make_configuration

from browser_control.configuration import TRAINING_SEEDS, Lora
from browser_control.errors import CheckpointMismatch, ConfigurationError, Preempted
from browser_control.policy import policy
from browser_control.preemption import Preemption
from browser_control.run_directory import RunDirectory
from browser_control.training import checkpoint
from browser_control.training.trainer import Initial, Trainer

ModelFolder = Callable[[str], Path]


class StopAfter(Preemption):
    """Asks to end after so many questions."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self.left = questions

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Preempted("stopped by a test")


def trainer(
    folder: Path,
    root: Path,
    preemption: Preemption | None = None,
    initial: Initial | None = None,
    lora: dict[str, object] | None = None,
    **training: int,
) -> Trainer:
    configuration = make_configuration("llama", training=training)
    if lora is not None:
        configuration = configuration.model_copy(update={"lora": Lora.model_validate(lora)})
    environments = PaperEnvironments(8, lambda taken: float(taken[-1] == "click('11')"))
    return Trainer(
        policy.load(configuration, folder),
        environments,
        configuration,
        RunDirectory(root),
        preemption or Preemption(),
        initial=initial,
    )


def adapter(made: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in policy.trainable(made.policy.model)])


@pytest.fixture
def undisturbed(model_folder: ModelFolder, tmp_path: Path) -> torch.Tensor:
    whole = trainer(model_folder("llama"), tmp_path / "whole")
    before = adapter(whole).clone()
    whole.train()
    assert not torch.equal(before, adapter(whole))
    return adapter(whole)


@pytest.mark.parametrize("questions", [0, 5, 18, 30])
def test_a_stopped_run_continues_to_the_same_adapter(
    model_folder: ModelFolder, tmp_path: Path, undisturbed: torch.Tensor, questions: int
) -> None:
    with pytest.raises(Preempted):
        trainer(model_folder("llama"), tmp_path / "run", StopAfter(questions)).train()
    continued = trainer(model_folder("llama"), tmp_path / "run")
    continued.train()
    assert torch.equal(adapter(continued), undisturbed)
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(metrics) == 4


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    model_folder: ModelFolder, tmp_path: Path, undisturbed: torch.Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(model_folder("llama"), tmp_path / "run", updates=3).train()
    continued = trainer(model_folder("llama"), tmp_path / "run")
    weights = damage(continued, 3)
    continued.train()
    assert f"{weights} is damaged; using the one before" in capsys.readouterr().err
    assert torch.equal(adapter(continued), undisturbed)


def damage(made: Trainer, step: int) -> Path:
    weights = made.run.step(step) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    return weights


def test_a_damaged_checkpoint_does_not_outlive_a_whole_one(model_folder: ModelFolder, tmp_path: Path) -> None:
    made = trainer(model_folder("llama"), tmp_path / "run", updates=3)
    made.train()
    damage(made, 3)
    with pytest.raises(Preempted):
        trainer(model_folder("llama"), tmp_path / "run", StopAfter(0), keep_checkpoints=1).train()
    assert [path.name for path in made.run.steps()] == ["step-000002"]
    checkpoint.verify(made.run.step(2))


def test_where_no_checkpoint_is_whole_nothing_is_thrown_away(model_folder: ModelFolder, tmp_path: Path) -> None:
    made = trainer(model_folder("llama"), tmp_path / "run", updates=2)
    made.train()
    damage(made, 1)
    damage(made, 2)
    with pytest.raises(ConfigurationError, match=r"no checkpoint in .* is whole"):
        trainer(model_folder("llama"), tmp_path / "run").train()
    assert [path.name for path in made.run.steps()] == ["step-000001", "step-000002"]
    assert len(made.run.metrics.read_text().splitlines()) == 2


def test_a_request_to_end_right_after_a_checkpoint_leaves_it_untouched(
    model_folder: ModelFolder, tmp_path: Path
) -> None:
    made = trainer(model_folder("llama"), tmp_path / "run", updates=2)
    made.train()
    before = made.run.step(2).stat().st_ino
    with pytest.raises(Preempted):
        trainer(model_folder("llama"), tmp_path / "run", StopAfter(0)).train()
    assert made.run.step(2).stat().st_ino == before


def test_another_step_limit_is_another_task(model_folder: ModelFolder, tmp_path: Path) -> None:
    trainer(model_folder("llama"), tmp_path / "run", updates=1).train()
    other = trainer(model_folder("llama"), tmp_path / "run")
    other.configuration = other.configuration.model_copy(
        update={"environment": other.configuration.environment.model_copy(update={"max_turns": 1})}
    )
    with pytest.raises(CheckpointMismatch, match=r"environment\.max_turns"):
        other.train()


def test_a_checkpoint_of_another_configuration_is_refused_with_what_differs(
    model_folder: ModelFolder, tmp_path: Path
) -> None:
    trainer(model_folder("llama"), tmp_path / "run", updates=1).train()
    with pytest.raises(CheckpointMismatch, match=r"training\.group_size=4, and this run has 8"):
        trainer(model_folder("llama"), tmp_path / "run", group_size=8).train()


def test_only_the_newest_checkpoints_are_kept(model_folder: ModelFolder, tmp_path: Path) -> None:
    made = trainer(model_folder("llama"), tmp_path / "run")
    made.train()
    assert [path.name for path in made.run.steps()] == ["step-000003", "step-000004"]
    for path in made.run.steps():
        checkpoint.verify(path)


def test_training_goes_on_from_another_runs_adapter_on_pages_that_it_has_not_seen(
    model_folder: ModelFolder, tmp_path: Path
) -> None:
    first = trainer(model_folder("llama"), tmp_path / "first", updates=1)
    first.train()
    initial = Initial(first.run.step(1), first.sampler.drawn)
    second = trainer(model_folder("llama"), tmp_path / "second", initial=initial, updates=0)
    second.train()
    assert torch.equal(adapter(second), adapter(first))
    third = trainer(model_folder("llama"), tmp_path / "third", initial=initial, updates=1, groups=3)
    third.train()
    assert min(seed for _, seed in third.environments.started) == TRAINING_SEEDS.start + first.sampler.drawn  # type: ignore[attr-defined]
    stopped = trainer(model_folder("llama"), tmp_path / "third", initial=initial, updates=1, groups=3)
    stopped.train()
    assert torch.equal(adapter(stopped), adapter(third))


def test_an_adapter_of_another_shape_is_refused_in_one_sentence(model_folder: ModelFolder, tmp_path: Path) -> None:
    first = trainer(model_folder("llama"), tmp_path / "first", updates=1)
    first.train()
    other = {"rank": 8, "alpha": 8, "targets": ["q_proj"]}
    second = trainer(model_folder("llama"), tmp_path / "second", initial=Initial(first.run.step(1), 2), lora=other)
    with pytest.raises(CheckpointMismatch, match=r"was written with lora\.") as caught:
        second.train()
    assert "\n" not in str(caught.value)
