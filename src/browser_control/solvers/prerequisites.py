"""What has to hold so that solvers can demonstrate what a configuration names, known before anything is played."""

from browser_control.configuration import Configuration
from browser_control.errors import ConfigurationError
from browser_control.solvers import SOLVERS, solver
from browser_control.web_tasks import registry


def check(settings: Configuration) -> None:
    """Raises ConfigurationError where what `warm_start` names cannot be demonstrated as `settings` are; one sentence.

    A solution of a task file has to fit into an episode, and may say only what the policy can say.
    """
    warm_start = settings.warm_start
    if not (warm_start.demonstrations or warm_start.dagger_rounds):
        return
    for name in warm_start.web_tasks:
        own = registry.own(name)
        if own is None and name not in SOLVERS:
            raise ConfigurationError(
                f"warm_start.web_tasks: no solver plays {name!r}; solvers play {', '.join(SOLVERS)}"
            )
        if own is None:
            continue
        if solver(name) is None:
            raise ConfigurationError(f"warm_start.web_tasks: the task.yaml of {name!r} has no solution to show")
        _fits(name, own.file.solution, settings)


def _fits(name: str, solution: tuple[str, ...], settings: Configuration) -> None:
    if len(solution) > (turns := settings.environment.max_turns):
        raise ConfigurationError(
            f"environment.max_turns: the solution of {name!r} takes {len(solution)} turns, and an episode has {turns}"
        )
    verbs = dict.fromkeys(each.partition(" ")[0] for each in solution)
    if missing := [verb for verb in verbs if verb not in settings.policy.actions]:
        raise ConfigurationError(
            f"policy.actions: the solution of {name!r} says {', '.join(missing)}, which the policy cannot: add what is"
            " missing"
        )
