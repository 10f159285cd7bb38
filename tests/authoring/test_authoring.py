"""`browser-control web-task`: from nothing to a web task that is proved."""

import builtins
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from browser_control import cli
from browser_control.authoring import checking, playing, served
from browser_control.environment.chromium import find_chromium
from browser_control.errors import BrowserNotFound
from browser_control.language.actions import Action, InvalidAction
from browser_control.language.page import parse_page
from browser_control.web_tasks import registry, task_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def nothing_of_this_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_own", {})


@pytest.fixture
def chromium() -> None:
    try:
        find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "shop" / "order"
    assert cli.main(["web-task", "new", str(folder)]) == 0
    return folder


def change(folder: Path, **values: object) -> None:
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    answers: Iterator[str] = iter(lines)
    monkeypatch.setattr(builtins, "input", lambda words: next(answers))


def test_the_example_is_what_new_writes(made: Path) -> None:
    example = ROOT / "examples" / "shop" / "order-shirts"
    assert (made / "page.html").read_text() == (example / "page.html").read_text()
    assert task_file.read(made).file == task_file.read(example).file


def test_what_new_writes_can_be_trained_on(chromium: None, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["web-task", "check", str(made)]) == 0
    said = capsys.readouterr().out
    assert "✓ solution: wins on 20 of 20 seeds" in said
    assert "✓ success by doing nothing: 0 of 8" in said
    assert "different pages: 20 in 20 seeds, 800 goals" in said
    assert "✓ left behind by other episodes: nothing" in said
    assert "shop.order can be trained on" in said


