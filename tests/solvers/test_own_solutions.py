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


LIBRARY = task_file.read(SHOP.parent / "library" / "add-book")
FORM = (
    'link "New book" [1]\ntextbox "Title" [2]{title}\ntextbox "Author" [3]{author}\n'
    'spinbutton "Year" [4]{year}\nbutton "Add" [5]'
)
AA = task_file.read(Path(own.__file__).parents[1] / "web_tasks" / "flight" / "aa-return")
SEARCH = (
    'textbox "From , required." [1] value "{origin}"\ntextbox "To , required." [2] value "{to}"\n'
    'textbox "Depart , required." [3]{depart}\ntextbox "Return , required." [4]{back}\n{days}button "Search" [5]'
)


def resumed(
    task: task_file.WebTask, text: str, *taken: Action, spent: tuple[Action, ...] = (), touched: str = ""
) -> Action | None:
    goal, elements = task.goal(task.draw(0)), parse_page(touched).elements
    return own.Solution(task).resume(View(goal, parse_page(text), taken, spent=spent, touched=elements))


def values(**given: str) -> dict[str, str]:
    return {name: f' value "{value}"' if value else "" for name, value in given.items()}


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        ({}, ("fill", "2", "title")),
        ({"author": "{author}"}, ("fill", "2", "title")),
        ({"title": "Another", "author": "{author}"}, ("fill", "2", "title")),
        ({"title": "{title}", "year": "{year}"}, ("fill", "3", "author")),
        ({"title": "{title}", "author": "{author}", "year": "{year}"}, ("click", "5", "")),
    ],
)
def test_what_a_field_shows_says_which_step_is_next(shown: dict[str, str], wanted: tuple[str, str, str]) -> None:
    drawn = {name: str(value) for name, value in LIBRARY.draw(0).items()}
    given = values(**{name: shown.get(name, "").format(**drawn) for name in ("title", "author", "year")})
    verb, bid, name = wanted
    wrong = (Action("click", "1"), Action("click", "9"), Action("click", "1"), Action("fill", "3", "x"))
    assert resumed(LIBRARY, FORM.format(**given), *wrong) == Action(verb, bid, drawn.get(name, ""))


@pytest.mark.parametrize(("value", "wanted"), [(' value "Ada"', ("clear", "1")), ("", ("click", "2"))])
def test_a_field_is_cleared_once(value: str, wanted: tuple[str, str]) -> None:
    solution = ['clear textbox "Note"', 'click button "Save"']
    task = task_file.WebTask(LIBRARY.folder, LIBRARY.file.model_copy(update={"solution": solution}))
    assert resumed(task, f'textbox "Note" [1]{value}\nbutton "Save" [2]') == Action(*wanted)


def test_where_nothing_can_be_put_yet_what_leads_furthest_is_next() -> None:
    address = task_file.read(SHOP.parent / "library" / "change-address")
    reader = str(address.draw(0)["reader"])
    assert resumed(address, 'link "Books" [1]\nlink "Readers" [2]') == Action("click", "2")
    assert resumed(address, f'link "Readers" [2]\nlink "{reader}" [3]') == Action("click", "3")
    assert resumed(address, 'link "Books" [1]') is None
    spent = (Action("click", "2"),)
    assert resumed(address, 'link "Readers" [2]', spent=spent) is None


def test_a_calendar_is_done_where_its_field_has_the_day() -> None:
    drawn = {name: str(value) for name, value in AA.draw(0).items()}
    depart, back = drawn["depart"], drawn["back"]
    filled = {"origin": drawn["origin"], "to": drawn["destination"], "days": ""}
    days = f'link "{depart}" [6]\nlink "{back}" [7]\n'
    depart_set, back_set = f"03/{depart.zfill(2)}/2017", f"03/{back}/2017"

    def after(depart: str = "", back: str = "", touched: str = "", **more: str) -> Action | None:
        return resumed(AA, SEARCH.format(**filled | more, **values(depart=depart, back=back)), touched=touched)

    assert after() == Action("click", "3")
    opened = 'textbox "{} , required. It opens a calendar." [9]'
    assert after(days=days, touched=opened.format("Depart")) == Action("click", "6")
    assert after(days=days, touched=opened.format("Return")) == Action("click", "7")
    assert after(depart="03/30/2017") == Action("click", "3")  # another day than was asked for
    assert after(depart_set) == Action("click", "4")
    assert after(depart_set, days=days, touched=opened.format("Depart")) == Action("click", "4")
    assert after(depart_set, back_set) == Action("click", "5")
    assert after(depart_set, back_set, to="PDX") == Action("fill", "2", drawn["destination"])


def test_what_a_field_spells_its_own_way_is_not_put_there_again() -> None:
    drawn = {name: str(value) for name, value in AA.draw(0).items()}
    page = SEARCH.format(origin="San Diego", to="Miami", days="", **values(depart="", back=""))
    put = Action("fill", "1", drawn["origin"]), Action("fill", "2", drawn["destination"])
    assert resumed(AA, page) == put[0]
    assert resumed(AA, page, *put) == Action("click", "3")
