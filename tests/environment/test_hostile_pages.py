"""A hostile page reaches nothing but its own host; a hostile action or client does nothing but what is offered."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import websockets.exceptions
import yaml
from service_process import Service, start_service, stop_service
from websockets.sync.client import connect

from browser_control.environment.client import Environments

TRIES = r"""<!doctype html><title>hostile</title><p id=said>...</p><script>
const reached = [], wait = ms => new Promise(done => setTimeout(done, ms));
const note = (what, promise) => Promise.race([promise.then(() => reached.push(what), () => 0), wait(1500)]);
const load = (tag, attributes) => new Promise((done, fail) => {
  const made = Object.assign(document.createElement(tag), attributes);
  made.onload = done; made.onerror = fail; document.body.append(made);
});
const event = (made, name, ends) => new Promise((done, fail) => { made[name] = done; made[ends] = fail; });
const attempts = url => [
  note("fetch " + url, fetch(url, { mode: "no-cors", keepalive: true })),
  note("post " + url, fetch(url, { mode: "no-cors", method: "POST", body: "x" })),
  note("image " + url, load("img", { src: url + "picture.svg" })),
  note("script " + url, load("script", { src: url + "script.js" })),
  note("style " + url, load("link", { rel: "stylesheet", href: url + "style.css" })),
  note("socket " + url, event(new WebSocket(url.replace(/^http/, "ws")), "onopen", "onerror")),
  note("events " + url, event(new EventSource(url), "onopen", "onerror")),
  note("worker " + url, event(new Worker(URL.createObjectURL(new Blob([
    `fetch(${JSON.stringify(url)}, { mode: "no-cors" }).then(() => postMessage(1))`]))), "onmessage", "onerror")),
];
(async () => {
  const targets = TARGETS;
  const tries = targets.flatMap(attempts);
  for (const url of targets) {
    navigator.sendBeacon(url, "x");
    document.head.append(Object.assign(document.createElement("link"), { rel: "preconnect", href: url }));
    document.head.append(Object.assign(document.createElement("link"), { rel: "prefetch", href: url }));
    const frame = Object.assign(document.createElement("iframe"), { name: "f" + Math.random() });
    document.body.append(frame);
    const form = Object.assign(document.createElement("form"), { action: url, method: "post", target: frame.name });
    document.body.append(form);
    form.submit();
    document.body.append(Object.assign(document.createElement("iframe"), { src: url + "page.html" }));
    window.open(url);
  }
  for (const file of ["file:///etc/passwd", "file:///proc/self/environ"]) {
    tries.push(note("file " + file, fetch(file)));
    document.body.append(Object.assign(document.createElement("iframe"), { src: file }));
    window.open(file);
  }
  try {
    const peer = new RTCPeerConnection({ iceServers: [{ urls: "stun:127.0.0.1:UDP" }, { urls: "turn:127.0.0.1:UDP",
      username: "u", credential: "c" }] });
    peer.createDataChannel("x");
    await peer.setLocalDescription(await peer.createOffer());
  } catch (error) { /* so much the better */ }
  try { new WebTransport("https://127.0.0.1:UDP").ready.catch(() => 0); } catch (error) { /* as above */ }
  await Promise.all(tries);
  await wait(500);
  said.textContent = "reached: " + JSON.stringify(reached) + " " + ["process", "require", "chrome"].filter(name =>
    name in window && window[name] && (window[name].runtime || window[name].versions || window[name].call)).join();
})();
</script>"""


class Canaries:
    """Ports of this machine on which nobody may be heard: TCP of both families, and UDP."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._sockets = [self._listening(socket.AF_INET, "127.0.0.1"), self._listening(socket.AF_INET6, "::1")]
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._datagrams.bind(("127.0.0.1", 0))
        self.port, self.port6 = (each.getsockname()[1] for each in self._sockets)
        self.udp = self._datagrams.getsockname()[1]
        for listener in self._sockets:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        threading.Thread(target=self._receive, daemon=True).start()

    @staticmethod
    def _listening(family: socket.AddressFamily, host: str) -> socket.socket:
        listener = socket.socket(family)
        listener.bind((host, 0))
        listener.listen()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.heard.append(f"tcp {connection.recv(200)!r}")
            connection.close()

    def _receive(self) -> None:
        while True:
            try:
                self.heard.append(f"udp {self._datagrams.recvfrom(200)!r}")
            except OSError:
                return

    def close(self) -> None:
        for each in (*self._sockets, self._datagrams):
            if each.type == socket.SOCK_STREAM:
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture(scope="module")
def canaries() -> Iterator[Canaries]:
    with closing(Canaries()) as found:
        yield found


