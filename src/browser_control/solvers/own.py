"""The `solution` of a web task of the user's own, played: actions that name elements as the page does, without bids."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from browser_control.language import actions
from browser_control.language.actions import Action
from browser_control.language.page import TAB, Element, quote
from browser_control.solvers.view import View
from browser_control.web_tasks.parameters import fill_in
from browser_control.web_tasks.steps import Named, Step, step
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
    return tuple(map(step, web_task.file.solution))


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

    def resume(self, view: View) -> Action | None:
        """The next step by what the page shows, whoever came there; None where that cannot be told.

        A step that puts something somewhere is done where the page shows it; of the others, what is not there any more.
        """
        parameters = self.web_task.parameters_in(view.goal)
        written = steps(self.web_task)
        if (aside := _aside({each.action.verb for each in written}, view.page.elements)) is not None:
            return aside
        if parameters is None:
            return None
        return _Progress(written, parameters, view).next()


_PUTS = ("fill", "clear", "select")
_CHOICES = {"radio": "checked", "checkbox": "checked", "tab": "selected"}
_FIELDS = ("textbox", "combobox", "searchbox", "spinbutton")
_CHOSEN = ("link", "option", "item")
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class _Progress:
    """How far a page is on the way of a solution."""

    written: Sequence[Step]
    parameters: Mapping[str, str]
    view: View

    def next(self) -> Action | None:
        there = [self._action(each) for each in self.written]
        if (chosen := self._opened(there)) is not None:
            return chosen
        lasting = [index for index, each in enumerate(self.written) if _lasts(each)]
        first = next((index for index in lasting if self._found(self.written[index]) is not None), None)
        if first is None:  # not there yet where something can be put: what leads furthest on the way
            leading = there[: lasting[0]] if lasting else there
            return next((action for action in reversed(leading) if action is not None), None)
        index = first
        while index < len(self.written):
            if self._opens(index) and self._shows_choice(index):
                index += 1
            elif (action := there[index]) is not None and not self._is_done(index, action, there):
                return action
            index += 1
        return None

    def _opened(self, there: Sequence[Action | None]) -> Action | None:
        """What is to be chosen from what was opened last; None where nothing is open."""
        field = next((each for each in reversed(self.view.touched) if each.role in _FIELDS), None)
        for index, each in enumerate(self.written):
            if field is not None and self._opens(index) and each.first is not None and self._is(each.first, field):
                return None if self._shows_choice(index) else there[index + 1]
        return None

    def _is_done(self, index: int, action: Action, there: Sequence[Action | None]) -> bool:
        """Whether a step whose element is there, which need not mean that it is to be done, was done."""
        each = self.written[index]
        if _lasts(each):
            return self._is_put(action)
        if index + 1 == len(self.written) or self._opens(index):
            return False
        led_on = there[index + 1] is not None and _lasts(self.written[index + 1])
        return led_on or action in self.view.taken

    def _is(self, named: Named, element: Element) -> bool:
        """Whether it is that element; a page may add to a name what is to be done next."""
        return element.role == named.role and element.name.startswith(fill_in(named.name, self.parameters))

    def _found(self, each: Step) -> Action | None:
        """What it would be here; None where the page has no such element."""
        elements = self.view.page.elements
        action = each.on(elements, self.parameters)
        if action is None and each.first is not None and each.second is None and each.first.role in _FIELDS:
            alike = [element for element in elements if self._is(each.first, element)]
            if len(alike) == 1:
                return Action(each.action.verb, alike[0].bid, fill_in(each.action.argument, self.parameters))
        return action

    def _action(self, each: Step) -> Action | None:
        """What can be done of it here; None too where it was tried in vain."""
        action = self._found(each)
        if action is None or action in self.view.spent:
            return None
        return None if action.bid and "disabled" in self._element(action.bid).states else action

    def _element(self, bid: str) -> Element:
        return next(each for each in self.view.page.elements if each.bid == bid)

    def _is_put(self, action: Action) -> bool:
        """Whether a field has its value already, or something is chosen. A page may spell a value its own way."""
        element = self._element(action.bid)
        if action.verb not in _PUTS:
            return _CHOICES[element.role] in element.states
        value = element.value or ""
        just = self.view.taken[-1:] == (action,)  # and a page need not show it
        return value == action.argument or just or (bool(value) and action in self.view.taken)

    def _opens(self, index: int) -> bool:
        """Whether the step opens something that the next one chooses from, such as a calendar."""
        opens = self.written[index].action.verb == "click" and _role(self.written[index]) in _FIELDS
        behind = self.written[index + 1 : index + 2]
        return opens and any(each.action.verb == "click" and _role(each) in _CHOSEN for each in behind)

    def _shows_choice(self, index: int) -> bool:
        """Whether the field that was opened has, among the numbers of its value or as its text, what is chosen next."""
        named = self.written[index].first
        chosen = self.written[index + 1].first
        assert named is not None and chosen is not None
        element = next((each for each in self.view.page.elements if self._is(named, each)), None)
        if element is None or not element.value:
            return False
        wanted = fill_in(chosen.name, self.parameters)
        numbers = [int(each) for each in _NUMBER.findall(element.value)]
        return int(wanted) in numbers if wanted.isdecimal() else wanted.casefold() in element.value.casefold()


def _role(each: Step) -> str:
    return each.first.role if each.first is not None else ""


def _lasts(each: Step) -> bool:
    """Whether the page shows afterwards that the step was done."""
    return each.action.verb in _PUTS or (each.action.verb == "click" and _role(each) in _CHOICES)
