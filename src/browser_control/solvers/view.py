"""What a solver sees of an episode, and the few things all of them do with it."""

from dataclasses import dataclass

from browser_control.language.actions import Action
from browser_control.language.page import Element, Item, Page, Text


@dataclass(frozen=True)
class View:
    """Goal, page, the actions taken so far, why the last did nothing, and what is not offered since it was in vain.

    Attributes:
        touched: the elements that the actions were on, as they then were; empty where nobody took note of them.
    """

    goal: str
    page: Page
    taken: tuple[Action, ...]
    error: str = ""
    spent: tuple[Action, ...] = ()
    touched: tuple[Element, ...] = ()

    def of_role(self, *roles: str) -> list[Element]:
        """The elements of these roles, in document order."""
        return [element for element in self.page.elements if element.role in roles]

    def called(self, name: str, *roles: str) -> Element | None:
        """The element whose name is `name`, if need be but for case; among `roles` if any are given."""
        named = [
            element
            for element in (self.of_role(*roles) if roles else self.page.elements)
            if element.name.casefold() == name.casefold()
        ]
        return next((element for element in named if element.name == name), named[0] if named else None)

    def after(self, text: str) -> tuple[Item, ...]:
        """The items that follow the first text `text`; none if there is no such text."""
        for index, item in enumerate(self.page.items):
            if isinstance(item, Text) and item.text == text:
                return self.page.items[index + 1 :]
        return ()

    def clicked_last(self, *choices: Element) -> Element | None:
        """Which of `choices` was clicked last, where each click takes back the one before."""
        for action in reversed(self.taken):
            for choice in choices:
                if action == click(choice):
                    return choice
        return None

    def has_taken(self, action: Action) -> bool:
        return action in self.taken


def click(element: Element | None) -> Action | None:
    """A click on `element`, if there is one."""
    return None if element is None else Action("click", element.bid)


def fill(element: Element | None, text: str | None) -> Action | None:
    """`text` typed into `element`, if there are both."""
    return None if element is None or text is None else Action("fill", element.bid, text)


def first_missing(view: View, *wanted: Action | None) -> Action | None:
    """The first of `wanted` that was not done yet; None too if that one cannot be done."""
    return next((action for action in wanted if action is None or not view.has_taken(action)), None)
