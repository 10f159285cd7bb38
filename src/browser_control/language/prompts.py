"""The one place that builds a prompt, for training, evaluation and play.

Page first, goal after it, the question last: a small model answers what it read last.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from browser_control.language import window
from browser_control.language.actions import Action, spell
from browser_control.language.page import Element, parse_page

SYSTEM = "You operate a web page. Answer with the next action."

# What is worth doing twice on a page that shows no difference: it may change what is not shown, or time must pass.
# A dialog may be followed by another that says the same.
_MAY_REPEAT = frozenset(
    {"fill", "press", "hover", "scroll", "scroll-in", "key", "type", "wait", "close", "accept", "answer", "dismiss"}
)


NOT_PAGE = ("Done: ", "Error: ", "Goal: ")  # what lines of a prompt begin with that are not the page's


@dataclass(frozen=True)
class Prompt:
    """What the policy is asked.

    Attributes:
        text: of the user's message.
        elements: that it may act on, those that the text shows; with all options of a list that shows only the first.
        spent: actions that it may not choose, since they were tried on this page and changed nothing.
    """

    text: str
    elements: tuple[Element, ...]
    spent: tuple[Action, ...] = ()

    @property
    def page(self) -> str:
        """The lines of the page alone."""
        return "\n".join(line for line in self.text.split("\n") if not line.startswith(NOT_PAGE))


@dataclass
class Memory:
    """What the prompts of an episode know of its earlier turns.

    Attributes:
        done: the actions so far, as the policy spelled them.
        spent: the last action if it changed nothing of the page, and those that did so twice on this page. Twice, for
            chance may be to blame: a button that draws a number may draw the same again.
    """

    done: list[str] = field(default_factory=list)
    spent: tuple[Action, ...] = ()
    _page: str = ""
    _last: Action | None = None
    _vain: Counter[Action] = field(default_factory=Counter)

    def see(self, page: str) -> None:
        """Takes note of the page after the last action."""
        if page != self._page:
            self._vain.clear()
        elif self._last is not None and self._last.verb not in _MAY_REPEAT:
            self._vain[self._last] += 1
        self.spent = tuple(action for action, times in self._vain.items() if times > 1 or action == self._last)
        self._page, self._last = page, None

    def act(self, action: Action, elements: Sequence[Element], action_format: str) -> None:
        """Takes note of an action that is about to be done."""
        self._last = action
        self.done.append(spell(action, elements, action_format))

    def fail(self, said: str) -> None:
        """Takes note of what was said and is no action."""
        self._last = None
        self.done.append(said)


def build(
    page: str,
    goal: str,
    memory: Memory | None = None,
    error: str = "",
    *,
    action_format: str = "label",
    tokens: Callable[[str], int] = len,
    budget: int = 4096,
    viewport: tuple[int, int] | None = None,
    reading: window.Reading | None = None,
    remembered: int = 4,
) -> Prompt:
    """The user's message for one turn.

    Args:
        page: the observation's text.
        goal: of the episode.
        memory: of the episode's earlier turns.
        error: why the last action failed, or empty.
        action_format: `label` keeps the page's own lines; `bid` puts BrowserGym's number first.
        tokens: counts the tokens of a text.
        budget: tokens the page may take; what is shown of a longer page is `window.fit`'s.
        viewport: first and last line that the viewport shows; None: all are.
        reading: of a long text its line, and the first and last character that it shows; None: no text has begun.
        remembered: last actions of the episode that are repeated.
    """
    memory = memory or Memory()
    fitting = window.fit([line for line in page.split("\n") if line], tokens, budget, viewport, reading)
    listed = elements("\n".join(line for _, line in fitting))
    lines = [line for line, _ in fitting]
    if action_format == "bid":
        lines = [_bid_first(line) for line in lines]
    parts = [*lines]
    if memory.done:
        parts.append("Done: " + "; ".join(memory.done[-remembered:]))
    if error:
        parts.append("Error: " + " ".join(error.split())[:200])
    parts.append("Goal: " + " ".join(goal.split()))
    return Prompt("\n".join(parts), listed, memory.spent)


@lru_cache(maxsize=8192)  # pages are seen again and again
def elements(page: str) -> tuple[Element, ...]:
    """Of a page's text; raises PageUnreadable."""
    return parse_page(page).elements


def _bid_first(line: str) -> str:
    """`button "okay" [14] focused` as BrowserGym lists it: `[14] button 'okay' focused`."""
    listed = parse_page(line).elements
    if not listed:
        return line
    element = listed[0]
    _, _, rest = line.partition(f"[{element.bid}]")
    return f"[{element.bid}] {element.role} {element.name!r}{rest}"
