"""Dialogs of the browser on pages of one's own: listed and answered where that is asked for, dismissed where not."""

from collections.abc import Iterator

import pytest
from service_process import Service, own_web_tasks

from browser_control.environment.client import Environments, Observation
from browser_control.language.actions import Action, is_offered, shows
from browser_control.language.page import parse_page
from browser_control.solvers.playing import play

VERBS = ("click", "drag", "accept", "answer", "dismiss")
FILES = {
    "page.html": """<!doctype html><title>Dialogs</title>
<button onclick='alert("Hello\\nAda"); say("after")'>Alert</button>
<button onclick='done = confirm("Delete Ada?")'>Delete</button>
<button onclick='say(String(prompt("Your name?", "Bob")))'>Name</button>
<button onclick='alert("one"); alert("one"); say("both")'>Twice</button>
<button onclick='setTimeout(() => say(String(confirm("late"))), 100)'>Later</button>
<button onmousedown='alert("down")' onclick='say("clicked")'>Down</button>
<a href=second.html onclick='window.addEventListener("beforeunload", event => event.preventDefault())'>second</a>
<iframe srcdoc="<button onclick='parent.say(String(confirm(&quot;inside&quot;)))'>Inside</button>"></iframe>
<p id=said></p><script>var done, say = text => { said.textContent = text; };</script>""",
    "second.html": "<!doctype html><title>2</title><h1>Second page</h1><script>var done</script>",
    "welcome.html": """<!doctype html><p id=said></p><script>var done;
alert("Welcome"); addEventListener("load", () => { said.textContent = String(confirm("Ready?")); });</script>""",
}


