"""The `solution` of a web task of the user's own, played: actions that name elements as the page does, without bids."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from browser_control.environment.steps import Step, step
from browser_control.errors import ConfigurationError
from browser_control.language import actions
from browser_control.language.actions import Action
from browser_control.language.page import Element, quote
from browser_control.solvers.view import View
from browser_control.web_tasks.task_file import WebTask


def spell(action: Action, elements: Sequence[Element]) -> str:
    """An action as a solution has it: the reverse of `step`."""
    text = action.spell(elements)
    for element in elements:
        if element.bid in (action.bid, action.argument):
            alike = [each.bid for each in elements if (each.role, each.name) == (element.role, element.name)]
            number = f" #{alike.index(element.bid) + 1}" if len(alike) > 1 else ""
            name = f" {quote(element.name)}" if element.name else ""
            text = text.replace(element.label, f"{element.role}{name}{number}")
    return text


@lru_cache
def steps(web_task: WebTask) -> tuple[Step, ...]:
    """Raises ConfigurationError where one of them is no action."""
    try:
        return tuple(map(step, web_task.file.solution))
    except ConfigurationError as error:
        raise ConfigurationError(f"{web_task.folder / 'task.yaml'}: solution: {error}") from None


@dataclass(frozen=True)
class Solution:
    """The solver that a web task's file is."""

    web_task: WebTask

    def __call__(self, view: View) -> Action | None:
        parameters = self.web_task.parameters_in(view.goal)
        written = steps(self.web_task)
        answers = any(actions.shows([each.action.verb]) for each in written)
        if not answers and actions.has_dialog(view.page.elements):
            return Action("dismiss")  # what is done where no dialog is shown
        taken = sum(answers or each.verb != "dismiss" for each in view.taken)
        if parameters is None or taken >= len(written):
            return None
        return written[taken].on(view.page.elements, parameters)
