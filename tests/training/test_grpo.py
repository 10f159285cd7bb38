"""GRPO: from episodes to a gradient, each known trap on its own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import PaperEnvironments

from browser_control.errors import EnvironmentFailure
from browser_control.policy.policy import Policy, trainable
from browser_control.policy.sampling import Completion
from browser_control.training import grpo
from browser_control.training.rollout import Episode, Start, play

MakePolicy = Callable[..., Policy]
CLIP = grpo.Clip(0.2, 0.28)


def wants_yes(taken: list[str]) -> float | None:
    """One turn: a click on `yes` is right."""
    return float(taken[-1] == "click('11')")


def play_group(policy: Policy, reward: Callable[[list[str]], float | None], size: int = 8) -> list[Episode]:
    environments = PaperEnvironments(4, reward)
    starts = [Start("click-button", 7, member) for member in range(size)]
    episodes, _ = play(policy, environments, starts, max_turns=3, random_seed=0)
    return episodes


def gradient(policy: Policy, batch: list[grpo.Sample], episodes: int, tokens: int = 256) -> torch.Tensor:
    """The gradient that one update leaves, with a step of no length."""
    optimizer = torch.optim.SGD(trainable(policy.model), lr=0.0)
    grpo.update(
        policy,
        optimizer,
        batch,
        episodes=episodes,
        clip=CLIP,
        max_gradient_norm=1e9,
        tokens_per_micro_batch=tokens,
    )
    return torch.cat([parameter.grad.flatten() for parameter in trainable(policy.model) if parameter.grad is not None])


def test_advantages_are_rewards_less_their_mean() -> None:
    assert grpo.advantages([1.0, 0.0, None, 1.0, 0.0]) == [0.5, -0.5, None, 0.5, -0.5]


def test_an_unscorable_episode_is_in_no_mean_and_in_no_sample(make_policy: MakePolicy) -> None:
    calls = 0

    def fails_once(taken: list[str]) -> float | None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise EnvironmentFailure("the browser died")
        return float(calls % 2)

    episodes = play_group(make_policy(), fails_once)
    [failed] = [episode for episode in episodes if episode.reward is None]
    assert failed.failure == "the browser died"
    assert sum(sample.count for sample in grpo.samples([episodes])) == 7


def test_a_group_without_differences_gives_no_gradient(make_policy: MakePolicy) -> None:
    policy = make_policy()
    episodes = play_group(policy, lambda taken: 1.0)
    assert not grpo.has_signal(episodes)
    assert not gradient(policy, grpo.samples([episodes]), 8).any()


def test_ratios_are_one_on_policy(make_policy: MakePolicy) -> None:
    policy = make_policy()
    optimizer = torch.optim.SGD(trainable(policy.model), lr=0.0)
    statistics = grpo.update(
        policy,
        optimizer,
        grpo.samples([play_group(policy, wants_yes)]),
        episodes=8,
        clip=CLIP,
        max_gradient_norm=1.0,
        tokens_per_micro_batch=100,
    )
    assert statistics.ratio_min == pytest.approx(1, abs=1e-4)
    assert statistics.ratio_max == pytest.approx(1, abs=1e-4)


def test_members_of_a_group_saw_the_same_page(make_policy: MakePolicy) -> None:
    environments = PaperEnvironments(4, wants_yes, page=lambda seed: f'button "b{seed}" [11]\nbutton "no" [12]')
    starts = [Start("click-button", seed, member) for seed in (1, 2) for member in range(4)]
    episodes, _ = play(make_policy(), environments, starts, max_turns=1, random_seed=0)
    for group in grpo.groups_of(episodes):
        assert len({episode.turns[0].prompt for episode in group}) == 1


def test_an_episode_of_several_turns_trains_on_exactly_what_was_generated(make_policy: MakePolicy) -> None:
    policy = make_policy()
    episodes = play_group(policy, lambda taken: None if len(taken) < 3 else float(len(set(taken)) > 1))
    generated = [turn.completion for episode in episodes for turn in episode.turns]
    batch = grpo.samples([episodes])
    assert {len(episode.turns) for episode in episodes} == {3}
    assert {(each.prompt_ids, each.token_ids) for each in generated} == {
        (sample.completion.prompt_ids, sample.completion.token_ids) for sample in batch
    }
    for later in (episode.turns[1] for episode in episodes):
        done = policy.tokenizer.decode(list(later.completion.prompt_ids))
        assert "Done: " in done  # its own prompt, which names what was done, and no other turn's completion behind it


def test_equal_samples_computed_once_give_the_gradient_of_all(make_policy: MakePolicy) -> None:
    policy = make_policy()
    episodes = play_group(policy, wants_yes, size=16)
    merged = grpo.samples([episodes])
    repeated = [
        grpo.Sample(turn.completion, max(advantage, 0.0), min(advantage, 0.0))
        for episode, advantage in zip(episodes, grpo.advantages([each.reward for each in episodes]), strict=True)
        for turn in episode.turns
        if advantage is not None
    ]
    assert len(merged) < len(repeated)
    once, every = gradient(policy, merged, 16), gradient(policy, repeated, 16)
    assert every.abs().max() > 0
    torch.testing.assert_close(once, every, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "lfm2"])
def test_micro_batches_do_not_change_the_gradient(make_policy: MakePolicy, architecture: str) -> None:
    policy = make_policy(architecture)
    pages = [f'button "b{number}" [11]\nbutton "no" [12]\ntextbox [13]' for number in range(4)]
    environments = PaperEnvironments(4, wants_yes, page=lambda seed: pages[seed])
    starts = [Start("click-button", seed, member) for seed in range(4) for member in range(6)]
    batch = grpo.samples(grpo.groups_of(play(policy, environments, starts, max_turns=2, random_seed=0)[0]))
    rows = grpo.rows(policy, batch)
    whole, small = (list(grpo.micro_batches(policy, rows, tokens)) for tokens in (10**6, 128))
    assert len(whole) == 1 < len(small)
    assert sorted(id(sample) for chunk in small for sample in chunk.samples) == sorted(map(id, batch))
    together, apart = (gradient(policy, batch, 24, tokens) for tokens in (10**6, 128))
    torch.testing.assert_close(together, apart, atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_on_a_gradient_that_is_not_finite_changes_nothing(fused: bool) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=fused)
    found = []
    for gradient in ([1.0, 1.0, 1.0], [1.0, float("nan"), 1.0], [1.0, float("inf"), 1.0], [1.0, 1.0, 1.0]):
        weight.grad = torch.tensor(gradient)
        grpo.clipped_step(optimizer, [weight], 10.0)
        found.append(weight.detach().clone())
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert (found[0] < 1).all() and (found[3] < found[0]).all()
    assert optimizer.state[weight]["step"] == 2


class InARow:
    """Reads what shares no prompt in a single row of at most so many tokens."""

    row_tokens = 1000
    branches = False


def test_a_row_is_filled_by_the_sum_of_its_lengths() -> None:
    lengths = [700, 100, 100, 100, 100]
    rows = [[grpo.Sample(made_up(length), 1.0, 0.0)] for length in lengths]
    found = list(grpo.micro_batches(InARow(), rows, 10**6))  # type: ignore[arg-type]
    assert [len(each.samples) for each in found] == [4, 1]
    assert all(each.share is False for each in found)


def made_up(length: int) -> Completion:
    return Completion(tuple(range(length)), (1,), (0,), (None,), (0.0,), "")


def test_the_gradient_of_two_arms_is_the_analytic_one(make_policy: MakePolicy) -> None:
    """Two buttons, one right, one decision: d log p = (1 - p) dl and d log (1 - p) = -p dl, with l the logits' gap."""
    policy = make_policy(policy={"actions": ["click"]})
    environments = PaperEnvironments(4, wants_yes, page=lambda seed: 'button "yes" [11]\nbutton "no" [12]')
    starts = [Start("click-button", 7, member) for member in range(32)]
    episodes, _ = play(policy, environments, starts, max_turns=3, random_seed=0)
    right = next(episode for episode in episodes if episode.success).turns[0].completion
    wrong = next(episode for episode in episodes if not episode.success).turns[0].completion
    [decision] = right.decisions
    assert wrong.decisions == right.decisions and wrong.token_ids[:decision] == right.token_ids[:decision]
    found = gradient(policy, grpo.samples([episodes]), 32)

    read = torch.tensor([right.prompt_ids + right.token_ids[:decision]])
    logits = policy.model(input_ids=read).logits[0, -1]  # of the whole model, without anything of ours
    gap = (logits[right.token_ids[decision]] - logits[wrong.token_ids[decision]]) / policy.temperature
    p = torch.sigmoid(gap).item()
    won = sum(episode.success for episode in episodes)
    assert 0 < won < 32
    mean = won / 32
    ascent = won * (1 - mean) * (1 - p) + (32 - won) * (0 - mean) * -p
    slopes = torch.autograd.grad(gap, trainable(policy.model))
    expected = -ascent / (32 * policy.settings.max_action_tokens) * torch.cat([each.flatten() for each in slopes])
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize(
    ("ratio", "positive", "negative", "expected"),
    [
        (1.0, 2.0, -1.0, 1.0),
        (2.0, 1.0, 0.0, 1.28),
        (2.0, 0.0, -1.0, -2.0),
        (0.5, 0.0, -1.0, -0.8),
        (0.5, 1.0, 0.0, 0.5),
    ],
)
def test_the_surrogate_clips_only_what_would_go_too_far(
    ratio: float, positive: float, negative: float, expected: float
) -> None:
    value = grpo.surrogate(torch.tensor([ratio]), torch.tensor([positive]), torch.tensor([negative]), CLIP)
    assert value.item() == pytest.approx(expected)


def test_the_same_seed_gives_the_same_episodes(make_policy: MakePolicy) -> None:
    def texts(**changes: Any) -> list[str]:
        environments = PaperEnvironments(4, wants_yes)
        starts = [replace(Start("click-button", 7, member), **changes) for member in range(8)]
        episodes, _ = play(make_policy(), environments, starts, max_turns=2, random_seed=3)
        return [turn.completion.text for episode in episodes for turn in episode.turns]

    assert texts() == texts()
    assert texts() != texts(seed=8)
