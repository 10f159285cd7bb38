"""What opposes collapse, each switch by its mathematics; and that with all of them a stopped run ends as any other."""

import json
import math
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import PaperEnvironments, make_configuration

from browser_control.configuration import OFF, OFF_POLICY, OFF_WARM_START, TRAINING_SEEDS, Configuration, Training
from browser_control.environment.client import Observation
from browser_control.errors import Preempted
from browser_control.language import prompts
from browser_control.policy import policy as policies
from browser_control.policy.policy import Policy, trainable
from browser_control.policy.sampling import Completion, Request, distribution, entropies
from browser_control.preemption import Preemption
from browser_control.run_directory import RunDirectory
from browser_control.training import grpo, schedule
from browser_control.training.held_out import Draws
from browser_control.training.rollout import Episode, Start, Turn, play
from browser_control.training.trainer import Trainer
from browser_control.training.web_task_sampler import WebTaskSampler

MakePolicy = Callable[..., Policy]
CLIP = grpo.Clip(0.2, 0.28)
ARMS = 'button "yes" [11]\nbutton "no" [12]'
ALL: dict[str, Any] = {
    "baseline": "state",
    "decay": "linear",
    "entropy": 0.05,
    "first_turns": 1,
    "first_turns_updates": 2,
    "imitation": 0.5,
    "silent_temperature": 2.0,
}


class Arms:
    """A page of two buttons, each one decision; and what the whole model, without anything of ours, says of them."""

    def __init__(self, make_policy: MakePolicy, temperature: float | None = None) -> None:
        self.policy = make_policy(policy={"actions": ["click"]})
        environments = PaperEnvironments(4, lambda taken: float(taken[-1] == "click('11')"), page=lambda seed: ARMS)
        starts = [Start("click-button", 7, member, temperature) for member in range(32)]
        self.episodes, _ = play(self.policy, environments, starts, max_turns=3, random_seed=0)
        self.yes = next(each for each in self.episodes if each.success).turns[0].completion
        self.no = next(each for each in self.episodes if not each.success).turns[0].completion
        [decision] = self.yes.decisions
        read = torch.tensor([self.yes.prompt_ids + self.yes.token_ids[:decision]])
        logits = self.policy.model(input_ids=read).logits[0, -1]
        self.gap = logits[self.yes.token_ids[decision]] - logits[self.no.token_ids[decision]]

    def p(self, temperature: float = 1.0) -> float:
        """Probability of `yes`."""
        return torch.sigmoid(self.gap / temperature).item()

    def slopes(self) -> torch.Tensor:
        """Of the logits' gap, by all weights."""
        found = torch.autograd.grad(self.gap, trainable(self.policy.model), retain_graph=True)
        return torch.cat([each.flatten() for each in found])

    def group(self, wins: int, losses: int) -> list[Episode]:
        """Episodes of which so many won and so many lost."""
        won = [each for each in self.episodes if each.success]
        lost = [each for each in self.episodes if not each.success]
        return [won[number % len(won)] for number in range(wins)] + [lost[0]] * losses

    def gradient(self, batch: list[grpo.Sample], entropy: float = 0.0) -> torch.Tensor:
        """Of the loss with a normaliser of 1."""
        self.policy.model.zero_grad(set_to_none=True)
        grpo.loss(self.policy, batch, 1.0, CLIP, entropy)[0].backward()  # type: ignore[no-untyped-call]
        return torch.cat([each.grad.flatten() for each in trainable(self.policy.model) if each.grad is not None])


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.abs().max() > 1e-5
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


# ---------------------------------------------------------------- entropy


def test_entropy_is_that_of_what_is_admitted_and_its_gradient_is_finite() -> None:
    logits = torch.tensor([[0.0, 2.0, 5.0, 1.0]], requires_grad=True)
    admitted = np.array([0b1011], dtype=np.int32)
    found = entropies(distribution(logits, [admitted], [2.0]))
    weights = np.exp(np.array([0.0, 1.0, 0.5]))
    shares = weights / weights.sum()
    assert found.item() == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-5)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and torch.isfinite(logits.grad).all() and logits.grad[0, 2] == 0


