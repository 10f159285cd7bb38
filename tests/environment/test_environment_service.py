"""The service as a training program meets it: episodes, failures and limits, through the client."""

import http.server
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from service_process import Service, start_service, stop_service
from websockets.sync.client import connect

from browser_control.environment import health
from browser_control.environment.client import Environments, Observation
from browser_control.errors import EnvironmentFailure, EnvironmentLost, EnvironmentUnreachable
from browser_control.language.page import parse_page
from browser_control.web_tasks.steps import step


class Elsewhere(http.server.ThreadingHTTPServer):
    """Another web server, whose pages lead on to itself by its address; it notes what it is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ElsewherePages)
        self.asked: list[str] = []
        self.port = self.server_port


class ElsewherePages(http.server.BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.headers['Host'].partition(':')[0]} {self.path}")
        onward = f"http://127.0.0.1:{self.server.port}/onward"
        self.send_response(302 if self.path == "/redirect" else 200)
        self.send_header("Location", onward)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(f"<script>fetch({onward!r}, {{mode: 'no-cors'}})</script>".encode() * (self.path == "/fetch"))

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def elsewhere(chromium: str) -> Iterator[Elsewhere]:
    with Elsewhere() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def act(environments: Environments, *actions: str, session: int = 0) -> Observation:
    for action in actions:
        observation = environments.step(session, action).result()
    return observation


def bid(observation: Observation, role: str, name: str = "") -> str:
    return next(e.bid for e in parse_page(observation.text).elements if e.role == role and name in ("", e.name))


def test_an_episode_that_succeeds_is_rewarded(service: Service) -> None:
    with Environments([service.url], sessions=1) as environments:
        first = environments.reset(0, "click-button", seed=0).result()
        assert (first.goal, first.reward, first.done, first.error) == ('Click on the "no" button.', 0.0, False, "")
        last = act(environments, f"click('{bid(first, 'button', 'no')}')")
        assert (last.reward, last.done, last.truncated, last.error) == (1.0, True, False, "")


def test_an_episode_that_fails_is_not_rewarded(service: Service) -> None:
    with Environments([service.url], sessions=1) as environments:
        first = environments.reset(0, "click-button", seed=0).result()
        last = act(environments, f"click('{bid(first, 'button', 'Ok')}')")
        assert (last.reward, last.done, last.truncated) == (0.0, True, False)


def test_forms_are_filled_and_selected(service: Service) -> None:
    with Environments([service.url], sessions=1) as environments:
        first = environments.reset(0, "login-user", seed=3).result()
        user, password = re.findall(r'"([^"]*)"', first.goal)
        filled = act(
            environments,
            f"fill('{bid(first, 'textbox', 'Username')}', {user!r})",
            f"fill('{bid(first, 'textbox', 'Password')}', {password!r})",
        )
        assert [element.value for element in parse_page(filled.text).elements if element.role == "textbox"] == [
            user,
            password,
        ]
        assert act(environments, f"click('{bid(filled, 'button')}')").reward == 1.0

        first = environments.reset(0, "choose-list", seed=3).result()
        wanted = first.goal.removeprefix("Select ").removesuffix(" from the list and click Submit.")
        chosen = act(environments, f"select_option('{bid(first, 'combobox')}', {wanted!r})")
        assert parse_page(chosen.text).elements[0].value == wanted
        assert act(environments, f"click('{bid(chosen, 'button')}')").reward == 1.0


def test_keys_reach_the_field_that_has_the_focus(service: Service) -> None:
    with Environments([service.url], sessions=1) as environments:
        first = environments.reset(0, "enter-text", seed=1).result()
        box = bid(first, "textbox")
        typed = act(environments, f"focus('{box}')", "keyboard_type('Ax!')", f"press('{box}', 'Backspace')")
        assert parse_page(typed.text).elements[0].value == "Ax"


def test_a_seed_makes_the_same_episode_again_in_any_session_and_spelling(service: Service) -> None:
    spellings = ["click-checkboxes", "miniwob.click-checkboxes", "browsergym/miniwob.click-checkboxes"]
    with Environments([service.url], sessions=3) as environments:
        seen = {
            (observation.goal, observation.text)
            for session, spelling in enumerate(spellings)
            for observation in [environments.reset(session, spelling, seed=7).result()]
        }
        assert len(seen) == 1
        other = environments.reset(0, spellings[0], seed=8).result()
        assert (other.goal, other.text) not in seen


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("click('99999')", "no element has the bid"),
        ("fill('13', 'x')", "not a field"),
        ("select_option('13', 'x')", "no options"),
        ("press('13', 'NoSuchKey')", "Unknown key"),
        ("import os", "exactly one call"),
        ("click('13'); click('13')", "exactly one call"),
        ("goto('http://127.0.0.1:1/')", "leaves the web task's own host"),
        ("goto('file:///etc/passwd')", "leaves the web task's own host"),
        ("goto('http://miniwob@127.0.0.1/')", "leaves the web task's own host"),
        (r"goto('http://127.0.0.1\\@miniwob/')", "leaves the web task's own host"),
        ("goto('http://[')", "leaves the web task's own host"),
        ("goto('https://miniwob/miniwob/click-test.html')", "leaves the web task's own host"),
        ("goto('http://miniwob:81/')", "leaves the web task's own host"),
        ("fill('13', '" + "x" * 1_000_000 + "')", "characters"),
        ("click('13\0')", "exactly one call"),
    ],
)
def test_an_action_that_cannot_be_done_says_why_and_the_episode_goes_on(
    service: Service, action: str, reason: str
) -> None:
    with Environments([service.url], sessions=1) as environments:
        first = environments.reset(0, "click-test", seed=1).result()
        refused = act(environments, action)
        assert reason in refused.error
        assert (refused.text, refused.reward, refused.done) == (first.text, 0.0, False)
        assert act(environments, "click('13')").reward == 1.0


def test_the_step_limit_truncates(service: Service) -> None:
    with Environments([service.url], sessions=1) as environments:
        environments.reset(0, "click-test", seed=1).result()
        last = act(environments, "noop(10)", "noop(10)", "noop(10)")
        assert not last.done
        last = act(environments, "noop(10)")
        assert (last.done, last.truncated, last.reward) == (True, True, 0.0)
        with pytest.raises(EnvironmentFailure, match="the episode is over"):
            act(environments, "noop(10)")
        assert not environments.reset(0, "click-test", seed=1).result().done


def test_one_session_too_many_is_refused_and_disturbs_nobody(service: Service) -> None:
    with Environments([service.url], sessions=3) as environments:
        first = environments.reset(2, "click-test", seed=1).result()
        with pytest.raises(EnvironmentUnreachable, match="refuses a session"):
            Environments([service.url], sessions=1)
        assert act(environments, f"click('{bid(first, 'button')}')", session=2).reward == 1.0


def test_sessions_of_killed_clients_are_free_within_a_second(service: Service) -> None:
    script = (
        "import json, os, sys\n"
        "from websockets.sync.client import connect\n"
        "sockets = [connect(sys.argv[1]) for _ in range(3)]\n"
        "for socket in sockets: socket.send(json.dumps({'type': 'reset', 'data': {'seed': 1}})); socket.recv()\n"
        "sockets[0].send(json.dumps({'type': 'step', 'data': {'action_str': 'noop()'}}))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    address = service.url.replace("http", "ws") + "/ws"
    subprocess.run([sys.executable, "-c", script, address], timeout=30)
    time.sleep(1)
    with Environments([service.url], sessions=3) as environments:
        futures = [environments.reset(session, "click-test", seed=2) for session in range(3)]
        assert all(not future.result().done for future in futures)


def test_sessions_advance_at_once(service: Service) -> None:
    with Environments([service.url], sessions=3) as environments:
        futures = [environments.reset(session, "click-test-2", seed=session) for session in range(3)]
        steps = [environments.step(session, "click('13')") for session, _ in enumerate(f.result() for f in futures)]
        assert [step.result().reward for step in steps] == [1.0, 1.0, 1.0]


def test_an_unknown_web_task_is_refused_and_the_session_stays(service: Service) -> None:
    with Environments([service.url], sessions=1) as environments:
        with pytest.raises(EnvironmentFailure, match="no web task 'click-tset'"):
            environments.reset(0, "click-tset", seed=1).result()
        assert environments.reset(0, "click-test", seed=1).result().goal == "Click the button."


def test_a_link_that_leaves_the_page_ends_the_episode_without_reward(service: Service) -> None:
    with Environments([service.url], sessions=1) as environments:
        environments.reset(0, "click-test", seed=1).result()
        left = act(environments, "goto('http://miniwob/miniwob/click-button.html')")
        assert (left.done, left.reward, left.error) == (True, 0.0, "")
        assert environments.reset(0, "click-test", seed=1).result().text == 'button "Click Me!" [13]'


def test_goto_opens_a_host_that_is_allowed_and_that_ends_the_episode(elsewhere: Elsewhere, service: Service) -> None:
    allowing = start_service("--sessions", "1", "--allowed-hosts", "localhost")
    try:
        for url in (service.url, allowing.url):
            with Environments([url], sessions=1) as environments:
                environments.reset(0, "click-test", seed=1).result()
                seen = act(environments, f"goto('http://localhost:{elsewhere.port}/')")
                assert (seen.done, bool(seen.error)) == ((True, False) if url == allowing.url else (False, True))
                assert seen.reward == 0.0
                assert elsewhere.asked == (["localhost /"] if url == allowing.url else [])
        with Environments([allowing.url], sessions=1) as environments:
            environments.reset(0, "click-test", seed=1).result()
            assert "leaves the web task's own host" in act(environments, "goto('http://127.0.0.1/')").error
            assert act(environments, "click('13')").reward == 1.0
    finally:
        assert stop_service(allowing) == 0


@pytest.mark.parametrize("way", ["redirect", "fetch"])
def test_a_host_that_is_allowed_leads_to_no_other(elsewhere: Elsewhere, way: str) -> None:
    allowing = start_service("--sessions", "1", "--allowed-hosts", "localhost")
    try:
        with Environments([allowing.url], sessions=1) as environments:
            environments.reset(0, "click-test", seed=1).result()
            seen = act(environments, f"goto('http://localhost:{elsewhere.port}/{way}')", *["noop()"] * (way == "fetch"))
            assert seen.reward == 0.0
            assert environments.reset(0, "click-test", seed=1).result().text == 'button "Click Me!" [13]'
    except EnvironmentFailure as failure:
        assert "the episode is over" in str(failure)  # the page was left, so that there is nothing to wait in
    finally:
        assert stop_service(allowing) == 0
    assert elsewhere.asked == [f"localhost /{way}"]


def test_the_image_that_never_comes_is_not_waited_for_as_a_page(service: Service) -> None:
    with Environments([service.url], sessions=1) as environments:
        environments.reset(0, "click-test", seed=1).result()
        left = act(environments, "goto('http://miniwob/never')")
        assert (left.done, left.reward) == (True, 0.0)
        assert left.seconds < 10


def test_the_protocol_is_openenvs(service: Service) -> None:
    assert httpx.get(f"{service.url}/health").json()["status"] == "healthy"
    assert "action_str" in httpx.get(f"{service.url}/schema").json()["action"]["properties"]
    with connect(service.url.replace("http", "ws") + "/ws") as session:

        def ask(kind: str, **data: object) -> dict[str, object]:
            session.send(json.dumps({"type": kind, "data": data}))
            answer: dict[str, object] = json.loads(session.recv())["data"]
            return answer

        seen = ask("reset", seed=1, task_name="click-test", screenshot=True)
        observation = seen["observation"]
        assert isinstance(observation, dict)
        assert observation["metadata"]["screenshot_png"].startswith("iVBOR")
        left, top, width, height = observation["metadata"]["boxes"][re.findall(r"\[(\d+)\]", observation["text"])[0]]
        assert 0 <= left < left + width <= 160 and 0 <= top < top + height <= 210
        assert observation["screenshot"] is None
        assert (seen["reward"], seen["done"]) == (0.0, False)
        done = ask("step", action_str="click('13')", metadata={})
        assert (done["reward"], done["done"]) == (1.0, True)
        session.send(json.dumps({"type": "state"}))
        state = json.loads(session.recv())["data"]
        assert (state["task_name"], state["step_count"], state["cum_reward"]) == ("click-test", 1, 1.0)


def test_an_observation_is_small(service: Service) -> None:
    with Environments([service.url], sessions=1) as environments:
        for web_task in ("click-test", "login-user", "email-inbox", "book-flight", "daily-calendar"):
            assert len(environments.reset(0, web_task, seed=1).result().text) < 5000


@pytest.mark.parametrize(
    ("web_task", "seed", "actions", "raw"),
    [
        ("click-test", 1, ['button "Click Me!"'], 1.0),
        # BrowserGym takes any reward above none for success
        ("use-colorwheel", 1, ['button "Submit"'], 0.0),  # pressed at once: paid for the distance of the colours
        ("click-checkboxes", 2, ['button "Submit"'], 0.0),  # one of three boxes is wrong
        ("find-greatest", 3, ['item "1"', 'button "Submit"'], 0.0),  # of 6, 1 and 3
        ("odd-or-even", 1, [*['button "Odd"', 'button "Odd" #2', 'button "Even" #3'], 'button "Submit"'], 0.0),
    ],
)
def test_both_kinds_of_success_are_told_apart(
    service: Service, web_task: str, seed: int, actions: list[str], raw: float
) -> None:
    with connect(service.url.replace("http", "ws") + "/ws") as session:

        def ask(kind: str, **data: object) -> dict[str, Any]:
            session.send(json.dumps({"type": kind, "data": data}))
            answer: dict[str, Any] = json.loads(session.recv())["data"]
            return answer

        first = ask("reset", seed=seed, task_name=web_task)
        assert first["observation"]["metadata"] == {"truncated": False, "raw_reward": 0.0, "strict": False}
        last = first
        for clicked in actions:
            action = step(f"click {clicked}").on(parse_page(last["observation"]["text"]).elements, {})
            assert action is not None
            last = ask("step", action_str=action.to_browsergym())
    metadata = last["observation"]["metadata"]
    assert (last["done"], last["reward"]) == (True, 1.0)
    assert metadata["strict"] == (metadata["raw_reward"] >= 0.999) == (raw == 1.0)
    assert 0 < metadata["raw_reward"] <= 1


def test_a_service_whose_browser_is_gone_for_good_says_that_it_is_not_healthy(chromium: str, tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text(f'#!/bin/sh\nexec {chromium} "$@"\n')
    program.chmod(0o755)
    running = start_service("--sessions", "1", "--browser", str(program))
    try:
        assert httpx.get(f"{running.url}/health").json() == {"status": "healthy"}
        program.write_text("#!/bin/sh\nexit 1\n")  # upgraded under our feet, or a library is gone
        for process in running.chromiums():
            os.kill(process, signal.SIGKILL)
        with Environments([running.url], sessions=1) as environments:
            with pytest.raises(EnvironmentFailure, match="unscorable"):
                environments.reset(0, "click-test", seed=1).result()
            answer = httpx.get(f"{running.url}/health", timeout=60)
            assert answer.status_code == 503
            assert "no browser can be started" in answer.json()["reason"]
            assert "no browser can be started" in health.trouble_at(running.url, 60)
            program.write_text(f'#!/bin/sh\nexec {chromium} "$@"\n')
            assert httpx.get(f"{running.url}/health", timeout=60).json() == {"status": "healthy"}
            assert environments.reset(0, "click-test", seed=1).result().text == 'button "Click Me!" [13]'
    finally:
        assert stop_service(running) == 0


def test_nothing_listens_is_one_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EnvironmentUnreachable, match="No environment answers at"):
        Environments([f"http://127.0.0.1:{port}"], sessions=2)


def test_an_episode_whose_chromium_was_killed_is_unscorable_and_the_next_reset_works(own_service: Service) -> None:
    with Environments([own_service.url], sessions=2) as environments:
        for session in range(2):
            environments.reset(session, "click-test", seed=1).result()
        os.kill(own_service.chromium(), signal.SIGKILL)
        for session in range(2):
            with pytest.raises(EnvironmentFailure, match="unscorable"):
                environments.step(session, "click('13')").result()
        for session in range(2):
            assert environments.reset(session, "click-test", seed=1).result().text == 'button "Click Me!" [13]'
            assert environments.step(session, "click('13')").result().reward == 1.0


@pytest.mark.parametrize("message", ["reset", "step"])
def test_a_service_that_is_gone_is_no_unscorable_episode(own_service: Service, message: str) -> None:
    with Environments([own_service.url], sessions=1) as environments:
        environments.reset(0, "click-test", seed=1).result()
        own_service.process.kill()
        own_service.process.wait(timeout=5)
        with pytest.raises(EnvironmentLost, match="the environment was lost: No environment answers at"):
            (act(environments, "click('13')") if message == "step" else environments.reset(0, "click-test", 2).result())
    stop_service(own_service)


def test_several_browsers_share_the_sessions_and_die_alone(chromium: str) -> None:
    service = start_service("--sessions", "2", "--browsers", "2")
    try:
        with Environments([service.url], sessions=2) as environments:
            for session in range(2):
                environments.reset(session, "click-test", seed=1).result()
            first, second = service.chromiums()
            os.kill(second, signal.SIGKILL)
            assert act(environments, "click('13')", session=0).reward == 1.0
            with pytest.raises(EnvironmentFailure, match="unscorable"):
                act(environments, "click('13')", session=1)
            for session in range(2):
                assert not environments.reset(session, "click-test", seed=2).result().done
            browsers = service.chromiums()
            assert len(browsers) == 2 and first in browsers
    finally:
        assert stop_service(service) == 0
    assert [process for browser in browsers for process in processes_of_group(browser)] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_when_the_service_ends(chromium: str, number: signal.Signals) -> None:
    service = start_service("--sessions", "1")
    browser = service.chromium()
    with Environments([service.url], sessions=1) as environments:
        environments.reset(0, "click-test", seed=1).result()
        service.process.send_signal(number)
        code = service.process.wait(timeout=60)
        deadline = time.monotonic() + 60
        while processes_of_group(browser) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert processes_of_group(browser) == []
    assert code == (-9 if number == signal.SIGKILL else 0)
    stop_service(service)


def processes_of_group(group: int) -> list[int]:
    """The live processes whose group is `group`."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(name))
    return found


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--browser", "/no/such/chromium"], "--browser names '/no/such/chromium'"),
        (["--port", "PORT"], "cannot listen on 127.0.0.1:PORT"),
        (["--sessions", "0"], "must be at least 1"),
        (["--allowed-hosts", "http://x/"], "must be a host name"),
        (["--colour", "blue"], "unrecognized arguments"),
    ],
)
def test_what_a_user_did_wrong_is_one_sentence_and_exit_code_2(
    service: Service, options: list[str], sentence: str
) -> None:
    port = service.url.rpartition(":")[2]
    options = [option.replace("PORT", port) for option in options]
    done = subprocess.run(
        [sys.executable, "-m", "browser_control.environment", *options], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 2
    assert sentence.replace("PORT", port) in done.stderr
    assert "Traceback" not in done.stderr


def test_help_answers_within_a_second() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "browser_control.environment", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0  # however busy the machine is


@pytest.mark.parametrize(("modifiers", "reward"), [("", 0.0), (", 'left', ['Alt']", 1.0)])
def test_a_link_whose_script_is_wanted_is_clicked_with_alt_held(
    service: Service, modifiers: str, reward: float
) -> None:
    """As in BrowserGym: a click on `href='#'` changes the address, which ends the episode without reward."""
    with Environments([service.url], sessions=1) as environments:
        first = environments.reset(0, "search-engine", seed=1).result()
        name = re.findall(r'"([^"]*)"', first.goal)[0]
        assert "3rd search result" in first.goal
        fill, search = f"fill('{bid(first, 'textbox')}', {name!r})", f"click('{bid(first, 'button', 'Search')}')"
        links = [each for each in parse_page(act(environments, fill, search).text).elements if each.role == "link"]
        last = act(environments, f"click('{links[2].bid}'{modifiers})")
        assert (last.reward, last.done) == (reward, True)


def test_more_sessions_than_pages_and_web_tasks_in_turn(chromium: str) -> None:
    service = start_service("--sessions", "3", "--pages", "1", "--browsers", "1")
    try:
        with Environments([service.url], sessions=3) as environments:
            for seed, web_task in enumerate(("click-test", "login-user", "click-test", "book-flight", "login-user")):
                seen = [environments.reset(session, web_task, seed) for session in range(3)]
                assert len({(future.result().goal, future.result().text) for future in seen}) == 1
    finally:
        assert stop_service(service) == 0


def test_a_seed_makes_the_same_episode_after_a_restart_and_in_an_open_or_a_loaded_page(service: Service) -> None:
    def first_pages(url: str) -> list[tuple[str, str]]:
        with Environments([url], sessions=1) as environments:
            seen = [environments.reset(0, "click-checkboxes", seed).result() for seed in (5, 6, 5)]
        assert seen[0] == replace(seen[2], seconds=seen[0].seconds) != seen[1]
        return [(observation.goal, observation.text) for observation in seen]

    other = start_service("--sessions", "1", "--no-in-page")
    try:
        assert first_pages(other.url) == first_pages(service.url)
    finally:
        assert stop_service(other) == 0
