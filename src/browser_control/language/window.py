"""What of a long page a prompt shows: what is in view, or nearest to it, and of each line no more than fits."""

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from browser_control.language.page import parse_page, quote, unquote

Span = tuple[int, int]  # the first and the last
Reading = tuple[int, int, int]  # a line, and of its text the first and the last character
Count = Callable[[str], int]  # the tokens of a text
MORE = "…"  # stands for options that are not shown
_LONG_TOKEN = 32  # characters; no more of them a token are tried
_FOR_TEXT = 4  # one token in so many is for the text in view, however much there is to act on
_SPECK = 16  # tokens; a piece of a text that has fewer says nothing
_FOR_LIST = 8  # an element that has more than one token in so many shows only the first of its options


def fit(
    lines: Sequence[str], tokens: Count, budget: int, viewport: Span | None = None, reading: Reading | None = None
) -> list[tuple[str, str]]:
    """The lines that fit into `budget`, in their order, each as it is shown and as the page has it.

    Where not all do, elements come before text, and what is nearest to the viewport first; but a quarter is for the
    text in view. Of the first text that does not fit a piece is shown.

    Args:
        viewport: first and last line that the viewport shows; None: all are.
        reading: of a long text its line, and the first and last character that it shows; None: no text has begun.
    """
    if sum(len(line.encode()) + 1 for line in lines) <= budget:  # no token is less than a byte
        return [(line, line) for line in lines]
    tokens = lru_cache(maxsize=None)(tokens)
    if _cost(lines, tokens, budget + 1) <= budget:
        return [(line, line) for line in lines]
    first, last = viewport or (0, 0)
    order = sorted(range(len(lines)), key=lambda index: max(first - index, index - last, 0))
    texts = [index for index in order if lines[index].startswith('"')]
    in_view = [lines[index] for index in texts if viewport is None or first <= index <= last]
    reserved = _cost(in_view, tokens, budget // _FOR_TEXT)
    acted_on = [index for index in order if not lines[index].startswith('"')]
    shown = _elements(lines, acted_on, tokens, budget - reserved, budget // _FOR_LIST)
    left = budget - _cost(shown.values(), tokens, budget)
    shown |= _texts(lines, texts, tokens, left, reading)
    return [(shown[index], line) for index, line in enumerate(lines) if index in shown]


def _cost(lines: Iterable[str], tokens: Count, most: int) -> int:
    """The tokens of some lines with their ends, no more than `most`; so many are counted."""
    cost = 0
    for line in lines:
        cost += len(line) if len(line) > _LONG_TOKEN * most else tokens(line) + 1
        if cost >= most:
            return most
    return cost


def _elements(lines: Sequence[str], order: Iterable[int], tokens: Count, budget: int, most: int) -> dict[int, str]:
    """The elements that fit, by their lines' numbers."""
    shown: dict[int, str] = {}
    for index in order:
        line = _with_first_options(lines[index], tokens, most)
        budget -= tokens(line) + 1
        if budget < 0:
            break
        shown[index] = line
    return shown


def _with_first_options(line: str, tokens: Count, most: int) -> str:
    """An element's line with as many of its options as fit into `most` tokens."""
    if _cost([line], tokens, most + 1) <= most or not (options := (element := parse_page(line).elements[0]).options):
        return line

    def short(count: int) -> str:
        return str(replace(element, options=(*options[:count], MORE)))

    counts = range(1, min(len(options), most) + 1)
    return short(bisect.bisect_left(counts, True, key=lambda count: tokens(short(count)) >= most))


def _texts(
    lines: Sequence[str], order: Sequence[int], tokens: Count, budget: int, reading: Reading | None
) -> dict[int, str]:
    """The texts that fit, by their lines' numbers, and a piece of the first that does not.

    One that is longer than all the room is cut, and others follow; half of what was left is kept for its piece.
    """
    shown: dict[int, str] = {}
    whole, cut, kept = budget, None, 0
    for index in order:
        cost = _cost([lines[index]], tokens, whole + 1)
        if cost <= budget - kept:
            shown[index] = lines[index]
            budget -= cost
            continue
        if cut is None:
            cut, kept = index, budget // 2
        if cost <= whole:
            break
    if cut is not None and budget >= _SPECK:
        line, first, last = reading or (cut, 0, 0)
        shown[cut] = _piece(unquote(lines[cut]), (first, last) if cut == line else (0, 0), budget, tokens)
    return shown


def _piece(text: str, reading: Span, budget: int, tokens: Count) -> str:
    """As much of a text around some of its characters as fits into one line."""
    first, last = reading

    def line(size: int) -> str:
        begin = max(min(first, (first + last - size) // 2, len(text) - size), 0)
        end = begin + size
        return quote("…" * (begin > 0) + text[begin:end] + "…" * (end < len(text)))

    sizes = range(1, min(len(text), _LONG_TOKEN * budget) + 1)
    size = bisect.bisect_left(sizes, True, key=lambda size: tokens(line(size)) >= budget)
    return line(size)
