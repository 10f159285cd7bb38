"""A network that misbehaves: it stands before a server, and passes on, or does one of what networks do."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAYS = ("refuses", "hangs", "resets", "answers garbage", "answers 429", "answers 500")
_LINGER_NOT = struct.pack("ii", 1, 0)  # close() sends RST
_ANSWERS = {
    "answers garbage": b"\x00\xff<html>It works!</html>\r\n\r\n" * 10,
    "answers 429": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "answers 500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}


class Meddler:
    """Listens on loopback for a server.

    Args:
        upstream: its port, 0 where nothing will be passed on, or its socket's path.
    """

    def __init__(self, upstream: int | Path) -> None:
        self._upstream = upstream
        self._way = "passes on"
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._accepting = self._accept()

    def does(self, way: str) -> None:
        """From now on it `passes on`, or is one of `WAYS`, or `breaks off in mid-upload`.

        Connections that are open break off, but when it hangs.
        """
        self._way = way
        if way != "hangs":
            for connection in list(self._open):
                _break(connection)
        refusing = self._listener.fileno() == -1
        if way == "refuses" and not refusing:
            self._stop()
        elif way != "refuses" and refusing:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._accepting = self._accept()

    def close(self) -> None:
        self.does("refuses")

    def _stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()

    def _accept(self) -> threading.Thread:
        def accept(listener: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    self._open.add(connection)
                    threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, args=(self._listener,), daemon=True)
        thread.start()
        return thread

    def _serve(self, connection: socket.socket) -> None:
        if self._way == "passes on":
            with contextlib.suppress(OSError), self._connected() as server:
                self._open.add(server)
                threading.Thread(target=self._pump, args=(server, connection), daemon=True).start()
                self._pump(connection, server)
        elif self._way == "breaks off in mid-upload":
            with contextlib.suppress(OSError), self._connected() as server:
                threading.Thread(target=self._pump, args=(server, connection), daemon=True).start()
                while not (content := connection.recv(1 << 16)).startswith(b"PUT") and content:
                    server.sendall(content)
                server.sendall(content[: len(content) * 7 // 8])
            _break(connection)
        elif self._way == "resets":
            with contextlib.suppress(OSError):
                connection.recv(1)
            _break(connection)
        elif self._way in _ANSWERS:
            with contextlib.suppress(OSError), connection:
                connection.recv(1 << 16)
                connection.sendall(_ANSWERS[self._way])

    def _connected(self) -> socket.socket:
        if isinstance(self._upstream, int):
            return socket.create_connection(("127.0.0.1", self._upstream))
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self._upstream))
        return connection

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 16):
                if self._way == "hangs":
                    return
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)


def _break(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def meddling(upstream: int | Path) -> Iterator[Meddler]:
    meddler = Meddler(upstream)
    try:
        yield meddler
    finally:
        meddler.close()
