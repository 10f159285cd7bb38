"""Is the fast environment the same environment as plain BrowserGym? Replays recordings and compares.

`python tests/environment/parity.py RECORDING...` prints every difference and a summary; recordings come from
plain_browsergym.py, beside this file.
"""

import argparse
import asyncio
import collections
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from plain_browsergym import SNAPSHOT, Recording, Seen, read_recordings

from browser_control.environment.actions import parse_action
from browser_control.environment.chromium import find_chromium
from browser_control.environment.episode import PageSession, View
from browser_control.environment.in_page import IN_PAGE
from browser_control.environment.service import BrowserPool
from browser_control.language.page import Element

Difference = tuple[str, str]  # what differs, and how


async def replay(page: PageSession, recording: Recording, in_page: bool = False) -> list[Difference]:
    """Plays the recorded actions; what was seen otherwise than in plain BrowserGym, up to the first difference.

    With `in_page`, in a page that has played other episodes of the web task before and was not loaded since.
    """
    if in_page:
        for seed in range(recording.seed + 1, recording.seed + 3):
            await page.reset(recording.web_task, seed, kept=True)
            for action, _ in recording.steps:
                view, _ = await page.act(parse_action(action))
                if view.done:
                    break
        assert page.web_task == recording.web_task
    view = await page.reset(recording.web_task, recording.seed, in_page)
    differences = [] if view.goal == recording.goal else [("goal", f"{recording.goal!r} is {view.goal!r}")]
    differences += await compare(page, view, "", recording.first)
    for index, (action, seen) in enumerate(recording.steps):
        if differences:
            break
        view, error = await page.act(parse_action(action))
        differences += [(what, f"step {index} {action}: {how}") for what, how in await compare(page, view, error, seen)]
    return differences


async def compare(page: PageSession, view: View, error: str, seen: Seen) -> list[Difference]:
    differences: list[Difference] = []
    for name, ours, plain in (
        ("done", view.done, seen.done),
        ("reward", view.reward, seen.reward),
        ("error", bool(error), bool(seen.error)),
    ):
        if ours != plain:
            differences.append((name, f"{plain!r} is {ours!r} (error {error!r}, plain {seen.error[:90]!r})"))
    if seen.done:
        return differences  # the page of a finished episode is nobody's observation
    answer = await page._send("Runtime.evaluate", {"expression": f"({SNAPSHOT})()", "returnByValue": True})
    ours_elements, plain_elements = _comparable(answer["result"]["value"]), _comparable(seen.elements)
    if ours_elements != plain_elements:
        differences.append(("page", _first_difference(plain_elements, ours_elements)))
    listed = {item.bid for item in view.items if isinstance(item, Element)}
    boxes = {bid for bid, _, _, _, width, height, *_ in seen.elements if width and height}
    # An option is listed with its list, and the link in a tab is the tab.
    apart = {"option"} | ({"link"} if "tab" in seen.roles.values() else set())
    missing = {bid for bid, role in seen.roles.items() if role not in apart and bid in boxes} - listed
    if missing:
        tags = {bid: (tag, text) for bid, tag, *_, text in seen.elements}
        differences.append(("unlisted", ", ".join(f"{bid} {seen.roles[bid]} {tags[bid]}" for bid in sorted(missing))))
    return differences


def _comparable(elements: list[list[object]]) -> list[list[object]]:
    """Without the size of the root, which in BrowserGym changes with its viewport while it takes a screenshot."""
    return [row[:2] + [0] * 4 + row[6:] if row[1] in ("html", "body") else row for row in elements]


def _first_difference(plain: list[list[object]], ours: list[list[object]]) -> str:
    if [row[:2] for row in plain] != [row[:2] for row in ours]:
        only_plain = [row for row in plain if row[:2] not in [other[:2] for other in ours]]
        only_ours = [row for row in ours if row[:2] not in [other[:2] for other in plain]]
        return f"elements: only plain {only_plain[:3]}, only ours {only_ours[:3]} ({len(plain)}, {len(ours)})"
    pairs = [(left, right) for left, right in zip(plain, ours, strict=True) if left != right]
    return f"{len(pairs)} elements: {pairs[0][0]} is {pairs[0][1]}"


async def replay_all(recordings: Sequence[Recording], in_page: bool = False) -> dict[tuple[str, int], list[Difference]]:
    """The differences of each recording, by web task and seed."""
    pool = BrowserPool(find_chromium())
    await pool.start()
    try:
        page = await pool.page()
        found = {}
        for recording in recordings:
            found[recording.web_task, recording.seed] = await replay(page, recording, in_page)
        return found
    finally:
        pool.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--tasks", nargs="*")
    parser.add_argument("--in-page", action="store_true", help="in pages that have played other episodes before")
    options = parser.parse_args()
    recordings = [
        recording
        for file in options.recordings
        for recording in read_recordings(file)
        if not options.tasks or recording.web_task in options.tasks
        if not options.in_page or recording.web_task in IN_PAGE
    ]
    found = asyncio.run(replay_all(recordings, options.in_page))
    kinds: collections.Counter[str] = collections.Counter()
    for (web_task, seed), differences in sorted(found.items()):
        for what, how in differences:
            kinds[what] += 1
            print(f"{web_task} {seed} {what}: {how}")
    same = sum(not differences for differences in found.values())
    tasks = {web_task for web_task, _ in found}
    steps = sum(len(recording.steps) for recording in recordings)
    print(f"{same} of {len(found)} episodes of {len(tasks)} web tasks the same ({steps} steps); {dict(kinds)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
