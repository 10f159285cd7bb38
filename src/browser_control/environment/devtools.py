"""Chrome DevTools Protocol over the browser's own pipe (https://chromedevtools.github.io/devtools-protocol/).

Messages are JSON, each ended by a NUL byte, on file descriptors 3 (to the browser) and 4 (from it). No port
is opened, so nobody else on the machine can drive the browser, and a browser whose server is gone reads the
end of its pipe and exits.
"""

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from browser_control.environment.chromium import command_line

_START_SECONDS = 30.0
PROFILE = "browser-control-of-"  # begins a folder of the process whose id follows
_PAGE_ENDS = ("Inspector.targetCrashed", "Target.detachedFromTarget")

Message = dict[str, Any]
Listener = Callable[[str, Message], bool]  # takes an event's method and parameters; whether it saw to it


class DevToolsError(Exception):
    """The browser answered a command with an error."""


class BrowserGone(Exception):
    """The browser died, or was closed, before it answered."""


class Interrupted(Exception):
    """The page will not answer: a dialog of the browser opened, or the window was closed."""


class Commands(Protocol):
    """Where commands go; `Connection` says how."""

    listeners: dict[str, Listener]

    def interrupt(self, session: str, error: Exception) -> None: ...

    def send(self, method: str, params: Message | None = None, session: str = "") -> asyncio.Future[Message]: ...


class Driven(Protocol):
    """A browser as a page needs it; `Browser` says what its attributes are."""

    windows: dict[str, Callable[[str, str], None]]
    sessions: dict[str, Callable[[], None]]

    @property
    def alive(self) -> bool: ...

    @property
    def connection(self) -> Commands: ...

    async def follow_windows(self) -> None: ...


