"""The service: sessions over OpenEnv's protocol, pages in a few Chromiums, MiniWoB's files from memory."""

import asyncio
import contextlib
import logging
import random
import re
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI, Response, WebSocketDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from browser_control import allowance
from browser_control.environment import kept_pages
from browser_control.environment.actions import ActionRefused
from browser_control.environment.application import ApplicationFailed, default_logs
from browser_control.environment.asked import Asked, prune
from browser_control.environment.class_episode import SETUP_SECONDS, ClassPages, ClassPageSession
from browser_control.environment.devtools import Browser, BrowserGone
from browser_control.environment.episode import PageLost, PageSession, View
from browser_control.environment.gate import Gate
from browser_control.environment.in_page import IN_PAGE
from browser_control.environment.models import BrowserGymAction, BrowserGymObservation, BrowserGymState
from browser_control.environment.openenv_core import Environment, EnvironmentMetadata, create_app
from browser_control.environment.own_episode import OwnPageSession
from browser_control.environment.page_server import HOST, PageServer, bundle_folder, page_url
from browser_control.environment.seat import Applications, Seat
from browser_control.errors import BrowserNotFound, ConfigurationError
from browser_control.language.axtree import axtree_text
from browser_control.language.page import format_page
from browser_control.web_tasks import registry
from browser_control.web_tasks.registry import FLIGHT

DEFAULT_TASK = "click-test"
LOADS_PER_CORE = 2  # pages of one's own that are loaded at once
ANSWER_SECONDS = 5.0  # that a browser may take to say that it is there

_Page = TypeVar("_Page", bound=PageSession)

logger = logging.getLogger(__name__)


class _Berth:
    """A place for one browser, started when it is needed and again after it died."""

    def __init__(self, program: Path, allowed_hosts: frozenset[str], hosts: Mapping[str, PageServer | Gate]) -> None:
        self._program = program
        self._hosts = hosts
        self._allowed_hosts = allowed_hosts
        self._browser: Browser | None = None
        self._starting = asyncio.Lock()
        self._stopped = False
        self.pages: set[PageSession] = set()
        self.opening = 0

    @property
    def running(self) -> Browser | None:
        """The browser, as far as there is one."""
        return self._browser if self._browser is not None and self._browser.alive else None

    def count(self) -> int:
        """How many pages its browser has, or is about to have."""
        self.pages = {page for page in self.pages if page.alive}
        return len(self.pages) + self.opening

    async def open_page(self, kind: type[_Page], script: str, proxy: str = "") -> _Page:
        """Raises PageLost."""
        self.opening += 1
        try:
            page = await kind.open(await self.browser(), script, self._allowed_hosts, proxy)
        except BrowserGone as error:
            raise PageLost(str(error)) from error
        finally:
            self.opening -= 1
        self.pages.add(page)
        return page

    async def browser(self) -> Browser:
        """The browser, for which there are the hosts of the page servers alone; raises BrowserGone."""
        async with self._starting:
            if self._stopped:
                raise BrowserGone("the service is stopping")
            if self._browser is None or not self._browser.alive:
                if self._browser is not None:
                    self._browser.kill()
                rules = resolver_rules(self._hosts, self._allowed_hosts)
                self._browser = await Browser.launch(self._program, rules)
            return self._browser

    def stop(self) -> None:
        self._stopped = True
        if self._browser is not None:
            self._browser.kill()
            self._browser = None


def resolver_rules(hosts: Mapping[str, PageServer | Gate], allowed: frozenset[str]) -> str:
    """The names that there are for a browser (`chromium.command_line`): of these servers, and the allowed ones."""
    rules = [f"MAP {host} 127.0.0.1:{server.port}" for host, server in hosts.items()]
    return ", ".join([*rules, "MAP * ~NOTFOUND", *(f"EXCLUDE {host}" for host in sorted(allowed))])


_LISTING = ("page_items.js", "page_viewport.js", "page_script.js")
MINIWOB_SCRIPT = ("page_rollback.js", "page_clock.js", "page_events.js", "page_miniwob.js", *_LISTING)
OWN_SCRIPT = ("page_intrinsics.js", "page_time.js", "page_events.js", "page_own.js", *_LISTING)


