"""GRPO, from episodes to a gradient.

    rollout -> advantage -> samples -> loss

Group relative policy optimization (Shao et al. 2024, arXiv:2402.03300) with the corrections that later work showed to
matter:

* One sample a turn, with the ids, masks and log-probabilities that were sampled; an episode's advantage counts for
  each of its turns. Never a concatenation of turns, which no policy ever generated.
* The normaliser counts all groups that were asked for: where few of them differ, the step is small.
* Advantage = reward - mean of the group. No division by the group's deviation and a constant normaliser instead of
  each sample's length (Dr. GRPO, arXiv:2503.20783).
* A group whose rewards are all equal carries no signal: it is dropped, and another is played (DAPO, arXiv:2503.14476).
* An episode that the environment failed is unscorable: it is in no mean and in no gradient.
* The upper clip may be wider than the lower (DAPO). With one optimizer step a rollout the ratio is 1 up to rounding.
* Equal samples are computed once: the sum of their losses depends only on the sums of their positive and of their
  negative advantages.

Switches against collapse, each off by default (`configuration.Training`):

* `baseline: state`: the advantage of a turn is taken within the members that saw this page in this turn, where they are
  several (the step-level groups of GiGPO, arXiv:2505.10978); a baseline that depends on the state alone has no bias.
* `entropy`: each decision's entropy, exact over what was admitted there, is added to its objective.
* `imitation`: the decisions of rare winners are cloned besides (after self-imitation, arXiv:1806.05635): a plain
  cross-entropy, without ratio and clip.
* `silent_temperature`: samples carry the temperature they were drawn at, and ratios are taken at it.

For episodes of one turn this is the loss of TRL's GRPOTrainer with loss_type="dr_grpo", scale_rewards="none", beta=0
and max_completion_length=max_action_tokens, without any factor (tests/policy/test_trl.py). TRL divides by its
sequences x max_completion_length; here it is episodes x max_action_tokens, however many turns, each a sample of its
own, an episode took. The gap that is left is the action tree: tokens that it forces have no loss here.

Left out on purpose: a KL term and a reference model (nothing here is preference data), a value function, and several
epochs over one rollout.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from math import isfinite
from typing import Literal

import torch
from torch import Tensor

from browser_control.policy import packing, tree
from browser_control.policy.policy import Policy
from browser_control.policy.sampling import Completion
from browser_control.training.parallel import ALONE, Alone
from browser_control.training.rollout import Episode

Baseline = Literal["group", "state"]


@dataclass(frozen=True)
class Sample:
    """One completion to train on, and the advantages of all the turns that generated exactly it.

    `positive` and `negative` are the sums of their positive and of their negative advantages; `count` is their number,
    `imitated` the sum of the weights with which they are cloned.
    """

    completion: Completion
    positive: float
    negative: float
    count: int = 1
    imitated: float = 0.0


@dataclass(frozen=True)
class Clip:
    """Bounds of the importance ratio: [1 - low, 1 + high]."""

    low: float
    high: float


@dataclass(frozen=True)
class UpdateStatistics:
    """What one update did, for the log.

    `tokens` are those that were read, a shared prompt's once; `stepped` is false where the gradient was not finite, and
    the weights are as before.
    """

    samples: int
    unique_samples: int
    tokens: int
    decisions: int
    ratio_min: float
    ratio_mean: float
    ratio_max: float
    log_prob_gap: float
    gradient_norm: float
    entropy_proxy: float
    stepped: bool


def advantages(rewards: Sequence[float | None]) -> list[float | None]:
    """Reward - mean of the group's scorable episodes; None stays None."""
    scored = [reward for reward in rewards if reward is not None]
    mean = sum(scored) / len(scored) if scored else 0.0
    return [None if reward is None else reward - mean for reward in rewards]


