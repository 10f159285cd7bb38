"""What a run refuses before it starts, of servers that answer wrongly, networks that hang and folders of others."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from stand_ins import CONFIG

from browser_control.errors import ConfigurationError, RepositoryUnavailable
from browser_control.pipeline import openenv, run, server
from browser_control.pipeline.parameters import Parameters

STRANGER = 12345


@contextmanager
def answering(status: int, body: bytes, seconds: float = 0.0) -> Iterator[str]:
    """An HTTP server that has one answer."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            over.wait(seconds)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_address[1]}"
    finally:
        over.set()
        listener.shutdown()
        thread.join()
        listener.server_close()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (429, b"", "HTTP 429 Too Many Requests"),
        (500, b"", "HTTP 500 Internal Server Error"),
        (502, b"", "HTTP 502 Bad Gateway"),
        (503, b"", "HTTP 503 Service Unavailable"),
        (200, b"<html>It works!</html>", "what answers there is no Prefect server"),
        (200, b"\xff\xfe\x00", "what answers there is no Prefect server"),
        (200, b"", "what answers there is no Prefect server"),
    ],
)
def test_a_server_that_answers_wrongly_is_refused_at_the_start(status: int, body: bytes, words: str) -> None:
    with answering(status, body) as url, pytest.raises(ConfigurationError) as caught:
        server.refuse_unreachable(f"{url}/api")
    assert str(caught.value).startswith(f"no Prefect server answers at {url}/api ({words}): start it (make server)")


@pytest.mark.parametrize(("status", "body"), [(200, b"true"), (401, b""), (403, b""), (404, b"")])
def test_a_server_that_is_there_or_asks_for_a_password_is_taken(status: int, body: bytes) -> None:
    with answering(status, body) as url:
        server.refuse_unreachable(f"{url}/api")


def test_a_repository_that_sends_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_HTTP_LOW_SPEED_TIME", "1")  # a minute otherwise
    begun = time.monotonic()
    with answering(200, b"", 600) as url, pytest.raises(RepositoryUnavailable, match="cannot be cloned") as caught:
        openenv.clone(f"{url}/OpenEnv", openenv.COMMIT, [tmp_path / "OpenEnv"])
    assert caught.value.retriable
    assert time.monotonic() - begun < 60
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="gives folders to another user, which only root can")
@pytest.mark.parametrize("folder", ["runs/mine", "runs/mine/checkpoints", "runs/mine/logs", "models/stand-in"])
def test_a_folder_of_another_user_is_refused_before_anything_starts(tmp_path: Path, folder: str) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    for each in ("runs/mine", folder):
        (tmp_path / each).mkdir(parents=True, exist_ok=True)
    for each in (tmp_path, *tmp_path.rglob("*")):
        os.chown(each, STRANGER, STRANGER)
    os.chown(tmp_path / folder, 0, 0)
    chosen = Parameters(
        config=str(tmp_path / "config.yaml"),
        run_id="mine",
        **{name: str(tmp_path / name) for name in ("runs", "archives", "models")},
    )
    for each in tmp_path.parents:
        if each.stat().st_mode & 0o777 == 0o700:  # pytest's own
            each.chmod(0o755)
    os.seteuid(STRANGER)
    try:
        with pytest.raises(ConfigurationError, match=f"{folder} may not be written to: have its owner .root. give it"):
            run.check(chosen)
    finally:
        os.seteuid(0)
