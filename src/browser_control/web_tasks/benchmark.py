"""BrowserGym's MiniWoB benchmark: its episodes, and the subsets of web tasks that others report.

From browsergym-experiments 0.14.3: `benchmark/configs.py`, `benchmark/utils.py` and `benchmark/metadata/miniwob.csv`.
The split by web task is that of PipelineRL, `pipelinerl/domains/miniwob/load_tasks.py` of its commit 122db3c.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from browser_control.web_tasks.miniwob import FEW_PAGES, WEB_TASKS

PAGES = Path(__file__).with_name("benchmark_pages.json")  # written by benchmarks/browsergym_pages.py

MAX_TURNS = 10
REPEATS = 5
SEEDS = range(34)  # BrowserGym writes `2 ^ 32`, which is an exclusive or in Python

# `webgum_subset`: those that WebGUM (Furuta et al. 2023) and HTML-T5 (Gur et al. 2023) report
SUBSET_56: tuple[str, ...] = (
    "book-flight",
    "choose-date",
    "choose-date-easy",
    "choose-date-medium",
    "choose-list",
    "click-button",
    "click-button-sequence",
    "click-checkboxes",
    "click-checkboxes-large",
    "click-checkboxes-soft",
    "click-checkboxes-transfer",
    "click-collapsible",
    "click-collapsible-2",
    "click-color",
    "click-dialog",
    "click-dialog-2",
    "click-link",
    "click-menu",
    "click-option",
    "click-pie",
    "click-scroll-list",
    "click-shades",
    "click-shape",
    "click-tab",
    "click-tab-2",
    "click-tab-2-hard",
    "click-test",
    "click-test-2",
    "click-widget",
    "count-shape",
    "email-inbox",
    "email-inbox-forward-nl",
    "email-inbox-forward-nl-turk",
    "email-inbox-nl-turk",
    "enter-date",
    "enter-password",
    "enter-text",
    "enter-text-dynamic",
    "enter-time",
    "focus-text",
    "focus-text-2",
    "grid-coordinate",
    "guess-number",
    "identify-shape",
    "login-user",
    "login-user-popup",
    "multi-layouts",
    "multi-orderings",
    "navigate-tree",
    "search-engine",
    "social-media",
    "social-media-all",
    "social-media-some",
    "tic-tac-toe",
    "use-autocomplete",
    "use-spinner",
)

# `MASSIMO_TEST_SPLIT`: never trained
PIPELINERL_HELD_OUT: tuple[str, ...] = (
    "buy-ticket",
    "click-button",
    "click-checkboxes",
    "click-checkboxes-large",
    "click-collapsible",
    "click-option",
    "click-pie",
    "click-pie-nodelay",
    "click-shades",
    "click-tab-2-easy",
    "drag-single-shape",
    "email-inbox-nl-turk",
    "enter-password",
    "enter-text-2",
    "find-midpoint",
    "focus-text",
    "form-sequence-3",
    "highlight-text-2",
    "simple-arithmetic",
    "stock-market",
    "unicode-test",
    "use-slider",
    "use-slider-2",
)

# `similarity_group`, of each web task in turn
_FAMILIES = (
    0, 1, 2, 2, 3, 4, 4, 4, 4, 5, 6, 7, 8, 9, 9, 9, 9, 10, 10, 10, 10, 11, 12, 12, 13, 14, 14, 15, 16, 16, 17,
    18, 19, 20, 21, 21, 21, 21, 22, 23, 23, 24, 25, 25, 26, 27, 28, 29, 30, 31, 32, 33, 29, 29, 34, 32, 35,
    36, 37, 37, 37, 37, 37, 37, 37, 37, 37, 37, 38, 38, 38, 38, 38, 38, 39, 40, 41, 42, 42, 43, 44, 45, 46,
    47, 48, 49, 49, 50, 51, 52, 52, 53, 53, 54, 55, 56, 57, 58, 59, 59, 60, 61, 62, 62, 63, 64, 65, 65, 66,
    66, 66, 67, 68, 69, 70, 71, 72, 73, 73, 74, 74, 75, 75, 76, 77,
)  # fmt: skip
FAMILIES: Mapping[str, int] = dict(zip(WEB_TASKS, _FAMILIES, strict=True))


def episodes() -> list[tuple[str, int]]:
    """Web task and seed of each of the 625 episodes; in some web tasks a seed occurs twice."""
    from numpy.random import RandomState

    random = RandomState(42)
    return [
        (web_task, int(seed)) for web_task in WEB_TASKS for seed in random.randint(SEEDS.start, SEEDS.stop, REPEATS)
    ]


def kept_off(web_task: str) -> frozenset[str]:
    """The pages of a web task that the benchmark begins with and training keeps off (`language.page.page_of`).

    None where they are more than half of all there are: training would be left with too few.
    """
    pages = _pages().get(web_task, frozenset())
    return pages if 2 * len(pages) <= FEW_PAGES.get(web_task, 2 * len(pages)) else frozenset()


@cache
def _pages() -> Mapping[str, frozenset[str]]:
    return {web_task: frozenset(pages) for web_task, pages in json.loads(PAGES.read_text())["pages"].items()}


def siblings(web_tasks: tuple[str, ...]) -> frozenset[str]:
    """All web tasks of the families of `web_tasks`, themselves included: what training leaves out to judge on these."""
    families = {FAMILIES[web_task] for web_task in web_tasks}
    return frozenset(web_task for web_task in WEB_TASKS if FAMILIES[web_task] in families)
