"""docs/web_tasks.md: which web tasks the solvers solve, and what the others would need."""

from collections.abc import Mapping, Sequence

from browser_control.solvers import SOLVERS
from browser_control.solvers.playing import Result
from browser_control.web_tasks.miniwob import WEB_TASKS
from browser_control.web_tasks.registry import few_pages

RELIABLE = 0.95  # of the pages

_PIXELS = "on some seeds no whole pixel makes the angle right to a thousandth"
_PIE = "the slice that is chosen already answers to no click, and is the wanted one on a seventh of the seeds"
_STRICT_POINT = "a click sets whole pixels, and the answer lies between them: strictly no point is near enough"
_SELECTION = "a part of the text must be selected, by dragging to where its letters are"

# Solvers that stay below RELIABLE, and why.
PARTLY: Mapping[str, str] = {
    "bisect-angle": _PIXELS,
    "click-pie": _PIE,
    "click-pie-nodelay": _PIE,
    "drag-items-grid": "an item that goes up and to the right lands one place too far",
    "right-angle": _PIXELS,
}

# Solvable with what the policy has, but nobody wrote it down yet.
UNWRITTEN: Mapping[str, str] = {
    "daily-calendar": "drag over the half hours; where earlier events lie is not in the text, a drop may be refused",
}

# Not solvable from the text with the actions there are.
UNSOLVABLE: Mapping[str, str] = {
    "circle-center": _STRICT_POINT,
    "count-sides": "the shape is painted on a canvas, of which the page knows nothing",
    "drag-cube": "the cube has no bid, and how far a drag turns it is not in the text",
    "draw-circle": "a circle must be drawn, and a drag is a straight line",
    "find-midpoint": _STRICT_POINT,
    "highlight-text": _SELECTION,
    "highlight-text-2": _SELECTION,
    "hot-cold": "where it is hot only the moving mouse is told",
    "text-editor": _SELECTION,
    "tic-tac-toe": "whose mark is in a cell is not in the text",
    "visual-addition": "the blocks are empty elements, which are not listed",
}

_HEAD = """# The web tasks

Which of BrowserGym's {total} MiniWoB++ web tasks can be solved by a policy that sees the page as text and acts with the
verbs of [architecture.md](architecture.md). Proof is a solver in `src/browser_control/solvers`: a scripted policy that
sees goal, page and its own actions, and may choose only what the policy may choose and spell. Each played {episodes}
different pages, or all there are. Solved means that the whole task was done; BrowserGym counts any positive reward.
Turns are the mean over the solved ones. Pages is how many distinct pages there are, where they are fewer than 50: such
web tasks are exempt from holding pages out, and in no average of held-out pages.

Written by `python -m browser_control.solvers --url URL --write docs/web_tasks.md`.

| | web tasks |
| --- | ---: |
| solved by a solver, at least 95% of the pages | {solved} |
| solved by a solver, on fewer pages | {partly} |
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
