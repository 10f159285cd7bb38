"""Web tasks of the user's own on the service: played in real time, judged by their file, each on a fresh page."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from service_process import Service, start_service, stop_service

from browser_control.environment import health
from browser_control.environment.client import Environments, Observation
from browser_control.environment.episode import COMMAND_SECONDS
from browser_control.errors import ConfigurationError, EnvironmentFailure, EnvironmentMismatch
from browser_control.language.actions import Action
from browser_control.language.page import parse_page
from browser_control.solvers.playing import play
from browser_control.web_tasks import registry

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"

PAGE = """<!doctype html><title>Notes</title><p id=before></p><label>Note <input id=note></label>
<button id=save>Save</button><button id=go>Go</button><a href=second.html>second</a><a href=http://example.com/>away</a>
<p id=said></p>
<script>
var saved = null;
before.textContent = "before: " + [localStorage.note, sessionStorage.note, document.cookie, window.name].join(",");
go.onclick = () => fetch("data.json").then(answer => answer.json()).then(({ word }) => { said.textContent = word; });
save.onclick = () => setTimeout(() => setTimeout(() => { saved = note.value; said.textContent = "saved"; }, 150), 150);
</script>"""

# Leaves whatever a page can leave, the last of it when it is left itself, and says what it found.
LITTER = """<!doctype html><title>Litter</title><p id=found></p><button id=leave>Leave</button><p id=said></p>
<script>
var saved;
const write = () => {
  localStorage.note = sessionStorage.note = window.name = "left";
  document.cookie = "note=left; max-age=9999";
};
const register = async () => (await navigator.serviceWorker.register("worker.js")) && navigator.serviceWorker.ready;
Promise.all([indexedDB.databases(), caches.keys(), navigator.serviceWorker.getRegistrations(),
  navigator.storage.getDirectory().then(async root => {
    const all = [];
    for await (const key of root.keys()) all.push(key);
    return all;
  })])
  .then(all => {
    const seen = [localStorage.note, sessionStorage.note, document.cookie, name, history.length, history.state];
    found.textContent = [...seen, ...all.map(each => each.length), isSecureContext].join();
  });
leave.onclick = async () => {
  write();
  window.open("second.html");
  history.pushState(1, "", "?1");
  addEventListener("pagehide", write);
  addEventListener("beforeunload", event => { write(); event.preventDefault(); });
  const root = await navigator.storage.getDirectory();
  await Promise.all([new Promise(done => { indexedDB.open("notes").onsuccess = done; }), caches.open("notes"),
    register(), root.getFileHandle("note", { create: true })]);
  said.textContent = "left";
};
</script>"""


def web_task(folder: Path, **changes: Any) -> None:
    folder.mkdir(parents=True)
    (folder / "page.html").write_text(PAGE)
    (folder / "second.html").write_text("<!doctype html><title>2</title><h1>Second page</h1><script>var saved</script>")
    (folder / "data.json").write_text('{"word": "fetched"}')
    values = {"start": "page.html", "goal": "Save {word}.", "parameters": {"word": ["a b", "it's"]}}
    values |= {"success": "saved === word", "failure": "saved !== null && saved !== undefined", **changes}
    (folder / "task.yaml").write_text(yaml.safe_dump(values))


# By the name of each button what it leaves of the page.
BARE = """<!doctype html><title>Bare</title><script>var saved, later = work => setTimeout(work, 30);</script>
<button onclick='later(() => { document.open(); stop(); })'>opened anew</button>
<button onclick='document.documentElement.remove()'>nothing</button>
<button onclick='document.body.remove()'>no body</button>
<button onclick='document.documentElement.replaceWith(Object.assign(document.createElement("button"),
  { textContent: "Alone", onclick: () => { saved = true; } }))'>one button</button>"""
DRAWING = """<svg xmlns="http://www.w3.org/2000/svg" width="200" height="99"><script>var saved</script>
<rect width="50" height="50" fill="blue" onclick="saved = true"/></svg>"""


