"""The training program's side of the environment: many sessions, one background thread.

`reset` and `step` return at once with a future, so that a batch of episodes advances together:

    with Environments(["http://127.0.0.1:8080"], sessions=16) as environments:
        observation = environments.reset(0, "click-test", seed=1).result()
        observation = environments.step(0, "click('13')").result()
"""

import asyncio
import concurrent.futures
import contextlib
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidURI, WebSocketException

from browser_control import proxies
from browser_control.environment.background import Background
from browser_control.errors import EnvironmentFailure, EnvironmentLost, EnvironmentMismatch, EnvironmentUnreachable

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
CAPACITY_SECONDS = 3.0  # how long a server may take to notice that the session before is gone
LOST_SECONDS = 5.0  # how long a server that answered before may be away


@dataclass(frozen=True, slots=True)
class Observation:
    """What the policy sees, and how the episode stands.

    Attributes:
        reward: as BrowserGym counts: 1 for any positive reward of the page.
        seconds: that the environment took.
        strict: whether the whole task was done; None where the server does not say.
        digest: of the web task as the server has it, after a reset; empty for MiniWoB's.
        viewport: first and last line of `text` that the viewport shows, where the page is longer.
        reading: line of the longest text, and its first and last character that it shows, where the page is longer.
        picture: the page as PNG, in base64, where a reset asked for pictures.
        boxes: by bid, where elements are in it: left, top, width, height.
    """

    goal: str
    text: str
    error: str
    reward: float
    done: bool
    truncated: bool
    seconds: float
    strict: bool | None = None
    viewport: tuple[int, int] | None = None
    digest: str = ""
    picture: str = ""
    boxes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    reading: tuple[int, int, int] | None = None


def _reading(found: list[int] | None) -> tuple[int, int, int] | None:
    return (int(found[0]), int(found[1]), int(found[2])) if found and len(found) == 3 else None


def _pair(pair: list[int] | None) -> tuple[int, int] | None:
    return (int(pair[0]), int(pair[1])) if pair else None


class Environments:
    """`sessions` sessions spread over the servers at `urls`, numbered from 0.

    A future raises EnvironmentFailure where the environment failed: that episode is unscorable, and the session is
    connected anew; EnvironmentLost where it cannot be, for then no episode would be scorable any more. Raises
    EnvironmentUnreachable if a server does not answer at the beginning.
    """

    def __init__(
        self, urls: Sequence[str], sessions: int, max_turns: int = 0, shows: Collection[str] = frozenset()
    ) -> None:
        """
        Args:
            max_turns: that an episode may take; a server that ends episodes earlier is refused.
            shows: what is listed beside a page of one's own (`language.actions.shows`).
        """
        if not urls or sessions < 1:
            raise ValueError("at least one URL and one session are needed")
        self._sessions = [_Session(urls[index % len(urls)], max_turns, shows) for index in range(sessions)]
        self._background = Background("environments")
        try:
            self._background.submit(self._connect_all()).result()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._sessions)

    def reset(
        self, session: int, web_task: str, seed: int, pictures: bool = False
    ) -> "concurrent.futures.Future[Observation]":
        """Begins an episode; with `pictures`, each observation of it has one."""
        return self._background.submit(self._sessions[session].reset(web_task, seed, pictures))

    def step(self, session: int, action: str) -> "concurrent.futures.Future[Observation]":
        """Sends one action of BrowserGym's action set, such as `click('13')`."""
        return self._background.submit(self._sessions[session].step(action))

    def close(self) -> None:
        """Closes all sessions; may be called twice."""
        self._background.stop(self._close_all())

    async def _connect_all(self) -> None:
        await asyncio.gather(*(session.connect() for session in self._sessions))

    async def _close_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(session.close() for session in self._sessions))


