"""The server of a web task: started, ready, reset, asked, and ended with whoever started it.

It runs on a leash (`browser_control.leash`), as Chromium does on its pipe: when the service is gone, however it went,
so is the server with all that it started. It listens on a port of loopback that is told to it, has a folder of its
own for its data, and sees of the environment what programs need and what its file names.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from browser_control import leash
from browser_control.environment.devtools import PROFILE
from browser_control.environment.episode import PageLost
from browser_control.environment.gate import Gate
from browser_control.web_tasks import requirements
from browser_control.web_tasks.parameters import Json, Value, fill_in, fill_in_all, reveal
from browser_control.web_tasks.server_file import PYTHON, SESSION, Application, Request, State, found_at, matches
from browser_control.web_tasks.task_file import MISTAKE

ANSWER_SECONDS = 10.0  # that a server may take for a request
GRACE = 2.0  # seconds between SIGTERM and SIGKILL
_PAUSE = 0.05  # between two questions to a server that is not yet up
_LOG_BYTES = 1_000_000  # from which on a log begins anew
_WORDS = 300  # characters of a log that a sentence takes
_INHERITED = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "SSL_CERT_FILE", "LD_LIBRARY_PATH")


class ApplicationFailed(PageLost):
    """The application is not as an episode needs it: that cannot be judged, and another page would not help."""


class Instance:
    """A running server, or one that is started when it is first needed.

    Args:
        log: the file that its output is added to.
    """

    def __init__(self, application: Application, log: Path) -> None:
        self.application = application
        self.log = log
        self.port = 0
        self._said_from = 0  # where in the log its own output begins
        self._answered = ""  # how it answered when it was asked whether it is ready
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._data: Path | None = None
        self._client: httpx.AsyncClient | None = None
        self._starting = asyncio.Lock()
        self._stopped = False

    @property
    def trouble(self) -> str:
        """Why it answers no more; empty where it runs."""
        if self.application.server.url:
            return ""
        if self._process is None:
            return f"the server of {self.application.name} is not running"
        code = self._process.poll()
        if code is None:
            return ""
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"the server of {self.application.name} {how}{self._words()}"

    async def begin(self, session: str, parameters: Mapping[str, Value]) -> None:
        """Makes it ready for an episode; raises ApplicationFailed."""
        server = self.application.server
        async with self._starting:
            if server.url:
                self._client = self._client or self._made_client(server.url)
            elif server.reset == "restart" or self.trouble:
                self.end()
                await self._start()
        for request in server.resets:
            await self.ask(request, session, parameters)

    async def ask(self, request: Request, session: str, parameters: Mapping[str, Value]) -> httpx.Response:
        """The answer to a request; raises ApplicationFailed where that is an error."""
        names = {**parameters, SESSION: session}
        path, body, form = (
            self._revealed(fill_in_all(each, names)) for each in (request.path, request.body, request.form)
        )
        where = f"{request.method} {request.path}"
        try:
            assert self._client is not None
            answer = await self._client.request(
                request.method.upper(), path, json=body, data=form and {key: str(each) for key, each in form.items()}
            )
        except httpx.HTTPError as error:
            # a server that dies answers nothing before it is seen to be dead
            await asyncio.sleep(_PAUSE)
            words = self.trouble or f"the server of {self.application.name} does not answer {where}"
            raise ApplicationFailed(f"{words} ({type(error).__name__})" if not self.trouble else words) from error
        if answer.is_error:
            words = " ".join(answer.text.split())[:_WORDS]
            raise ApplicationFailed(
                f"{MISTAKE}: the server of {self.application.name} answers {where} with {answer.status_code}: {words}"
            )
        return answer

    async def holds(self, state: State, session: str, parameters: Mapping[str, Value]) -> bool:
        """Whether the server answers as `state` wants; raises ApplicationFailed."""
        answer = await self.ask(state, session, parameters)
        try:
            found = answer.json()
        except ValueError:
            words = f"the server of {self.application.name} answers {state.method} {state.path} without JSON"
            raise ApplicationFailed(f"{MISTAKE}: {words}") from None
        wanted = fill_in_all(state.where, {**parameters, SESSION: session})
        return all(matches(found_at(path, found), value) for path, value in wanted.items())

    def cookies(self) -> list[dict[str, str]]:
        """What the server gave us with its answers, as the browser takes it, and forgets it here."""
        if self._client is None:
            return []
        url = f"{self.application.origin}/"
        given = [{"name": each.name, "value": each.value or "", "url": url} for each in self._client.cookies.jar]
        self._client.cookies.clear()
        return given

    async def _start(self) -> None:
        if self._stopped:
            raise ApplicationFailed("the service is stopping")
        server = self.application.server
        self.port = _free_port()
        self._data = Path(tempfile.mkdtemp(prefix=f"{PROFILE}{os.getpid()}-"))
        places: dict[str, Value] = {"port": self.port, "data": str(self._data), "host": self.application.host}
        command = [fill_in(each, places) for each in server.command]
        if trouble := requirements.trouble(self.application):
            raise ApplicationFailed(f"{MISTAKE}: {trouble}")
        if command[0] == PYTHON:
            command[0] = sys.executable
        variables = {name: fill_in(text, places) for name, text in server.environment.items()}
        self._spawn(command, self._revealed(variables))
        self._client = self._made_client(f"http://127.0.0.1:{self.port}")
        try:
            async with asyncio.timeout(server.seconds):
                while not await self._is_ready(server.ready):
                    if self.trouble:
                        raise ApplicationFailed(f"{MISTAKE}: {self.trouble}")
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            words = f"the server of {self.application.name} is not ready after {server.seconds:g} seconds"
            how = self._answered or "does not answer"
            sentence = f"{MISTAKE}: {words}, {server.ready} {how}{self._words()}"
            self.end()
            raise ApplicationFailed(sentence) from None

    def _made_client(self, url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=url,
            headers={} if self.application.server.url else {"Host": self.application.host},
            trust_env=False,
            timeout=ANSWER_SECONDS,
            verify=url.startswith("https:"),
            limits=httpx.Limits(max_keepalive_connections=0),  # a server of one thread answers the page meanwhile
        )

    def open(self, gate: Gate) -> None:
        """Has a session's pages reach it."""
        if self.application.server.url:
            host, port = self.application.address
            gate.lead(host, port, port, host)
        else:
            gate.lead(self.application.host, self.port)

    async def _is_ready(self, path: str) -> bool:
        assert self._client is not None
        self._answered = ""
        try:
            answer = await self._client.get(path)
        except httpx.HTTPError:
            return False
        self._answered = f"answers with {answer.status_code}"
        return not answer.is_error

    def _spawn(self, command: list[str], variables: Mapping[str, str]) -> None:
        assert self._data is not None
        programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
        environ = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environ |= {"PATH": programs, "HOME": str(self._data), "TMPDIR": str(self._data)}
        environ |= {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **variables}
        theirs, self._pipe = os.pipe()
        try:
            self.log, opened = opened_log(self.log)
            with opened as output:
                self._said_from = output.seek(0, os.SEEK_END)
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", leash.__file__, str(theirs), str(GRACE), *command],
                    cwd=self.application.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environ,
                    pass_fds=(theirs,),
                    start_new_session=True,
                )
        finally:
            os.close(theirs)

    def _revealed(self, tree: Json) -> Any:
        try:
            return reveal(tree, os.environ)
        except KeyError as error:
            raise ApplicationFailed(missing(self.application.name, error.args[0])) from None

    def _words(self) -> str:
        """The end of its output."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(self._said_from, log.seek(0, os.SEEK_END) - 8 * _WORDS))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
            if lines:
                return f": {' / '.join(lines[-3:])[-_WORDS:]} ({self.log})"
        return f" ({self.log})"

    def end(self) -> None:
        """Ends it, without waiting; the next episode starts another one."""
        if self._pipe >= 0:
            os.close(self._pipe)  # the leash does the rest
            self._pipe = -1
        if self._process is not None and self._process.poll() is None:
            _ending.append((self._process, self._data))
        elif self._data is not None:
            shutil.rmtree(self._data, ignore_errors=True)
        self._process, self._data, self._client = None, None, None
        _collect()

    def stop(self) -> None:
        """Ends it for good."""
        self._stopped = True
        self.end()


_ending: list[tuple[subprocess.Popen[bytes], Path | None]] = []  # that were told to end


def _collect(seconds: float = 0.0) -> None:
    """Takes leave of those that have ended; waits for the others, each that long."""
    for each in tuple(_ending):
        process, data = each
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            _ending.remove(each)
            if data is not None:
                shutil.rmtree(data, ignore_errors=True)


def collect_all() -> None:
    """Waits for the end of all that were told to end."""
    _collect(GRACE + 6.0)


def missing(name: str, secret: str) -> str:
    return f"{MISTAKE}: {name} needs the secret {secret}, and the service's environment has no such variable"


def opened_log(wanted: Path) -> tuple[Path, BinaryIO]:
    """Where its folder is not ours to write to, as in a container while nothing trains, one in the usual folder.

    Raises:
        ApplicationFailed: neither can be written to.
    """
    for log in (wanted, default_logs() / wanted.name):
        with contextlib.suppress(PermissionError):
            log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return log, log.open("wb" if log.exists() and log.stat().st_size > _LOG_BYTES else "ab")
    raise ApplicationFailed(f"{wanted} cannot be written to")


def default_logs() -> Path:
    """Where logs are kept unless a folder is named."""
    return Path(tempfile.gettempdir()) / f"browser-control-logs-{os.getuid()}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
