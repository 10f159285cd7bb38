"""Evaluation: success on held-out pages, with intervals."""

from collections.abc import Callable, Sequence
from typing import Any

from browser_control.configuration import EVALUATION_SEEDS, Configuration
from browser_control.policy.policy import Policy
from browser_control.training.rollout import Environments, Episode, Start, play
from browser_control.training.statistics import wilson


def starts(configuration: Configuration) -> list[Start]:
    """The held-out episodes: the same for every checkpoint, and never trained on."""
    return [
        Start(web_task, EVALUATION_SEEDS.start + index)
        for web_task in configuration.judged_web_tasks
        for index in range(configuration.evaluation.episodes)
    ]


def evaluate(
    policy: Policy,
    environments: Environments,
    configuration: Configuration,
    on_episode: Callable[[Episode], None] = lambda episode: None,
) -> dict[str, Any]:
    """Plays the held-out episodes and returns their scores, ready for JSON.

    `overall` and each of `web_tasks` hold: episodes, unscorable, successes, success, low and high (95% Wilson interval
    of success over the scorable episodes), valid_actions (share of turns), mean_turns. `episodes` lists them all.
    """
    played, timing = play(
        policy,
        environments,
        starts(configuration),
        max_turns=configuration.environment.max_turns,
        random_seed=None if configuration.evaluation.greedy else configuration.seed,
        on_episode=on_episode,
    )
    return {
        "overall": score(played),
        "web_tasks": {
            web_task: score([episode for episode in played if episode.start.web_task == web_task])
            for web_task in configuration.judged_web_tasks
        },
        "seconds": round(timing.total, 2),
        "greedy": configuration.evaluation.greedy,
        "episodes": [
            {
                "web_task": episode.start.web_task,
                "seed": episode.start.seed,
                "reward": episode.reward,
                "turns": len(episode.turns),
                **({"unscorable": episode.failure} if episode.reward is None else {}),
            }
            for episode in played
        ],
    }


def score(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Success of `episodes` with its interval, and how they went."""
    scorable = [episode for episode in episodes if episode.reward is not None]
    successes = sum(episode.success for episode in scorable)
    turns = [turn for episode in scorable for turn in episode.turns]
    low, high = wilson(successes, len(scorable))
    return {
        "episodes": len(episodes),
        "unscorable": len(episodes) - len(scorable),
        "successes": successes,
        "success": round(successes / len(scorable), 4) if scorable else None,
        "low": round(low, 4),
        "high": round(high, 4),
        "valid_actions": round(sum(turn.valid for turn in turns) / len(turns), 4) if turns else None,
        "mean_turns": round(len(turns) / len(scorable), 2) if scorable else None,
    }
