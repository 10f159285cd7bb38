"""A page of any address, for one episode at a time: what `browser-control play --url` plays on.

The browser is this process's own and reaches the whole network, as a person's would. No service does: `Environments`
here is the one session of `environment.client`'s, without a server between.
"""

import asyncio
import concurrent.futures
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from browser_control.environment.actions import ActionRefused, parse_action
from browser_control.environment.background import Background
from browser_control.environment.client import Observation
from browser_control.environment.devtools import Browser, BrowserGone, DevToolsError, Message
from browser_control.environment.episode import COMMAND_SECONDS, ActionFailed, PageLost, View
from browser_control.environment.own_episode import OwnPageSession
from browser_control.environment.service import OWN_SCRIPT, page_script
from browser_control.errors import EnvironmentFailure, ServiceFailed, UserError, reason
from browser_control.language.actions import TABS
from browser_control.language.page import format_page

# One page is shown: what a link would open in another window opens in this one.
_ONE_WINDOW = """
window.addEventListener("click", event => {
  for (const each of event.composedPath()) if (each.localName === "a" && each.target) each.target = "_self";
}, true);
"""


class LivePage(OwnPageSession):
    """One page of any address, in real time."""

    async def begin(self, url: str, goal: str, until: str, shows: frozenset[str] = frozenset()) -> View:
        """Goes there; `until` is JavaScript in the page that says when the goal is reached, or empty.

        `shows` is what is listed beside the page (`language.actions.shows`).

        Raises:
            PageLost: it cannot be loaded, or `until` throws.
        """
        self._goal = goal
        self._judges = (f"(() => (\n{until}\n))" if until else "null", "null")
        self._judged = self._begins = True
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                await self._hide()
                await self._show(shows - {TABS})  # what a link would open in another window opens in this one
                await self._browser.connection.send("Browser.setDownloadBehavior", {"behavior": "deny"})
                await self._load_url(url)
                seen = await self._settle()
        except (BrowserGone, DevToolsError, TimeoutError) as error:
            raise PageLost(f"{url} could not be loaded: {reason(error)}") from error
        self._begins = False
        return self._view(seen)

    def _mistake(self, words: str) -> PageLost:
        return PageLost(f"--until: {words.removeprefix('success or failure: ').removeprefix('success ')}")

    def _view(self, seen: Message) -> View:
        raw, viewport, reading = float(seen["raw"]), self._viewport(seen), self._reading(seen)
        return View(self._goal, self._items(seen), seen["url"], raw, bool(seen["done"]), raw, viewport, reading)

    def _stays(self, url: str) -> bool:
        return url != "about:blank"

    async def _do_goto(self, url: str) -> None:
        raise ActionFailed("an episode stays where its page leads")


class LiveEnvironments:
    """One session on a page of any address.

    Raises:
        ServiceFailed: the browser does not start.
    """

    def __init__(
        self, program: Path, url: str, goal: str, until: str, max_turns: int, shows: frozenset[str] = frozenset()
    ) -> None:
        self._url, self._goal, self._until, self._max_turns = url, goal, until, max_turns
        self._shows = shows
        self._pictures, self._turns = False, 0
        self._background = Background("live page")
        self._browser: Browser | None = None
        try:
            self._page = self._background.submit(self._open(program)).result()
        except (BrowserGone, PageLost) as error:
            self.close()
            raise ServiceFailed(f"the browser does not start: {error}") from error
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
        return 1

    def reset(
        self, session: int, web_task: str, seed: int, pictures: bool = False
    ) -> "concurrent.futures.Future[Observation]":
        """Loads the page; web task and seed are of no account. The future raises UserError where it cannot be had."""
        self._pictures, self._turns = pictures, 0
        return self._background.submit(self._begin())

    def step(self, session: int, action: str) -> "concurrent.futures.Future[Observation]":
        return self._background.submit(self._act(action))

    def close(self) -> None:
        """Ends the browser; may be called twice."""
        self._background.stop(self._end())

    async def _open(self, program: Path) -> LivePage:
        self._browser = await Browser.launch(program, "")
        return await LivePage.open(self._browser, page_script(OWN_SCRIPT) + _ONE_WINDOW)

    async def _end(self) -> None:
        if self._browser is not None:
            self._browser.kill()
        for _ in range(2):  # in which the pipes are closed
            await asyncio.sleep(0)

    async def _begin(self) -> Observation:
        began = time.perf_counter()
        try:
            view = await self._page.begin(self._url, self._goal, self._until, self._shows)
            return await self._observation(view, "", began)
        except PageLost as error:
            raise UserError(str(error)) from error

    async def _act(self, text: str) -> Observation:
        began = time.perf_counter()
        self._turns += 1
        try:
            try:
                view, error = await self._page.act(parse_action(text))
            except ActionRefused as refused:
                view, error = await self._page.look(), str(refused)
            return await self._observation(view, error, began)
        except PageLost as lost:
            raise EnvironmentFailure(f"the page was lost: {lost}") from lost

    async def _observation(self, view: View, error: str, began: float) -> Observation:
        truncated = not view.done and self._turns >= self._max_turns
        return Observation(
            goal=view.goal,
            text=format_page(view.items),
            error=error,
            reward=view.reward,
            done=view.done or truncated,
            truncated=truncated,
            seconds=time.perf_counter() - began,
            strict=view.strict,
            viewport=view.viewport,
            reading=view.reading,
            picture=await self._page.screenshot() if self._pictures else "",
            boxes=await self._page.boxes() if self._pictures else {},
        )
