"""The rule of promotion: is an adapter better than the one in use, on the same held-out pages?

Each run of a name is judged on a lot of seeds of its own, so that other pages decide each time; only of a web task that
has few do some come again. The final set decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from browser_control.configuration import Promotion
from browser_control.records.summary import counted
from browser_control.training.statistics import mcnemar

Episodes = dict[tuple[str, str], bool | None]  # success by web task and page; None where it was unscorable


@dataclass(frozen=True)
class Comparison:
    """Two adapters on the same distinct pages.

    Attributes:
        gained: pages that only the new one solved.
        lost: pages that only the old one solved.
        paired: pages that were scorable for both.
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


def episodes(evaluation: Mapping[str, Any], success: Literal["strict", "success"] = "strict") -> Episodes:
    """The single pages of an evaluation file: the held-out ones, or all where the web tasks have too few to spare any.

    Args:
        success: the whole task done, or as BrowserGym counts.
    """
    played = {(str(each["web_task"]), str(each["page"])): each[success] for each in evaluation["episodes"]}
    exempt = {name for name, values in evaluation["web_tasks"].items() if values["exempt"]}
    return {key: value for key, value in played.items() if key[0] not in exempt} or played


def compare(old: Episodes, new: Episodes) -> Comparison:
    """Raises ValueError unless both hold the same pages."""
    if old.keys() != new.keys():
        raise ValueError("judged on other pages")
    both = [(before, new[key]) for key, before in old.items()]
    pairs = [(before, after) for before, after in both if before is not None and after is not None]
    return Comparison(
        gained=pairs.count((False, True)),
        lost=pairs.count((True, False)),
        paired=len(pairs),
        episodes=len(old),
        successes=sum(bool(after) for _, after in pairs),
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