def test_the_gradient_of_the_entropy_of_two_arms_is_the_analytic_one(make_policy: MakePolicy) -> None:
    """H = -p ln p - (1-p) ln(1-p), so that dH/dl = -l p (1-p), with l the logits' gap."""
    arms = Arms(make_policy)
    group = arms.group(wins=0, losses=8)  # which does not differ: nothing but the entropy is left
    p = arms.p()
    slope = 8 * -arms.gap.item() * p * (1 - p)
    close(arms.gradient(grpo.samples([group]), entropy=0.3), -0.3 * slope * arms.slopes())


def test_the_entropy_is_added_to_what_the_advantages_say(make_policy: MakePolicy) -> None:
    arms = Arms(make_policy)
    batch = grpo.samples([arms.group(wins=3, losses=5)])
    p = arms.p()
    slope = 8 * -arms.gap.item() * p * (1 - p)
    close(arms.gradient(batch, entropy=0.3), arms.gradient(batch) - 0.3 * slope * arms.slopes())


# ---------------------------------------------------------------- temperature of silent web tasks


def test_what_was_sampled_at_another_temperature_is_trained_at_it(make_policy: MakePolicy) -> None:
    arms = Arms(make_policy, temperature=3.0)
    assert math.exp(arms.yes.log_probs[0]) == pytest.approx(arms.p(3.0), rel=1e-4)
    assert abs(arms.p(3.0) - arms.p()) > 0.01
    usual = Arms(make_policy)
    batch = grpo.samples([usual.group(3, 5), arms.group(2, 6)])
    assert len(batch) == 4  # equal words at two temperatures are two samples
    _, seen = grpo.loss(arms.policy, batch, 1.0, CLIP)
    torch.testing.assert_close(seen[0], torch.ones(4), atol=1e-5, rtol=0)


def test_the_gradient_at_another_temperature_is_the_analytic_one(make_policy: MakePolicy) -> None:
    arms = Arms(make_policy, temperature=3.0)
    p = arms.p(3.0)
    ascent = (3 * (1 - 3 / 8) * (1 - p) + 5 * (0 - 3 / 8) * -p) / 3.0
    close(arms.gradient(grpo.samples([arms.group(3, 5)])), -ascent * arms.slopes())


def test_draws_follow_the_temperature_of_their_request(make_policy: MakePolicy) -> None:
    arms = Arms(make_policy)
    prompt = arms.episodes[0].turns[0].prompt
    for temperature in (0.25, 4.0):
        asked = [Request(prompt, np.random.default_rng(number), temperature) for number in range(1000)]
        drawn = arms.policy.act([*asked, Request(prompt, np.random.default_rng(0))])[:-1]  # with another beside them
        share = sum(each.token_ids == arms.yes.token_ids for each in drawn) / 1000
        assert share == pytest.approx(arms.p(temperature), abs=0.05)


def test_a_web_task_is_silent_when_its_groups_ceased_to_differ_before_it_was_solved() -> None:
    sampler = WebTaskSampler(["failing", "solved", "new", "differing"], 0)
    for _ in range(12):
        sampler.learn("failing", [0.0] * 8, 1)
        sampler.learn("solved", [1.0] * 8, 1)
        sampler.learn("differing", [0.0, 1.0] * 4, 1)
    silent = {name: sampler.silent(name) for name in sampler.web_tasks}
    assert silent == {"failing": True, "solved": False, "new": False, "differing": False}
    sampler.learn("failing", [1.0] * 2 + [0.0] * 6, 1)
    assert not sampler.silent("failing")


# ---------------------------------------------------------------- imitation


@pytest.mark.parametrize(
    ("rewards", "rare"),
    [
        ([1, 0, 0, 0, 0, 0, 0, 0], [0]),
        ([0, 1, 1, 0, 0, 0, 0, 0], [1, 2]),
        ([1, 1, 1, 0, 0, 0, 0, 0], []),
        ([0, 0, 0, 0], []),
        ([1, 0, None], [0]),
        ([1, None], []),  # nobody lost
        ([1, 1], []),
    ],
)
def test_winners_are_rare_where_at_most_a_quarter_won(rewards: list[float | None], rare: list[int]) -> None:
    group = [Episode(Start("one", 1), reward=reward) for reward in rewards]
    assert [index for index, found in enumerate(grpo.rare_winners(group)) if found] == rare


