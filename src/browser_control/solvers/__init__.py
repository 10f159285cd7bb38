"""Solvers: scripted policies that see only what the policy sees, and act only as it can.

They prove that the page's text and the actions suffice, they test the environment, and their episodes are the
demonstrations of the warm start. `python -m browser_control.solvers --help` plays them.
"""

from collections.abc import Callable, Mapping

from browser_control.language.actions import Action
from browser_control.solvers import dates, drawings, forms, lists, mail, mouse, pointing, posts, reasoning, sections
from browser_control.solvers.view import View

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

__all__ = ["SOLVERS", "Solver", "View"]