def page_script(names: Sequence[str] = MINIWOB_SCRIPT) -> str:
    """What runs in every page before its own scripts."""
    files = resources.files("browser_control.environment")
    parts = [files.joinpath(name).read_text() for name in names]
    script = "\n".join(parts)
    words = " ".join(sorted(set(re.findall(r"\w+", script))))
    return '(() => {\n"use strict";\n' + script.replace("%words%", words) + "})();\n"


class BrowserPool:
    """The browsers of the service and their pages.

    All pages of a browser share its main process, which is full at about four busy cores; with more, several browsers
    share the pages. There may be more pages than sessions, so that for many episodes a page of their web task is open.
    """

    def __init__(
        self,
        program: Path,
        browsers: int = 1,
        pages: int = 1,
        in_page: frozenset[str] = frozenset(),
        allowed_hosts: frozenset[str] = frozenset(),
        logs: Path | None = None,
        gates: int = 1,
    ) -> None:
        """
        Args:
            pages: how many are kept open; sessions that need more at once get them all the same.
            in_page: web tasks whose episodes may begin in an open page.
            allowed_hosts: that an episode may go to beside MiniWoB's.
            logs: folder for what the servers of web tasks say.
            gates: through which sessions reach servers of their own, where a web task has one.
        """
        self._script = page_script()
        self._own_script = page_script(OWN_SCRIPT)
        own = registry.all_own()
        static = [each for each in own if each.application is None]
        self._servers = {HOST: PageServer(bundle_folder())}
        for each in static:
            mounts = {FLIGHT: bundle_folder() / FLIGHT} if registry.is_flight(each) else {}
            self._servers[each.host] = PageServer(each.folder, fixed=False, only=each.host, mounts=mounts)
        self.applications = Applications(gates if len(static) < len(own) else 0, logs or default_logs())
        hosts: dict[str, PageServer | Gate] = {**self._servers}
        hosts |= {gate.name: gate for gate in self.applications.gates}
        self._berths = [_Berth(program, allowed_hosts, hosts) for _ in range(browsers)]
        self._classes: ClassPages | None = None
        self._program, self._allowed_hosts, self._logs = program, allowed_hosts, logs or default_logs()
        self._limit = pages
        self.in_page = in_page
        self._idle: list[PageSession] = []
        self._loads = asyncio.Semaphore(max(1, int(LOADS_PER_CORE * allowance.cores())))
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        for server in self._servers.values():
            await server.start()
        await self.applications.start()
        if registry.any_package():
            rules = resolver_rules({HOST: self._servers[HOST]}, self._allowed_hosts)
            player = {"program": str(self._program), "rules": rules, "script": self._own_script}
            self._classes = ClassPages(player, self._logs, page_url("").removesuffix(".html"))
        await self._berths[0].browser()  # the others start when they are needed

    async def trouble(self) -> str:
        """Why no episode could begin now; empty where one can. Starts a browser where there is none."""
        browsers = [berth.running for berth in self._berths if berth.running is not None]
        if browsers:
            answers = await asyncio.gather(*(browser.answers(ANSWER_SECONDS) for browser in browsers))
            return "" if any(answers) else "the browser does not answer"
        try:
            await self._berths[0].browser()
        except BrowserGone as error:
            return f"no browser can be started: {error}"
        return ""

    def stop(self) -> None:
        """Ends the browsers; may be called twice."""
        for berth in self._berths:
            berth.stop()
        for server in self._servers.values():
            server.stop()
        self.applications.stop()
        if self._classes is not None:
            self._classes.stop()

    async def page(self, web_task: str = "") -> PageSession:
        """A page, if possible one that can take an episode of the web task as it is; raises PageLost."""
        if registry.package_of(web_task) is not None:
            assert self._classes is not None
            return await self._classes.take()
        self._idle = [page for page in self._idle if page.alive]
        for index, page in enumerate(self._idle):
            if web_task and page.web_task == web_task:
                return self._idle.pop(index)
        own = registry.own(web_task)
        full = sum(berth.count() for berth in self._berths) >= self._limit
        fitting = [] if own else [page for page in self._idle if not isinstance(page, OwnPageSession)]
        if fitting and (full or web_task not in self.in_page):
            # First those that no episode can begin in; of the others any, since by age web tasks in turn would never
            # meet theirs.
            page = random.choice([each for each in fitting if not each.web_task] or fitting)
            self._idle.remove(page)
            return page
        if full and self._idle:
            self.discard(self._idle.pop(0))
        if own is not None:
            return await self._open_own(self._servers[own.host].proxy)
        return await self._open(PageSession, self._script)

    async def page_behind(self, gate: Gate) -> OwnPageSession:
        """A page of a session's own, which reaches what its gate leads to; raises PageLost."""
        return await self._open_own(gate.proxy)

    async def _open_own(self, proxy: str) -> OwnPageSession:
        page = await self._open(OwnPageSession, self._own_script, proxy)
        page.loads = self._loads
        return page

    async def _open(self, kind: type[_Page], script: str, proxy: str = "") -> _Page:
        return await min(self._berths, key=_Berth.count).open_page(kind, script, proxy)

    async def exchange(self, page: PageSession, web_task: str) -> PageSession:
        """The page itself, or one that suits the web task better; raises PageLost."""
        if page.web_task == web_task and not page.left:
            return page
        if isinstance(page, ClassPageSession) and registry.package_of(web_task) is not None:
            return page
        self.keep(page)
        return await self.page(web_task)

    def discard(self, page: PageSession) -> None:
        """Closes a page that is of no more use."""
        for berth in self._berths:
            berth.pages.discard(page)
        page.close()

    def give_back(self, page: PageSession) -> None:
        """Takes a page whose session is over; callable from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.keep, page)

    def give_up(self, seat: Seat) -> None:
        """Ends the servers of a session that is over; callable from any thread."""

        def close() -> None:
            for page in seat.close():
                self.discard(page)

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(close)

    def keep(self, page: PageSession) -> None:
        """Takes a page for whoever needs it next."""
        if isinstance(page, ClassPageSession):
            assert self._classes is not None
            self._classes.keep(page)
        elif page.left:
            self.discard(page)
        elif page.alive:
            self._idle.append(page)


class BrowserGymService(Environment[BrowserGymAction, BrowserGymObservation, BrowserGymState]):  # type: ignore[misc]
    """One session of a client: its episodes, one after the other."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, pool: BrowserPool, max_turns: int) -> None:
        super().__init__()
        self._pool = pool
        self._max_turns = self._turns = max_turns  # of any episode, and of this one
        self._page: PageSession | None = None
        self._seat = Seat(pool.applications)
        self._view: View | None = None
        self._asked = Asked()
        self._over = ""  # why the episode takes no more actions
        servers = [each.application.server for each in registry.all_own() if each.application is not None]
        starting = max((server.seconds for server in servers), default=0.0)
        if registry.any_package():
            starting = max(starting, SETUP_SECONDS)
        self._state = BrowserGymState(episode_id=None, max_steps=max_turns, start_seconds=starting)

    async def reset_async(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        task_name: str | None = None,
        screenshot: bool = False,
        shows: Sequence[str] = (),
        axtree: bool = True,
        pruned_html: bool = False,
        loose: bool = False,
    ) -> BrowserGymObservation:
        try:
            web_task = registry.find(task_name or self._state.task_name or DEFAULT_TASK)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        if seed is None:
            seed = random.randrange(2**32)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ValueError(f"seed must be an integer from 0 to {2**32 - 1}, not {seed!r}")
        own = registry.own(web_task)
        self._turns = self._max_turns if own is None else min(self._max_turns, own.file.max_turns)
        self._state = BrowserGymState(
            episode_id=episode_id or str(uuid.uuid4()), task_name=web_task, max_steps=self._turns
        )
        self._over, self._asked = "", Asked.read(screenshot, shows, axtree, pruned_html, loose)
        try:
            self._view = await self._begin(web_task, seed)
        except PageLost as error:
            return self._unscorable(str(error))
        self._state.goal = self._view.goal
        return await self._observation(self._view)

    async def _begin(self, web_task: str, seed: int) -> View:
        """Starts an episode, in a new page if the one at hand turns out to be lost."""
        kept = web_task in self._pool.in_page
        page, known = await self._take_page(web_task)
        try:
            return await page.reset(web_task, seed, kept, self._asked.shows)
        except PageLost as lost:
            if not known or isinstance(lost, ApplicationFailed):
                raise
            logger.warning("a page was lost at a reset, another one takes its place: %s", lost)
            self._page = None
            self._pool.discard(page)
        page, _ = await self._take_page(web_task)
        return await page.reset(web_task, seed, kept, self._asked.shows)

    async def _take_page(self, web_task: str) -> tuple[PageSession, bool]:
        """A page for an episode, and whether it may be one that was played in; raises PageLost."""
        page, self._page = self._page, None
        known = page is not None and page.alive
        if page is not None and self._seat.has(page):
            page = None  # stays where it is
        own = registry.own(web_task)
        if own is not None and own.application is not None:
            if page is not None:
                self._pool.keep(page)
            self._page = await self._seat.page(own, self._pool.page_behind)
        elif page is not None and page.alive:
            self._page = await self._pool.exchange(page, web_task)
        else:
            self._page = await self._pool.page(web_task)
        return self._page, known

    async def step_async(self, action: BrowserGymAction, timeout_s: float | None = None) -> BrowserGymObservation:
        if self._view is None or self._page is None:
            raise ValueError("the session has no episode: send a reset first")
        if self._over:
            raise ValueError(f"the episode is over ({self._over}): send a reset")
        self._state.step_count += 1
        try:
            view, error = await self._act(self._page, action.action_str)
        except PageLost as lost:
            return self._unscorable(str(lost))
        self._view = view
        return await self._observation(view, error)

    async def _act(self, page: PageSession, text: str) -> tuple[View, str]:
        try:
            calls = self._asked.calls(text)
        except ActionRefused as refused:
            return await page.look(), str(refused)
        reward = 0.0
        for call in calls:
            if call.name == "report_infeasible":
                page.say("infeasible", str(call.arguments["reason"]))
                view, error = replace(await page.look(), done=True), ""
            else:
                view, error = await page.act(call)
            reward = max(reward, view.reward)
            if error or view.done:
                break
        return replace(view, reward=reward), error

    async def _observation(self, view: View, error: str = "") -> BrowserGymObservation:
        truncated = not view.done and self._state.step_count >= self._turns
        metadata: dict[str, Any] = {"truncated": truncated, "raw_reward": view.raw, "strict": view.strict}
        if self._state.step_count == 0 and (digest := registry.digest(self._state.task_name)):
            metadata["web_task"] = digest
        if view.viewport is not None:
            metadata["viewport"] = view.viewport
        if view.reading is not None:
            metadata["reading"] = view.reading
        html = ""
        try:
            if self._asked.screenshot and self._page is not None:
                metadata["screenshot_png"] = await self._page.screenshot()
                metadata["boxes"] = await self._page.boxes()
            if self._asked.pruned_html and self._page is not None:
                html = prune(await self._page.html())
        except PageLost as lost:
            return self._unscorable(str(lost))
        if view.done or truncated:
            self._over = "step limit" if truncated else "done"
        self._state.current_url = view.url
        self._state.cum_reward += view.reward
        return BrowserGymObservation(
            text=format_page(view.items),
            axtree_txt=axtree_text(view.items) if self._asked.axtree else "",
            pruned_html=html,
            url=view.url,
            goal=view.goal,
            error=error,
            last_action_error=bool(error),
            done=view.done or truncated,
            reward=view.reward,
            metadata=metadata,
        )

    def _unscorable(self, reason: str) -> BrowserGymObservation:
        """The end of an episode that cannot be judged: it has no reward, not a reward of 0."""
        if self._page is not None:
            self._pool.discard(self._page)
            self._page = None
        self._over = f"unscorable: {reason}"
        return BrowserGymObservation(
            goal=self._state.goal,
            error=reason,
            done=True,
            reward=None,
            metadata={"truncated": False, "unscorable": reason},
        )

    @property
    def state(self) -> BrowserGymState:
        return self._state

    def close(self) -> None:
        """Ends the session; OpenEnv calls it from a thread."""
        page, self._page = self._page, None
        if page is not None and not self._seat.has(page):
            self._pool.give_back(page)
        self._pool.give_up(self._seat)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> BrowserGymObservation:
        raise NotImplementedError("this environment is asynchronous: use a WebSocket session at /ws")

    def step(self, action: BrowserGymAction, timeout_s: float | None = None, **options: Any) -> BrowserGymObservation:
        raise NotImplementedError("this environment is asynchronous: use a WebSocket session at /ws")

    def get_metadata(self) -> EnvironmentMetadata:
        return EnvironmentMetadata(
            name="browsergym_env", description="MiniWoB++ web tasks of BrowserGym in a shared Chromium"
        )


