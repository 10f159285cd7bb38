"""Of a page that is longer than a prompt may be, what the viewport shows is listed: in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser_control.environment.client import Observation
from browser_control.environment.live import LiveEnvironments
from browser_control.language import prompts

ARTICLE = "".join(f"<span>This is what sentence {number} says.</span> " for number in range(1_500))
PAGE = """<!DOCTYPE html><style>body {{ margin: 0 }} header {{ position: sticky; top: 0; background: white }}
#all {{ height: {height}; overflow: auto }}</style><header><a href="#top">The Daily</a></header>
<div id="all"><h1>News</h1><p>It says <a href="#more">much</a> today.</p>{text}
<p>The end</p><button>Next</button></div>"""


def shown(seen: Observation) -> list[str]:
    """The lines of a prompt that has about 250 tokens."""
    text = prompts.build(seen.text, seen.goal, budget=1_000, viewport=seen.viewport, reading=seen.reading).text
    return text.split("\n")[:-1]


def sentences(lines: list[str]) -> list[int]:
    return [int(each) for line in lines for each in re.findall(r"sentence (\d+) says", line)]


@pytest.fixture
def pages(chromium: str, tmp_path: Path) -> Iterator["Pages"]:
    yield Pages(Path(chromium), tmp_path / "page.html")


class Pages:
    """Says what a prompt shows of a page at its top, in its middle and at its end."""

    def __init__(self, chromium: Path, file: Path) -> None:
        self._chromium, self._file = chromium, file

    def seen(self, page: str, middle: int) -> list[list[str]]:
        return list(map(shown, self.looks(page, middle)))

    def looks(self, page: str, middle: int) -> list[Observation]:
        self._file.write_text(page)
        with LiveEnvironments(self._chromium, self._file.as_uri(), "Read.", "", 9) as environments:
            return [
                environments.reset(0, "", 0).result(),
                environments.step(0, f"scroll(0, {middle})").result(),
                environments.step(0, "scroll(0, 99999)").result(),
            ]


def test_beside_headings_and_links_as_much_of_a_text_is_shown_as_fits(pages: Pages) -> None:
    top, middle, end = pages.seen(PAGE.format(height="auto", text=f"<p>{ARTICLE}</p>"), 2_000)
    for lines in (top, middle, end):
        assert [line.split(" [")[0] for line in lines if not line.startswith('"')] == [
            'link "The Daily"', 'link "much"', 'button "Next"'
        ]  # fmt: skip
        assert 900 < sum(len(line) + 1 for line in lines) <= 1_000
    assert top[1] == '"News"' and top[2] == '"It says"'
    assert sentences(top)[0] == 0 and sentences(top)[-1] < sentences(middle)[0]
    assert sentences(middle)[-1] < sentences(end)[0] and '"The end"' in end


def test_what_is_read_goes_with_the_viewport_in_paragraphs_too(pages: Pages) -> None:
    text = "".join(f"<p>This is what sentence {number} says.</p>" for number in range(400))
    top, middle, end = (sentences(lines) for lines in pages.seen(PAGE.format(height="auto", text=text), 4_000))
    for numbers in (top, middle, end):
        assert numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 10
    assert top[0] == 0 and top[-1] < middle[0] and middle[-1] < end[0] and end[-1] == 399


SHADOW = """<!DOCTYPE html>
<p>{start}<x-says id="host"><span slot="b">{last}</span><span slot="a">first</span></x-says></p>
<script>host.attachShadow({{mode: "open"}}).innerHTML =
"<style>slot {{ display: inline }}</style> said <slot name='a'></slot> and <slot name='b'></slot> at last";</script>"""


def test_a_text_that_goes_on_in_a_shadow_root_is_in_view_where_it_is(pages: Pages) -> None:
    """It begins in the page, goes on in another tree, and there in another order than the page has it."""
    top, _, end = pages.looks(SHADOW.format(start="long " * 1_000, last="then " * 1_000), 0)
    assert top.text == f'"{"long " * 1_000}said first and {"then " * 1_000}at last"'
    assert (top.viewport, end.viewport) == ((0, 0), (0, 0))
    assert top.reading is not None and top.reading[:2] == (0, 0) and 1_000 < top.reading[2] < 9_000
    assert end.reading is not None and 1_000 < end.reading[1] < 9_000 and end.reading[2] > 10_000


def test_a_part_of_the_page_that_scrolls_by_itself_is_read_in_the_same_way(pages: Pages) -> None:
    top, middle, end = (
        sentences(lines) for lines in pages.seen(PAGE.format(height="90vh", text=f"<p>{ARTICLE}</p>"), 2_000)
    )
    assert top[0] == 0 and top[-1] < middle[0] < middle[-1] < end[0]
