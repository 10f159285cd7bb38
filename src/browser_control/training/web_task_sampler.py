"""Which web tasks an update practises: those in which groups still differ, and now and then all others."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from browser_control.configuration import TRAINING_SEEDS

_MEMORY = 0.7  # of the running mean, a group
_FIRST = 0.25  # a web task that was never drawn: as if half of each group succeeded
_TURNS = 4.0  # of a web task that was never drawn
_FLOOR = 0.01  # weight of a web task whose groups do not differ; at most 0.25 otherwise
_SILENT = 0.05  # difference below which a web task is silent: five groups in a row without any, at the beginning
_SOLVED = 0.9  # success from which on it may be


@dataclass
class WebTaskSampler:
    """Draws web tasks by how much their groups differ within themselves, and a seed never used before for each group.

    The gradient of a group of which a share p succeeds is in proportion to p(1-p). That is a matter of single pages: a
    web task of which every other page is always solved, and the rest never, teaches nothing, whatever its success.

    Attributes:
        success: running mean of each web task's reward.
        difference: running mean of p(1-p) of each web task's groups.
        turns: running mean of each web task's longest episode of a group.
    """

    web_tasks: Sequence[str]
    seed: int
    success: dict[str, float] = field(default_factory=dict)
    difference: dict[str, float] = field(default_factory=dict)
    turns: dict[str, float] = field(default_factory=dict)
    drawn: int = 0

    def draw(self, count: int) -> list[tuple[str, int]]:
        """`count` groups: web task and seed, those first that take the most turns.

        A long episode that begins last is played almost alone.
        """
        generator = random.Random(f"{self.seed} {self.drawn}")
        weights = [self._weight(web_task) for web_task in self.web_tasks]
        chosen = generator.choices(self.web_tasks, weights, k=count)
        first = TRAINING_SEEDS.start + self.drawn
        self.drawn += count
        if first + count > TRAINING_SEEDS.stop:
            raise OverflowError("all training seeds were used")
        groups = [(web_task, first + index) for index, web_task in enumerate(chosen)]
        return sorted(groups, key=lambda group: -self.turns.get(group[0], _TURNS))

    def peek(self, count: int) -> list[tuple[str, int]]:
        """What `draw` is going to give, if nothing is learnt before."""
        drawn, groups = self.drawn, self.draw(count)
        self.drawn = drawn
        return groups

    def skip(self, drawn: int) -> None:
        """Passes over the first `drawn` seeds: the adapter that training starts from has seen them."""
        self.drawn = max(self.drawn, drawn)

    def learn(self, web_task: str, rewards: Iterable[float | None], turns: int) -> None:
        """Takes note of one group's rewards, and of the turns of its longest episode."""
        self.turns[web_task] = _MEMORY * self.turns.get(web_task, turns) + (1 - _MEMORY) * turns
        scored = [float(reward > 0) for reward in rewards if reward is not None]
        if scored:
            rate = sum(scored) / len(scored)
            before = self.success.get(web_task, 0.5)
            self.success[web_task] = _MEMORY * before + (1 - _MEMORY) * rate
            before = self.difference.get(web_task, _FIRST)
            self.difference[web_task] = _MEMORY * before + (1 - _MEMORY) * rate * (1 - rate)

    def silent(self, web_task: str) -> bool:
        """Whether its groups ceased to differ before it was solved."""
        solved = self.success.get(web_task, 0.5) >= _SOLVED
        return self.difference.get(web_task, _FIRST) < _SILENT and not solved

    def state(self) -> dict[str, Any]:
        return {
            "success": dict(self.success),
            "difference": dict(self.difference),
            "turns": dict(self.turns),
            "drawn": self.drawn,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.success = dict(state["success"])
        self.difference = dict(state["difference"])
        self.turns = dict(state.get("turns", {}))  # older checkpoints have none
        self.drawn = int(state["drawn"])

    def _weight(self, web_task: str) -> float:
        return max(self.difference.get(web_task, _FIRST), _FLOOR)
