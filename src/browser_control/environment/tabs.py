"""Windows that a page opens: listed beside the page in front, gone to and closed, where `_shows` says so."""

import asyncio
import contextlib
import functools
import json
from dataclasses import dataclass, field
from typing import Any, Self

from browser_control.environment.departures import Departures
from browser_control.environment.devtools import Browser, BrowserGone, DevToolsError, Driven, Interrupted, Message
from browser_control.environment.dialogs import DialogSession
from browser_control.environment.episode import ORIGIN, ActionFailed
from browser_control.language import actions
from browser_control.language.page import TAB

# called on the element of a frame
_TELL_FRAME = "function (leaves) { this.ownerDocument.defaultView.browserControl?.tellFrame(this, leaves); }"


@dataclass(eq=False)
class Tab:
    """One window.

    Attributes:
        mouse: where it was when another window came to the front.
        rested: whether the window was waited for since it opened.
        departures: of its frames.
    """

    target: str
    session: str
    mouse: tuple[float, float] = ORIGIN
    rested: bool = False
    departures: Departures = field(default_factory=Departures)


class TabSession(DialogSession):
    """A page and the windows that it opens, one of which is in front: what is done is done there.

    A new window comes to the front, and so does one that opens a dialog; where the one in front closes, the last.
    """

    _script: str
    _tabs: list[Tab]  # in the order in which they were opened; the first is the page itself

    def __init__(self, browser: Driven, context: str, target: str, session: str, allowed_hosts: frozenset[str]) -> None:
        super().__init__(browser, context, target, session, allowed_hosts)
        self._tabs = [Tab(target, session)]
        self._telling: set[asyncio.Task[None]] = set()  # frames whether they leave

    @classmethod
    async def open(
        cls, browser: Browser, script: str, allowed_hosts: frozenset[str] = frozenset(), proxy: str = ""
    ) -> Self:
        page = await super().open(browser, script, allowed_hosts, proxy)
        page._script = script
        return page

    @property
    def _first(self) -> Tab:
        return self._tabs[0]

    @property
    def _front(self) -> Tab:
        return next(tab for tab in self._tabs if tab.session == self._session)

    def close(self) -> None:
        self._follow(False)
        super().close()

    def _follow(self, follows: bool) -> None:
        """Whether windows that open become tabs; those that are there are none any more."""
        self._to_front(self._first)
        for tab in self._tabs[1:]:
            self._drop(tab)
        if follows:
            self._browser.windows[self._context] = self._opened
        else:
            self._browser.windows.pop(self._context, None)

    def _opened(self, target: str, session: str) -> None:
        """Makes a window that waits for it like the page itself, and lets it begin."""
        tab = Tab(target, session)
        self._browser.connection.listeners[session] = functools.partial(self._hear, session)
        self._browser.sessions[session] = functools.partial(self._closed_tab, tab)
        script = (
            f"if (!opener || location.href !== 'about:blank') {self._script}"  # its document comes into that window
        )
        for method, params in (*self.prepared(script), ("Runtime.runIfWaitingForDebugger", {})):
            self._browser.connection.send(method, params, session)
        self._tabs.append(tab)
        self._to_front(tab)

    def _closed_tab(self, tab: Tab) -> None:
        if tab is self._front:
            self._to_front(self._tabs[self._tabs.index(tab) - 1])
            self._dialog = None
        self._drop(tab)

    def _drop(self, tab: Tab) -> None:
        if tab in self._tabs:
            self._tabs.remove(tab)
        self._browser.sessions.pop(tab.session, None)
        self._browser.connection.listeners.pop(tab.session, None)
        self._browser.connection.interrupt(tab.session, Interrupted())

    def _to_front(self, tab: Tab) -> None:
        self._front.mouse = self._mouse
        self._target, self._session, self._mouse = tab.target, tab.session, tab.mouse

    def _hear(self, session: str, method: str, params: Message) -> bool:
        taken = super()._hear(session, method, params)
        if method.startswith("Page.frame"):
            for tab in self._tabs:
                if tab.session == session and (frame := tab.departures.heard(method, params)):
                    self._tell(tab, frame)
        if taken and method == "Page.javascriptDialogOpening":
            self._to_front(next(tab for tab in self._tabs if tab.session == session))
            for tab in self._tabs:  # they may share a process, which answers nothing now
                self._browser.connection.interrupt(tab.session, Interrupted())
        return taken

    def _tell(self, tab: Tab, frame: str) -> None:
        """Tells a frame whether it leaves."""
        if frame == tab.target:  # a window's main frame has the window's name
            words = f"window.browserControl?.tell?.({json.dumps(tab.departures.leaves(frame))})"
            self._browser.connection.send("Runtime.evaluate", {"expression": words}, tab.session)
            return
        telling = asyncio.create_task(self._tell_frame(tab, frame))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _frames_are_told(self) -> None:
        while self._telling:
            await asyncio.wait(self._telling)

    async def _tell_frame(self, tab: Tab, frame: str) -> None:
        """By its element, for the page does not know the browser's names."""
        send = functools.partial(self._browser.connection.send, session=tab.session)
        with contextlib.suppress(BrowserGone, DevToolsError, Interrupted):  # it may be gone by then
            owner = await send("DOM.getFrameOwner", {"frameId": frame})
            found = await send("DOM.resolveNode", {"backendNodeId": owner["backendNodeId"]})
            element = found["object"]["objectId"]
            leaves = [{"value": tab.departures.leaves(frame)}]
            asked = {"objectId": element, "functionDeclaration": _TELL_FRAME, "arguments": leaves}
            send("Runtime.callFunctionOn", asked)
            await send("Runtime.releaseObject", {"objectId": element})

    async def _do_tab_focus(self, index: int) -> None:
        if not 0 <= index < len(self._tabs):
            raise ActionFailed(f"there is no window {index}")
        self._to_front(self._tabs[index])

    async def _do_tab_close(self) -> None:
        if self._front is self._first:
            raise ActionFailed("the first window stays open")
        tab = self._front
        await self._browser.connection.send("Target.closeTarget", {"targetId": tab.target})
        if tab in self._tabs:
            self._closed_tab(tab)

    async def _with_others(self, seen: Message) -> Message:
        """What was seen of the window in front, and before it the other windows."""
        if len(self._tabs) == 1 or "items" not in seen:
            return seen
        listed: list[list[Any]] = []
        for index, tab in enumerate(tuple(self._tabs)):
            if tab is not self._front:
                title = await self._title(tab)
                listed.append(["window", title, f"{TAB}{index}", None, [], [], "", None, None])
        viewport = seen["viewport"] and [line + len(listed) for line in seen["viewport"]]
        reading = seen.get("reading") and [seen["reading"][0] + len(listed), *seen["reading"][1:]]
        return seen | {"items": listed + seen["items"], "viewport": viewport, "reading": reading}

    async def _title(self, tab: Tab) -> str:
        """Empty where it has none, or is on its way to another document."""
        asked = {"expression": "document.title", "returnByValue": True}
        with contextlib.suppress(DevToolsError):
            answer = await self._send("Runtime.evaluate", asked, tab.session)
            return str(answer["result"].get("value", ""))
        return ""

    async def _show(self, shows: frozenset[str]) -> None:
        await super()._show(shows)
        if actions.TABS not in shows:
            self._follow(False)
        elif self._context not in self._browser.windows:
            await self._browser.follow_windows()
            self._follow(True)
