"""The page format: what is written can be read back, and reads as docs/architecture.md says."""

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import browser_control
from browser_control import configuration
from browser_control.language.actions import VERBS, Action, offers, parse_bid, parse_label
from browser_control.language.page import STATES, Element, PageUnreadable, Text, format_page, parse_page, quote, unquote
from browser_control.web_tasks.miniwob import WEB_TASKS

SOURCES = Path(browser_control.__file__).parent
plain_text = st.text().map(lambda text: unquote(quote(text)))  # as it comes from a page: white space collapsed
elements = st.builds(
    Element,
    role=st.sampled_from(["button", "textbox", "checkbox", "combobox", "item"]),
    name=plain_text,
    bid=st.integers(0, 999).map(str) | st.just("aB12") | st.just("7.3"),
    value=st.none() | plain_text,
    states=st.lists(st.sampled_from(STATES), unique=True, max_size=3).map(tuple),
    options=st.lists(plain_text, max_size=3).map(tuple),
    format=st.just("") | st.sampled_from(["yyyy-mm-dd", "0 to 10"]),
    place=st.none() | st.tuples(st.integers(-50, 999), st.integers(-50, 999)),
    size=st.none() | st.tuples(st.integers(0, 999), st.integers(0, 999)),
)
items = st.lists(elements | st.builds(Text, plain_text), max_size=8)


@given(items)
def test_a_page_that_is_written_is_read_back(listed: list[Text | Element]) -> None:
    assert parse_page(format_page(listed)).items == tuple(listed)


@given(st.text())
def test_a_quoted_string_is_one_line(text: str) -> None:
    assert len(quote(text).split("\n")) == 1


def test_the_page_reads_as_documented() -> None:
    page = parse_page(
        '"Enter your name and press Submit."\n'
        'textbox "Name" [21] value "Ada" focused\n'
        "checkbox [15] checked\n"
        'combobox "Country" [30] value "France" options "France", "Spain"\n'
        'item "lorem" [17]\n'
        'button "Submit" [22] disabled'
    )
    assert page.texts == ("Enter your name and press Submit.",)
    assert page.elements == (
        Element("textbox", "Name", "21", "Ada", ("focused",)),
        Element("checkbox", "", "15", None, ("checked",)),
        Element("combobox", "Country", "30", "France", (), ("France", "Spain")),
        Element("item", "lorem", "17"),
        Element("button", "Submit", "22", None, ("disabled",)),
    )
    assert page.find("22") == page.elements[-1]
    assert page.elements[-1].label == 'button "Submit" [22]'


@pytest.mark.parametrize("line", ["button", '"open', "button [1] value", "button [1] loud", 'x "a" "b" [3]'])
def test_another_line_is_refused(line: str) -> None:
    with pytest.raises(PageUnreadable):
        parse_page(line)


def test_a_link_can_be_clicked_with_alt_held_where_that_is_offered() -> None:
    elements = parse_page('link "Ada" [46]\nbutton "Search" [16]').elements
    [offer] = offers(elements, ["alt-click"], "bid")
    action = Action("alt-click", "46")
    assert "".join(offer.begin) == action.to_browsergym()
    assert action.spell(elements) == 'alt-click link "Ada" [46]'
    assert action.to_browsergym() == "click('46', 'left', ['Alt'])"
    assert parse_label(action.spell(elements)) == parse_bid(action.to_browsergym()) == action


def test_neither_the_language_nor_the_lister_knows_a_web_task() -> None:
    script = (SOURCES / "environment" / "page_script.js").read_text()
    lister = script[script.index("- the page as text") : script.index("- actions, prepared")]
    texts = {path.name: path.read_text() for path in (SOURCES / "language").glob("*.py")} | {"the lister": lister}
    assert len(lister) > 10_000
    for name, text in texts.items():
        assert not [web_task for web_task in WEB_TASKS if re.search(rf"\b{web_task}\b", text)], name


def test_a_configuration_may_choose_among_all_verbs() -> None:
    assert get_args(configuration.Verb) == tuple(VERBS)
