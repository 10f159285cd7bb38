"""Evaluation: success on held-out pages, with intervals that count distinct pages."""

from collections.abc import Callable, Sequence
from typing import Any

from browser_control.configuration import Configuration
from browser_control.errors import ConfigurationError
from browser_control.language.version import VERSION
from browser_control.policy.policy import Policy
from browser_control.training.held_out import HeldOut, is_exempt
from browser_control.training.rollout import Environments, Episode, Start, play, refuse_unscorable
from browser_control.training.statistics import wilson


def evaluate(
    policy: Policy,
    environments: Environments,
    configuration: Configuration,
    pages: Sequence[HeldOut],
    on_episode: Callable[[Episode], None] = lambda episode: None,
) -> dict[str, Any]:
    """Plays each page once and returns the scores, ready for JSON.

    `overall` is of held-out pages alone; `exempt` of the web tasks that have too few pages to hold any out. Both, and
    each of `web_tasks`, hold: pages (distinct ones), unscorable, valid_actions (share of turns), mean_turns, and for
    `strict` (the whole task) and `success` (as BrowserGym counts) alike: successes, rate, low and high (95% Wilson
    interval over the scorable pages). `episodes` lists them all.

    Raises:
        ConfigurationError: there is no page: none was found that is held out for this purpose.
        EnvironmentFailure: less than half of the episodes could be scored.
    """
    starts = [Start(each.web_task, seed) for each in pages for seed, _ in each.pages]
    if not starts:
        names = ", ".join(each.web_task for each in pages)
        raise ConfigurationError(f"there is no page to judge on: {names} showed none that is held out for this")
    policy.forget()
    played, timing = play(
        policy,
        environments,
        starts,
        max_turns=configuration.environment.max_turns,
        random_seed=None if configuration.evaluation.greedy else configuration.seed,
        all_at_once=policy.device.type == "cpu",
        on_episode=on_episode,
    )
    chosen = {(each.web_task, seed): page for each in pages for seed, page in each.pages}
    for episode in played:
        if episode.reward is not None and episode.page != chosen[episode.start.web_task, episode.start.seed]:
            episode.reward, episode.failure = None, "the seed showed another page than when it was chosen"
    refuse_unscorable(played)
    by_web_task = {
        each.web_task: [episode for episode in played if episode.start.web_task == each.web_task] for each in pages
    }
    return {
        "language": VERSION,
        "overall": score([episode for episode in played if not is_exempt(episode.start.web_task)]),
        "exempt": score([episode for episode in played if is_exempt(episode.start.web_task)]),
        "web_tasks": {name: {**score(episodes), "exempt": is_exempt(name)} for name, episodes in by_web_task.items()},
        "seconds": round(timing.total, 2),
        "greedy": configuration.evaluation.greedy,
        "episodes": [
            {
                "web_task": episode.start.web_task,
                "seed": episode.start.seed,
                "page": chosen[episode.start.web_task, episode.start.seed],
                "strict": None if episode.reward is None else episode.strict,
                "success": None if episode.reward is None else episode.success,
                "turns": len(episode.turns),
                **({"unscorable": episode.failure} if episode.reward is None else {}),
            }
            for episode in played
        ],
    }


def score(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Both kinds of success of episodes on distinct pages, and how they went."""
    scorable = [episode for episode in episodes if episode.reward is not None]
    turns = [turn for episode in scorable for turn in episode.turns]
    return {
        "pages": len(episodes),
        "unscorable": len(episodes) - len(scorable),
        "strict": _rate(sum(episode.strict for episode in scorable), len(scorable)),
        "success": _rate(sum(episode.success for episode in scorable), len(scorable)),
        "valid_actions": round(sum(turn.valid for turn in turns) / len(turns), 4) if turns else None,
        "mean_turns": round(len(turns) / len(scorable), 2) if scorable else None,
    }


def _rate(successes: int, pages: int) -> dict[str, Any]:
    low, high = wilson(successes, pages)
    return {
        "successes": successes,
        "rate": round(successes / pages, 4) if pages else None,
        "low": round(low, 4),
        "high": round(high, 4),
    }