def test_imitation_adds_the_cross_entropy_of_rare_winners(make_policy: MakePolicy) -> None:
    arms = Arms(make_policy)
    group = arms.group(wins=2, losses=6)
    ascent = 0.7 * 2 * (1 - arms.p())
    imitated = arms.gradient(grpo.samples([group], imitation=0.7))
    close(imitated, arms.gradient(grpo.samples([group])) - ascent * arms.slopes())
    many = arms.group(wins=3, losses=5)
    assert grpo.samples([many], imitation=0.7) == grpo.samples([many])


def test_imitation_goes_on_where_the_ratio_is_clipped(make_policy: MakePolicy) -> None:
    arms = Arms(make_policy)
    unlikely = Completion(**{**vars(arms.yes), "log_probs": (arms.yes.log_probs[0] - 2.0,)})  # the ratio is e^2
    assert not arms.gradient([grpo.Sample(unlikely, 1.0, 0.0)]).any()
    close(arms.gradient([grpo.Sample(unlikely, 1.0, 0.0, 1, 0.7)]), -0.7 * (1 - arms.p()) * arms.slopes())


# ---------------------------------------------------------------- baseline of a state


def episode(reward: float | None, pages: Iterable[str]) -> Episode:
    """One that saw these pages, and whose prompts say what was done before, which differs from member to member."""
    made, memory = Episode(Start("one", 1), reward=reward), prompts.Memory()
    for number, page in enumerate(pages):
        said = Completion((len(memory.done), *page.encode()), (number,), (0,), (None,), (-1.0,), "")
        made.turns.append(Turn(prompts.build(f'button "{page}" [1]', "Go", memory), said, True, ""))
        memory.done.append(f"something else {reward} {id(made)}")
    return made


def test_turns_are_compared_with_the_members_that_saw_their_page_in_the_same_turn() -> None:
    group = [
        episode(1.0, ["start", "a", "end"]),
        episode(0.0, ["start", "a", "b"]),
        episode(0.0, ["start", "c"]),
        episode(1.0, ["start", "end", "a"]),  # pages of others, in other turns
        episode(None, ["start", "c"]),  # unscorable: in no mean
    ]
    alone = 0.5
    assert grpo.advantages_by_state(group) == [
        [0.5, 0.5, alone],
        [-0.5, -0.5, -alone],
        [-0.5, -alone],
        [0.5, alone, alone],
        [],
    ]
    group[2].reward = 1.0
    assert grpo.advantages_by_state(group)[:2] == [[0.25, 0.5, 0.25], [-0.75, -0.5, -0.75]]


def test_a_state_whose_members_all_ended_alike_teaches_nothing() -> None:
    group = [episode(0.0, ["start", "lost"]), episode(0.0, ["start", "lost"]), episode(1.0, ["start", "won"])]
    by_state = grpo.samples([group], "state")
    lost = next(each for each in by_state if each.completion.token_ids == (1,))
    assert (lost.positive, lost.negative) == (0.0, 0.0)
    usual = grpo.samples([group])
    assert all(each.negative < 0 or each.positive > 0 for each in usual)


def test_of_episodes_of_one_turn_both_baselines_make_the_same(make_policy: MakePolicy) -> None:
    group = Arms(make_policy).group(3, 5)
    assert grpo.samples([group], "state") == grpo.samples([group])


# ---------------------------------------------------------------- what changes from update to update


