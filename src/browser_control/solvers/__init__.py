"""Solvers: scripted policies that see only what the policy sees, and act only as it can.

They prove that the page's text and the actions suffice, they test the environment, and their episodes are the
demonstrations of the warm start. `python -m browser_control.solvers --help` plays them.
"""

from collections.abc import Callable, Mapping

from browser_control.language.actions import Action
from browser_control.solvers import dates, drawings, forms, lists, mail, mouse, pointing, posts, reasoning, sections
from browser_control.solvers.own import Solution
from browser_control.solvers.view import View
from browser_control.web_tasks import registry

Solver = Callable[[View], Action | None]

SOLVERS: Mapping[str, Solver] = {
    **pointing.SOLVERS,
    **forms.SOLVERS,
    **sections.SOLVERS,
    **lists.SOLVERS,
    **dates.SOLVERS,
    **mail.SOLVERS,
    **posts.SOLVERS,
    **mouse.SOLVERS,
    **reasoning.SOLVERS,
    **drawings.SOLVERS,
}


def solver(web_task: str) -> Solver | None:
    """What plays it: one of ours, or the solution of the user's own web task."""
    own = registry.own(web_task)
    if own is not None:
        return Solution(own) if own.file.solution else None
    return SOLVERS.get(web_task)


__all__ = ["SOLVERS", "Solution", "Solver", "View", "solver"]
