"""Episodes of a web task of the user's own: real time, and a page that nothing came before.

Each episode has a browser context of its own, so that no storage, cookie, cache, service worker or window of another is
in it. An action has taken effect when no request is under way and the document is at rest (page_own.js).
"""

import asyncio
from urllib.parse import urlsplit

from browser_control.environment.devtools import BrowserGone, DevToolsError, Message
from browser_control.environment.episode import COMMAND_SECONDS, ActionFailed, PageLost, PageSession, View
from browser_control.language.page import Item
from browser_control.web_tasks import registry
from browser_control.web_tasks.task_file import MISTAKE, WebTask

_AGAIN = 0.02  # seconds between two tries while another document is on its way
_LONGEST_WAIT = 2000.0  # ms that one action may let pass


class OwnPageSession(PageSession):
    """One page that plays one episode."""

    _task: WebTask
    _judges = ("null", "null")

    async def reset(self, web_task: str, seed: int, kept: bool = False) -> View:
        found = registry.own(web_task)
        assert found is not None
        self._task = found
        self.left = True  # the next episode has another page
        parameters = found.draw(seed)
        self._goal = found.goal(parameters)
        self._judges = (found.judge(found.file.success, parameters), found.judge(found.file.failure, parameters))
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                answer = await self._send("Page.navigate", {"url": found.start_url})
                if answer.get("errorText"):
                    raise PageLost(f"{found.start_url} could not be loaded: {answer['errorText']}")
                return self._view(await self._settle())
        except (BrowserGone, DevToolsError, TimeoutError) as error:
            raise PageLost(f"no episode could be started: {error or type(error).__name__}") from error

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
                raise PageLost(f"{MISTAKE}: {self._task.name}: success or failure: {words.splitlines()[0]}")
            seen = answer["result"].get("value")
            if seen is None:  # a page of the browser's own, which says that there is no such page
                return {"url": "", "items": [], "viewport": None, "done": True, "raw": 0}
            assert isinstance(seen, dict)
            if "mistake" in seen:
                raise PageLost(f"{MISTAKE}: {self._task.name}: {seen['mistake']}")
            return seen

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