@pytest.fixture(scope="module")
def hostile(chromium: str, canaries: Canaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a web task whose page tries whatever a page can try, and one that has a secret."""
    folder = tmp_path_factory.mktemp("sources") / "own"
    targets = [f"http://{host}/" for host in (f"127.0.0.1:{canaries.port}", f"localhost:{canaries.port}")]
    targets += [
        f"http://[::1]:{canaries.port6}/",
        f"http://0.0.0.0:{canaries.port}/",
        f"http://2130706433:{canaries.port}/",
    ]
    targets += ["http://secret.own.localhost/", "http://miniwob/miniwob/", "http://example.com/"]
    page = TRIES.replace("TARGETS", json.dumps(targets)).replace("UDP", str(canaries.udp))
    for name, content in (("hostile", page), ("secret", "<!doctype html><p>the secret")):
        (folder / name).mkdir(parents=True)
        (folder / name / "page.html").write_text(content)
        (folder / name / "picture.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
        for file in ("script.js", "style.css"):
            (folder / name / file).write_text("")
        (folder / name / "task.yaml").write_text(
            yaml.safe_dump({"start": "page.html", "goal": "g", "success": "false"})
        )
    (folder.parent / "outside.txt").write_text("not of the web task")
    running = start_service("--sessions", "2", "--max-turns", "9", "--web-tasks", str(folder))
    yield running
    assert stop_service(running) == 0


def test_a_page_reaches_no_other_host_port_or_file(hostile: Service, canaries: Canaries) -> None:
    """Nor any service of this machine, nor the host of another web task, in any of the ways that a page has."""
    with Environments([hostile.url], 1) as environments:
        text = environments.reset(0, "own.hostile", 0).result().text
        for _ in range(4):
            if "reached" in text:
                break
            text = environments.step(0, "noop(1500)").result().text
    assert '"reached: []"' in text
    assert canaries.heard == []


def test_the_same_tries_succeed_on_the_page_s_own_host(chromium: str, canaries: Canaries, tmp_path: Path) -> None:
    """So that the test above can fail."""
    folder = tmp_path / "own" / "itself"
    folder.mkdir(parents=True)
    page = TRIES.replace("TARGETS", '["http://itself.own.localhost/"]').replace("UDP", "9")
    (folder / "page.html").write_text(page.replace("wait(1500)", "wait(9000)"))  # a busy machine is slow
    (folder / "picture.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    for file in ("script.js", "style.css"):
        (folder / file).write_text("")
    (folder / "task.yaml").write_text(yaml.safe_dump({"start": "page.html", "goal": "g", "success": "false"}))
    running = start_service("--sessions", "1", "--web-tasks", str(tmp_path / "own"))
    try:
        with Environments([running.url], 1) as environments:
            text = environments.reset(0, "own.itself", 0).result().text
            for _ in range(12):
                if "reached" in text:
                    break
                text = environments.step(0, "noop(1500)").result().text
        for way in ("fetch", "post", "image", "script", "style", "worker"):
            assert f"{way} http://itself.own.localhost/" in text
    finally:
        assert stop_service(running) == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://secret.own.localhost/page.html",
        "http://miniwob/miniwob/click-test.html",
        "file:///etc/passwd",
        "chrome://version/",
        "view-source:http://hostile.own.localhost/page.html",
        "javascript:fetch('http://secret.own.localhost/')",
        "data:text/html,<p>mine",
        "http://hostile.own.localhost@secret.own.localhost/page.html",
        "http://hostile.own.localhost.evil.example/",
        "http://127.0.0.1/",
    ],
)
def test_goto_stays_on_the_page_s_own_host(hostile: Service, url: str) -> None:
    with Environments([hostile.url], 1) as environments:
        environments.reset(0, "own.secret", 0).result()
        after = environments.step(0, f"goto({url!r})").result()
        assert after.error or "secret.own.localhost" in url.split("@")[-1]
        assert '"the secret"' in after.text


@pytest.mark.parametrize(
    "path",
    ["../outside.txt", "%2e%2e/outside.txt", "..%2foutside.txt", "/etc/passwd", "....//outside.txt", "task.yaml/.."],
)
def test_a_page_is_served_nothing_from_outside_its_folder(hostile: Service, path: str) -> None:
    with Environments([hostile.url], 1) as environments:
        environments.reset(0, "own.secret", 0).result()
        after = environments.step(0, f"goto('http://secret.own.localhost/{path}')").result()
        assert "not of the web task" not in after.text
        assert "root:" not in after.text


@pytest.mark.parametrize(
    "action",
    [
        "__import__('os').system('touch {proof}')",
        "click(__import__('os').system('touch {proof}'))",
        "click('14'); __import__('os').system('touch {proof}')",
        'click(f\'{{__import__("os").system("touch {proof}")}}\')',
        "open('{proof}', 'w')",
        "(lambda: open('{proof}', 'w'))()",
        "click('14')\nopen('{proof}', 'w')",
        "evaluate('fetch(1)')",
        "$(touch {proof})",
        "click('`touch {proof}`')",
    ],
)
def test_an_action_runs_no_code(hostile: Service, tmp_path: Path, action: str) -> None:
    proof = tmp_path / "proof"
    with Environments([hostile.url], 1) as environments:
        environments.reset(0, "own.secret", 0).result()
        after = environments.step(0, action.format(proof=proof)).result()
    assert after.error
    assert not proof.exists()


def test_what_a_page_calls_an_element_is_text_of_javascript_no_more(hostile: Service) -> None:
    """An id that an action names is data in the script that looks for it."""
    with Environments([hostile.url], 1) as environments:
        environments.reset(0, "own.secret", 0).result()
        for bid in ("'];document.title='x';['", '"};document.body.innerHTML="x";{"', "\\u0027-alert(1)-\\u0027", "a12"):
            after = environments.step(0, f"click({bid!r})").result()
            assert after.error
            assert '"the secret"' in after.text


def test_a_page_of_somebody_s_browser_is_no_client(hostile: Service) -> None:
    """A browser says of which origin a page is, in every request that could do something."""
    socket_url = hostile.url.replace("http", "ws", 1) + "/ws"
    for origin in ("http://evil.example", hostile.url, "null"):
        with pytest.raises(websockets.exceptions.InvalidStatus), connect(socket_url, origin=origin, proxy=None):  # type: ignore[arg-type]
            pass
        answer = httpx.post(f"{hostile.url}/reset", json={}, headers={"Origin": origin}, trust_env=False)
        assert (answer.status_code, answer.text) == (403, "a page of a browser is no client")
    with connect(socket_url, proxy=None):
        pass


def test_nobody_from_another_machine_is_a_client_unless_asked(hostile: Service) -> None:
    port = int(hostile.url.rpartition(":")[2])
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in addresses - {"127.0.0.1", "127.0.1.1"}:
        with socket.socket() as client, pytest.raises(OSError):
            client.settimeout(5)
            client.connect((str(address), port))
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    bound = [
        line.split()[1] for line in listening if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    ]
    assert bound == [f"0100007F:{port:04X}"]
