"""What an episode changed is put back: lists, of which long ones are remembered by their members alone."""

import asyncio
from importlib import resources
from pathlib import Path

import pytest

from browser_control.environment.service import BrowserPool

# A list of N members; what an episode does to it; whether it is then what it was, its own properties among it.
CHECK = """(() => {
%s
const list = Array.from({ length: %d }, (_, at) => "word " + at), members = [{ n: 1 }, ...list], gaps = [...list];
delete gaps[5];
list.chosen = 1;
const own = each => JSON.stringify([Object.entries(each), each.length]);
const holder = { list, members, gaps }, before = [list, members, gaps].map(own);
const known = rememberValues([[holder, false]]);
%s
bringBackValues(known);
return JSON.stringify([holder.list === list, ...[list, members, gaps].map((each, at) => own(each) === before[at])]);
})()"""


async def evaluate(program: Path, expression: str) -> object:
    pool = BrowserPool(program)
    await pool.start()
    try:
        page = await pool.page()
        answer = await page._send("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]
    finally:
        pool.stop()


@pytest.mark.parametrize("length", [8, 80], ids=["short", "long"])
@pytest.mark.parametrize(
    "deed",
    [
        "list[3] = members[3] = gaps[3] = 'other'",
        "list.length = members.length = gaps.length = 2",
        "for (const each of [list, members, gaps]) each.push('more', 'words')",
        "for (const each of [list, members, gaps]) each.reverse()",
        "members[0].n = 2",
        "gaps[5] = 'filled'",
        "for (const each of [list, members, gaps]) each.picked = 3",
        "list.chosen = 2; delete members[4]",
        "holder.list = []",
    ],
)
def test_lists_are_put_back(chromium: str, length: int, deed: str) -> None:
    source = resources.files("browser_control.environment").joinpath("page_rollback.js").read_text()
    found = asyncio.run(evaluate(Path(chromium), CHECK % (source, length, deed + ";")))
    assert found == "[true,true,true,true]"
