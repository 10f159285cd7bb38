"""The cells of the matrix in which a network misbehaves (`meddler.py`): refuses, hangs, resets, answers wrongly."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cells import CELLS, Cell
from meddler import meddling
from place import ROOT, Place
from processes import wait_until
from stand_ins import CONFIG
from test_matrix import cells, expect, expect_the_same_again

from browser_control.environment import health
from browser_control.errors import RepositoryUnavailable
from browser_control.pipeline import openenv
from browser_control.pipeline.runtimes.process import free_port

SECONDS = 4.0  # that a fault lasts which goes away


def network(what: str) -> "pytest.MarkDecorator":
    return cells(lambda cell: cell.what == what)


def way(cell: Cell) -> str:
    return cell.fault.removeprefix("network ").removesuffix(" for a while")


@network("Prefect API, at the start")
def test_a_prefect_server_behind_a_bad_network_is_refused(place: Place, undisturbed: Place, cell: Cell) -> None:
    there = place.server
    with meddling(urlsplit(there).port or 0) as between:
        place.server = f"http://127.0.0.1:{between.port}/api"
        between.does(way(cell))
        expect(place, cell, place.end(place.start()))
        between.does("passes on")
        assert place.end(place.start()) == 0, place.words
    assert place.numbers() == undisturbed.numbers()


@network("Prefect API, while a program works")
def test_a_prefect_server_that_is_away_for_a_while_ends_no_run(place: Place, undisturbed: Place, cell: Cell) -> None:
    with meddling(urlsplit(place.server).port or 0) as between:
        place.server = f"http://127.0.0.1:{between.port}/api"
        process = place.start("evaluate:base=hold")
        wait_until((place.folder / "held").exists, 120)
        between.does(way(cell))
        (place.folder / "go").touch()
        time.sleep(SECONDS)
        between.does("passes on")
        expect(place, cell, place.end(process))
    assert place.numbers() == undisturbed.numbers()


@network("environment.urls, at the start")
def test_an_environment_behind_a_bad_network_is_refused(place: Place, undisturbed: Place, cell: Cell) -> None:
    with somebody_s_environment(place) as port, meddling(port) as between:
        use(place, between.port)
        between.does(way(cell))
        expect(place, cell, place.here())
        between.does("passes on")
        expect_the_same_again(place, undisturbed, again=True)


@network("environment.urls, at the health gate")
def test_the_gate_waits_for_an_environment_that_is_away(place: Place, undisturbed: Place, cell: Cell) -> None:
    with somebody_s_environment(place) as port, meddling(port) as between:
        use(place, between.port)

        def disturb() -> None:
            wait_until((place.folder / "held").exists, 120)
            between.does(way(cell))
            (place.folder / "go").touch()
            time.sleep(SECONDS)
            between.does("passes on")

        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        expect(place, cell, place.here("health_gate=hold"))
        disturbing.join()
        expect_the_same_again(place, undisturbed, again=False)


@network("OpenEnv's repository")
def test_a_repository_behind_a_bad_network(tmp_path: Path, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_HTTP_LOW_SPEED_TIME", "2")
    commit = make_repository(tmp_path / "origin")
    folder = tmp_path / "clone" / "OpenEnv"
    with repositories(tmp_path) as port, meddling(port) as between:
        url = f"http://127.0.0.1:{between.port}/origin"
        between.does(way(cell))
        with pytest.raises(RepositoryUnavailable, match=cell.words) as caught:
            openenv.clone(url, commit, [folder])
        assert caught.value.retriable and "\n" not in str(caught.value)
        assert list(folder.parent.iterdir()) == []
        between.does("passes on")
        assert openenv.clone(url, commit, [folder]) == commit
    assert (folder / "file").read_text() == "content"


def use(place: Place, port: int) -> None:
    named = f"environment: {{sessions: 2, urls: ['http://127.0.0.1:{port}']}}"
    (place.folder / "config.yaml").write_text(CONFIG.replace("environment: {sessions: 2}", named))


@contextmanager
def somebody_s_environment(place: Place) -> Iterator[int]:
    """A service that the run does not start itself."""
    port = free_port()
    where = ["--host", "127.0.0.1", "--port", str(port), "--sessions", "3", "--max-turns", "10"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "STAND_IN": ""}
    process = subprocess.Popen([sys.executable, "-m", "stand_ins.environment", *where], env=environ)
    try:
        wait_until(lambda: health.answers(f"http://127.0.0.1:{port}"), 60)
        yield port
    finally:
        process.terminate()
        process.wait()


def make_repository(folder: Path) -> str:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        done = subprocess.run(["git", *who, "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    folder.mkdir()
    git("init", "--quiet")
    (folder / "file").write_text("content")
    git("add", "file")
    git("commit", "--quiet", "-m", "one")
    git("config", "uploadpack.allowReachableSHA1InWant", "true")
    return git("rev-parse", "HEAD")


@contextmanager
def repositories(folder: Path) -> Iterator[int]:
    """Git's own server over HTTP, as CGI."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            environ = {
                **os.environ,
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            done = subprocess.run(["git", "http-backend"], env=environ, input=body, capture_output=True, check=True)
            head, _, answer = done.stdout.partition(b"\r\n\r\n")
            found = re.search(rb"Status: (\d+)", head)
            self.send_response(int(found[1]) if found else 200)
            for line in head.decode().split("\r\n"):
                name, _, value = line.partition(": ")
                if name != "Status":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_every_cell_of_a_network_is_tried() -> None:
    tried = {"Prefect API, at the start", "Prefect API, while a program works", "OpenEnv's repository"}
    tried |= {"environment.urls, at the start", "environment.urls, at the health gate"}
    found = [cell for cell in CELLS if cell.fault.startswith("network ") and cell.runtime == "process"]
    assert {cell.what for cell in found} == tried
