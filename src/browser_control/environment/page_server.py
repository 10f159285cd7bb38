"""MiniWoB++'s pages, served to our own browser from memory.

A minimal HTTP/1.1 server on a port of its own: one GET, one answer, kept alive. Chromium caches everything
but the page itself, so that after the first episode of a web task only its page is asked for.
"""

import asyncio
import importlib.util
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast
from urllib.parse import unquote, urlsplit

_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

HOST = "miniwob"  # the only name that exists for the browser
_NEVER = "/never"  # an image that is on its way as long as the page asks for it (page_script.js)


def bundle_folder() -> Path:
    """The `html` folder of the miniwob package, found without importing it (it would import gymnasium)."""
    spec = importlib.util.find_spec("miniwob")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the package miniwob is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / "html"


def page_url(web_task: str) -> str:
    return f"http://{HOST}/miniwob/{web_task}.html"


class PageServer:
    """Serves a folder, read on demand and kept in memory.

    Args:
        fixed: its files never change; else they are read each time, and no browser keeps them.
        mounts: other folders, each below the path of its name; their files never change.
        only: the one host there is for a browser context whose proxy this server is; empty: it is nobody's proxy.
    """

    def __init__(
        self, folder: Path, fixed: bool = True, only: str = "", mounts: Mapping[str, Path] = MappingProxyType({})
    ) -> None:
        self._mounts = {name: other.resolve() for name, other in mounts.items()}
        self._fixed = fixed
        self._only = only
        self._folder = folder.resolve()
        self._answers: dict[str, bytes] = {}
        self._server: asyncio.Server | None = None
        self.connections: set[asyncio.WriteTransport] = set()
        self.port = 0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Request(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self.connections:
            connection.abort()

    @property
    def proxy(self) -> str:
        """Of a browser context that is to reach `only`; empty where this server is nobody's proxy."""
        return f"http://{self._only}:80" if self._only else ""

    def has(self, target: str) -> bool:
        """Whether that is for a host that is served here: a browser names it in the target, but only to a proxy."""
        return not self._only or target.startswith(f"http://{self._only}/")

    def answer(self, target: str) -> bytes:
        """The whole HTTP answer to a GET of `target`."""
        path = unquote(urlsplit(target).path)
        known = self._answers.get(path)
        if known is None:
            first = path.lstrip("/").partition("/")[0]
            fixed = self._fixed or first in self._mounts
            known = self._read(path, fixed)
            if fixed and known is not _NOT_FOUND:
                self._answers[path] = known
        return known

    def _read(self, path: str, fixed: bool) -> bytes:
        first, _, rest = path.lstrip("/").partition("/")
        folder, below = (self._mounts[first], rest) if first in self._mounts else (self._folder, path.lstrip("/"))
        file = (folder / below.lstrip("/")).resolve()
        if not file.is_relative_to(folder) or not file.is_file():
            return _NOT_FOUND
        body = file.read_bytes()
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        if kind.startswith("text/"):
            kind += "; charset=utf-8"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        caching = "public, max-age=31536000, immutable" if fixed else "no-store"
        return f"{head}Cache-Control: {caching}\r\n\r\n".encode() + body


class _Request(asyncio.Protocol):
    def __init__(self, server: PageServer) -> None:
        self._server = server
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._server.connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, self._received = self._received.split(b"\r\n\r\n", 1)
            method, target, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            if not self._server.has(target):  # as where there is no such host
                self._transport.abort()
                return
            if target == _NEVER and b"\r\nSec-Fetch-Dest: image" in head:
                continue
            if method == "GET":
                self._transport.write(self._server.answer(target))
            else:
                self._transport.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
