"""Dialogs of the browser, which a page opens: alert, confirm, prompt, and beforeunload as it is left.

While one is open the page answers nothing, neither to a script nor to the mouse. So whatever waits for the page is told
as soon as a dialog opens, and goes on with the dialog in the page's place.
"""

import asyncio
import base64
import contextlib
import functools
import io
from dataclasses import dataclass
from typing import Any, Self

from PIL import Image

from browser_control.environment.actions import Call
from browser_control.environment.devtools import Browser, Driven, Interrupted, Message
from browser_control.environment.episode import VIEWPORT, ActionFailed, PageSession
from browser_control.language import actions
from browser_control.language.page import DIALOG

_SAID = 300  # characters of a message that are listed, so that none fills a prompt by itself
_ANSWERS = ("accept_dialog", "dismiss_dialog", "noop")  # what can be done while a dialog is open


@dataclass(frozen=True, slots=True)
class Dialog:
    """An open dialog.

    Attributes:
        kind: `alert`, `confirm`, `prompt` or `beforeunload`.
        default: text that a prompt suggests.
    """

    kind: str
    message: str
    default: str = ""

    @classmethod
    def read(cls, params: Message) -> Self:
        """Of the event Page.javascriptDialogOpening."""
        return cls(params["type"], params["message"], params.get("defaultPrompt", ""))

    def seen(self, url: str) -> Message:
        """The page at `url` as `settle` of page_own.js gives it: the dialog alone, for it is modal."""
        message = self.message or ("Leave this page?" if self.kind == "beforeunload" else "")
        value = self.default[:_SAID] if self.kind == "prompt" else None
        listed: list[Any] = [self.kind, message[:_SAID], DIALOG, value, [], [], "", None, None]
        return {"url": url, "items": [listed], "viewport": None, "done": False, "raw": 0}

    def answer(self, accept: bool, text: str | None = None) -> Message:
        """Parameters of Page.handleJavaScriptDialog; a prompt without `text` is answered with what it suggests."""
        if self.kind != "prompt" or not accept:
            return {"accept": accept}
        return {"accept": True, "promptText": self.default if text is None else text}


class DialogSession(PageSession):
    """A page whose dialogs the policy answers, where `_shows` says so; else they are closed as Playwright does."""

    _shows: frozenset[str] = frozenset()  # language.actions.shows
    _dialog: Dialog | None = None
    _at = "about:blank"  # the page as it was last seen
    _pictured = ""

    def __init__(self, browser: Driven, context: str, target: str, session: str, allowed_hosts: frozenset[str]) -> None:
        super().__init__(browser, context, target, session, allowed_hosts)
        self._late: list[Message] = []  # releases of the mouse that a dialog was in the way of

    @classmethod
    async def open(
        cls, browser: Browser, script: str, allowed_hosts: frozenset[str] = frozenset(), proxy: str = ""
    ) -> Self:
        page = await super().open(browser, script, allowed_hosts, proxy)
        browser.connection.listeners[page._session] = functools.partial(page._hear, page._session)
        return page

    def close(self) -> None:
        self._browser.connection.listeners.pop(self._session, None)
        super().close()

    def _hear(self, session: str, method: str, params: Message) -> bool:
        """Takes note of a dialog that the policy is to answer: what was asked of the page waits no longer."""
        if method == "Page.javascriptDialogClosed":
            self._dialog = None
        if method != "Page.javascriptDialogOpening" or actions.DIALOGS not in self._shows:
            return False
        self._dialog = Dialog.read(params)
        self._browser.connection.interrupt(session, Interrupted())
        return True

    def _send(self, method: str, params: Message | None = None, session: str = "") -> "asyncio.Future[Message]":
        if self._dialog is None:
            return super()._send(method, params, session)
        if params is not None and params.get("type") == "mouseReleased":
            self._late.append(params)
        refused: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        refused.set_exception(Interrupted())
        refused.exception()  # not everybody waits
        return refused

    async def _answer(self, accept: bool, text: str | None = None) -> None:
        """Closes the dialog; another may have opened then."""
        dialog, self._dialog = self._dialog, None
        if dialog is None:
            raise ActionFailed("no dialog is open")
        with contextlib.suppress(Interrupted):
            await super()._send("Page.handleJavaScriptDialog", dialog.answer(accept, text))
            late, self._late = self._late, []
            for released in late:
                await self._send("Input.dispatchMouseEvent", released)
            if dialog.kind == "beforeunload" and not accept:
                await self._call("tell", False)

    async def _let_go(self) -> None:
        """Closes dialogs as Playwright does: a page is left, whatever it asks, and other questions are dismissed."""
        while self._dialog is not None:
            await self._answer(self._dialog.kind == "beforeunload")

    async def _carry_out(self, call: Call) -> None:
        if self._dialog is not None and call.name not in _ANSWERS:
            raise ActionFailed("a dialog is open: accept or dismiss it first")
        with contextlib.suppress(Interrupted):
            await super()._carry_out(call)

    async def _do_accept_dialog(self, text: str | None) -> None:
        if text is not None and self._dialog is not None and self._dialog.kind != "prompt":
            raise ActionFailed("the dialog takes no text")
        await self._answer(True, text)

    async def _do_dismiss_dialog(self) -> None:
        await self._answer(False)

    async def screenshot(self) -> str:
        """As PageSession's; while a dialog is open the browser makes none: the last one, or a blank page."""
        if self._dialog is None:
            with contextlib.suppress(Interrupted):
                self._pictured = await super().screenshot()
                return self._pictured
        if not self._pictured:
            blank = io.BytesIO()
            Image.new("RGB", (VIEWPORT["width"], VIEWPORT["height"]), "white").save(blank, "PNG")
            self._pictured = base64.b64encode(blank.getvalue()).decode()
        return self._pictured

    async def html(self) -> str:
        with contextlib.suppress(Interrupted):
            return await super().html()
        return ""

    async def boxes(self) -> dict[str, list[int]]:
        with contextlib.suppress(Interrupted):
            return await super().boxes()
        return {}

    async def _settle(self) -> Message:
        while self._dialog is None:
            with contextlib.suppress(Interrupted):
                seen = await self._come_to_rest()
                self._at = seen.get("url") or self._at
                return seen
        return self._dialog.seen(self._at)

    async def _come_to_rest(self) -> Message:
        """The page at rest, where no dialog is open; raises Interrupted."""
        return await super()._settle()

    async def _show(self, shows: frozenset[str]) -> None:
        """From now on what `shows` names is shown, and nothing else."""
        self._shows = shows
        if actions.DIALOGS not in shows:
            await self._let_go()

    async def _hide(self) -> None:
        """From now on nothing is shown beside the page, and nothing is left of what was."""
        await self._show(frozenset())
        self._pictured, self._at = "", "about:blank"
        self._late.clear()
