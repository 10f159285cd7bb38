"""A run that was stopped, killed or damaged ends as the undisturbed one does."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import PaperEnvironments, make_configuration

from browser_control.configuration import OFF, OFF_POLICY, OFF_WARM_START, TRAINING_SEEDS, Lora
from browser_control.errors import (
    CheckpointDamaged,
    CheckpointMismatch,
    ConfigurationError,
    EnvironmentFailure,
    Preempted,
    TrainingFailed,
)
from browser_control.integrity import verify_folder
from browser_control.language.version import VERSION
from browser_control.policy import policy
from browser_control.preemption import Preemption
from browser_control.run_directory import RunDirectory
from browser_control.training import checkpoint
from browser_control.training.held_out import Draws
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


class Unreliable(PaperEnvironments):
    """Fails in every episode of the updates that `failing` says, and counts them by their first pages."""

    def __init__(self, sessions: int, failing: Callable[[int], bool]) -> None:
        super().__init__(sessions, self._judged)
        self._failing = failing
        self.updates = 0

    def _judged(self, taken: list[str]) -> float:
        if self._failing(self.updates):
            raise EnvironmentFailure("no browser can be started")
        return float(taken[-1] == "click('11')")


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
    verify_folder(made.run.step(2))


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
        verify_folder(path)


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


def test_the_normaliser_counts_all_groups_that_were_asked_for(model_folder: ModelFolder, tmp_path: Path) -> None:
    """One group that differs: of four asked for it is a quarter of what it is alone."""
    gradients = []
    for groups in (1, 4):
        made = trainer(model_folder("llama"), tmp_path / str(groups), groups=groups, resample_limit=10, group_size=8)
        played = made._play_groups()
        played.groups = played.groups[:1]
        made._learn(played)
        trained = policy.trainable(made.policy.model)
        gradients.append(torch.cat([each.grad.flatten() for each in trained if each.grad is not None]))
    torch.testing.assert_close(gradients[0], 4 * gradients[1], atol=1e-8, rtol=1e-4)


def unreliable(folder: Path, root: Path, failing: Callable[[int], bool]) -> Trainer:
    """A trainer whose environment fails in the attempts at an update that `failing` says."""
    made = trainer(folder, root, resample_limit=0)
    environments = Unreliable(8, failing)

    def play_groups() -> object:
        try:
            return played()
        finally:
            environments.updates += 1

    played = made._play_groups
    made.environments = environments
    made.pages = Draws(environments, TRAINING_SEEDS)
    made._play_groups = play_groups  # type: ignore[method-assign, assignment]
    return made


def test_an_update_of_which_nothing_can_be_scored_does_not_count(
    model_folder: ModelFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = trainer(model_folder("llama"), tmp_path / "whole", resample_limit=0)
    whole.train()
    disturbed = unreliable(model_folder("llama"), tmp_path / "run", lambda attempt: attempt in (1, 2, 4))
    disturbed.train()
    assert torch.equal(adapter(disturbed), adapter(whole))
    assert capsys.readouterr().out.count("does not count: no episode could be scored: no browser can be started") == 3
    assert len(disturbed.run.metrics.read_text().splitlines()) == 4


def test_three_such_updates_in_a_row_end_training_and_the_same_command_continues(
    model_folder: ModelFolder, tmp_path: Path, undisturbed: torch.Tensor
) -> None:
    with pytest.raises(TrainingFailed, match="3 updates in a row came to nothing: no episode could be scored: no br"):
        unreliable(model_folder("llama"), tmp_path / "run", lambda attempt: attempt >= 2).train()
    continued = trainer(model_folder("llama"), tmp_path / "run", resample_limit=0)
    assert [path.name for path in continued.run.steps()] == ["step-000001", "step-000002"]
    continued.train()
    whole = trainer(model_folder("llama"), tmp_path / "whole-again", resample_limit=0)
    whole.train()
    assert torch.equal(adapter(continued), adapter(whole))


def spoil(made: Trainer, updates: int) -> None:
    """Makes the first gradients of so many updates infinite."""
    left = updates

    def infinite(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("inf") if made._attempts <= left else gradient  # type: ignore[attr-defined]

    made._attempts = 0  # type: ignore[attr-defined]
    learn = made._learn

    def counted(played: object) -> object:
        made._attempts += 1  # type: ignore[attr-defined]
        return learn(played)  # type: ignore[arg-type]

    made._learn = counted  # type: ignore[method-assign, assignment]
    next(iter(policy.trainable(made.policy.model))).register_hook(infinite)


def test_a_gradient_that_is_not_finite_changes_nothing_and_the_update_does_not_count(
    model_folder: ModelFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = trainer(model_folder("llama"), tmp_path / "run", updates=1)
    spoil(made, 2)
    made.train()
    assert capsys.readouterr().out.count("does not count: its gradient is not finite") == 2
    assert torch.isfinite(adapter(made)).all()
    assert len(made.run.metrics.read_text().splitlines()) == 1


def test_three_gradients_that_are_not_finite_end_the_run(model_folder: ModelFolder, tmp_path: Path) -> None:
    made = trainer(model_folder("llama"), tmp_path / "run")
    before = adapter(made).clone()
    spoil(made, 3)
    with pytest.raises(TrainingFailed, match="its gradient is not finite"):
        made.train()
    assert torch.equal(adapter(made), before)


def test_groups_whose_gradients_are_not_finite_are_not_played_again_by_the_same_command(
    model_folder: ModelFolder, tmp_path: Path
) -> None:
    first = trainer(model_folder("llama"), tmp_path / "run", updates=1)
    first.train()
    made = trainer(model_folder("llama"), tmp_path / "run")
    spoil(made, 3)
    with pytest.raises(TrainingFailed, match="its gradient is not finite"):
        made.train()
    again = trainer(model_folder("llama"), tmp_path / "run", updates=2)
    again.train()
    played = min(seed for _, seed in again.environments.started)  # type: ignore[attr-defined]
    assert played == TRAINING_SEEDS.start + made.sampler.drawn > TRAINING_SEEDS.start + first.sampler.drawn


def test_a_checkpoint_from_before_a_switch_was_there_goes_on(
    model_folder: ModelFolder, tmp_path: Path, undisturbed: torch.Tensor
) -> None:
    first = trainer(model_folder("llama"), tmp_path / "run", updates=2)
    first.train()
    state = json.loads((first.run.step(2) / "state.json").read_text())
    for section, switches in {"training": OFF, "warm_start": OFF_WARM_START, "policy": OFF_POLICY}.items():
        for name in switches:
            del state["configuration"][section][name]
    rewrite(first.run.step(2), "state.json", lambda text: json.dumps(state))
    continued = trainer(model_folder("llama"), tmp_path / "run")
    continued.train()
    assert torch.equal(adapter(continued), undisturbed)


def test_a_checkpoint_of_another_language_is_refused_in_one_sentence(model_folder: ModelFolder, tmp_path: Path) -> None:
    made = trainer(model_folder("llama"), tmp_path / "run", updates=1)
    made.train()
    rewrite(made.run.step(1), "state.json", lambda text: text.replace(f'"language": {VERSION}', '"language": 99'))
    with pytest.raises(CheckpointMismatch, match=rf"as version 99 does, and this is version {VERSION}") as raised:
        trainer(model_folder("llama"), tmp_path / "run").train()
    assert "\n" not in str(raised.value)
    checkpoint.load(made.run.step(1), made.policy, any_language=True)


def rewrite(folder: Path, name: str, change: Callable[[str], str]) -> None:
    """Changes a file of a checkpoint, which is whole afterwards."""
    (folder / name).write_text(change((folder / name).read_text()))
    digests = json.loads((folder / "digests.json").read_text())
    digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "digests.json").write_text(json.dumps(digests))


@pytest.mark.parametrize(("lost", "words"), [(True, "lacks"), (False, "holds, and the model has no,")])
def test_a_checkpoint_with_other_weights_than_the_models_is_never_loaded_silently(
    model_folder: ModelFolder, tmp_path: Path, lost: bool, words: str
) -> None:
    made = trainer(model_folder("llama"), tmp_path / "run", updates=1)
    made.train()
    weights = made.run.step(1) / "adapter_model.safetensors"
    tensors = load_file(weights)
    if lost:
        tensors.pop(min(tensors))
    else:
        tensors["base_model.model.another.lora_A.weight"] = torch.zeros(1)
    save_file(tensors, weights)
    rewrite(made.run.step(1), "state.json", lambda text: text)
    digests = json.loads((weights.parent / "digests.json").read_text())
    digests[weights.name] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (weights.parent / "digests.json").write_text(json.dumps(digests))
    with pytest.raises(CheckpointDamaged, match=words):
        checkpoint.load(made.run.step(1), made.policy)
