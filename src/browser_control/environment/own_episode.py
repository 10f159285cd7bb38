"""Episodes of a web task of the user's own: real time, and a page that nothing came before.

A page keeps its context of the browser, for making one costs as much as the rest of an episode. Between two episodes
all that its origin left is cleared, and other windows are closed. An action has taken effect when no request is under
way and the document is at rest (page_own.js).
"""

import asyncio
from urllib.parse import urlsplit

from browser_control.environment.devtools import BrowserGone, DevToolsError, Message
from browser_control.environment.episode import (
    COMMAND_SECONDS,
    KEPT_EPISODES,
    ORIGIN,
    ActionFailed,
    PageLost,
    PageSession,
    View,
)
from browser_control.language.page import Item
from browser_control.web_tasks import registry
from browser_control.web_tasks.task_file import MISTAKE, WebTask

_BLANK = "about:blank"
_AGAIN = 0.02  # seconds between two tries while another document is on its way
_LONGEST_WAIT = 2000.0  # ms that one action may let pass


class OwnPageSession(PageSession):
    """One page that plays the episodes of one web task."""

    _task: WebTask
    _judges = ("null", "null")

    async def reset(self, web_task: str, seed: int, kept: bool = False) -> View:
        found = registry.own(web_task)
        assert found is not None
        self._task = found
        parameters = found.draw(seed)
        self._goal = found.goal(parameters)
        self._judges = (found.judge(found.file.success, parameters), found.judge(found.file.failure, parameters))
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                if self._episodes:
                    await self._clear()
                answer = await self._send("Page.navigate", {"url": found.start_url})
                if answer.get("errorText"):
                    raise PageLost(f"{found.start_url} could not be loaded: {answer['errorText']}")
                view = self._view(await self._settle())
        except (BrowserGone, DevToolsError, TimeoutError) as error:
            self.web_task = ""
            raise PageLost(f"no episode could be started: {error or type(error).__name__}") from error
        self._episodes += 1
        self.web_task = web_task if self._episodes < KEPT_EPISODES else ""
        self.left = not self.web_task
        return view

    async def _clear(self) -> None:
        """Takes away what the episode before left: its document first, whose scripts then have had their last word."""
        for button in tuple(self._held):
            self._mouse_event("mouseReleased", button, 1)
        if self._mouse != ORIGIN:
            self._move(*ORIGIN)
        self._copied = ""
        await self._send("Page.navigate", {"url": _BLANK})
        while await self._where() != _BLANK:
            await asyncio.sleep(_AGAIN)
        send = self._browser.connection.send
        context = {"browserContextId": self._context}
        origin = {"origin": f"http://{self._task.host}", "storageTypes": "all"}
        targets, *_ = await asyncio.gather(
            send("Target.getTargets"),
            self._call("forget"),
            self._send("Page.resetNavigationHistory"),
            self._send("Storage.clearDataForOrigin", origin),
            send("Storage.clearCookies", context),
            send("Browser.resetPermissions", context),
        )
        others = {each["targetId"] for each in targets["targetInfos"] if each.get("browserContextId") == self._context}
        await asyncio.gather(*(send("Target.closeTarget", {"targetId": each}) for each in others - {self._target}))

    async def _where(self) -> str:
        try:
            answer = await self._send("Runtime.evaluate", {"expression": "location.href", "returnByValue": True})
        except DevToolsError as error:
            if not self._is_on_its_way(str(error)):
                raise
            return ""
        return str(answer["result"].get("value"))

    async def _settle(self) -> Message:
        success, failure = self._judges
        while True:
            try:
                answer = await self._send(
                    "Runtime.evaluate",
                    {
                        # what is no JavaScript fails here before anything runs
                        "expression": f"globalThis.browserControl?.settle({success}, {failure})",
                        "awaitPromise": True,
                        "returnByValue": True,
                    },
                )
            except DevToolsError as error:
                if not self._is_on_its_way(str(error)):
                    raise
                await asyncio.sleep(_AGAIN)
                continue
            if "exceptionDetails" in answer:
                details = answer["exceptionDetails"]
                words = details.get("exception", {}).get("description", details["text"])
                raise self._mistake(f"success or failure: {words.splitlines()[0]}")
            seen = answer["result"].get("value")
            if seen is None:  # a page of the browser's own, which says that there is no such page
                return {"url": "", "items": [], "viewport": None, "done": True, "raw": 0}
            assert isinstance(seen, dict)
            if "mistake" in seen:
                raise self._mistake(seen["mistake"])
            return seen

    def _mistake(self, words: str) -> PageLost:
        """What the author of the judges has to put right."""
        return PageLost(f"{MISTAKE}: {self._task.name}: {words}")

    @staticmethod
    def _is_on_its_way(words: str) -> bool:
        """Whether a command failed for another document took the place of the one that was asked."""
        return any(sign in words for sign in ("context was destroyed", "navigated", "Cannot find context", "collected"))

    def _view(self, seen: Message) -> View:
        away = urlsplit(seen["url"]).hostname != self._task.host
        items: tuple[Item, ...] = self._items(seen)
        if away:
            return View(self._goal, items, seen["url"], 0.0, True)
        raw = float(seen["raw"])
        return View(self._goal, items, seen["url"], raw, bool(seen["done"]), raw, self._viewport(seen))

    async def _do_noop(self, wait_ms: float) -> None:
        await self._call("advance", max(0.0, min(wait_ms, _LONGEST_WAIT)))

    async def _do_goto(self, url: str) -> None:
        if urlsplit(url).hostname != self._task.host:
            raise ActionFailed(f"goto leaves the web task's own host {self._task.host}")
        answer = await self._send("Page.navigate", {"url": url})
        if answer.get("errorText"):
            raise ActionFailed(f"goto: {answer['errorText']}")
