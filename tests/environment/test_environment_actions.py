"""Actions are read, never executed: exactly one call with literal arguments, or a reason."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browser_control.environment.actions import ActionRefused, Call, parse_action, parse_calls


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("click('14')", Call("click", {"bid": "14", "button": "left", "modifiers": []})),
        ("  noop()\n", Call("noop", {"wait_ms": 1000})),
        ('fill("21", "a \\"b\\"")', Call("fill", {"bid": "21", "value": 'a "b"', "enable_autocomplete_menu": False})),
        ("fill('21', 'a', True)", Call("fill", {"bid": "21", "value": "a", "enable_autocomplete_menu": True})),
        ("scroll(0, -200.5)", Call("scroll", {"delta_x": 0, "delta_y": -200.5})),
        ("select_option('3', ['a', 'b'])", Call("select_option", {"bid": "3", "options": ["a", "b"]})),
        ("tab_focus(1)", Call("tab_focus", {"index": 1})),
        ("accept_dialog()", Call("accept_dialog", {"text": None})),
        ("accept_dialog('Ada')", Call("accept_dialog", {"text": "Ada"})),
        ("press(bid='3', key_comb='Enter')", Call("press", {"bid": "3", "key_comb": "Enter"})),
    ],
)
def test_an_action_is_read(text: str, call: Call) -> None:
    assert parse_action(text) == call


@pytest.mark.parametrize(
    "text",
    [
        "",
        "click",
        "click('1'); click('2')",
        "click('1')\nclick('2')",
        "click(click('1'))",
        "click(open('/etc/passwd').read())",
        "__import__('os').system('true')",
        "os.system('true')",
        "(lambda: 0)()",
        "click(*['1'])",
        "click(**{'bid': '1'})",
        "click(f'{1}')",
        "click('1' + '2')" + "'",
        "click(1)",
        "click(['1'])",
        "click('1', 'middle finger')",
        "click('1', modifiers=['Hyper'])",
        "click('1', '2', '3', '4')",
        "fill('1')",
        "fill('1', 'x', 'yes')",
        "scroll('0', 1)",
        "scroll(1e999, 0)",
        "scroll(True, 0)",
        "eval('1')",
        "new_tab()",
        "tab_focus('1')",
        "tab_focus(True)",
        "accept_dialog(3)",
        "dismiss_dialog('no')",
        "upload_file('1', '/etc/passwd')",
        "click('1\0')",
        "fill('1', '\\ud800')",
        "fill('1', '" + "x" * 1_000_000 + "')",
        "(" * 5000,
        "click(" * 300 + ")" * 300,
    ],
)
def test_anything_else_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ActionRefused, match=r"\w+"):
        parse_action(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ActionRefused):
        assert isinstance(parse_action(text), Call)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("click('12')", ["click"]),
        ("fill('1', 'a)b') click('2')\nnoop()", ["fill", "click", "noop"]),
        ("I will log in (first):\n```python\n# click('1')\nclick('2')  # the button\n```\nDone.", ["click"]),
        ("To press it, call (click('3')), it's done", ["click"]),
        ("think(about click('4'))", ["click"]),
    ],
)
def test_loosely_all_calls_are_taken_that_browsergyms_own_parser_takes(text: str, calls: list[str]) -> None:
    from browsergym.core.action.parsers import highlevel_action_parser

    theirs = [name for match in highlevel_action_parser.search_string(text).as_list() for name, _ in match]
    assert theirs == calls
    assert [call.name for call in parse_calls(text)] == calls


@pytest.mark.parametrize("text", ["", "nothing", "click(x)", "click('1') jump('2')", "click('1')" * 21, "a(" * 9000])
def test_loosely_nothing_is_done_where_one_call_is_wrong_or_there_is_none(text: str) -> None:
    with pytest.raises(ActionRefused):
        parse_calls(text)
