"""Web tasks with a server of their own: started, reset, asked, confined, and ended with whoever started it."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from service_process import Service, start_service, stop_service

from browser_control import leash
from browser_control.environment import health
from browser_control.environment.client import Environments, Observation
from browser_control.errors import ConfigurationError, EnvironmentFailure
from browser_control.language.page import parse_page
from browser_control.solvers.playing import play
from browser_control.web_tasks import registry

LIBRARY = Path(__file__).resolve().parents[2] / "examples" / "library"
NAMES = ("add-book", "change-address", "lend-book", "remove-book", "reserve-book", "return-book")
SECRET = "kestrel-93"

# A counter behind a login; it can be asked to die, to be late, and to say where a request came from.
COUNTER = """
import http.server, json, os, sys, urllib.parse
counts = {}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, text, kind="text/html", *headers):
        self.send_response(200)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(text))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())
    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path == "/state":
            self.answer(json.dumps(counts), "application/json")
        elif path == "/cookie":
            self.answer("", "text/plain", ("Set-Cookie", "who=ada; Path=/"))
        elif path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://example.org/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/login":
            self.answer("<form action=/ ><label>Word <input name=word></label><button>Enter</button></form>")
        else:
            word = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("word", [""])[0]
            self.answer("<h1>Counter</h1><p>" + str(len(counts)) + " counts"
                + "<p>cookie " + self.headers.get("Cookie", "none")
                + "<p>host " + self.headers["Host"] + "<p>word " + word + "<p>pid " + str(os.getpid())
                + "<button onclick=\\"fetch('/count', {method: 'POST', body: 'a'})\\">Count</button>"
                + "<button onclick=\\"fetch('/die', {method: 'POST'}).catch(() => 0)\\">Die</button>"
                + "<button onclick=\\"reach()\\">Reach</button><p id=said></p><script>"
                + "async function reach() { let r = []; for (const u of URLS) try { await fetch(u, {mode: 'no-cors'});"
                + " r.push(u) } catch {} said.textContent = 'reached ' + r.length + ' of ' + URLS.length }"
                + "const URLS = " + os.environ.get("URLS", "[]") + "</script>")
    def do_POST(self):
        given = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.path == "/die":
            print("out of ink", flush=True)
            os._exit(3)
        if self.path == "/reset":
            counts.pop(json.loads(given)["who"], None)
        else:
            counts[given] = counts.get(given, 0) + 1
        self.answer("")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
SERVER: dict[str, Any] = {"command": ["python", "app.py", "{port}"], "ready": "/state"}


def web_task(folder: Path, of_server: dict[str, Any] | None = None, **changes: Any) -> None:
    folder.mkdir(parents=True)
    (folder / "app.py").write_text(COUNTER)
    values = {
        "start": "/",
        "server": {**SERVER, **(of_server or {})},
        "parameters": {"times": {"from": 1, "to": 1}},
        "goal": "Count {times} times.",
        "state": {"get": "/state", "where": {"a": "{times}"}},
        **changes,
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(values))


@pytest.fixture(autouse=True)
def nothing_of_this_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_own", {})


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server that is not the service's."""
    app = tmp_path_factory.mktemp("foreign") / "app.py"
    app.write_text(COUNTER)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    urls = ["http://127.0.0.1:1/", "http://localhost/", f"http://localhost:{port}/", f"http://127.0.0.1:{port}/state"]
    with subprocess.Popen([sys.executable, app, str(port)], env={**os.environ, "URLS": str(urls)}) as server:
        yield port
        server.kill()


