"""The solution of a web task's file: read, spelled and played."""

from pathlib import Path

import pytest

from browser_control.errors import ConfigurationError
from browser_control.language.actions import Action
from browser_control.language.page import parse_page
from browser_control.solvers import View, own
from browser_control.web_tasks import task_file

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
PAGE = parse_page(
    'textbox "Note" [1]\nbutton "Add" [2]\nbutton "Add" [3]\ncombobox "To \\"us\\"" [4] value "a" options "a", "b"\n'
    "item [5]"
)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ('click button "Add"', Action("click", "2")),
        ('click button "Add" #2', Action("click", "3")),
        ('fill textbox "Note" with "to {who}, \\"now\\""', Action("fill", "1", 'to it\'s "A", "now"')),
        ('select combobox "To \\"us\\"" option "b"', Action("select", "4", "b")),
        ('press "Enter" in textbox "Note"', Action("press", "1", "Enter")),
        ('drag button "Add" to button "Add" #2', Action("drag", "2", "3")),
        ("click item", Action("click", "5")),
        ("scroll down", Action("scroll", "", "down")),
        ('key "Tab"', Action("key", "", "Tab")),
    ],
)
def test_a_step_names_elements_as_the_page_does(text: str, action: Action) -> None:
    assert own.step(text).on(PAGE.elements, {"who": 'it\'s "A"'}) == action
    if "{" not in text:
        assert own.step(own.spell(action, PAGE.elements)).on(PAGE.elements, {}) == action


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('clik button "Add"', "there is no action 'clik' (did you mean 'click'?), in"),
        ('fill textbox "Note"', "is not an action, such as `fill textbox"),
        ("click Add", "is not an action, such as"),
    ],
)
def test_a_step_that_is_no_action_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        own.step(text)
    assert words in str(raised.value)


def test_a_solver_is_made_of_the_file_alone() -> None:
    task = task_file.read(SHOP / "order-shirts")
    play = own.Solution(task)
    page = parse_page('spinbutton "How many" [7]\nbutton "Order" [9]\ncombobox "Colour" [3] options "any", "red"')
    goal = "Order 12 red shirts, size extra large."
    assert play(View(goal, page, ())) == Action("select", "3", "red")
    assert play(View(goal, page, (Action("a"),) * 2)) == Action("fill", "7", "12")
    assert play(View(goal, page, (Action("a"),) * 1)) is None  # no such element here
    assert play(View(goal, page, (Action("a"),) * 4)) is None
    assert play(View("Another goal.", page, ())) is None