def application(pool: BrowserPool, sessions: int, max_turns: int) -> FastAPI:
    """OpenEnv's server for our environment."""

    def open_session() -> BrowserGymService:
        return BrowserGymService(pool, max_turns)

    app: FastAPI = create_app(
        open_session,
        BrowserGymAction,
        BrowserGymObservation,
        env_name="browsergym_env",
        max_concurrent_envs=sessions,
    )
    ours = ("/health", "/step")
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", "") not in ours]

    @app.get("/health")
    async def health(response: Response) -> dict[str, str]:
        """Healthy where an episode can begin, not where something listens."""
        if trouble := await pool.trouble():
            response.status_code = 503
            return {"status": "unhealthy", "reason": trouble}
        return {"status": "healthy"}

    @app.post("/step", status_code=400)
    async def step() -> dict[str, str]:
        """Refused: over HTTP there is no session whose episode could go on."""
        return {"detail": "episodes are played over a WebSocket: use a WebSocket session at /ws"}

    app.add_middleware(_QuietDisconnects)
    app.add_middleware(_NoPages)
    return app


class _NoPages:
    """Refuses what a page of somebody's browser asks for: a browser says of which origin it is, a client says nothing.

    Any page that a person looks at could reach a port of their machine, whatever it is bound to.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        of_a_page = any(name == b"origin" for name, _ in scope.get("headers", ()))
        if not of_a_page:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "a page of a browser is no client"})
        else:
            refusal = Response("a page of a browser is no client", status_code=403, media_type="text/plain")
            await refusal(scope, receive, send)


class _QuietDisconnects:
    """OpenEnv's handler says goodbye to clients that are gone already; that is no error of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            await self._app(scope, receive, send)


