"""The way from a page to its application, and to nothing else.

A gate is the proxy of one session's pages. It knows one host at a time, that of the application that the session
plays, and hands what is asked of it on to the port of the instance; whatever else a page asks for is refused as where
there is no such host. A request has a connection of its own. Documents and data are never kept by the browser, so that
no episode sees another's; scripts, styles, fonts and images are, as far as the server lets them.
"""

import asyncio
import contextlib
import re
import time

HEAD_BYTES = 64 * 1024
_KEPT = re.compile(rb"\r\nsec-fetch-dest: (script|style|font|image)\r\n", re.IGNORECASE)
_OF_A_CONNECTION = re.compile(rb"\r\n(connection|proxy-connection|keep-alive):[^\r]*(?=\r\n)", re.IGNORECASE)
_OF_A_CACHE = re.compile(rb"\r\n(cache-control|expires|pragma|etag|last-modified):[^\r]*(?=\r\n)", re.IGNORECASE)
_REQUEST = re.compile(
    rb"(?P<method>[A-Z]+) (?:http://(?P<host>[a-z0-9.-]+(?::[0-9]+)?)(?P<path>/[^ ]*)|(?P<to>[^ /]+)) HTTP/1\.1\r\n"
)
_DOCUMENT = b"\r\nUpgrade-Insecure-Requests: 1\r\n"  # what a browser sends where it goes to a page
_END = b"\r\n\r\n"


class Gate:
    """A proxy on a port of loopback, for pages whose browser context names it.

    Args:
        name: its own, as the browser resolves it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.refused = ""  # the host that a document was last asked of, and was not, until it is taken away
        self._under_way = 0  # requests without an answer yet, streams of events left out
        self._last = 0.0  # when one came or ended
        self._hosts: tuple[bytes, ...] = ()
        self._behind = ("", 0)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def proxy(self) -> str:
        """As a browser context names it."""
        return f"http://{self.name}:80"

    @property
    def quiet_for(self) -> float:
        """Seconds since the last request was answered; 0 while one is under way."""
        return 0.0 if self._under_way else time.monotonic() - self._last

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    def lead(self, host: str, port: int, named: int = 80, behind: str = "127.0.0.1") -> None:
        """From now on `host` is what listens on `port`, and there is no other.

        Args:
            named: the port by which pages ask for it.
            behind: where it listens.
        """
        with_port = f"{host}:{named}".encode()
        self._hosts = (host.encode(), with_port) if named == 80 else (with_port,)
        self._behind = (behind, port)

    def shut(self) -> None:
        """From now on there is no host at all; what is under way ends."""
        self._hosts, self._behind = (), ("", 0)
        for writer in tuple(self._open):
            writer.transport.abort()

    def stop(self) -> None:
        self.shut()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._pass_on(reader, writer)
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(_END)
        asked = _REQUEST.match(head)
        if asked is None:
            return
        if (host := asked["host"] or asked["to"]) not in self._hosts:
            if asked["to"] or _DOCUMENT in head:
                self.refused = host.decode()
            return
        if (asked["method"] == b"CONNECT") != (asked["to"] is not None):
            return
        counted = int(not asked["to"] and b"\r\nAccept: text/event-stream" not in head)
        self._under_way += counted
        self._last = time.monotonic()
        try:
            await self._exchange(head, asked, reader, writer)
        finally:
            self._under_way -= counted
            self._last = time.monotonic()

    async def _exchange(
        self, head: bytes, asked: re.Match[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        behind, to_behind = await asyncio.open_connection(*self._behind, limit=HEAD_BYTES)
        self._open.add(to_behind)
        try:
            if asked["to"]:  # of a WebSocket
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                line = b"%s %s HTTP/1.1" % (asked["method"], asked["path"])
                fields = _OF_A_CONNECTION.sub(b"", head[asked.end() - 2 : -2])
                to_behind.write(line + fields + b"Connection: close\r\n\r\n")
            sending = asyncio.ensure_future(_copy(reader, to_behind))
            try:
                if not asked["to"]:
                    writer.write(_answer(await behind.readuntil(_END), _KEPT.search(head) is not None))
                await _copy(behind, writer)
                await writer.drain()
                writer.close()  # after what was written, and not with a reset
                await writer.wait_closed()
            finally:
                sending.cancel()
        finally:
            self._open.discard(to_behind)
            to_behind.transport.abort()


def _answer(head: bytes, kept: bool) -> bytes:
    """The head of an answer as the browser is to have it."""
    fields = _OF_A_CONNECTION.sub(b"", head[:-2])
    if not kept:
        fields = _OF_A_CACHE.sub(b"", fields) + b"Cache-Control: no-store\r\n"
    return fields + b"Connection: close\r\n\r\n"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(HEAD_BYTES):
        writer.write(data)
        await writer.drain()