class _Session:
    """One WebSocket connection, which is one session of the server."""

    def __init__(self, url: str, max_turns: int, shows: Collection[str]) -> None:
        self._url = url
        self._shows = sorted(shows)
        self._max_turns = max_turns
        self._start_seconds = 0.0  # that a reset may take where it starts a web task's own server
        self._connection: ClientConnection | None = None

    async def connect(self) -> None:
        """Connects and sees that the server has a session for us; raises EnvironmentUnreachable."""
        deadline = time.monotonic() + CAPACITY_SECONDS
        while True:
            try:
                self._connection = await connect(
                    _websocket_url(self._url),
                    max_size=None,
                    compression=None,
                    ping_interval=None,
                    open_timeout=CONNECT_SECONDS,
                    proxy=None if proxies.is_loopback(self._url) else True,
                )
                state = await self._ask({"type": "state"})
            except EnvironmentFailure as failure:
                if "capacity" not in str(failure).lower() or time.monotonic() > deadline:
                    raise EnvironmentUnreachable(
                        f"The environment at {self._url} refuses a session: {failure}"
                    ) from None
                await asyncio.sleep(0.1)
            except (OSError, WebSocketException, InvalidURI, TimeoutError, ValueError) as error:
                raise EnvironmentUnreachable(
                    f"No environment answers at {self._url} ({_reason(error)}); is it running?"
                ) from error
            else:
                self._start_seconds = float(state.get("start_seconds") or 0.0)
                turns = state.get("max_steps")
                if turns is not None and turns < self._max_turns:
                    raise EnvironmentMismatch(
                        f"The environment at {self._url} ends episodes after {turns} turns, and environment.max_turns"
                        f" is {self._max_turns}: start it with --max-turns {self._max_turns}, or lower the setting"
                    )
                return

    async def reset(self, web_task: str, seed: int, pictures: bool = False) -> Observation:
        if self._connection is None:
            await self._connect_anew()
        asked: dict[str, Any] = {"seed": seed, "task_name": web_task, "axtree": False}
        if pictures:
            asked["screenshot"] = True
        if self._shows:
            asked["shows"] = self._shows
        return await self._observe({"type": "reset", "data": asked}, ANSWER_SECONDS + self._start_seconds)

    async def _connect_anew(self) -> None:
        deadline = time.monotonic() + LOST_SECONDS
        while True:
            try:
                return await self.connect()
            except EnvironmentUnreachable as error:
                if time.monotonic() > deadline:
                    raise EnvironmentLost(f"the environment was lost: {error}") from error
                await asyncio.sleep(0.2)

    async def step(self, action: str) -> Observation:
        if self._connection is None:
            raise EnvironmentFailure(f"the session with {self._url} was lost")
        return await self._observe({"type": "step", "data": {"action_str": action}})

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _observe(self, message: dict[str, Any], patience: float = ANSWER_SECONDS) -> Observation:
        begin = time.perf_counter()
        try:
            data = await self._ask(message, patience)
        except EnvironmentFailure:
            if self._connection is None:
                await self._connect_anew()  # now, so that an update that lost its service never counts as one
            raise
        seen, metadata = data["observation"], data["observation"].get("metadata", {})
        if "unscorable" in metadata:
            raise EnvironmentFailure(f"unscorable: {metadata['unscorable']}")
        reward = float(data["reward"] or 0.0)  # OpenEnv's own server has none after a reset
        return Observation(
            goal=seen["goal"],
            text=seen["text"],
            error=seen["error"],
            reward=reward,
            done=bool(data["done"]),
            truncated=bool(metadata.get("truncated", False)),
            seconds=time.perf_counter() - begin,
            strict=metadata["strict"] is True if "strict" in metadata else None,
            viewport=_pair(metadata.get("viewport")),
            reading=_reading(metadata.get("reading")),
            digest=str(metadata.get("web_task", "")),
            picture=str(metadata.get("screenshot_png", "")),
            boxes=metadata.get("boxes", {}),
        )

    async def _ask(self, message: dict[str, Any], patience: float = ANSWER_SECONDS) -> dict[str, Any]:
        """One message and its answer, which may take that many seconds.

        Raises EnvironmentFailure, and drops a connection of no more use.
        """
        assert self._connection is not None
        try:
            async with asyncio.timeout(patience):
                with contextlib.suppress(ConnectionClosed):  # a server that refuses us has said why before it closed
                    await self._connection.send(json.dumps(message))
                answer = json.loads(await self._connection.recv())
        except (OSError, WebSocketException, TimeoutError, ValueError) as error:
            await self._drop()
            raise EnvironmentFailure(f"the connection to {self._url} failed: {_reason(error)}") from error
        if answer["type"] == "error":
            if answer["data"].get("code") != "EXECUTION_ERROR":
                await self._drop()
            raise EnvironmentFailure(str(answer["data"].get("message", "unknown error")))
        data = answer["data"]
        assert isinstance(data, dict)
        return data

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.transport.abort()


def _websocket_url(url: str) -> str:
    """ws://host:port/ws of http://host:port, ws://host:port or host:port."""
    parts = urlsplit(url if "//" in url else f"//{url}")
    scheme = "wss" if parts.scheme in ("https", "wss") else "ws"
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/ws')}/ws"


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