@pytest.fixture(scope="module")
def folder(foreign: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("applications") / "counts"
    login = ["goto /login", 'fill textbox "Word" with "{secret:COUNTER_WORD}"', 'click button "Enter"']
    web_task(folder / "one", before=[{"get": "/cookie"}])
    web_task(folder / "fails", failure={"get": "/state", "where": {"a": 1}}, state={"get": "/state", "where": {"b": 1}})
    web_task(folder / "login", before=[{"goto": "/login"}, *login[1:]])
    web_task(folder / "no-secret", before=['fill textbox "Word" with "{secret:COUNTER_NOTHING}"'], start="/login")
    others = [
        "http://127.0.0.1:1/",
        "http://localhost/",
        "http://miniwob/miniwob/click-test.html",
        "http://gate-1.localhost/",
    ]
    web_task(folder / "reach", {"environment": {"URLS": str([*others, "/state"])}})
    reset = {"post": "/reset", "body": {"who": "{session}"}}
    web_task(folder / "shared", {"shared": True, "reset": reset})
    slow = ["python", "-c", "import time; time.sleep(600 + {port})"]
    web_task(folder / "late", {"seconds": 1, "command": slow})
    web_task(folder / "dead", {"command": ["python", "-c", "import sys; sys.exit('no paper {port}')"]})
    web_task(folder / "lacks", {"command": ["python", "{port}"], "requirements": ["no-such-package-here"]})
    web_task(folder / "no-program", {"command": ["no-such-program", "{port}"]})
    web_task(folder / "leads", start="/away")
    web_task(folder / "asks-wrong", state={"get": "/", "where": {"a": 1}})
    reset = {"post": "/reset", "body": {"who": "a"}}
    web_task(folder / "foreign", server={"url": f"http://127.0.0.1:{foreign}", "reset": reset})
    web_task(folder / "away", server={"url": "http://127.0.0.1:9"})
    return folder


@pytest.fixture(scope="module")
def counts(chromium: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    os.environ["COUNTER_WORD"] = SECRET
    logs = str(tmp_path_factory.mktemp("logs"))
    running = start_service("--sessions", "2", "--web-tasks", str(folder), str(LIBRARY), "--logs", logs)
    del os.environ["COUNTER_WORD"]
    yield running
    assert stop_service(running) == 0


def applications(service: Service) -> list[int]:
    """Process ids of the servers that a service runs."""
    found = []
    for pid in leash.descendants(service.process.pid):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if any(word.endswith(b"app.py") for word in words) and not any(b"leash" in word for word in words):
                found.append(pid)
    return found


def click(environments: Environments, observation: Observation, name: str, session: int = 0) -> Observation:
    bid = next(each.bid for each in parse_page(observation.text).elements if each.name == name)
    return environments.step(session, f"click('{bid}')").result()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_library_is_used_as_its_solutions_say_and_each_session_has_one(counts: Service) -> None:
    registry.use([LIBRARY])
    with Environments([counts.url], 2) as environments:
        asked = [(f"library.{name}", seed) for seed in range(3) for name in NAMES]
        results = list(play(environments, asked))
        assert [each.failure for each in results] == [""] * len(asked)
        assert len(applications(counts)) == 2
    wait_until(lambda: not applications(counts))


def test_the_server_says_whether_the_goal_is_reached_and_begins_anew_with_each_episode(counts: Service) -> None:
    with Environments([counts.url], 1) as environments:
        for _ in range(2):
            first = environments.reset(0, "counts.one", 0).result()
            assert '"0 counts"' in first.text
            assert '"cookie who=ada"' in first.text
            assert '"host one.counts.localhost"' in first.text
            last = click(environments, first, "Count")
            assert (last.done, last.strict, last.reward) == (True, True, 1.0)


def test_what_the_server_calls_failure_ends_the_episode(counts: Service) -> None:
    with Environments([counts.url], 1) as environments:
        last = click(environments, environments.reset(0, "counts.fails", 0).result(), "Count")
        assert (last.done, last.strict, last.reward) == (True, False, 0.0)


def test_what_comes_before_the_first_turn_may_hold_a_secret_which_no_page_shows(counts: Service) -> None:
    with Environments([counts.url], 1) as environments:
        first = environments.reset(0, "counts.login", 0).result()
        assert '"word ***"' in first.text
        assert SECRET not in first.text
        with pytest.raises(EnvironmentFailure, match=r"counts.no-secret needs the secret COUNTER_NOTHING, and the ser"):
            environments.reset(0, "counts.no-secret", 0).result()


def test_a_server_that_somebody_else_runs_is_asked_and_reached_and_nothing_else(counts: Service, foreign: int) -> None:
    with Environments([counts.url], 1) as environments:
        for _ in range(2):
            first = environments.reset(0, "counts.foreign", 0).result()
            assert '"0 counts"' in first.text
            assert f'"host 127.0.0.1:{foreign}"' in first.text
            assert '"reached 1 of 4"' in click(environments, first, "Reach").text
            assert click(environments, first, "Count").strict
        with pytest.raises(EnvironmentFailure, match=r"http://127.0.0.1:9/ could not be loaded"):
            environments.reset(0, "counts.away", 0).result()


def test_a_page_reaches_its_own_server_and_nothing_else(counts: Service) -> None:
    with Environments([counts.url], 1) as environments:
        first = environments.reset(0, "counts.reach", 0).result()
        assert '"reached 1 of 5"' in click(environments, first, "Reach").text


def test_a_server_that_dies_makes_the_episode_unscorable_and_the_next_has_another(counts: Service) -> None:
    with Environments([counts.url], 1) as environments:
        first = environments.reset(0, "counts.one", 0).result()
        with pytest.raises(
            EnvironmentFailure, match=r"unscorable: the server of one.counts ended with exit code 3: .*"
        ):
            click(environments, first, "Die")
        first = environments.reset(0, "counts.one", 0).result()
        assert click(environments, first, "Count").strict


def test_a_shared_server_is_one_for_all_sessions(counts: Service) -> None:
    with Environments([counts.url], 2) as environments:
        seen = [environments.reset(number, "counts.shared", 0).result().text for number in range(2)]
        assert len({text.partition("pid ")[2].partition('"')[0] for text in seen}) == 1


# A page of eight scripts, of which a browser asks for six at a time; none is answered before the file `go` is there.
PARTS = """
import http.server, os, pathlib, sys, time
folder, asked = pathlib.Path(os.environ["FOLDER"]), []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = "".join(f"<script async src=/part/{n}></script>" for n in range(8)) if self.path == "/" else "{}"
        if self.path.startswith("/part/"):
            asked.append(self.path)
            if len(asked) == 6:
                (folder / "six").touch()
            while not (folder / "go").exists():
                time.sleep(0.02)
            name = "Part " + self.path[-1]
            text = f"document.body.append(Object.assign(document.createElement('button'), {{textContent: '{name}'}}))"
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if self.path.startswith("/part/") else "text/html")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@contextlib.contextmanager
def network(name: str) -> Iterator[None]:
    """An interface of this machine with an address of its own, as a container's."""
    asked = (
        ["link", "add", name, "type", "veth", "peer", "name", f"{name}-peer"],
        ["link", "set", name, "up"],
        ["link", "set", f"{name}-peer", "up"],
        ["address", "add", "198.51.100.9/32", "dev", name],
    )
    try:
        for arguments in asked:
            subprocess.run(["ip", *arguments], check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)


def test_a_network_that_comes_meanwhile_takes_no_file_of_a_page(chromium: str, tmp_path: Path) -> None:
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("adding an interface takes root, and ip")
    folder = tmp_path / "files"
    web_task(
        folder / "parts",
        {"command": ["python", "app.py", "{port}"], "environment": {"FOLDER": str(tmp_path)}},
        before=[],
        parameters={},
        goal="Go.",
        state={"get": "/state", "where": {"never": True}},
    )
    (folder / "parts" / "app.py").write_text(PARTS)
    running = start_service("--sessions", "1", "--web-tasks", str(folder))
    try:
        with Environments([running.url], 1) as environments:
            first = environments.reset(0, "files.parts", 0)
            wait_until((tmp_path / "six").exists)
            time.sleep(0.5)  # by then two more wait for a connection
            with network("bc-files"):
                time.sleep(0.5)
                (tmp_path / "go").touch()
                assert first.result().text.count('button "Part') == 8
    finally:
        stop_service(running)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "late",
            r"the server of late.counts is not ready after 1 seconds, /state does not answer \(.*log\)$",
        ),
        ("dead", r"the server of dead.counts ended with exit code 1: no paper \d+ \(.*log\)$"),
        ("lacks", r"the server of lacks.counts needs no-such-package-here, which this Python has not: install it by `"),
        ("no-program", r"the server of no-program.counts ended with exit code 127: no-such-program: No such file"),
        ("leads", r"counts.leads: http://leads.counts.localhost/away leads to example.org, which its pages"),
        ("asks-wrong", r"the server of asks-wrong.counts answers get / without JSON"),
    ],
)
def test_one_sentence_says_what_is_wrong_with_a_server(counts: Service, name: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as raised:
        health.compare(counts.url, {f"counts.{name}": "0" * 12})
    assert str(raised.value).startswith("the web task is wrong: ")
    assert "\n" not in str(raised.value)


def test_what_a_server_said_is_its_own_and_not_that_of_the_one_before(counts: Service) -> None:
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"ended with exit code 1: no paper \d+ \(.*log\)$"):
            health.compare(counts.url, {"counts.dead": "0" * 12})


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_no_server_outlives_its_service(chromium: str, folder: Path, end: signal.Signals) -> None:
    running = start_service("--sessions", "1", "--web-tasks", str(folder))
    try:
        with Environments([running.url], 1) as environments:
            environments.reset(0, "counts.one", 0).result()
            [server] = applications(running)
            running.process.send_signal(end)
            wait_until(lambda: gone(server))
    finally:
        stop_service(running)
