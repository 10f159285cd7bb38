"""Loopback and the run's own network go through no proxy, whatever shell and Docker say."""

import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser_control import proxies
from browser_control.environment import health
from browser_control.pipeline.runtimes import ProcessSettings, make_runtime
from browser_control.pipeline.runtimes.base import Stage

NOWHERE = "http://127.0.0.1:9"  # a proxy at which nobody listens
COMPANY = "http://proxy.company:3128"
EVERY_PROXY = {spelled: NOWHERE for name in proxies.PROXIES for spelled in (name, name.upper())}
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).status)"


class _Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in EVERY_PROXY.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("shell")
def test_a_proxy_without_no_proxy_does_break_loopback(url: str) -> None:
    with pytest.raises(OSError, match="refused"):
        urllib.request.build_opener().open(url)  # urlopen remembers the proxies of its first call


@pytest.mark.usefixtures("shell")
def test_health_on_loopback_is_asked_for_directly(url: str) -> None:
    assert health.answers(url)


@pytest.mark.usefixtures("shell")
def test_a_program_reaches_loopback_as_a_process(url: str, tmp_path: Path) -> None:
    lines: list[str] = []
    make_runtime(ProcessSettings()).run(Stage("x", (sys.executable, "-c", FETCH, url), tmp_path / "log"), lines.append)
    assert lines == ["200"]


@pytest.mark.parametrize("said", [{}, {"NO_PROXY": "a.company"}, {"no_proxy": "a.company, b.company"}])
def test_what_goes_round_a_proxy_already_still_does(said: dict[str, str]) -> None:
    spared = proxies.spared({"HTTPS_PROXY": COMPANY, **said})
    assert spared["NO_PROXY"] == spared["no_proxy"]
    names = spared["NO_PROXY"].split(",")
    assert "" not in names
    assert {*proxies.LOOPBACK, *",".join(said.values()).replace(" ", "").split(",")} - {""} == set(names)


def test_without_a_proxy_nothing_is_set() -> None:
    assert proxies.spared({"http_proxy": "", "NO_PROXY": "a"}) == {}


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("http://127.0.0.1:8080", True),
        ("ws://localhost:1/ws", True),
        ("[::1]:80", True),
        ("127.0.0.2:80", True),
        ("http://10.0.0.1", False),
        ("http://browsergym:8080", False),
        ("http://localhost.company", False),
    ],
)
def test_which_addresses_are_loopback(address: str, is_here: bool) -> None:
    assert proxies.is_loopback(address) is is_here


def test_a_container_without_a_way_out_has_no_proxy() -> None:
    assert proxies.of_container(False, {"HTTP_PROXY": COMPANY}, {"HTTP_PROXY": COMPANY}) == proxies.NONE_AT_ALL


def test_a_container_with_a_way_out_has_docker_s_proxy_and_spares_its_neighbours() -> None:
    configured = {"HTTP_PROXY": COMPANY, "http_proxy": COMPANY, "NO_PROXY": ".company", "no_proxy": ".company"}
    given = proxies.of_container(True, configured, {"HTTP_PROXY": NOWHERE}, ["browsergym-1"])
    assert given["http_proxy"] == given["HTTP_PROXY"] == COMPANY
    assert given["no_proxy"].split(",") == [".company", *proxies.LOOPBACK, "browsergym-1", "host.docker.internal"]


def test_the_shell_s_proxy_reaches_a_container_unless_it_is_on_loopback() -> None:
    environ = {"https_proxy": COMPANY, "http_proxy": NOWHERE, "NO_PROXY": "a.company"}
    given = proxies.of_container(True, {}, environ)
    assert given["HTTPS_PROXY"] == COMPANY
    assert "http_proxy" not in given
    assert given["NO_PROXY"].startswith("a.company,")
    assert proxies.of_container(True, {}, {"http_proxy": NOWHERE}) == {}


def test_make_spares_loopback_for_workers_and_adds_no_empty_name(tmp_path: Path) -> None:
    """An empty name would have httpx go round the proxy for all hosts."""
    root = Path(__file__).resolve().parents[1]
    (tmp_path / "show").write_text(
        f"include {root / 'Makefile'}\nworker: setup\n"
        "setup: ;\nworker: ; @python3 -c 'import os, json; print(json.dumps(dict(os.environ)))'\n"
    )
    for said in ({}, {"NO_PROXY": "a.company"}, {"no_proxy": "a.company"}):
        environ = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"} | said
        command = ["make", "--silent", "-f", str(tmp_path / "show"), "worker"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        names = json.loads(done.stdout.splitlines()[-1])["NO_PROXY"].split(",")
        assert names == [*said.values(), *proxies.LOOPBACK]
