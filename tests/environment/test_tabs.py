"""Windows that a page of one's own opens: listed, gone to and closed where that is asked for, unseen where not."""

from collections.abc import Iterator

import pytest
from service_process import Service, own_web_tasks

from browser_control.environment.client import Environments, Observation
from browser_control.language.actions import Action, is_offered, parse_bid, parse_label, shows
from browser_control.language.page import parse_page
from browser_control.solvers.playing import play

VERBS = ("click", "fill", "back", "tab", "close", "accept", "dismiss")
FILES = {
    "page.html": """<!doctype html><title>First</title><h1>First page</h1>
<button onclick='window.open("second.html")'>Open</button>
<a href=second.html target=_blank>blank</a>
<button onclick='put(window.open("").document)'>Write</button>
<button onclick='window.open("http://example.com/")'>Away</button>
<button onclick='setTimeout(() => alert("first says"), 300); window.open("second.html")'>Both</button>
<button onclick='window.open("long.html")'>Read</button>
<p id=said></p><script>var done;
function put(inside) { inside.write("<title>Written</title><button>Inside</button>"); inside.close(); }
addEventListener("message", event => { said.textContent = event.data; done = event.data === "yes"; });</script>""",
    "second.html": """<!doctype html><title>Second</title><h1>Second page</h1><input aria-label=Word value="">
<button onclick='(opener || {postMessage() {}}).postMessage("yes", "*")'>Yes</button>
<button onclick='(opener || {postMessage() {}}).postMessage("no", "*")'>No</button>
<button onclick='confirm("Close me?") && window.close()'>Leave</button>
<a href=third.html>third</a><p id=kept></p><script>kept.textContent = "kept: " + [localStorage.word, name].join();
localStorage.word = "left"; name = "left"; 
addEventListener("pagehide", () => { localStorage.word = "last"; });</script>""",
    "twice.html": """<!doctype html><title>First</title><script>var opened = 0, done</script>
<button onclick='window.open("second.html"); opened += 1; done = opened === 2'>Open</button>""",
    "long.html": f"<!doctype html><title>Long</title><h1>Long page</h1><p>{'It goes on. ' * 2_000}</p>",
    "third.html": "<!doctype html><title>Third</title><h1>Third page</h1>",
}


