"""The warm start as a whole: demonstrations, cloning, and rounds in which solvers go on from where the policy went."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from tiny import PaperEnvironments, make_configuration

from browser_control.configuration import Configuration, WarmStart
from browser_control.errors import Preempted
from browser_control.policy import policy
from browser_control.preemption import Preemption
from browser_control.run_directory import RunDirectory, read_json
from browser_control.training import demonstrations, warm_start
from browser_control.training.demonstrations import Corrections, Demonstration, correct
from browser_control.training.trainer import Trainer

ModelFolder = Callable[[str], Path]
GOAL = 'Enter "Ada" into the text field and press Submit.'


def form(seed: int) -> str:
    return f'"Form {seed}"\ntextbox "" [10]\nbutton "Submit" [20]'


def pressed(taken: list[str]) -> float | None:
    """Over at a click on Submit: won where the field was filled last with the right text."""
    filled = [action for action in taken if action.startswith("fill")]
    if taken[-1] == "click('20')":
        return float(bool(filled) and filled[-1] == "fill('10', 'Ada')")
    return None


class StopAfter(Preemption):
    """Asks to end after so many questions; counts them."""

    def __init__(self, questions: int = 10**9) -> None:
        super().__init__()
        self.left = questions
        self.questions = 0

    def check(self) -> None:
        self.questions += 1
        if self.questions > self.left:
            raise Preempted("stopped by a test")


def settings(rounds: int) -> Configuration:
    return make_configuration(
        policy={"max_prompt_tokens": 2048},
        environment={"sessions": 8, "max_turns": 6},
        warm_start={
            "web_tasks": ["enter-text"],
            "demonstrations": 12,
            "learning_rate": 0.01,
            "batch_size": 8,
            "epochs": 2,
            "dagger_rounds": rounds,
            "dagger_episodes": 10 if rounds else 0,
        },
        training={"web_tasks": ["enter-text"], "updates": 1, "groups": 2},
    )


def run(
    folder: Path, root: Path, rounds: int, preemption: Preemption | None = None
) -> tuple[torch.Tensor, RunDirectory]:
    """Warm start and an update of GRPO; the adapter that they led to."""
    configuration, directory = settings(rounds), RunDirectory(root)
    made = policy.load(configuration, folder)
    environments = PaperEnvironments(8, pressed, form, GOAL)
    Trainer(made, environments, configuration, directory, preemption or Preemption()).train()
    return torch.cat([each.detach().flatten() for each in policy.trainable(made.model)]), directory


def test_rounds_of_dagger_go_on_to_the_end_and_say_what_solvers_solved(
    model_folder: ModelFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, plain = run(model_folder("llama"), tmp_path / "plain", 0)
    before = read_json(plain.warm_start / "state.json")
    assert (before["demonstrations"], before["steps"], before["takeovers"]) == (12, 6, [])
    assert before["seconds"] > 0
    capsys.readouterr()
    _, corrected = run(model_folder("llama"), tmp_path / "corrected", 2)
    state, said = read_json(corrected.warm_start / "state.json"), capsys.readouterr().out
    first, second = (each["enter-text"] for each in state["takeovers"])
    assert first["played"] == second["played"] == 10
    solved = first["solved"], second["solved"]
    assert all(0 < count <= 10 for count in solved)
    assert state["demonstrations"] == 12 + sum(solved)
    assert state["steps"] > 3 * before["steps"]  # each round clones all that there is
    assert said.count("from the policy's states") == 2
    assert corrected.result.exists()


def test_a_share_of_a_round_goes_where_the_policy_failed() -> None:
    asked = WarmStart(
        web_tasks=("a", "b", "c"), demonstrations=3, dagger_rounds=2, dagger_episodes=10, dagger_focus=0.5
    )
    assert warm_start.spread(asked, 10, None) == ["a", "b", "c"] * 3 + ["a"]
    assert warm_start.spread(asked, 4, None, 4) == ["b", "c", "a", "b"]
    nothing_failed = Corrections([], Counter(a=3, b=3, c=3), Counter())
    assert warm_start.spread(asked, 10, nothing_failed) == ["a", "b", "c"] * 3 + ["a"]
    played, failed = Counter(a=30, b=30, c=30), Counter(a=8, b=18, c=30)
    before = Corrections([], played, failed, failed, Counter(a=8, b=18))  # no solver mends c
    assert Counter(warm_start.spread(asked, 10, before)) == {"a": 2 + 2, "b": 2 + 3, "c": 1}


def test_a_round_has_further_demonstrations_on_pages_of_their_own(
    model_folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def noted(web_tasks: Sequence[str], first: int, count: int) -> list[tuple[str, int]]:
        asked.append((first, count))
        return starts(web_tasks, first, count)

    begun: list[int] = []

    def dealt(settings: WarmStart, count: int, before: Corrections | None, begin: int = 0) -> list[str]:
        begun.append(begin)
        return spread(settings, count, before, begin)

    starts, spread = demonstrations._starts, warm_start.spread
    monkeypatch.setattr(demonstrations, "_starts", noted)
    monkeypatch.setattr(warm_start, "spread", dealt)
    configuration = settings(2)
    further = {"dagger_demonstrations": 7, "dagger_focus": 1.0}
    configuration = configuration.model_copy(update={"warm_start": configuration.warm_start.model_copy(update=further)})
    made, directory = policy.load(configuration, model_folder("llama")), RunDirectory(tmp_path / "run")
    environments = PaperEnvironments(8, pressed, form, GOAL)
    Trainer(made, environments, configuration, directory, Preemption()).train()
    state = read_json(directory.warm_start / "state.json")
    mended = sum(each["enter-text"]["solved"] for each in state["takeovers"])
    assert state["demonstrations"] == 12 + mended + 2 * 7
    numbers = [number for first, count in asked for number in range(first, first + count)]
    assert len(numbers) == len(set(numbers)) == 12 + 2 * (10 + 7)
    assert begun == [0, 0, 0, 7]  # of episodes and of further demonstrations, round by round: these go on in turn


def test_a_round_replays_a_share_of_what_was_there_before_and_the_last_one_all() -> None:
    before = [Demonstration("a", seed, ()) for seed in range(10)]
    seeds = [each.seed for each in warm_start.replayed(before, 0.3, 7, 0)]
    assert len(seeds) == 3 and seeds == sorted(seeds)
    assert seeds == [each.seed for each in warm_start.replayed(before, 0.3, 7, 0)]
    assert any(seeds != [each.seed for each in warm_start.replayed(before, 0.3, 7, number)] for number in (1, 2, 3))
    assert warm_start.replayed(before, 1.0, 7, 0) == before


def test_solvers_go_on_only_where_the_policy_lost(model_folder: ModelFolder, tmp_path: Path) -> None:
    configuration = settings(2)
    cheaper = {"dagger_failed_only": True, "dagger_replay": 0.0}
    configuration = configuration.model_copy(update={"warm_start": configuration.warm_start.model_copy(update=cheaper)})
    made, directory = policy.load(configuration, model_folder("llama")), RunDirectory(tmp_path / "run")
    environments = PaperEnvironments(8, pressed, form, GOAL)
    Trainer(made, environments, configuration, directory, Preemption()).train()
    state = read_json(directory.warm_start / "state.json")
    first, second = (each["enter-text"]["solved"] for each in state["takeovers"])
    assert state["demonstrations"] == 12 + first + second
    assert state["steps"] == 6 + 8 + 20  # before all rounds; what is new; all

    def clicked(taken: list[str]) -> float | None:
        """Over after two actions, won where the second is the click on Submit."""
        return float(taken[1] == "click('20')") if len(taken) == 2 else None

    environments, played = PaperEnvironments(8, clicked, form, GOAL), []
    lost = correct(made, environments, ["enter-text"], range(40, 60), 6, 0, played.append, failed_only=True)
    assert lost.played == {"enter-text": 20}
    assert 0 < lost.failed.total() == lost.taken_over.total() < 20
    assert len(lost.demonstrations) <= lost.taken_over.total()
    assert played == list(range(1, 41))  # what was won counts as played twice
    every = correct(made, environments, ["enter-text"], range(40, 60), 6, 0)
    assert (every.failed, every.taken_over.total()) == (lost.failed, 20)


def test_a_page_that_comes_out_otherwise_for_the_solver_is_no_demonstration(model_folder: ModelFolder) -> None:
    configuration = settings(1)
    made = policy.load(configuration, model_folder("llama"))

    def page(seed: int) -> str:
        """Its fields have other ids whenever it is loaded again."""
        first = 10 * [each for _, each in environments.started].count(seed)
        return f'"Form {seed}"\ntextbox "" [{first}]\nbutton "Submit" [{first + 5}]'

    environments = PaperEnvironments(8, lambda taken: 0.0 if len(taken) == 3 else None, page, GOAL)
    found = correct(made, environments, ["enter-text"], range(40, 50), 6, 0)
    assert found.played == found.failed == found.taken_over == {"enter-text": 10}
    assert found.demonstrations == []


def test_what_the_solver_would_have_said_first_is_learned_where_the_policy_said_something_else(
    model_folder: ModelFolder,
) -> None:
    made = policy.load(settings(1), model_folder("llama"))
    environments = PaperEnvironments(8, pressed, form, GOAL)
    found = correct(made, environments, ["enter-text"], range(40, 60), 6, 0)
    whole = [each for each in found.demonstrations if len(each.completions) == 3]
    assert whole, "after the policy's action the field is filled and Submit is clicked"
    for each in whole:
        assert each.completions[0].text == 'fill textbox [10] with "Ada"'
        assert f"Form {each.seed}" in made.tokenizer.decode(each.completions[0].prompt_ids)
        assert "Done:" not in made.tokenizer.decode(each.completions[0].prompt_ids)


def test_a_warm_start_that_was_stopped_anywhere_begins_again_and_ends_the_same(
    model_folder: ModelFolder, tmp_path: Path
) -> None:
    counting = StopAfter()
    whole, _ = run(model_folder("llama"), tmp_path / "whole", 1, counting)
    for number, share in enumerate((0.05, 0.4, 0.6, 0.8)):
        root = tmp_path / f"stopped-{number}"
        with pytest.raises(Preempted):
            run(model_folder("llama"), root, 1, StopAfter(int(share * counting.questions)))
        again, _ = run(model_folder("llama"), root, 1)
        assert torch.equal(again, whole)