@pytest.fixture(scope="module")
def notes(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("own") / "notes"
    web_task(folder / "save", max_turns=4)
    web_task(folder / "litter", success="saved", failure="false", max_turns=100)
    (folder / "litter" / "page.html").write_text(LITTER)
    (folder / "litter" / "worker.js").write_text("self.onfetch = () => {};")
    web_task(folder / "throws", success="nothing.there")
    web_task(folder / "link", success="won === word", failure="won !== null")
    (folder / "link" / "page.html").write_text(
        "<!doctype html><script>var won = null</script><a href='second.html'>Elsewhere</a>"
    )
    web_task(folder / "no-script", success="saved ===")
    web_task(folder / "restless", success="saved", failure="false")
    (folder / "restless" / "page.html").write_text(
        "<!doctype html><script>var saved; const again = () => fetch('data.json').then(again); again()</script>"
    )
    web_task(folder / "bare", success="saved", failure="false", max_turns=100)
    (folder / "bare" / "page.html").write_text(BARE)
    web_task(folder / "drawing", start="page.svg", success="saved", failure="false")
    (folder / "drawing" / "page.svg").write_text(DRAWING)
    running = start_service("--sessions", "2", "--max-turns", "100", "--web-tasks", str(folder), str(SHOP))
    yield running
    assert stop_service(running) == 0


def bid(observation: Observation, role: str, name: str) -> str:
    return next(each.bid for each in parse_page(observation.text).elements if (each.role, each.name) == (role, name))


def act(
    environments: Environments, observation: Observation, call: str, role: str, name: str, *given: str
) -> Observation:
    arguments = ", ".join(map(repr, (bid(observation, role, name), *given)))
    return environments.step(0, f"{call}({arguments})").result()


@pytest.mark.parametrize("left", ["opened anew", "nothing", "no body"])
def test_a_page_that_leaves_nothing_of_itself_is_listed_as_nothing(notes: Service, left: str) -> None:
    with Environments([notes.url], 1) as environments:
        after = act(environments, environments.reset(0, "notes.bare", 0).result(), "click", "button", left)
        assert (after.text, after.error, after.done) == ("", "", False)


def test_what_a_document_without_a_body_has_is_listed_and_can_be_operated(notes: Service) -> None:
    with Environments([notes.url], 1) as environments:
        alone = act(environments, environments.reset(0, "notes.bare", 0).result(), "click", "button", "one button")
        assert act(environments, alone, "click", "button", "Alone").reward == 1.0
        drawing = environments.reset(0, "notes.drawing", 0).result()
        assert act(environments, drawing, "click", "rectangle", "blue").reward == 1.0


def test_what_the_file_calls_success_is_rewarded_once_it_has_happened(notes: Service) -> None:
    with Environments([notes.url], 1) as environments:
        first = environments.reset(0, "notes.save", 0).result()
        word = first.goal.removeprefix("Save ").removesuffix(".")
        filled = act(environments, first, "fill", "textbox", "Note", word)
        assert not filled.done
        last = act(environments, filled, "click", "button", "Save")
        assert (last.reward, last.strict, last.done, last.truncated) == (1.0, True, True, False)


def test_what_the_file_calls_failure_ends_the_episode_without_a_reward(notes: Service) -> None:
    with Environments([notes.url], 1) as environments:
        first = environments.reset(0, "notes.save", 0).result()
        last = act(environments, first, "click", "button", "Save")
        assert (last.reward, last.strict, last.done) == (0.0, False, True)


def test_an_answer_of_the_server_is_waited_for_and_so_is_another_page(notes: Service) -> None:
    with Environments([notes.url], 1) as environments:
        first = environments.reset(0, "notes.save", 0).result()
        assert '"fetched"' in act(environments, first, "click", "button", "Go").text
        second = act(environments, first, "click", "link", "second")
        assert '"Second page"' in second.text
        assert not second.done


def test_going_back_leads_to_the_page_before_and_not_out_of_the_episode(notes: Service) -> None:
    with Environments([notes.url], 1) as environments:
        first = environments.reset(0, "notes.save", 0).result()
        nowhere = environments.step(0, "go_back()").result()
        assert (nowhere.error, nowhere.text) == ("there is no page before this one", first.text)
        second = act(environments, nowhere, "click", "link", "second")
        back = environments.step(0, Action("back").to_browsergym()).result()
        assert ('"Second page"' in second.text, '"Second page"' in back.text, back.error) == (True, False, "")
        assert bid(back, "button", "Save")
        again = environments.reset(0, "notes.save", 1).result()  # what the episode before opened is not gone back to
        assert environments.step(0, "go_back()").result().error == "there is no page before this one"
        assert bid(again, "button", "Save")


def test_an_episode_is_cut_off_after_the_turns_of_its_file(notes: Service) -> None:
    with Environments([notes.url], 1) as environments:
        environments.reset(0, "notes.save", 0).result()
        last = [environments.step(0, "noop(0)").result() for _ in range(4)][-1]
        assert (last.done, last.truncated, last.reward) == (True, True, 0.0)


def wait_for(environments: Environments, words: str, observation: Observation) -> Observation:
    deadline = time.monotonic() + 30
    while words not in observation.text:
        assert time.monotonic() < deadline, observation.text
        observation = environments.step(0, "noop(200)").result()
    return observation


def test_nothing_of_an_episode_is_left_for_the_next(notes: Service) -> None:
    begin, clean = time.monotonic(), '",,,,2,,0,0,0,0,true"'
    with Environments([notes.url], 1) as environments:
        for _ in range(3):
            first = wait_for(environments, "true", environments.reset(0, "notes.litter", 0).result())
            assert clean in first.text
            wait_for(environments, '"left"', act(environments, first, "click", "button", "Leave"))
        wait_for(environments, clean, environments.reset(0, "notes.litter", 0).result())
    assert time.monotonic() - begin < COMMAND_SECONDS, "a page that was lost, and not one that was cleared"


def test_a_page_that_leads_elsewhere_ends_the_episode(notes: Service) -> None:
    with Environments([notes.url], 1) as environments:
        first = environments.reset(0, "notes.save", 0).result()
        last = act(environments, first, "click", "link", "away")
        assert (last.done, last.reward) == (True, 0.0)
        assert not environments.reset(0, "notes.save", 0).result().done


@pytest.mark.parametrize(("name", "words"), [("throws", "success throws ReferenceError"), ("no-script", "SyntaxError")])
def test_a_judge_that_is_no_javascript_makes_an_episode_unscorable(notes: Service, name: str, words: str) -> None:
    with Environments([notes.url], 1) as environments, pytest.raises(EnvironmentFailure) as raised:
        environments.reset(0, f"notes.{name}", 0).result()
    assert f"unscorable: the web task is wrong: notes.{name}: " in str(raised.value)
    assert words in str(raised.value)


def test_a_judge_that_throws_where_a_link_led_says_that_nothing_was_won(notes: Service) -> None:
    """What it speaks of is on the page where the episode began; a policy that leaves that page has lost nothing yet."""
    with Environments([notes.url], 1) as environments:
        first = environments.reset(0, "notes.link", 0).result()
        elsewhere = environments.step(0, f"click('{bid(first, 'link', 'Elsewhere')}')").result()
        assert "Second page" in elsewhere.text
        assert (elsewhere.done, elsewhere.reward) == (False, 0.0)
        assert "Elsewhere" in environments.reset(0, "notes.link", 0).result().text


def test_a_page_that_never_comes_to_rest_is_taken_as_it_is(notes: Service) -> None:
    begin = time.monotonic()
    with Environments([notes.url], 1) as environments:
        assert not environments.reset(0, "notes.restless", 0).result().done
    assert time.monotonic() - begin > 4


def test_sessions_change_between_web_tasks_of_any_source(notes: Service) -> None:
    with Environments([notes.url], 1) as environments:
        for name in ("click-test", "shop.order-shirts", "click-test", "notes.save", "shop.order-shirts"):
            assert environments.reset(0, name, 3).result().text
        assert environments.reset(0, "shop.order-shirts", 3).result().digest
        assert not environments.reset(0, "click-test", 3).result().digest


def test_the_gate_compares_web_tasks_and_says_what_their_author_has_to_put_right(notes: Service) -> None:
    registry.use([SHOP])
    shirts = registry.own("shop.order-shirts")
    assert shirts is not None
    assert health.pass_gate([notes.url], shirts.name, digests={shirts.name: shirts.digest})
    with pytest.raises(
        EnvironmentMismatch, match=r"has another version of the web task 'shop[.]order-shirts': start it"
    ):
        health.compare(notes.url, {shirts.name: "0" * 12})
    with pytest.raises(EnvironmentMismatch, match=r"has no web task 'shop[.]count': start it with --web-tasks FOLDER"):
        health.compare(notes.url, {"shop.count": "0" * 12})
    with pytest.raises(ConfigurationError, match=r"^the web task is wrong: notes.no-script: .*SyntaxError"):
        health.compare(notes.url, {"notes.no-script": "0" * 12})


def test_a_solution_is_played_by_the_solver_that_is_made_of_it(notes: Service) -> None:
    registry.use([SHOP])
    with Environments([notes.url], 2) as environments:
        results = list(play(environments, [("shop.order-shirts", seed) for seed in range(12)]))
    assert [each.failure for each in results] == [""] * 12
    assert len({each.page for each in results}) == 12