@pytest.fixture(scope="module")
def dialogs(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("own") / "dialogs"
    tasks = {
        "ask": {"start": "page.html", "solution": ['click button "Delete"', "accept"]},
        "plain": {
            "start": "page.html",
            "success": "said.textContent === 'after'",
            "solution": ['click button "Alert"'],
        },
        "welcome": {"start": "welcome.html"},
        "after": {
            "start": "page.html",
            "solution": ['click button "Twice"', "accept", "accept", 'click button "Delete"', "accept"],
        },
    }
    judged = {"goal": "Delete Ada.", "success": "done === true", "failure": "done === false"}
    with own_web_tasks(folder, {name: judged | changes for name, changes in tasks.items()}, FILES) as running:
        yield running


@pytest.fixture
def asked(dialogs: Service) -> Iterator[Environments]:
    with Environments([dialogs.url], 1, shows=shows(VERBS)) as environments:
        yield environments


def say(environments: Environments, observation: Observation, verb: str, argument: str = "") -> Observation:
    """Clicks what is called `argument`, or does what needs no element; each is offered."""
    elements = parse_page(observation.text).elements
    bid = next((each.bid for each in elements if each.name == argument), "") if verb == "click" else ""
    action = Action(verb, bid, "" if verb == "click" else argument)
    assert is_offered(action, elements, VERBS)
    after = environments.step(0, action.to_browsergym()).result()
    assert after.error == ""
    return after


def test_an_alert_is_the_page_until_it_is_accepted(asked: Environments) -> None:
    first = asked.reset(0, "dialogs.ask", 0).result()
    alert = say(asked, first, "click", "Alert")
    assert alert.text == 'alert "Hello Ada" [dialog]'
    assert not alert.done
    after = say(asked, alert, "accept")
    assert '"after"' in after.text
    assert say(asked, after, "click", "Name").text == 'prompt "Your name?" [dialog] value "Bob"'


@pytest.mark.parametrize(("verb", "reward"), [("accept", 1.0), ("dismiss", 0.0)])
def test_what_a_confirm_is_answered_decides(asked: Environments, verb: str, reward: float) -> None:
    confirm = say(asked, asked.reset(0, "dialogs.ask", 0).result(), "click", "Delete")
    assert confirm.text == 'confirm "Delete Ada?" [dialog]'
    last = say(asked, confirm, verb)
    assert (last.done, last.reward) == (True, reward)


@pytest.mark.parametrize(
    ("verb", "text", "said"), [("accept", "", "Bob"), ("answer", "Ada L.", "Ada L."), ("dismiss", "", "null")]
)
def test_a_prompt_takes_a_text(asked: Environments, verb: str, text: str, said: str) -> None:
    prompt = say(asked, asked.reset(0, "dialogs.ask", 0).result(), "click", "Name")
    assert f'"{said}"' in say(asked, prompt, verb, text).text


def test_two_dialogs_come_one_after_the_other(asked: Environments) -> None:
    one = say(asked, asked.reset(0, "dialogs.ask", 0).result(), "click", "Twice")
    two = say(asked, one, "accept")
    assert one.text == two.text == 'alert "one" [dialog]'
    assert '"both"' in say(asked, two, "dismiss").text


@pytest.mark.parametrize(("name", "message"), [("Later", "late"), ("Inside", "inside")])
def test_a_dialog_of_a_timer_or_a_frame_is_met(asked: Environments, name: str, message: str) -> None:
    confirm = say(asked, asked.reset(0, "dialogs.ask", 0).result(), "click", name)
    assert confirm.text == f'confirm "{message}" [dialog]'
    assert '"true"' in say(asked, confirm, "accept").text


def test_a_dialog_between_press_and_release_leaves_the_mouse_free(asked: Environments) -> None:
    down = say(asked, asked.reset(0, "dialogs.ask", 0).result(), "click", "Down")
    assert down.text == 'alert "down" [dialog]'
    after = say(asked, down, "accept")
    assert say(asked, after, "click", "Alert").text == 'alert "Hello Ada" [dialog]'


def test_a_page_that_asks_whether_to_leave_is_left_or_not(asked: Environments) -> None:
    first = asked.reset(0, "dialogs.ask", 0).result()
    leaving = say(asked, first, "click", "second")
    assert leaving.text == 'beforeunload "Leave this page?" [dialog]'
    stayed = say(asked, leaving, "dismiss")
    assert "Second page" not in stayed.text
    assert "Second page" in say(asked, say(asked, stayed, "click", "second"), "accept").text


def test_dialogs_of_a_page_that_loads_come_before_it(asked: Environments) -> None:
    welcome = asked.reset(0, "dialogs.welcome", 0).result()
    assert welcome.text == 'alert "Welcome" [dialog]'
    ready = say(asked, welcome, "accept")
    assert ready.text == 'confirm "Ready?" [dialog]'
    assert '"true"' in say(asked, ready, "accept").text


def test_nothing_else_is_done_while_a_dialog_is_open_and_no_other_episode_meets_it(
    asked: Environments,
) -> None:
    first = asked.reset(0, "dialogs.ask", 0, pictures=True).result()
    alert = say(asked, first, "click", "Alert")
    assert alert.picture == first.picture
    for call in ("click('9')", "keyboard_press('Enter')", "go_back()", "scroll(0, 200)"):
        refused = asked.step(0, call).result()
        assert (refused.error, refused.text) == ("a dialog is open: accept or dismiss it first", alert.text)
    assert asked.step(0, "accept_dialog('text')").result().error == "the dialog takes no text"
    assert asked.step(0, "noop(10)").result().text == alert.text
    again = asked.reset(0, "dialogs.ask", 1).result()
    assert again.text == first.text
    assert asked.step(0, "accept_dialog()").result().error == "no dialog is open"


def test_dialogs_are_dismissed_where_nobody_could_answer(dialogs: Service) -> None:
    assert shows(("click", "answer")) == frozenset()
    with Environments([dialogs.url], 1) as environments:
        first = environments.reset(0, "dialogs.ask", 0).result()
        assert '"after"' in say(environments, first, "click", "Alert").text
        assert '"null"' in say(environments, first, "click", "Name").text
        assert "Second page" in say(environments, first, "click", "second").text
        assert '"false"' in environments.reset(0, "dialogs.welcome", 0).result().text


def test_a_solution_answers_dialogs_or_has_them_dismissed(asked: Environments) -> None:
    web_tasks = ("ask", "plain", "after")
    results = list(play(asked, [(f"dialogs.{name}", 0) for name in web_tasks]))
    assert [each.failure for each in results] == [""] * len(web_tasks)
