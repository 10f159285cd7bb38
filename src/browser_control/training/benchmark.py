"""BrowserGym's MiniWoB benchmark, played by a policy and scored.

The protocol (`web_tasks.benchmark`): 125 web tasks, five seeds each, ten steps; whatever is not done by then, cannot be
solved or cannot be scored counts 0. In some web tasks a seed occurs twice: it is played once, counts twice in a rate,
as by the protocol, and once in an interval.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from browser_control.errors import ConfigurationError
from browser_control.solvers.coverage import PARTLY, UNSOLVABLE, UNWRITTEN
from browser_control.training.held_out import is_exempt
from browser_control.training.rollout import Environments, Episode, Player, Start, play, refuse_unscorable
from browser_control.training.statistics import wilson
from browser_control.web_tasks.benchmark import (
    FAMILIES,
    MAX_TURNS,
    PIPELINERL_HELD_OUT,
    SUBSET_56,
    episodes,
    siblings,
)
from browser_control.web_tasks.miniwob import WEB_TASKS

SUBSETS: Mapping[str, tuple[str, ...]] = {"all": WEB_TASKS, "56": SUBSET_56, "heldout23": PIPELINERL_HELD_OUT}
_Drawn = tuple[str, int]


def run(
    policy: Player,
    environments: Environments,
    web_tasks: Iterable[str] = WEB_TASKS,
    on_episode: Callable[[Episode], None] = lambda episode: None,
) -> list[Episode]:
    """Plays the benchmark's episodes of these web tasks, each seed once, greedily.

    Raises:
        EnvironmentFailure: less than half of the episodes could be scored.
    """
    asked = starts(web_tasks)
    if not asked:
        raise ConfigurationError("the benchmark has none of these web tasks")
    played, _ = play(
        policy,
        environments,
        asked,
        max_turns=MAX_TURNS,
        random_seed=None,
        reward="browsergym",  # which rewards nothing here, but asks no server for more than it knows
        on_episode=on_episode,
    )
    refuse_unscorable(played)
    return played


def starts(web_tasks: Iterable[str]) -> list[Start]:
    """The benchmark's episodes of these web tasks, each seed once."""
    wanted = set(web_tasks)
    return [Start(web_task, seed) for web_task, seed in dict.fromkeys(episodes()) if web_task in wanted]


def scores(played: Sequence[Episode], trained: Iterable[str] = ()) -> dict[str, Any]:
    """What was played, ready for JSON.

    `subsets` has the whole and its parts, as far as they were played whole: the literature's 56 web tasks, PipelineRL's
    23, those that a solver solves strictly, and by what the policy was trained on; `families` those of BrowserGym,
    called by their first web task; `web_tasks` each. `episodes` lists them all. `valid_actions` is the share of answers
    that were actions of their page; others count as turns, and do nothing.

    Args:
        trained: web tasks that the policy was trained on.
    """
    by_start = {(each.start.web_task, each.start.seed): each for each in played}
    turns = [turn for each in played for turn in each.turns]
    names = [name for name in WEB_TASKS if any(web_task == name for web_task, _ in by_start)]
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(next(each for each in names if FAMILIES[each] == FAMILIES[name]), []).append(name)
    return {
        "valid_actions": round(sum(turn.valid for turn in turns) / len(turns), 4) if turns else None,
        "subsets": {title: _score(by_start, part) for title, part in _parts(names, set(trained)).items() if part},
        "families": {first: {"members": part, **_score(by_start, part)} for first, part in families.items()},
        "web_tasks": {
            name: {
                **_score(by_start, [name]),
                "exempt": is_exempt(name),
                "trained": name in set(trained),
                "solvable": name in _solvable(),
            }
            for name in names
        },
        "episodes": [
            {
                "web_task": each.start.web_task,
                "seed": each.start.seed,
                "page": each.page,
                "strict": each.strict,
                "success": each.success,
                "turns": len(each.turns),
                **({"unscorable": each.failure} if each.reward is None else {}),
            }
            for each in played
        ],
    }


def _parts(names: Sequence[str], trained: set[str]) -> dict[str, list[str]]:
    """The web tasks of each subset; none where not all of it was played."""

    def whole(subset: Iterable[str]) -> list[str]:
        return list(subset) if set(subset) <= set(names) else []

    parts = {
        "all": whole(WEB_TASKS),
        "56 of the literature": whole(SUBSET_56),
        "PipelineRL's 23 held out": whole(PIPELINERL_HELD_OUT),
        "solved by a solver": whole(_solvable()),
    }
    if trained:
        shown = siblings(tuple(name for name in WEB_TASKS if name in trained))
        parts["trained"] = [name for name in names if name in trained]
        parts["not trained"] = [name for name in names if name not in trained]
        parts["of families never trained"] = [name for name in names if name not in shown]
    return parts


def _solvable() -> list[str]:
    return [name for name in WEB_TASKS if name not in {*PARTLY, *UNWRITTEN, *UNSOLVABLE}]


def _score(by_start: Mapping[_Drawn, Episode], web_tasks: Sequence[str]) -> dict[str, Any]:
    """Both kinds of success by the protocol, with 95% Wilson intervals that count each seed once."""
    wanted = set(web_tasks)
    repeated = [by_start[drawn] for drawn in episodes() if drawn[0] in wanted]
    once = [each for (web_task, _), each in by_start.items() if web_task in wanted]
    scored = [each for each in once if each.reward is not None]
    turns = [turn for each in scored for turn in each.turns]
    return {
        "count": len(wanted),
        "episodes": len(repeated),
        "seeds": len(once),
        "unscorable": sum(each.reward is None for each in once),
        "strict": _rate([each.strict for each in repeated], [each.strict for each in once]),
        "success": _rate([each.success for each in repeated], [each.success for each in once]),
        "mean_turns": round(len(turns) / len(scored), 2) if turns else None,
        "valid_actions": round(sum(turn.valid for turn in turns) / len(turns), 4) if turns else None,
    }


def _rate(repeated: Sequence[bool], once: Sequence[bool]) -> dict[str, Any]:
    low, high = wilson(sum(once), len(once))
    return {
        "successes": sum(repeated),
        "rate": round(sum(repeated) / len(repeated), 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }
