"""Our loss against another implementation's: TRL's, computed by its own trainer on the same samples."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import PAGE

from browser_control.language import prompts
from browser_control.policy.policy import Policy, trainable
from browser_control.policy.sampling import Completion, Request
from browser_control.training import grpo
from browser_control.training.rollout import Episode, Start, Turn

with warnings.catch_warnings():  # what TRL's imports warn of is not ours
    warnings.simplefilter("ignore")
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

MakePolicy = Callable[..., Policy]
CLIP = grpo.Clip(0.2, 0.28)
GROUP = 6
PROMPTS = (prompts.build(PAGE, "Choose yes"), prompts.build('button "b" [7]', "Choose b and nothing else"))


def free_policy(make_policy: MakePolicy) -> Policy:
    return make_policy(
        policy={"decoding": "free", "max_action_tokens": 16},
        training={"temperature": 0.7, "clip": (CLIP.low, CLIP.high)},
    )


def episodes_of_one_turn(policy: Policy) -> list[list[Episode]]:
    """Two groups with different prompts; rewards are as good as random."""
    groups = []
    for number, prompt in enumerate(PROMPTS):
        requests = [Request(prompt, np.random.default_rng([number, member])) for member in range(GROUP)]
        group = [
            Episode(Start("click-button", number, member), [Turn(prompt, completion, True, "")], float(member % 3 == 0))
            for member, completion in enumerate(policy.act(requests))
        ]
        groups.append(group)
    return groups


def step_aside(policy: Policy, distance: float) -> None:
    """Moves the adapter, so that the policy trained is not quite the one that sampled."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in trainable(policy.model):
            parameter += distance * torch.randn(parameter.shape, generator=generator)


def trl_trainer(policy: Policy, folder: Path) -> Any:
    arguments = GRPOConfig(
        output_dir=str(folder),
        loss_type="dr_grpo",
        scale_rewards="none",
        beta=0.0,
        epsilon=CLIP.low,
        epsilon_high=CLIP.high,
        temperature=policy.temperature,
        max_completion_length=policy.settings.max_action_tokens,
        num_generations=GROUP,
        per_device_train_batch_size=len(PROMPTS) * GROUP,
        activation_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
    )
    return GRPOTrainer(
        model=policy.model,
        args=arguments,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        train_dataset=Dataset.from_list([{"prompt": "unused"}]),
        processing_class=policy.tokenizer,
    )


def trl_batch(completions: list[Completion], advantages: list[float]) -> dict[str, torch.Tensor]:
    """TRL's layout: prompts padded on the left, completions on the right."""
    before, after = (
        max(map(len, ids)) for ids in zip(*((c.prompt_ids, c.token_ids) for c in completions), strict=True)
    )
    batch = {name: torch.zeros(len(completions), before, dtype=torch.long) for name in ("prompt_ids", "prompt_mask")}
    batch |= {
        name: torch.zeros(len(completions), after, dtype=torch.long) for name in ("completion_ids", "completion_mask")
    }
    batch["old_per_token_logps"] = torch.zeros(len(completions), after)
    batch["advantages"] = torch.tensor(advantages)
    for row, completion in enumerate(completions):
        prompt, tokens = completion.prompt_ids, completion.token_ids
        batch["prompt_ids"][row, before - len(prompt) :] = torch.tensor(prompt)
        batch["prompt_mask"][row, before - len(prompt) :] = 1
        batch["completion_ids"][row, : len(tokens)] = torch.tensor(tokens)
        batch["completion_mask"][row, : len(tokens)] = 1
        batch["old_per_token_logps"][row, : len(tokens)] = torch.tensor(completion.log_probs)
    return batch


def gradient(policy: Policy) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in trainable(policy.model) if parameter.grad is not None])


@pytest.mark.parametrize("distance", [0.0, 0.1])
def test_loss_and_gradient_are_those_of_trl(make_policy: MakePolicy, tmp_path: Path, distance: float) -> None:
    ours, theirs = free_policy(make_policy), free_policy(make_policy)
    groups = episodes_of_one_turn(ours)
    for policy in (ours, theirs):
        step_aside(policy, distance)
    episodes = [episode for group in groups for episode in group]
    completions = [episode.turns[0].completion for episode in episodes]

    value, decisions = grpo.loss(ours, grpo.samples(groups), len(episodes) * ours.settings.max_action_tokens, CLIP)
    value.backward()

    trainer = trl_trainer(theirs, tmp_path)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    rewards = torch.tensor([[episode.reward for episode in group] for group in groups])
    advantages = (rewards - rewards.mean(1, keepdim=True)).flatten().tolist()
    expected = trainer._compute_loss(trainer.model, trl_batch(completions, advantages))
    expected.backward()

    clipped = ((decisions[0] < 1 - CLIP.low) | (decisions[0] > 1 + CLIP.high)).float().mean()
    assert (0.05 < clipped < 0.5) if distance else (clipped == 0)
    assert gradient(ours).abs().max() > 1e-3
    torch.testing.assert_close(value, expected, atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(gradient(ours), gradient(theirs), atol=1e-7, rtol=1e-4)
