"""A model hub on loopback with one small model: what `snapshot_download` asks of one, and a way to break off."""

import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models

MODEL = "ada/tiny"
COMMIT = "1" * 40
WEIGHTS = "model.safetensors"


class Hub:
    """Attributes: files, by name; breaks, how many times more the weights break off; sent, how often asked for."""

    def __init__(self, folder: Path) -> None:
        self.breaks = 0
        self.sent = 0
        self.files = make_model(folder)
        hub, files = self, self.files

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if "/tree/" in self.path:
                    listed = [{"type": "file", "path": name, "size": len(files[name]), "oid": name} for name in files]
                    return self._answer(json.dumps(listed).encode())
                if self.path.startswith("/api/models/"):
                    siblings = [{"rfilename": name} for name in files]
                    return self._answer(json.dumps({"id": MODEL, "sha": COMMIT, "siblings": siblings}).encode())
                name = self.path.partition("?")[0].rpartition("/")[2]
                if name not in files:
                    return self.send_error(404)
                content = files[name]
                begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
                self._answer(content[begin:], name, begin, len(content))

            do_HEAD = do_GET

            def _answer(self, content: bytes, name: str = "", begin: int = 0, whole: int = 0) -> None:
                self.send_response(206 if begin else 200)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{name}-{whole}"')
                if begin:
                    self.send_header("Content-Range", f"bytes {begin}-{whole - 1}/{whole}")
                self.end_headers()
                if self.command == "HEAD":
                    return
                if name == WEIGHTS:
                    hub.sent += 1
                    if hub.breaks > 0:
                        hub.breaks -= 1
                        content, self.close_connection = content[: len(content) // 2], True
                with contextlib.suppress(OSError):
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port


def make_model(folder: Path) -> dict[str, bytes]:
    """What `programs.model_folder` takes for a whole model."""
    folder.mkdir()
    save_file({"weight": numpy.arange(1 << 20, dtype=numpy.float32)}, folder / WEIGHTS)
    Tokenizer(models.BPE()).save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"vocab_size": 100}))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def hub_on_loopback(folder: Path) -> Iterator[Hub]:
    hub = Hub(folder)
    thread = threading.Thread(target=hub.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        thread.join()
        hub.server.server_close()
