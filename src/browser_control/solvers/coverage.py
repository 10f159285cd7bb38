"""docs/web_tasks.md: which web tasks the solvers solve, and what the others would need."""

from collections.abc import Mapping, Sequence

from browser_control.solvers import SOLVERS
from browser_control.solvers.playing import Result
from browser_control.web_tasks.miniwob import WEB_TASKS
from browser_control.web_tasks.registry import few_pages

RELIABLE = 0.95  # of the seeds

_POINT = "where to click or draw is a matter of coordinates, which the text does not have"
_SHAPES = "the shapes are drawings, which the text does not show"
_SVG = "what is to be clicked is part of a drawing and has no bid"
_SLIDER = "`press` is offered in text fields only: arrow keys on the slider would do"
_ONE_MOVE = "where a dropped item lands: a drop is one move of the mouse, which some lists do not follow"
_SELECTION = "a part of the text must be selected, by dragging to coordinates"
_OVERLAP = "on some seeds a button covers the middle of the other: `press` is offered in text fields only"

# Solvers that stay below RELIABLE, and why.
PARTLY: Mapping[str, str] = {
    "click-button-sequence": _OVERLAP,
    "click-test-2": _OVERLAP,
    "click-test-transfer": _OVERLAP,
    "drag-box": "on some seeds the box that is dragged covers the middle of the other, and the drop is refused",
}

# Solvable with what the policy has, but nobody wrote it down yet.
UNWRITTEN: Mapping[str, str] = {
    "daily-calendar": "drag over the half hours; where earlier events lie is not in the text, a drop may be refused",
    "click-scroll-list": "one option, half of the seeds; two need a `select` of several options",
    "click-widget": "all but `text` and `textarea`, which look alike",
    "sign-agreement": "`Click the cancel button`, a third of the seeds; else a disabled text must be scrolled",
}

# Not solvable from the text with the actions there are.
UNSOLVABLE: Mapping[str, str] = {
    "ascending-numbers": _SVG,
    "bisect-angle": _POINT,
    "circle-center": _POINT,
    "click-pie": _SVG,
    "click-pie-nodelay": _SVG,
    "click-shape": _SVG,
    "copy-paste": "the text ends in a blank, which neither page nor action can spell; or `Control+c`, `Control+v`",
    "copy-paste-2": "as copy-paste",
    "count-shape": _SHAPES,
    "count-sides": _SHAPES,
    "drag-circle": _POINT,
    "drag-cube": "turning is dragging by pixels, and the cube has no bid",
    "drag-items": _ONE_MOVE,
    "drag-items-grid": _ONE_MOVE,
    "drag-shapes": _SHAPES,
    "drag-shapes-2": _SHAPES,
    "drag-single-shape": _SHAPES,
    "draw-circle": _POINT,
    "draw-line": _POINT,
    "find-midpoint": _POINT,
    "form-sequence": _SLIDER,
    "grid-coordinate": _SVG,
    "highlight-text": _SELECTION,
    "highlight-text-2": _SELECTION,
    "hot-cold": _POINT,
    "identify-shape": _SHAPES,
    "resize-textarea": "the corner to drag is a matter of coordinates",
    "right-angle": _POINT,
    "terminal": "it listens to single keys: letters are not among those of `press`, and `fill` makes no key events",
    "text-editor": _SELECTION,
    "tic-tac-toe": "whose mark is in a cell is not in the text",
    "use-slider": _SLIDER,
    "use-slider-2": _SLIDER,
    "visual-addition": "the blocks are not in the text",
}

_HEAD = """# The web tasks

Which of BrowserGym's {total} MiniWoB++ web tasks can be solved by a policy that sees the page as text and acts with the
verbs of [architecture.md](architecture.md). Proof is a solver in `src/browser_control/solvers`: a scripted policy that
sees goal, page and its own actions, and may choose only what the policy may choose and spell. Each played {episodes}
seeds. Solved means that the whole task was done; BrowserGym counts any positive reward. Turns are the mean over the
solved ones. Pages is how many distinct pages there are, where they are fewer than 50: such web tasks are exempt from
holding pages out, and in no average of held-out pages.

Written by `python -m browser_control.solvers --url URL --write docs/web_tasks.md`.

| | web tasks |
| --- | ---: |
| solved by a solver, at least 95% of the seeds | {solved} |
| solved by a solver, on fewer seeds | {partly} |
| solvable in part, no solver yet | {unwritten} |
| not solvable from the text with these actions | {unsolvable} |

| web task | pages | solved | as BrowserGym counts | turns | what is missing |
| --- | ---: | ---: | ---: | ---: | --- |
"""


def document(results: Mapping[str, Sequence[Result]], episodes: int) -> str:
    """docs/web_tasks.md, from what was played of every web task that has a solver."""
    reliable = [web_task for web_task in SOLVERS if rate(results[web_task]) >= RELIABLE]
    head = _HEAD.format(
        total=len(WEB_TASKS),
        episodes=episodes,
        solved=len(reliable),
        partly=len(SOLVERS) - len(reliable),
        unwritten=len(UNWRITTEN),
        unsolvable=len(UNSOLVABLE),
    )
    return head + "".join(_row(web_task, results.get(web_task, ())) + "\n" for web_task in WEB_TASKS)


def rate(episodes: Sequence[Result]) -> float:
    """The part of the episodes in which the whole task was done."""
    return sum(not episode.failure for episode in episodes) / len(episodes)


def mean_turns(episodes: Sequence[Result]) -> float:
    """Of the episodes that were solved; 0 if none was."""
    turns = [len(episode.taken) for episode in episodes if not episode.failure]
    return sum(turns) / len(turns) if turns else 0.0


def _row(web_task: str, episodes: Sequence[Result]) -> str:
    name = f"{web_task} | {few_pages(web_task) or ''}"
    if web_task in SOLVERS:
        solved, counted = rate(episodes), sum(episode.success for episode in episodes) / len(episodes)
        return f"| {name} | {solved:.0%} | {counted:.0%} | {mean_turns(episodes):.1f} | {PARTLY.get(web_task, '')} |"
    if web_task in UNWRITTEN:
        return f"| {name} | no solver | | | in part: {UNWRITTEN[web_task]} |"
    return f"| {name} | no | | | {UNSOLVABLE[web_task]} |"
