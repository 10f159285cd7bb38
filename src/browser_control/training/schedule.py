"""What changes from update to update: functions of its number alone, so that a run that continues goes on the same."""

import math

from browser_control.configuration import Training


def learning_rate(settings: Training, update: int) -> float:
    """Of the update with this number, from 0: linear warm-up, then constant or falling to 0 after the last update."""
    warmup = settings.warmup_updates
    if update < warmup or settings.decay == "none":
        return settings.learning_rate * min(1.0, (update + 1) / (warmup + 1))
    done = min(1.0, (update - warmup) / max(1, settings.updates - warmup))
    left = 1 - done if settings.decay == "linear" else (1 + math.cos(math.pi * done)) / 2
    return settings.learning_rate * left


def max_turns(settings: Training, longest: int, update: int) -> int:
    """Turns after which an episode of this update is cut off: from `first_turns` to `longest`, evenly."""
    if not settings.first_turns:
        return longest
    grown = (longest - settings.first_turns) * update // settings.first_turns_updates
    return min(longest, settings.first_turns + max(0, grown))