def advantages_by_state(group: Sequence[Episode]) -> list[list[float]]:
    """Of each turn of each episode: reward - mean of the members that saw its page in the same turn.

    Where no other member did, the group's mean stands in. An unscorable episode has no turns here.
    """
    reached: dict[tuple[int, str], list[float]] = {}
    for episode in group:
        for number, turn in enumerate(episode.turns if episode.reward is not None else ()):
            reached.setdefault((number, turn.prompt.page), []).append(episode.reward or 0.0)

    def advantage(number: int, page: str, reward: float, alone: float) -> float:
        rewards = reached[number, page]
        return alone if len(rewards) == 1 else reward - sum(rewards) / len(rewards)

    return [
        []
        if episode.reward is None or alone is None
        else [advantage(number, turn.prompt.page, episode.reward, alone) for number, turn in enumerate(episode.turns)]
        for episode, alone in zip(group, advantages([each.reward for each in group]), strict=True)
    ]


def rare_winners(group: Sequence[Episode]) -> list[bool]:
    """Which episodes won, where they are at most a quarter of the scorable ones, or the only one."""
    won = [(episode.reward or 0.0) > 0 for episode in group]
    scored = sum(episode.reward is not None for episode in group)
    return won if sum(won) <= max(1, scored // 4) < scored else [False] * len(group)


def has_signal(group: Sequence[Episode]) -> bool:
    """Whether any two scorable episodes of the group differ in reward."""
    return len({episode.reward for episode in group if episode.reward is not None}) > 1


def samples(groups: Iterable[Sequence[Episode]], baseline: Baseline = "group", imitation: float = 0.0) -> list[Sample]:
    """Every turn of every scorable episode, equal ones merged, in order of first appearance.

    Args:
        groups: episodes that share web task and seed.
        baseline: what an episode's reward is compared with.
        imitation: weight with which `rare_winners` are cloned.
    """
    merged: dict[tuple[tuple[int, ...], tuple[int, ...], float | None], Sample] = {}
    for group in groups:
        for episode, by_turn, rare in zip(group, _by_turn(group, baseline), rare_winners(group), strict=True):
            for turn, advantage in zip(episode.turns, by_turn, strict=False):  # none where it is unscorable
                said = turn.completion
                key = (said.prompt_ids, said.token_ids, said.temperature)
                known = merged.get(key, Sample(said, 0.0, 0.0, 0))
                merged[key] = Sample(
                    known.completion,
                    known.positive + max(advantage, 0.0),
                    known.negative + min(advantage, 0.0),
                    known.count + 1,
                    known.imitated + imitation * rare,
                )
    return [sample for sample in merged.values() if sample.completion.decisions]


def _by_turn(group: Sequence[Episode], baseline: Baseline) -> list[list[float]]:
    if baseline == "state":
        return advantages_by_state(group)
    found = advantages([each.reward for each in group])
    return [
        [] if advantage is None else [advantage] * len(each.turns) for each, advantage in zip(group, found, strict=True)
    ]


def surrogate(ratios: Tensor, positive: Tensor, negative: Tensor, clip: Clip) -> Tensor:
    """The clipped objective of each decision (Schulman et al. 2017), summed over the turns it stands for.

    Args:
        ratios: probability now over probability when sampled, shape (decisions,).
        positive: sums of positive advantages, same shape.
        negative: sums of negative advantages, same shape.
    """
    return positive * ratios.clamp(max=1 + clip.high) + negative * ratios.clamp(min=1 - clip.low)


def update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Sample],
    *,
    episodes: int,
    clip: Clip,
    max_gradient_norm: float,
    tokens_per_micro_batch: int,
    entropy: float = 0.0,
    before_micro_batch: Callable[[], None] = lambda: None,
    processes: Alone = ALONE,
) -> UpdateStatistics:
    """One optimizer step on `batch`, which all `processes` know and share out among them.

    The loss is the negated sum of all decisions' objectives over `episodes` x the longest completion allowed: a
    constant, so that neither long nor rare completions are favoured. `episodes` are all that an update asks for, also
    those whose groups did not differ. A gradient that is not finite changes nothing.
    """
    normaliser = episodes * policy.settings.max_action_tokens
    optimizer.zero_grad(set_to_none=True)
    laid = rows(policy, batch)
    share = processes.share(laid)

    def descend() -> Tensor:
        seen = [torch.empty(3, 0, device=policy.device)]
        for micro_batch in micro_batches(policy, share, tokens_per_micro_batch):
            before_micro_batch()
            value, decisions = loss(policy, micro_batch.samples, normaliser, clip, entropy, micro_batch.share)
            value.backward()  # type: ignore[no-untyped-call]
            seen.append(decisions)
        return torch.cat(seen, dim=1).cpu()

    seen = torch.cat(processes.together(descend), dim=1)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    processes.sum_gradients(parameters)
    norm = clipped_step(optimizer, parameters, max_gradient_norm)
    # as one process reads them: of several each may read again what another one does, and figures shall not differ
    read = sum(micro_batch.tokens for micro_batch in micro_batches(policy, laid, tokens_per_micro_batch))
    return _statistics(batch, read, seen, float(norm))


