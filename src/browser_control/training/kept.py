"""Demonstrations out of episodes that were played and kept (`language.kept`), without playing them again.

Only what led to the whole task is learned from. Where a person corrected the policy, what the policy did may be the
mistake that was corrected: then the person's turns alone are demonstrated, in the states that both reached together.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable

from browser_control.environment.client import Observation
from browser_control.errors import EnvironmentMismatch
from browser_control.language import prompts
from browser_control.language.actions import InvalidAction
from browser_control.language.kept import KeptEpisode
from browser_control.language.page import page_of
from browser_control.policy.policy import Policy
from browser_control.policy.sampling import Completion
from browser_control.training.demonstrations import Demonstration
from browser_control.training.held_out import may_be_trained
from browser_control.training.rollout import build_prompt, read_action


def demonstrations(policy: Policy, episodes: Iterable[KeptEpisode]) -> tuple[list[Demonstration], Counter[str]]:
    """What can be learned from, in the order of the episodes; and how many episodes cannot, by why not."""
    found: list[Demonstration] = []
    passed_over: Counter[str] = Counter()
    for episode in episodes:
        if not episode.strict or not episode.turns:
            passed_over["not won"] += 1
        elif _is_held_out(episode):
            passed_over["held out"] += 1
        elif completions := _completions(policy, episode):
            found.append(Demonstration(episode.web_task, episode.seed, tuple(completions)))
        else:
            passed_over["of actions that policy.actions does not offer"] += 1
    return found, passed_over


def _is_held_out(episode: KeptEpisode) -> bool:
    """Whether it began on a page that is kept for judging; a page of any address is none."""
    page = page_of(episode.goal, episode.turns[0].page)
    return "://" not in episode.web_task and not may_be_trained(episode.web_task, page)


def _completions(policy: Policy, episode: KeptEpisode) -> list[Completion]:
    """What was said, each to the prompt of its turn; without what did nothing, or cannot be said under the settings."""
    corrected = any(turn.by == "person" for turn in episode.turns)
    completions: list[Completion] = []
    memory, error = prompts.Memory(), ""
    for turn in episode.turns:
        seen = Observation(
            episode.goal, turn.page, "", 0.0, False, False, 0.0, viewport=turn.viewport, reading=turn.reading
        )
        try:
            prompt = build_prompt(policy, seen, memory, error)
            action = read_action(turn.said, prompt, policy.settings.action_format)
        except EnvironmentMismatch:  # no page
            return []
        except InvalidAction:
            memory.fail(turn.said[:80])
        else:
            if not turn.error and (turn.by == "person" or not corrected):
                with contextlib.suppress(ValueError):  # not offered
                    completions.append(policy.imitate(prompt, action))
            memory.act(action, prompt.elements, policy.settings.action_format)
        error = turn.error
    return completions