@pytest.fixture(scope="module")
def windows(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    judged = {"start": "page.html", "goal": "Say yes.", "success": "done === true", "failure": "done === false"}
    there_and_back = ['click button "Open"', 'tab window "First"', 'tab window "Second"', 'click button "Yes"']
    twice = {
        "start": "twice.html",
        "success": "document.title === 'First' && opened",
        "failure": "false",
        "solution": ['click button "Open"'] * 2,
    }
    tasks = {"ask": judged | {"solution": there_and_back}, "plain": judged | twice}
    with own_web_tasks(tmp_path_factory.mktemp("own") / "windows", tasks, FILES) as running:
        yield running


@pytest.fixture
def asked(windows: Service) -> Iterator[Environments]:
    with Environments([windows.url], 1, shows=shows(VERBS)) as environments:
        yield environments


def say(environments: Environments, observation: Observation, verb: str, name: str = "") -> Observation:
    elements = parse_page(observation.text).elements
    action = Action(verb, next((each.bid for each in elements if name and each.name == name), ""))
    assert is_offered(action, elements, VERBS)
    after = environments.step(0, action.to_browsergym()).result()
    for _ in range(20):
        if not all(line.startswith("window ") for line in lines(after)):
            break
        after = environments.step(0, "noop(500)").result()  # what a busy machine has not loaded yet
    assert after.error == ""
    return after


def lines(observation: Observation) -> list[str]:
    """Of the page; where the focus is does not matter here."""
    return observation.text.replace(" focused", "").split("\n")


@pytest.mark.parametrize("name", ["Open", "blank"])
def test_a_window_that_opens_comes_to_the_front(asked: Environments, name: str) -> None:
    first = asked.reset(0, "windows.ask", 0).result()
    second = say(asked, first, "click", name)
    assert lines(second)[:2] == ['window "First" [tab0]', '"Second page"']
    assert not second.done
    back = say(asked, second, "tab", "First")
    assert lines(back) == ['window "Second" [tab1]', *lines(first)]
    again = say(asked, back, "tab", "Second")
    assert lines(again) == lines(second)
    closed = say(asked, again, "close")
    assert lines(closed) == lines(first)
    assert asked.step(0, "tab_close()").result().error == "the first window stays open"
    assert asked.step(0, "tab_focus(1)").result().error == "there is no window 1"


@pytest.mark.parametrize(("name", "reward"), [("Yes", 1.0), ("No", 0.0)])
def test_the_first_window_is_judged_whatever_is_in_front(asked: Environments, name: str, reward: float) -> None:
    second = say(asked, asked.reset(0, "windows.ask", 0).result(), "click", "Open")
    last = say(asked, second, "click", name)
    assert (last.done, last.reward) == (True, reward)


def test_each_window_has_a_history_of_its_own(asked: Environments) -> None:
    second = say(asked, asked.reset(0, "windows.ask", 0).result(), "click", "Open")
    assert asked.step(0, "go_back()").result().error == "there is no page before this one"
    third = say(asked, second, "click", "third")
    assert lines(third) == ['window "First" [tab0]', '"Third page"']
    assert '"Second page"' in say(asked, third, "back").text


def test_a_window_that_closes_itself_is_gone_and_its_dialog_is_answered_there(asked: Environments) -> None:
    first = asked.reset(0, "windows.ask", 0).result()
    leave = say(asked, say(asked, first, "click", "Open"), "click", "Leave")
    assert leave.text == 'confirm "Close me?" [dialog]'
    assert lines(say(asked, leave, "accept")) == lines(first)


def test_a_dialog_brings_its_window_to_the_front(asked: Environments) -> None:
    first = asked.reset(0, "windows.ask", 0).result()
    alert = say(asked, first, "click", "Both")
    if "[dialog]" not in alert.text:  # the window was at rest before
        alert = asked.step(0, "noop(1000)").result()
    assert alert.text == 'alert "first says" [dialog]'
    assert lines(say(asked, alert, "accept")) == ['window "Second" [tab1]', *lines(first)]


def test_a_window_that_is_written_into_can_be_acted_on(asked: Environments) -> None:
    written = say(asked, asked.reset(0, "windows.ask", 0).result(), "click", "Write")
    assert not written.done
    assert not say(asked, written, "click", "Inside").done


def test_a_window_of_another_host_ends_the_episode_as_a_link_there_does(asked: Environments) -> None:
    away = say(asked, asked.reset(0, "windows.ask", 0).result(), "click", "Away")
    assert (away.done, away.reward) == (True, 0.0)


def test_windows_are_gone_with_their_episode_and_leave_nothing(asked: Environments) -> None:
    for seed in range(3):
        first = asked.reset(0, "windows.ask", seed).result()
        assert "window" not in first.text
        second = say(asked, first, "click", "Open")
        assert '"kept: ,"' in second.text
        assert lines(say(asked, say(asked, second, "tab", "First"), "click", "Open"))[1] == 'window "Second" [tab1]'


def test_a_window_is_not_shown_where_nobody_could_go_there(windows: Service) -> None:
    assert shows(("click", "close")) == frozenset()
    with Environments([windows.url], 1) as environments:
        first = environments.reset(0, "windows.ask", 0).result()
        for name in ("Open", "blank", "Away"):
            assert lines(say(environments, first, "click", name)) == lines(first)
        assert environments.step(0, "tab_focus(1)").result().error == "there is no window 1"


def test_a_solution_goes_to_windows_or_stays_in_the_first(asked: Environments) -> None:
    results = list(play(asked, [("windows.ask", 0), ("windows.plain", 0)]))
    assert [each.failure for each in results] == ["", ""]


def test_going_to_a_window_is_spelled_as_browsergym_does() -> None:
    page = parse_page('window "First" [tab0]\nbutton "Yes" [12]').elements
    for action, said, call in (
        (Action("tab", "tab0"), 'tab window "First" [tab0]', "tab_focus(0)"),
        (Action("close"), "close", "tab_close()"),
    ):
        assert (action.spell(page), action.to_browsergym()) == (said, call)
        assert parse_label(said) == parse_bid(call) == action
        assert is_offered(action, page, VERBS)
        assert not is_offered(action, page[1:], VERBS)
    assert not is_offered(Action("click", "tab0"), page, VERBS)


def test_what_is_in_view_is_counted_with_the_windows_that_are_listed_before(asked: Environments) -> None:
    seen = say(asked, asked.reset(0, "windows.ask", 1).result(), "click", "Read")
    window, heading, text = seen.text.split("\n")
    assert window.startswith('window "First"') and heading == '"Long page"'
    assert seen.viewport == (1, 2) and seen.reading is not None and seen.reading[:2] == (2, 0)
    assert 100 < seen.reading[2] < len(text)