class _Server(uvicorn.Server):
    """Says when it can be reached, and ends the browser first when it is to stop."""

    def __init__(self, config: uvicorn.Config, pool: BrowserPool, greeting: str) -> None:
        super().__init__(config)
        self._pool = pool
        self._greeting = greeting

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._pool.stop()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._greeting, flush=True)


def run(
    program: Path,
    listener: socket.socket,
    sessions: int,
    max_turns: int,
    browsers: int = 1,
    pages: int = 1,
    in_page: bool = True,
    allowed_hosts: frozenset[str] = frozenset(),
    logs: Path | None = None,
) -> None:
    """Serves on a bound socket until SIGTERM or SIGINT; raises BrowserNotFound if Chromium does not start."""
    kept = IN_PAGE if in_page else frozenset()
    pool = BrowserPool(program, browsers, max(pages, sessions), kept, allowed_hosts, logs, kept_pages.least(sessions))
    config = uvicorn.Config(
        application(pool, sessions, max_turns),
        log_level="warning",
        ws_ping_interval=None,  # see __main__.listening_socket
        timeout_graceful_shutdown=1,
        lifespan="off",
    )
    host, port = listener.getsockname()[:2]
    greeting = f"environment ready on http://{host}:{port}, {sessions} sessions, {program}"
    server = _Server(config, pool, greeting)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(pool, server, listener))


async def _serve(pool: BrowserPool, server: uvicorn.Server, listener: socket.socket) -> None:
    try:
        try:
            await pool.start()
        except BrowserGone as error:
            raise BrowserNotFound(f"Chromium does not start: {error}.") from error
        await server.serve(sockets=[listener])
    finally:
        pool.stop()
