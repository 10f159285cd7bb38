"""The `solution` of a web task of the user's own, played: actions that name elements as the page does, without bids."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from browser_control.environment.steps import Step, step
from browser_control.errors import ConfigurationError
from browser_control.language import actions
from browser_control.language.actions import Action
from browser_control.language.page import TAB, Element, quote
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


def _aside(verbs: Collection[str], elements: Sequence[Element]) -> Action | None:
    """What is done about dialogs and windows of which the solution does not speak: as where none is shown."""
    if actions.DIALOGS not in actions.shows(verbs) and actions.has_dialog(elements):
        return Action("dismiss")
    first = next((each for each in elements if each.bid == f"{TAB}0"), None)
    return Action("tab", first.bid) if first is not None and actions.TABS not in actions.shows(verbs) else None


@dataclass(frozen=True)
class Solution:
    """The solver that a web task's file is."""

    web_task: WebTask

    def __call__(self, view: View) -> Action | None:
        parameters = self.web_task.parameters_in(view.goal)
        written = steps(self.web_task)
        verbs = {each.action.verb for each in written}
        if (aside := _aside(verbs, view.page.elements)) is not None:
            return aside
        taken = sum(actions.shows([each.verb]) <= actions.shows(verbs) for each in view.taken)
        if parameters is None or taken >= len(written):
            return None
        return written[taken].on(view.page.elements, parameters)
