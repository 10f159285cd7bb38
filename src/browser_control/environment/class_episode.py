"""Episodes of BrowserGym's task classes: set up and judged by the class in its worker, listed and acted on by us.

A session has a worker (class_worker.py) while it plays on such web tasks; afterwards others take it. A worker answers
one thing after the other, commands for the page among them, and runs on a leash, as a web task's server does.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from browser_control import leash
from browser_control.environment.application import GRACE, ApplicationFailed, opened_log
from browser_control.environment.devtools import BrowserGone, DevToolsError, Listener, Message
from browser_control.environment.episode import LOADS, ORIGIN, ActionFailed, PageLost, PageSession, View
from browser_control.environment.own_episode import MOMENT, NETWORK_CHANGED, OwnPageSession
from browser_control.environment.page_server import HOST
from browser_control.errors import reason
from browser_control.web_tasks import registry
from browser_control.web_tasks.task_file import MISTAKE

SETUP_SECONDS = 120.0  # that a class may take to begin an episode, a worker's start included
_LINE_BYTES = 1 << 28  # a picture of a page is one line
_BLANK = "about:blank"


class Worker:
    """A running class_worker.py; commands for its page are answered in the order in which they were sent."""

    def __init__(self, process: asyncio.subprocess.Process, pipe: int, log: Path) -> None:
        self._process = process
        self._pipe = pipe  # the leash's
        self._log = log
        self.listeners: dict[str, Listener] = {}  # of whom none is told: events are Playwright's
        self.windows: dict[str, Callable[[str, str], None]] = {}  # likewise; the newest is shown
        self.sessions: dict[str, Callable[[], None]] = {}
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._commands: list[tuple[tuple[str, Message], asyncio.Future[Message]]] = []
        self._listening = asyncio.ensure_future(self._listen())
        self.alive = True

    @property
    def connection(self) -> "Worker":
        return self

    @classmethod
    async def start(cls, player: Mapping[str, str], log: Path, miniwob: str) -> "Worker":
        """Starts one, which may take its time until its first answer.

        Args:
            player: what a `class_worker.Player` is made of.
            log: the file that its output is added to.
            miniwob: URL of MiniWoB's pages, unless the environment names another.
        """
        log, output = opened_log(log)
        theirs, pipe = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", leash.__file__, str(theirs), str(GRACE)),
                *(sys.executable, "-W", "ignore", "-m", "browser_control.environment.class_worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                env={"MINIWOB_URL": miniwob, **os.environ},
                pass_fds=(theirs,),
                start_new_session=True,
                limit=_LINE_BYTES,
            )
        finally:
            os.close(theirs)
            output.close()
        worker = cls(process, pipe, log)
        worker._write(player)
        return worker

    def ask(self, what: str, *arguments: object) -> "asyncio.Future[Any]":
        """The future is the answer, DevToolsError where the worker's side raised, or BrowserGone."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not self.alive:
            answer.set_exception(BrowserGone("the worker is not running"))
            return answer
        self._waiting.append(answer)
        self._write({"do": what, "with": arguments})
        return answer

    def send(self, method: str, params: Message | None = None, session: str = "") -> "asyncio.Future[Message]":
        """A command of the DevTools protocol to the window that is shown.

        Commands that are sent without waiting in between reach the page together.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Message] = loop.create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not self._commands:
            loop.call_soon(self._flush)
        self._commands.append(((method, params or {}), answer))
        return answer

    def _flush(self) -> None:
        sent, self._commands = self._commands, []

        def answered(all_of_them: "asyncio.Future[Any]") -> None:
            error = all_of_them.exception()
            for index, (_, answer) in enumerate(sent):
                found = {"error": error} if error else all_of_them.result()[index]
                _resolve(answer, found)

        self.ask("send", *(command for command, _ in sent)).add_done_callback(answered)

    async def follow_windows(self) -> None:
        """Playwright does."""

    def interrupt(self, session: str, error: Exception) -> None:
        """Nothing is: a dialog is dismissed by Playwright."""

    def _write(self, message: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):  # it is seen to be dead where its answers end
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while line := await self._process.stdout.readline():
                found, answer = json.loads(line), self._waiting.popleft()
                _resolve(answer, found)
        self.alive = False
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(BrowserGone(f"the worker died ({self._log})"))
        self._waiting.clear()

    def stop(self) -> None:
        """Ends it and its browser; the class tears down, if it does so in time. May be called twice."""
        self.alive = False
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def gone(self) -> bool:
        """Whether nothing of it is left."""
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True


def _resolve(answer: "asyncio.Future[Any]", found: Mapping[str, Any]) -> None:
    """Gives a future the result, or the error, that was found."""
    if answer.done():
        return
    error = found.get("error")
    if error is not None:
        answer.set_exception(error if isinstance(error, Exception) else DevToolsError(error))
    else:
        answer.set_result(found["result"])


class ClassPageSession(OwnPageSession):
    """The page of a worker, which plays the episodes of any class."""

    seconds = 50.0  # of a class that asks its server; less than a client waits
    _browser: Worker
    _scale = 1.0
    _raw = 0.0
    _said: list[tuple[str, str]]
    _name = ""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker, "", "", "", frozenset())
        self._said = []

    async def reset(self, web_task: str, seed: int, kept: bool = False, shows: frozenset[str] = frozenset()) -> View:
        """Begins an episode; dialogs and windows are Playwright's, whatever `shows` asks for."""
        package = registry.package_of(web_task)
        assert package is not None
        self._name, self._raw, self._said, self._copied = web_task, 0.0, [], ""
        held, self._held, self._mouse = self._held, set(), ORIGIN
        self.web_task, self._judged = "", False
        try:
            async with asyncio.timeout(SETUP_SECONDS):
                begun = await self._set_up(package.name, web_task, seed, bool(held))
                self._goal, self._scale = begun["goal"], begun["scale"]
                view = self._view(await self._settle())
        except DevToolsError as error:
            raise ApplicationFailed(f"{MISTAKE}: {web_task} does not begin: {error}") from error
        except (BrowserGone, TimeoutError) as error:
            self.close()
            raise PageLost(f"no episode could be started: {reason(error)}") from error
        self.web_task, self._judged = web_task, True
        return view

    async def _set_up(self, package: str, web_task: str, seed: int, fresh: bool) -> Any:
        """Asks the class; again where a network of this machine came or went while its page was loaded."""
        for last in (*[False] * (LOADS - 1), True):
            try:
                return await self._browser.ask("setup", package, web_task, seed, fresh)
            except DevToolsError as error:
                if last or NETWORK_CHANGED not in str(error):
                    raise
                fresh = True
        raise AssertionError("not reached")

    @property
    def alive(self) -> bool:
        return self._browser.alive

    def close(self) -> None:
        self._browser.stop()

    def end(self) -> None:
        """Ends the episode, after which no other one follows at once."""
        self.web_task = ""
        self._browser.ask("teardown")

    def say(self, role: str, text: str) -> None:
        """Adds to the chat that the class reads."""
        self._said.append((role, text))

    async def _come_to_rest(self) -> Message:
        windows = self._browser.ask("windows")  # which comes first, and is not waited for before the next is asked
        seen = await self._rest()
        await windows
        if "missed" in seen:
            return seen
        if not self._judged:  # as BrowserGym, whose reset asks the class for no judgement
            return {**seen, "done": False, "raw": 0.0, "reward": 0.0}
        said, self._said = self._said, []
        try:
            verdict = await self._browser.ask("validate", said)
        except DevToolsError as error:
            raise ApplicationFailed(f"{self._name} cannot be judged: {error}") from error
        self._raw += verdict["reward"]
        return {**seen, "done": verdict["done"], "raw": self._raw, "reward": verdict["reward"]}

    def _moment(self) -> int:
        return 0 if urlsplit(self._url).hostname == HOST else MOMENT

    def _view(self, seen: Message) -> View:
        self._url = seen["url"]
        items, viewport, reading = self._items(seen), self._viewport(seen), self._reading(seen)
        return View(self._goal, items, seen["url"], seen["reward"], seen["done"], seen["raw"], viewport, reading)

    @staticmethod
    def _is_on_its_way(words: str) -> bool:
        return "closed" in words or OwnPageSession._is_on_its_way(words)

    def _stays(self, url: str) -> bool:
        return url != _BLANK

    async def _do_goto(self, url: str) -> None:
        answer = await self._send("Page.navigate", {"url": url})
        if answer.get("errorText"):
            raise ActionFailed(f"goto: {answer['errorText']}")

    async def _do_scroll(self, delta_x: float, delta_y: float) -> None:
        """As BrowserGym, where the mouse is."""
        await PageSession._do_scroll(self, delta_x, delta_y)

    async def _do_send_msg_to_user(self, text: str) -> None:
        self.say("assistant", text)


