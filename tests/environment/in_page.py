"""Is an episode begun in the open page the same as one in a page that was loaded for it? Plays both and compares.

`python tests/environment/in_page.py --seeds 10` plays episode after episode of each web task in one page that is never
loaded again and in one that always is: the same seeds, the same random actions. Compared are goal, listing, reward,
done, error and the whole document, after the reset and after each action. `--control` loads both pages, and so shows
what differs by itself.
"""

import argparse
import asyncio
import collections
import random
import sys
from collections.abc import Sequence

from browser_control.environment.actions import parse_action
from browser_control.environment.chromium import find_chromium
from browser_control.environment.episode import PageLost, PageSession, View
from browser_control.environment.service import BrowserPool
from browser_control.language.page import Element
from browser_control.web_tasks.miniwob import WEB_TASKS

ACTIONS = 4  # of an episode at most
DOCUMENT = """(() => {
  const attributes = element => [...element.attributes].map(each => `${each.name}="${each.value}"`).sort();
  const tag = element => [element.tagName, ...attributes(element)].join(" ");
  const rows = [...document.querySelectorAll("*")].map(element => {
    const box = element.getBoundingClientRect();
    return [tag(element), element.value === undefined ? null : String(element.value),
            element.checked ?? null, element.scrollTop,
            ...[box.x, box.y, box.width, box.height].map(Math.round)].join(" ");
  });
  return [document.documentElement.textContent, tag(document.activeElement), ...rows];
})()"""


def random_action(view: View, chance: random.Random) -> str:
    """One of the actions that the page offers, or one that must fail."""
    elements = [item for item in view.items if isinstance(item, Element)]
    if not elements or chance.random() < 0.05:
        return chance.choice(["click('99999')", "scroll(0, 120)", "noop(300)", "mouse_click(120, 200)"])
    element, other = chance.choice(elements), chance.choice(elements)
    if element.options and chance.random() < 0.7:
        return f"select_option({element.bid!r}, {chance.choice(element.options)!r})"
    if element.role in ("textbox", "searchbox", "spinbutton") and chance.random() < 0.7:
        return f"fill({element.bid!r}, {chance.choice(['Ada', '7', 'comedy', '10/02/2016'])!r})"
    if chance.random() < 0.7:
        return f"click({element.bid!r})"
    return chance.choice(
        [
            f"hover({element.bid!r})",
            f"dblclick({element.bid!r})",
            f"focus({element.bid!r})",
            f"press({element.bid!r}, {chance.choice(['Enter', 'Tab', 'a', 'ArrowDown', 'Control+a'])!r})",
            f"drag_and_drop({element.bid!r}, {other.bid!r})",
            f"fill({element.bid!r}, 'a', True)",
        ]
    )


async def _document(page: PageSession) -> list[str]:
    answer = await page._send("Runtime.evaluate", {"expression": DOCUMENT, "returnByValue": True})
    rows: list[str] = answer["result"]["value"]
    return rows


async def _difference(open_page: PageSession, loaded: PageSession, seen: tuple[View, View], errors: list[str]) -> str:
    """What differs between the two pages, or ""."""
    for name in ("goal", "items", "url", "reward", "done"):
        ours, wanted = (getattr(view, name) for view in seen)
        if ours != wanted:
            return f"{name}: {wanted!r:.300} is {ours!r:.300}"
    if errors[0] != errors[1]:
        return f"error: {errors[1]!r} is {errors[0]!r}"
    if seen[1].done:
        return ""  # the page of a finished episode is nobody's observation
    ours, wanted = await _document(open_page), await _document(loaded)
    for left, right in zip(ours, wanted, strict=False):
        if left != right:
            at = max(0, next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), 0) - 60)
            return f"document: {right[at : at + 160]!r} is {left[at : at + 160]!r}"
    return "" if len(ours) == len(wanted) else f"document: {len(wanted)} elements are {len(ours)}"


async def compare(pages: Sequence[PageSession], web_task: str, seeds: range, control: bool) -> list[str]:
    """The first difference of each episode that has one."""
    open_page, loaded = pages
    differences = []
    for seed in seeds:
        chance = random.Random(f"{web_task} {seed}")
        seen = await open_page.reset(web_task, seed, kept=not control), await loaded.reset(web_task, seed)
        errors, action = ["", ""], "reset"
        for turn in range(ACTIONS + 1):
            difference = await _difference(open_page, loaded, seen, errors)
            if difference:
                differences.append(f"{web_task} {seed} turn {turn} {action}: {difference}")
                break
            if seen[1].done or turn == ACTIONS:
                break
            action = random_action(seen[1], chance)
            call = parse_action(action)
            (ours, error), (wanted, other) = await open_page.act(call), await loaded.act(call)
            seen, errors = (ours, wanted), [error, other]
    return differences


async def compare_all(web_tasks: Sequence[str], seeds: range, control: bool = False) -> dict[str, list[str]]:
    """The differences of each web task."""
    pool = BrowserPool(find_chromium())
    await pool.start()
    try:
        found = {}
        for web_task in web_tasks:
            pages = [await pool.page(), await pool.page()]
            try:
                found[web_task] = await compare(pages, web_task, seeds, control)
            except PageLost as lost:
                found[web_task] = [f"{web_task}: {lost}"]
            for page in pages:
                page.close()
            print(f"{web_task} {len(found[web_task])}", *found[web_task][:2], sep="\n  ", flush=True)
        return found
    finally:
        pool.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="*", default=list(WEB_TASKS))
    parser.add_argument("--control", action="store_true", help="load both pages for each episode")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    found = asyncio.run(compare_all(options.tasks, seeds, options.control))
    same = [web_task for web_task, differences in found.items() if not differences]
    counts = collections.Counter(len(differences) for differences in found.values())
    print(f"{len(same)} of {len(found)} web tasks the same in {len(seeds)} seeds; {dict(sorted(counts.items()))}")
    print(*same)
    return 0


if __name__ == "__main__":
    sys.exit(main())