def settings(**changes: Any) -> Training:
    return Training(web_tasks=("one",), learning_rate=0.1, **{"updates": 8, **changes})


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({}, [1] * 8),
        ({"warmup_updates": 3}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"decay": "linear"}, [1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ({"decay": "linear", "warmup_updates": 4}, [0.2, 0.4, 0.6, 0.8, 1, 0.75, 0.5, 0.25]),
        ({"decay": "cosine", "updates": 4}, [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
    ],
)
def test_the_learning_rate_rises_and_falls(changes: dict[str, Any], rates: list[float]) -> None:
    found = [schedule.learning_rate(settings(**changes), update) for update in range(len(rates))]
    assert found == pytest.approx([0.1 * rate for rate in rates])


def test_turns_grow_evenly_to_those_of_the_environment() -> None:
    growing = settings(first_turns=2, first_turns_updates=4)
    assert [schedule.max_turns(growing, 10, update) for update in range(7)] == [2, 4, 6, 8, 10, 10, 10]
    assert schedule.max_turns(settings(), 10, 0) == 10
    assert schedule.max_turns(settings(first_turns=20, first_turns_updates=4), 10, 2) == 10


# ---------------------------------------------------------------- runs


class Forking(PaperEnvironments):
    """Two turns; the second page says which button was clicked on the first."""

    def __init__(self) -> None:
        super().__init__(8, lambda taken: None if len(taken) < 2 else float("click('11')" in taken))

    def _answer(self, session: int, reward: float | None) -> "Future[Observation]":
        answer = super()._answer(session, reward)
        clicked: Future[Observation] = Future()
        taken = "".join(filter(str.isdigit, "".join(self._taken[session])))
        text = f'{answer.result().text}\n"Clicked {taken}."'
        clicked.set_result(replace(answer.result(), text=text))
        return clicked


def trainer(folder: Path, root: Path, preemption: Preemption | None = None, **changes: Any) -> Trainer:
    configuration = make_configuration("llama", training=changes)
    made = policies.load(configuration, folder)
    return Trainer(made, Forking(), configuration, RunDirectory(root), preemption or Preemption())


def weights(made: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainable(made.policy.model)])


def metrics(made: Trainer, name: str) -> list[float]:
    return [json.loads(line)[name] for line in made.run.metrics.read_text().splitlines()]


class StopAfter(Preemption):
    """Asks to end after so many questions."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self.left = questions

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Preempted("stopped by a test")


@pytest.mark.parametrize("questions", [30, 45])
def test_with_all_switches_a_stopped_run_continues_to_the_same_adapter(
    model_folder: Callable[[str], Path], tmp_path: Path, questions: int
) -> None:
    whole = trainer(model_folder("llama"), tmp_path / "whole", **ALL)
    whole.train()
    with pytest.raises(Preempted):
        trainer(model_folder("llama"), tmp_path / "run", StopAfter(questions), **ALL).train()
    continued = trainer(model_folder("llama"), tmp_path / "run", **ALL)
    assert len(continued.run.steps()) > 0
    continued.train()
    assert torch.equal(weights(continued), weights(whole))
    assert metrics(whole, "rollout/turns")[0] == 1 < metrics(whole, "rollout/turns")[-1]
    assert metrics(whole, "train/learning_rate") == pytest.approx([0.01, 0.0075, 0.005, 0.0025])


def test_each_switch_changes_what_is_learnt(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    def learnt(**changes: Any) -> torch.Tensor:
        made = trainer(model_folder("llama"), tmp_path / "-".join(["run", *changes]), updates=3, **changes)
        for _ in range(8):
            made.sampler.learn("click-button", [0.0] * 4, 2)  # so that it is silent
        made.train()
        return weights(made)

    plain = learnt()
    assert torch.equal(learnt(**OFF), plain)
    together = ({"first_turns": 1, "first_turns_updates": 9},)
    apart = tuple({name: value} for name, value in ALL.items() if not name.startswith("first_turns"))
    for changes in (*together, *apart):
        assert not torch.equal(learnt(**changes), plain), changes


def test_where_no_group_differs_the_entropy_still_rises(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    found = []
    for entropy in (0.0, 0.5):
        made = trainer(model_folder("llama"), tmp_path / str(entropy), entropy=entropy, updates=3)
        made.environments = PaperEnvironments(8, lambda taken: 0.0, page=lambda seed: ARMS)
        made.pages = Draws(made.environments, TRAINING_SEEDS)
        made.train()
        prompt = prompts.build(ARMS, "Choose yes")
        [said] = made.policy.act([Request(prompt)])
        found.append(made.policy.log_probs_and_entropies([said])[1].sum().item())
    assert found[1] > found[0]


def test_a_switch_that_is_off_is_no_part_of_what_names_a_run() -> None:
    plain: Configuration = make_configuration()
    off = {"training": dict(OFF), "warm_start": dict(OFF_WARM_START), "policy": dict(OFF_POLICY)}
    assert make_configuration(**off).digest == plain.digest
    assert make_configuration(policy={"remembered": 5}).digest != plain.digest
    others = {make_configuration(training={name: value}).digest for name, value in apart()}
    assert plain.digest not in others and len(others) == len(list(apart()))


def apart() -> Iterable[tuple[str, Any]]:
    return [(name, value) for name, value in ALL.items() if not name.startswith("first_turns")]
