"""What a session has of its own for web tasks with an application: a gate, instances, and a page for each."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from browser_control.environment import application
from browser_control.environment.application import Instance
from browser_control.environment.episode import PageLost
from browser_control.environment.gate import Gate
from browser_control.environment.own_episode import OwnPageSession
from browser_control.web_tasks.server_file import Application
from browser_control.web_tasks.task_file import WebTask

GATE_SECONDS = 20.0  # that a session waits for one before it to be gone

OpenPage = Callable[[Gate], Awaitable[OwnPageSession]]


class Applications:
    """The gates and instances of a service.

    Args:
        gates: how many sessions may play on applications at a time.
        logs: folder for what the servers say.
    """

    def __init__(self, gates: int, logs: Path) -> None:
        self.gates = [Gate(f"gate-{number}.localhost") for number in range(1, gates + 1)]
        self._logs = logs
        self._free: asyncio.LifoQueue[Gate] = asyncio.LifoQueue()
        self._shared: dict[Application, Instance] = {}
        self._instances: set[Instance] = set()

    async def start(self) -> None:
        for gate in reversed(self.gates):
            await gate.start()
            self._free.put_nowait(gate)

    def stop(self) -> None:
        """Ends all servers, and waits for it; may be called twice."""
        for gate in self.gates:
            gate.stop()
        for instance in self._instances:
            instance.stop()
        self._instances.clear()
        application.collect_all()

    async def take_gate(self) -> Gate:
        """Raises PageLost."""
        try:
            return await asyncio.wait_for(self._free.get(), GATE_SECONDS)
        except TimeoutError:
            raise PageLost("more sessions play on applications than there are places") from None

    def give_gate(self, gate: Gate) -> None:
        gate.shut()
        self._free.put_nowait(gate)

    def instance(self, asked: Application, session: str) -> Instance:
        """The session's own, or the one for all."""
        if asked.server.for_all and asked in self._shared:
            return self._shared[asked]
        name = asked.name if asked.server.for_all else f"{asked.name}.{session}"
        found = Instance(asked, self._logs / f"{name}.log")
        self._instances.add(found)
        if asked.server.for_all:
            self._shared[asked] = found
        return found

    def end(self, instance: Instance) -> None:
        """Ends an instance of a session that is over; one for all stays."""
        if instance not in self._shared.values():
            instance.stop()
            self._instances.discard(instance)


class Seat:
    """One session's place at the applications that it plays on."""

    def __init__(self, applications: Applications) -> None:
        self._applications = applications
        self._gate: Gate | None = None
        self._pages: dict[Application, OwnPageSession] = {}
        self._instances: dict[Application, Instance] = {}
        self._closed = False

    async def page(self, web_task: WebTask, open_page: OpenPage) -> OwnPageSession:
        """The page for an episode of a web task with an application; raises PageLost."""
        asked = web_task.application
        assert asked is not None
        if self._closed:
            raise PageLost("the session is over")
        if self._gate is None:
            self._gate = await self._applications.take_gate()
        session = self._gate.name.partition(".")[0]
        if asked not in self._instances:
            self._instances[asked] = self._applications.instance(asked, session)
        page = self._pages.get(asked)
        if page is None or not page.alive or page.left:
            page = self._pages[asked] = await open_page(self._gate)
            page.instance, page.gate, page.session = self._instances[asked], self._gate, session
        return page

    def has(self, page: object) -> bool:
        return page in self._pages.values()

    def close(self) -> list[OwnPageSession]:
        """Ends the session's servers; the pages that are of no more use."""
        self._closed = True
        for instance in self._instances.values():
            self._applications.end(instance)
        if self._gate is not None:
            self._applications.give_gate(self._gate)
            self._gate = None
        pages = list(self._pages.values())
        self._pages.clear()
        return pages