def test_what_is_wrong_with_a_web_task_is_said(chromium: None, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = made / "page.html"
    page.write_text(page.read_text().replace("<h1>Shirts", "<h1>Shirts <script>document.write(Math.random())</script>"))
    solution = ['select combobox "Color" option "{colour}"']
    change(made, goal="{colour} {size} {count}", parameters={"colour": ["red"], "size": ["small"], "count": [1, 2]})
    change(made, success="order === null", solution=solution)
    assert cli.main(["web-task", "check", str(made)]) == 1
    said = capsys.readouterr().out
    assert "success by doing nothing: 8 of 8: more than 20% leave little to learn" in said
    assert "different pages: 20 in 20 seeds, 2 goals: fewer than 50" in said
    assert "✗ left behind by other episodes: something: the page of seed 0 is another one" in said
    change(made, success="order")
    web_task = served.read(str(made))
    with served.served(web_task, 2) as environments:
        finding = next(checking.prove(web_task, environments))
    assert finding.found == "wins on 0 of 20 seeds"
    assert finding.trouble.startswith('seed 0: step 1, \'select combobox "Color" option')


def test_one_sentence_says_why_no_episode_can_begin(
    chromium: None, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(made, success="order &&")
    assert cli.main(["web-task", "check", str(made)]) == 2
    assert "no episode of shop.order can begin: shop.order: success or failure: SyntaxError" in capsys.readouterr().err


def test_a_person_plays_and_what_they_did_becomes_the_solution(
    chromium: None, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = task_file.read(made)
    parameters = written.draw(3)
    lines = [
        f'select combobox "Colour" "{parameters["colour"]}"',
        "click nothing",
        f'select combobox "Size" option "{parameters["size"]}"',
        f'fill spinbutton "How many" with "{parameters["count"]}"',
        'click button "Order"',
    ]
    change(made, solution=["scroll down"])
    typed(monkeypatch, *lines)
    assert cli.main(["web-task", "try", str(made), "--seed", "3", "--record"]) == 0
    assert "4 steps are now the solution" in capsys.readouterr().out
    assert task_file.read(made).file == written.file


def test_a_value_stands_for_its_parameter() -> None:
    steps = ['fill textbox "Day" with "2026-12-15"', 'click radio "15"', 'click button "1A"', 'click link "Ada\'s 21A"']
    assert playing.generalised(steps, {"day": "15", "place": "1A"}) == [
        steps[0],  # a whole string elsewhere
        'click radio "{day}"',
        'click button "{place}"',
        steps[3],
    ]
    assert playing.generalised([steps[0], *steps[2:]], {"day": "15", "place": "1A", "who": "Ada", "year": "202"}) == [
        'fill textbox "Day" with "2026-12-{day}"',
        'click button "{place}"',
        'click link "{who}\'s 21A"',
    ]
    assert playing.generalised(['fill textbox "Note" with "a \\"b\\" c"'], {"note": '"b"', "a": "note"}) == [
        'fill textbox "Note" with "a {note} c"'
    ]


def test_what_no_step_names_is_said(
    chromium: None, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"parameters": {"count": {"from": 1, "to": 9}}, "goal": "Order {count} shirts."}
    change(made, success="order", solution=["scroll down"], **given)
    typed(monkeypatch, 'click button "Order"')
    assert cli.main(["web-task", "try", str(made), "--record"]) == 0
    assert "none of them names {count}: where one depends on it, write it there" in capsys.readouterr().out
    change(made, success="order?.count === count", failure="order")
    assert cli.main(["web-task", "check", str(made)]) == 1
    assert "failure is true, and success is not; no step names {count}" in capsys.readouterr().out


def test_a_person_may_give_up(chromium: None, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (made / "task.yaml").read_text()
    typed(monkeypatch, "")
    assert cli.main(["web-task", "try", str(made), "--record"]) == 1
    assert (made / "task.yaml").read_text() == before


def test_it_is_shown_as_the_policy_sees_it(chromium: None, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["web-task", "show", str(made), "--seed", "1"]) == 0
    said = capsys.readouterr().out
    assert 'combobox "Size"' in said
    assert f"Goal: {task_file.read(made).goal(task_file.read(made).draw(1))}" in said
    assert "fill: spinbutton" in said


def test_new_overwrites_nothing_and_wants_a_name(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["web-task", "new", str(made)]) == 2
    assert "is there already, and is not empty" in capsys.readouterr().err
    assert cli.main(["web-task", "new", str(made.parent / "Not A Name")]) == 2
    assert "small letters, digits and dashes" in capsys.readouterr().err
    assert not (made.parent / "Not A Name").exists()


PAGE = parse_page('textbox "Note" [12]\ncombobox "City" [7] options "Lima", "Oslo"\nbutton "Save" [13]')


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("click 13", Action("click", "13")),
        ('click button "Save"', Action("click", "13")),
        ('click button "Save" [13]', Action("click", "13")),
        ('fill 12 "Ada"', Action("fill", "12", "Ada")),
        ('fill textbox "Note" "Ada"', Action("fill", "12", "Ada")),
        ('select 7 "Oslo"', Action("select", "7", "Oslo")),
        ('press "Enter" in 12', Action("press", "12", "Enter")),
        ("scroll down", Action("scroll", "", "down")),
    ],
)
def test_a_person_may_be_short(line: str, action: Action) -> None:
    assert playing.understand(line, PAGE.elements) == action


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("click 99", "there is no element [99] on the page"),
        ('select 7 "Rome"', "has no option 'Rome'"),
        ('fill 13 "x"', "[13] takes no text"),
        ('fill 12 ""', 'the page does not offer an empty text: `clear textbox "Note"` empties a field that has one'),
        ("clear 12", "[12] has no text to clear"),
        ("jump", "there is no action 'jump'"),
        ("click button", "there is no such element on the page"),
    ],
)
def test_what_the_page_does_not_offer_is_refused(line: str, words: str) -> None:
    with pytest.raises(InvalidAction, match=re.escape(words)):
        playing.understand(line, PAGE.elements)


def test_the_schema_is_that_of_the_file() -> None:
    words = "run: browser-control web-task schema > configs/task.schema.json"
    assert (ROOT / "configs" / "task.schema.json").read_text() == task_file.schema(), words
    assert json.loads(task_file.schema())["required"] == ["start", "goal"]