class Connection(asyncio.Protocol):
    """Commands to the browser and its answers; sessions of several pages share it.

    Attributes:
        listeners: by session, who is told of its events first.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[asyncio.Future[Message], str]] = {}
        self._unfinished = bytearray()
        self._outgoing: list[bytes] = []
        self._reader: asyncio.BaseTransport | None = None
        self._writer: asyncio.WriteTransport | None = None
        self.closed = asyncio.get_running_loop().create_future()
        self.listeners: dict[str, Listener] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._reader = transport

    def attach_writer(self, writer: asyncio.WriteTransport) -> None:
        self._writer = writer

    def data_received(self, data: bytes) -> None:
        *messages, rest = data.split(b"\0")
        if messages:
            self._unfinished += messages[0]
            self._dispatch(bytes(self._unfinished))
            for message in messages[1:]:
                self._dispatch(message)
            self._unfinished = bytearray(rest)
        else:
            self._unfinished += rest

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        for answer, _ in self._waiting.values():
            if not answer.done():
                answer.set_exception(BrowserGone("the browser died"))
        self._waiting.clear()

    def close(self) -> None:
        for transport in (self._reader, self._writer):
            if transport is not None:
                transport.close()
        self.connection_lost(None)

    def send(self, method: str, params: Message | None = None, session: str = "") -> asyncio.Future[Message]:
        """Sends a command; the future is its result, DevToolsError or BrowserGone.

        Commands that are sent without waiting in between go out together, and so reach a page together.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Message] = loop.create_future()
        if self._writer is None or self.closed.done() or self._writer.is_closing():
            answer.set_exception(BrowserGone("the browser is not running"))
            return answer
        number = next(self._numbers)
        message: Message = {"id": number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        self._waiting[number] = answer, session
        answer.add_done_callback(_retrieve)
        if not self._outgoing:
            loop.call_soon(self._flush)
        self._outgoing.append(json.dumps(message).encode() + b"\0")
        return answer

    def _flush(self) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _dispatch(self, raw: bytes) -> None:
        message = json.loads(raw)
        number = message.get("id")
        if number is None:
            self._hear(message["method"], message["params"], message.get("sessionId", ""))
            return
        answer, _ = self._waiting.pop(number, (None, ""))
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(DevToolsError(message["error"].get("message", "unknown error")))
        else:
            answer.set_result(message["result"])

    def _hear(self, method: str, params: Message, session: str) -> None:
        listener = self.listeners.get(session)
        if listener is not None and listener(method, params):
            return
        if method == "Page.javascriptDialogOpening":
            # as Playwright does: a page is left, whatever it asks, and every other question is dismissed
            accept = params["type"] == "beforeunload"
            self.send("Page.handleJavaScriptDialog", {"accept": accept}, session)
        elif method in _PAGE_ENDS:  # a page that crashed or was closed will never answer
            self.interrupt(params.get("sessionId") or session, DevToolsError("the page crashed"))

    def interrupt(self, session: str, error: Exception) -> None:
        """Fails what a session has not answered yet."""
        for answer, asked in self._waiting.values():
            if asked == session and not answer.done():
                answer.set_exception(error)


def _retrieve(answer: "asyncio.Future[Message]") -> None:
    """Commands may be sent without waiting for the answer: a failure shows in the next one that is waited for."""
    if not answer.cancelled():
        answer.exception()


class Browser:
    """A running Chromium and the connection to it.

    Attributes:
        windows: by browser context, who takes the windows that its pages open, as target and session.
        sessions: by session, who is told that the window is closed.
    """

    def __init__(self, pid: int, connection: Connection, profile: Path) -> None:
        self.pid = pid
        self._profile = profile
        self.connection = connection
        self.windows: dict[str, Callable[[str, str], None]] = {}
        self.sessions: dict[str, Callable[[], None]] = {}
        self._following = False
        connection.listeners[""] = self._hear

    @property
    def alive(self) -> bool:
        return not self.connection.closed.done()

    @classmethod
    async def launch(cls, program: Path, resolver_rules: str) -> "Browser":
        """Starts Chromium and waits for its first answer; raises BrowserGone if it does not come up."""
        _remove_stale_profiles()
        profile = Path(tempfile.mkdtemp(prefix=f"{PROFILE}{os.getpid()}-"))
        to_browser, from_browser = os.pipe(), os.pipe()
        try:
            pid = _spawn(command_line(program, profile, resolver_rules), to_browser[0], from_browser[1])
        except OSError as error:
            shutil.rmtree(profile, ignore_errors=True)
            for descriptor in (to_browser[1], from_browser[0]):
                os.close(descriptor)
            raise BrowserGone(f"{program} could not be started: {error}") from error
        finally:
            for descriptor in (to_browser[0], from_browser[1]):
                os.close(descriptor)
        loop = asyncio.get_running_loop()
        connection = Connection()
        await loop.connect_read_pipe(lambda: connection, os.fdopen(from_browser[0], "rb", 0))
        writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(to_browser[1], "wb", 0))
        connection.attach_writer(writer)
        browser = cls(pid, connection, profile)
        if not await browser.answers(_START_SECONDS):
            browser.kill()
            raise BrowserGone(f"{program} did not answer after its start")
        return browser

    async def follow_windows(self) -> None:
        """From now on a window waits, before its scripts run, until it was taken, or nobody takes it."""
        if not self._following:
            self._following = True
            asked = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
            await self.connection.send("Target.setAutoAttach", {**asked, "filter": [{"type": "page"}]})

    def _hear(self, method: str, params: Message) -> bool:
        """Events of the browser itself."""
        session = params.get("sessionId", "")
        if method == "Target.attachedToTarget" and params["waitingForDebugger"]:
            taken = self.windows.get(params["targetInfo"].get("browserContextId", ""))
            if taken is not None:
                taken(params["targetInfo"]["targetId"], session)
            else:
                self.connection.send("Runtime.runIfWaitingForDebugger", None, session)
                self.connection.send("Target.detachFromTarget", {"sessionId": session})
        elif method == "Target.detachedFromTarget" and session in self.sessions:
            self.sessions.pop(session)()
            return True
        return False

    async def answers(self, seconds: float) -> bool:
        """Whether the browser says in time what it is."""
        try:
            await asyncio.wait_for(self.connection.send("Browser.getVersion"), seconds)
        except (BrowserGone, DevToolsError, TimeoutError):
            return False
        return True

    def kill(self) -> None:
        """Ends the browser and its children at once, and removes its profile. Never raises."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        _reap(self.pid, seconds=1.0)
        self.connection.close()
        shutil.rmtree(self._profile, ignore_errors=True)


def _spawn(command: list[str], reads: int, writes: int) -> int:
    """Starts the browser in a group of its own, its two pipe ends on descriptors 3 and 4; its process id."""
    # Copies above 9, so that neither can be in the way of descriptors 3 and 4.
    source, sink = (fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in (reads, writes))
    try:
        return os.posix_spawn(
            command[0],
            command,
            {**os.environ, "TZ": "UTC", "LANG": "en_US.UTF-8", "LC_ALL": "en_US.UTF-8"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, source, 3),
                (os.POSIX_SPAWN_DUP2, sink, 4),
            ],
            setsid=True,
        )
    finally:
        os.close(source)
        os.close(sink)


def _remove_stale_profiles() -> None:
    """Removes the profiles of servers that were killed and could not do so themselves."""
    for profile in Path(tempfile.gettempdir()).glob(f"{PROFILE}*"):
        owner = profile.name.removeprefix(PROFILE).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(profile, ignore_errors=True)


def _reap(process: int, seconds: float) -> None:
    """Waits until the process is gone, so that no zombie stays; gives up after some time."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(process, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.005)
