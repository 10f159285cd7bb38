"""The one place that builds a prompt, for training, evaluation and play.

Page first, goal after it, the question last: a small model answers what it read last.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from browser_control.language.page import Element, parse_page

SYSTEM = "You operate a web page. Answer with the next action."
REMEMBERED = 4  # actions of the episode that a prompt repeats


@dataclass(frozen=True)
class Prompt:
    """What the policy is asked: the text, and the elements it may act on (those that the text shows)."""

    text: str
    elements: tuple[Element, ...]


def build(
    page: str,
    goal: str,
    done: Sequence[str] = (),
    error: str = "",
    *,
    action_format: str = "label",
    tokens: Callable[[str], int] = len,
    budget: int = 4096,
) -> Prompt:
    """The user's message for one turn.

    Args:
        page: the observation's text.
        goal: of the episode.
        done: actions of this episode so far, as the policy spelled them.
        error: why the last action failed, or empty.
        action_format: `label` keeps the page's own lines; `bid` puts BrowserGym's number first.
        tokens: counts the tokens of a text.
        budget: tokens the page may take; of a longer page, static text goes first, then the elements furthest down.
    """
    lines = _window([line for line in page.split("\n") if line], tokens, budget)
    elements = parse_page("\n".join(lines)).elements
    if action_format == "bid":
        lines = [_bid_first(line) for line in lines]
    parts = [*lines]
    if done:
        parts.append("Done: " + "; ".join(done[-REMEMBERED:]))
    if error:
        parts.append("Error: " + " ".join(error.split())[:200])
    parts.append("Goal: " + " ".join(goal.split()))
    return Prompt("\n".join(parts), elements)


def _window(lines: list[str], tokens: Callable[[str], int], budget: int) -> list[str]:
    """The lines that fit into `budget`, in their order."""
    costs = [tokens(line) + 1 for line in lines]
    excess = sum(costs) - budget
    if excess <= 0:
        return lines
    static = [index for index, line in enumerate(lines) if line.startswith('"')]
    elements = [index for index, line in enumerate(lines) if not line.startswith('"')]
    dropped = set()
    for index in [*reversed(static), *reversed(elements)]:
        if excess <= 0:
            break
        dropped.add(index)
        excess -= costs[index]
    return [line for index, line in enumerate(lines) if index not in dropped]


def _bid_first(line: str) -> str:
    """`button "okay" [14] focused` as BrowserGym lists it: `[14] button 'okay' focused`."""
    elements = parse_page(line).elements
    if not elements:
        return line
    element = elements[0]
    _, _, rest = line.partition(f"[{element.bid}]")
    return f"[{element.bid}] {element.role} {element.name!r}{rest}"
