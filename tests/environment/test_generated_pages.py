"""Pages that nobody wrote, in a real browser: what is listed reads back, what the action tree offers can be done."""

import asyncio
import html
import json
import os
import random
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny import save_model
from transformers import AutoTokenizer

from browser_control.environment.actions import parse_action
from browser_control.environment.episode import PageSession
from browser_control.environment.service import BrowserPool
from browser_control.language.action_tree import ActionTrees
from browser_control.language.actions import VERBS, Action, check, is_offered, parse_label
from browser_control.language.page import Element, Page, format_page, parse_page

PAGES = 2000
MAX_TEXT = 12
_BESIDE = {"back", "tab", "close", "accept", "answer", "dismiss"}
OFFERED = tuple(verb for verb in VERBS if verb not in _BESIDE)  # which sessions of own pages alone can do

words = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.sampled_from("\"'\\[]()<>&\n\t\u00a0"),
    max_size=14,
) | st.sampled_from(["<|im_end|>", "North", "a\u00a0b", 'say "no"', "", " ", "C:\\dir", "options", "value [3]"])
flag = st.booleans()


def quoted(text: str) -> str:
    return html.escape(text, quote=True)


@st.composite
def lists(draw: st.DrawFn) -> str:
    option = lambda: f"<option{' disabled' * draw(st.sampled_from([0, 0, 1]))}>{quoted(draw(words))}</option>"  # noqa: E731
    group = lambda: f'<optgroup label="{quoted(draw(words))}">{option()}{option()}</optgroup>'  # noqa: E731
    options = "".join(draw(st.sampled_from([option, group]))() for _ in range(draw(st.integers(1, 4))))
    return f'<select aria-label="{quoted(draw(words))}"{" multiple size=3" * draw(flag)}>{options}</select>'


KINDS = (
    "text", "search", "email", "password", "tel", "url", "number", "date", "time", "datetime-local", "month", "week",
    "color", "range", "checkbox", "radio", "file", "submit", "button", "reset",
)  # fmt: skip


@st.composite
def fields(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(KINDS))
    bounds = ' min="1" max="9"' if kind in ("number", "range") and draw(flag) else ""
    state = draw(st.sampled_from(["", "", " disabled", " readonly", " required", ' aria-disabled="true"']))
    value = f' value="{quoted(draw(words))}"' if kind in ("text", "submit", "button", "search") else ""
    name = draw(words)
    named = draw(st.sampled_from([f'aria-label="{quoted(name)}"', f'placeholder="{quoted(name)}"', ""]))
    return f'<input type="{kind}" {named}{bounds}{state}{value}>'


def labelled(draw: st.DrawFn) -> str:
    return f'<label>{quoted(draw(words))} <input type="{draw(st.sampled_from(["checkbox", "radio", "text"]))}"></label>'


@st.composite
def others(draw: st.DrawFn) -> str:
    name = quoted(draw(words))
    number = draw(st.integers(20, 40))
    return draw(
        st.sampled_from(
            [
                f"<button>{name}</button>",
                f'<a href="javascript:void 0">{name or "link"}</a>',
                f"<textarea rows=2 aria-label='Long'>{name * 9}</textarea>",
                f'<div contenteditable="true" style="min-height:20px" aria-label="{name}">{name}</div>',
                f"<p>{name}</p><table><tr><td>{name}</td><td>{number}</td></tr></table>",
                f"<dialog open style='position:static'>{name}<button>{name or 'ok'}</button></dialog>",
                f"<details open><summary>{name or 'more'}</summary>{name}</details>",
                f'<div role="slider" tabindex="0" aria-label="{name}" aria-valuenow="{number}">-</div>',
                f'<svg width=90 height=60 onclick="1"><circle cx="{number}" cy="30" r="9" fill="red"/>'
                f'<rect x="60" y="5" width="20" height="20" fill="#00ff00" onclick="1"/><text y=55>{name}</text></svg>',
                f'<div onmousedown="1" style="width:{number * 3}px;height:40px"></div>',
                labelled(draw),
            ]
        )
    )


parts = st.lists(lists() | fields() | others(), min_size=1, max_size=5)


class Browser:
    """A page of a real browser, whose content the test sets."""

    def __init__(self, chromium: str) -> None:
        self._runner = asyncio.Runner()
        self._pool = BrowserPool(Path(chromium))
        self.run(self._pool.start())
        self.session: PageSession = self.run(self._pool.page())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    def show(self, content: str) -> Page:
        """Begins an episode of which only `content` is seen."""
        self.run(self.session.reset("click-test", 1, kept=True))
        self.run(self._evaluate(f"document.getElementById('area').innerHTML = {json.dumps(content)}"))
        return Page(self.run(self.session.look()).items)

    async def _evaluate(self, expression: str) -> None:
        await self.session._send("Runtime.evaluate", {"expression": expression})

    def close(self) -> None:
        self._pool.stop()
        self._runner.close()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    opened = Browser(chromium)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> ActionTrees:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_model("llama", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return ActionTrees(tokenizer, len(tokenizer), OFFERED, "label", MAX_TEXT)


def said(trees: ActionTrees, page: Page, chance: random.Random) -> str:
    """What a policy says that chooses by chance among the tokens that may come next."""
    matcher, tokens = trees.matcher(page.elements), []
    while not matcher.done:
        tokens += matcher.forced()
        if not matcher.done:
            mask = matcher.mask()
            token = chance.choice([each for each in range(len(mask) * 32) if mask[each >> 5] >> (each & 31) & 1])
            matcher.consume(token)
            tokens.append(token)
    return str(trees._tokenizer.decode(tokens))


def test_a_page_that_offers_very_many_actions_is_played(browser: Browser, trees: ActionTrees) -> None:
    items = "".join(f'<span draggable="true">part {number}</span> ' for number in range(50))
    options = "".join(f"<option>country {number}</option>" for number in range(6000))
    page = browser.show(f'{items}<select aria-label="Country">{options}</select>')
    bids = {element.name: element.bid for element in page.elements}
    for action in (Action("drag", bids["part 0"], bids["part 49"]), Action("select", bids["Country"], "country 5999")):
        matcher = trees.matcher(page.elements)
        for token in trees.encode(action, page.elements):
            matcher.consume(token)
        assert matcher.done
        view, error = browser.run(browser.session.act(parse_action(action.to_browsergym())))
        assert error == ""
    assert next(item for item in view.items if isinstance(item, Element) and item.options).value == "country 5999"


NO_WIDTH = (
    '<svg width=90 height=60 onclick="1"><circle cx="20" cy="30" r="9" fill="red"/>'
    '<rect x="60" y="5" width="20" height="20" fill="#00ff00" onclick="1"/><text y=55>\xad</text></svg>'
)


# The same pages in every run; N=20000 tries others.
@settings(
    max_examples=int(os.environ.get("N", PAGES)),
    derandomize="N" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=parts, seed=st.integers(0, 2**32))
@example(content=[NO_WIDTH], seed=196)
def test_what_is_listed_reads_back_and_what_is_offered_can_be_done(
    browser: Browser, trees: ActionTrees, content: list[str], seed: int
) -> None:
    page = browser.show("".join(f"<div>{part}</div>" for part in content))
    assert parse_page(format_page(page.items)) == page
    action = parse_label(said(trees, page, random.Random(seed)))
    assert is_offered(action, page.elements, OFFERED)
    check(action, page.elements)
    _, error = browser.run(browser.session.act(parse_action(action.to_browsergym())))
    assert error in ("", "nothing was copied"), action
