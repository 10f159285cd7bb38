"""The rule of promotion: is an adapter better than the one in use, on the same held-out episodes?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from browser_control.configuration import Promotion
from browser_control.records.summary import counted
from browser_control.training.statistics import mcnemar

Episodes = dict[tuple[str, int], float | None]  # reward by web task and seed; None where it was unscorable


@dataclass(frozen=True)
class Comparison:
    """Two adapters on the same episodes.

    Attributes:
        gained: episodes that only the new one solved.
        lost: episodes that only the old one solved.
        paired: episodes that were scorable for both.
        episodes: all of them.
        successes: of the new one, among the paired.
    """

    gained: int
    lost: int
    paired: int
    episodes: int
    successes: int

    @property
    def gain(self) -> float:
        return (self.gained - self.lost) / self.paired if self.paired else 0.0

    @property
    def success(self) -> float:
        return self.successes / self.paired if self.paired else 0.0

    @property
    def p(self) -> float:
        return mcnemar(self.gained, self.lost)

    def __str__(self) -> str:
        return f"{counted(self.gained, 'page')} won, {self.lost} lost of {self.paired} (p = {self.p:.2g})"


@dataclass(frozen=True)
class Decision:
    """Whether an adapter was promoted, and in one sentence why, or why not."""

    promoted: bool
    reason: str


def episodes(evaluation: Mapping[str, Any]) -> Episodes:
    """The single episodes of an evaluation file."""
    return {
        (str(each["web_task"]), int(each["seed"])): None if each["reward"] is None else float(each["reward"])
        for each in evaluation["episodes"]
    }


def compare(old: Episodes, new: Episodes) -> Comparison:
    """Raises ValueError unless both hold the same episodes."""
    if old.keys() != new.keys():
        raise ValueError("judged on other episodes")
    rewards = [(before, new[key]) for key, before in old.items()]
    pairs = [(before > 0, after > 0) for before, after in rewards if before is not None and after is not None]
    return Comparison(
        gained=pairs.count((False, True)),
        lost=pairs.count((True, False)),
        paired=len(pairs),
        episodes=len(old),
        successes=sum(after for _, after in pairs),
    )


def decide(rule: Promotion, comparison: Comparison, incumbent: str) -> Decision:
    """Applies the configuration's rule; `incumbent` names the adapter in use in the sentence."""
    against = f"{comparison} against {incumbent}"
    if comparison.paired < max(1, rule.min_paired * comparison.episodes):
        why = f"only {comparison.paired} of {comparison.episodes} episodes could be judged for both"
    elif comparison.gained <= comparison.lost:
        why = f"no better: {against}"
    elif comparison.gain < rule.min_gain:
        why = f"success rose by {comparison.gain:.3f}, less than promotion.min_gain {rule.min_gain:g}: {against}"
    elif comparison.p > rule.significance:
        why = f"better, but it may be chance (promotion.significance is {rule.significance:g}): {against}"
    elif comparison.success < rule.min_success:
        why = f"success {comparison.success:.3f} is below promotion.min_success {rule.min_success:g}: {against}"
    else:
        return Decision(True, f"promoted: {against}")
    return Decision(False, f"not promoted, {why}")