def clipped_step(
    optimizer: torch.optim.Optimizer, parameters: Sequence[torch.nn.Parameter], max_gradient_norm: float
) -> Tensor:
    """Clips the gradient and takes a step, unless the gradient is not finite; returns its norm.

    On a GPU nothing waits for the norm: the fused kernel is told, as a gradient scaler would tell it.
    """
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_gradient_norm)
    if optimizer.param_groups[0].get("fused"):
        optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        optimizer.step()
    elif torch.isfinite(norm):
        optimizer.step()
    return norm


def loss(
    policy: Policy,
    batch: Sequence[Sample],
    normaliser: float,
    clip: Clip,
    entropy: float = 0.0,
    share: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """The part of `batch` in the loss, and what is worth knowing of its decisions; `share`: see `Policy.log_probs`.

    A decision's objective is the surrogate, the log-probability times the sample's `imitated`, and its entropy times
    `entropy` and the sample's `count`.

    Returns:
        The negated sum of all decisions' objectives over `normaliser`, a scalar with gradient; and the ratio, the
        distance of the trainer's log-probability from the sampler's, and the surprise when sampled of each decision,
        shape (3, decisions).
    """
    log_probs, entropies = _log_probs(policy, batch, entropy, share)
    sampled, positive, negative, imitated, count = _per_decision(batch, log_probs.device).unbind(1)
    ratio = torch.exp(log_probs - sampled)
    objective = surrogate(ratio, positive, negative, clip)
    if any(sample.imitated for sample in batch):
        objective = objective + imitated * log_probs
    if entropies is not None:
        objective = objective + entropy * count * entropies
    value = -objective.sum() / normaliser
    return value, torch.stack([ratio.detach(), (log_probs.detach() - sampled).abs(), -sampled])


def _log_probs(
    policy: Policy, batch: Sequence[Sample], entropy: float, share: bool | None
) -> tuple[Tensor, Tensor | None]:
    completions = [sample.completion for sample in batch]
    if entropy:
        return policy.log_probs_and_entropies(completions, share)
    return policy.log_probs(completions, share), None


def _statistics(batch: Sequence[Sample], tokens: int, decisions: Tensor, gradient_norm: float) -> UpdateStatistics:
    ratios, gaps, surprise = decisions
    return UpdateStatistics(
        samples=sum(sample.count for sample in batch),
        unique_samples=len(batch),
        tokens=tokens,
        decisions=ratios.numel(),
        ratio_min=ratios.min().item(),
        ratio_mean=ratios.mean().item(),
        ratio_max=ratios.max().item(),
        log_prob_gap=gaps.mean().item(),
        gradient_norm=gradient_norm,
        entropy_proxy=surprise.mean().item(),
        stepped=isfinite(gradient_norm),
    )


def rows(policy: Policy, batch: Sequence[Sample]) -> list[list[Sample]]:
    """What the policy reads in one row each, the longest first."""
    laid = policy.rows([sample.completion for sample in batch])
    return sorted(([batch[index] for index in row] for row in laid), key=lambda row: -_length(row))


@dataclass(frozen=True)
class MicroBatch:
    """What is computed at once.

    `share` is that of `Policy.log_probs`, `tokens` are those that are read, without padding.
    """

    samples: list[Sample]
    share: bool | None
    tokens: int


def micro_batches(policy: Policy, rows: Sequence[Sequence[Sample]], tokens: int) -> Iterator[MicroBatch]:
    """The samples of neighbouring rows together, at most `tokens` of them, and at least one row each.

    Rows are read side by side, padded to the longest. What shares no prompt the policy may read one after another in a
    single row, which holds no padding, and `row_tokens` at most: such samples are apart. A policy that branches reads
    a tree: samples that begin alike are neighbours there.
    """
    if policy.branches:
        yield from _trees(rows, tokens)
        return
    if policy.row_tokens is None:
        yield from _neighbours(rows, None, lambda lengths: max(lengths) * len(lengths) <= tokens)
        return
    several, alone = ([row for row in rows if (len(row) > 1) is shared] for shared in (True, False))
    longest = min(tokens, policy.row_tokens)
    yield from _neighbours(several, True, lambda lengths: max(lengths) * len(lengths) <= tokens)
    yield from _neighbours(alone, False, lambda lengths: sum(lengths) <= longest)


def _trees(rows: Sequence[Sequence[Sample]], tokens: int) -> Iterator[MicroBatch]:
    """Neighbours in the order of their tokens, as many as have no more than so many together, and so many decisions."""
    chunk: list[Sample] = []
    grown, read, decisions = tree.Tree(), 0, 0
    for sample in sorted(chain.from_iterable(rows), key=lambda sample: packing.read(sample.completion)):
        grown.add(packing.read(sample.completion))
        decisions += len(sample.completion.decisions)
        if chunk and (len(grown) > tokens or decisions > tokens):
            yield MicroBatch(chunk, None, read)
            chunk, grown, decisions = [], tree.Tree(), len(sample.completion.decisions)
            grown.add(packing.read(sample.completion))
        chunk.append(sample)
        read = len(grown)
    if chunk:
        yield MicroBatch(chunk, None, read)


def _neighbours(
    rows: Sequence[Sequence[Sample]], share: bool | None, fits: Callable[[Sequence[int]], bool]
) -> Iterator[MicroBatch]:
    """As many rows together as fit by their lengths."""
    chunk: list[Sequence[Sample]] = []
    for row in rows:
        if chunk and not fits([_length(each) for each in (*chunk, row)]):
            yield _together(chunk, share)
            chunk = []
        chunk.append(row)
    if chunk:
        yield _together(chunk, share)


def _together(rows: Sequence[Sequence[Sample]], share: bool | None) -> MicroBatch:
    return MicroBatch(list(chain.from_iterable(rows)), share, sum(map(_length, rows)))


def _length(row: Sequence[Sample]) -> int:
    return packing.length([sample.completion for sample in row])


def groups_of(episodes: Sequence[Episode]) -> list[list[Episode]]:
    """Neighbouring episodes that share web task and seed."""
    return [list(group) for _, group in groupby(episodes, key=lambda each: (each.start.web_task, each.start.seed))]


def _per_decision(batch: Sequence[Sample], device: torch.device) -> Tensor:
    """Of each decision: log-probability when sampled, positive and negative advantage, weight of cloning, and count.

    Shape (decisions, 5).
    """
    return torch.tensor(
        [
            (log_prob, sample.positive, sample.negative, sample.imitated, float(sample.count))
            for sample in batch
            for log_prob in sample.completion.log_probs
        ],
        device=device,
    )