class ClassPages:
    """The workers of a service: one for each session that plays on classes, and those that wait for another.

    Args:
        player: what a `class_worker.Player` is made of.
        logs: folder for what classes say.
    """

    def __init__(self, player: Mapping[str, str], logs: Path, miniwob: str) -> None:
        self._player, self._logs, self._miniwob = player, logs, miniwob
        self._workers: list[Worker] = []
        self._idle: list[ClassPageSession] = []
        self._stopped = False

    async def take(self) -> ClassPageSession:
        """The page of a worker that nobody plays in; raises PageLost."""
        while self._idle:
            if (page := self._idle.pop()).alive:
                return page
        if self._stopped:
            raise PageLost("the service is stopping")
        self._workers = [each for each in self._workers if not each.gone()]
        log = self._logs / f"class-worker-{len(self._workers) + 1}.log"
        worker = await Worker.start(self._player, log, self._miniwob)
        self._workers.append(worker)
        return ClassPageSession(worker)

    def keep(self, page: ClassPageSession) -> None:
        """Takes a page back; its class tears down."""
        if page.alive:
            page.end()
            self._idle.append(page)

    def stop(self) -> None:
        """Ends all workers, and waits for it; may be called twice."""
        self._stopped = True
        for worker in self._workers:
            worker.stop()
        deadline = time.monotonic() + GRACE + 6.0
        while time.monotonic() < deadline and not all(worker.gone() for worker in self._workers):
            time.sleep(0.01)
