"""Episodes of a web task of the user's own: real time, and a page that nothing came before.

A page keeps its context of the browser, for making one costs as much as the rest of an episode. Between two episodes
all that its origin left is cleared, and other windows are closed. An action has taken effect when no request is under
way and the document is at rest (page_own.js).
"""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TypeGuard
from urllib.parse import urlsplit

from browser_control.environment.actions import ActionRefused, parse_action
from browser_control.environment.application import ApplicationFailed, Instance, missing
from browser_control.environment.devtools import BrowserGone, DevToolsError, Message
from browser_control.environment.episode import (
    COMMAND_SECONDS,
    KEPT_EPISODES,
    LOADS,
    ORIGIN,
    ActionFailed,
    PageLost,
    View,
)
from browser_control.environment.gate import Gate
from browser_control.environment.tabs import Tab, TabSession
from browser_control.errors import reason
from browser_control.language import actions
from browser_control.language.page import Element, Item, Text
from browser_control.web_tasks import registry
from browser_control.web_tasks.parameters import Value, fill_in, reveal, spelled
from browser_control.web_tasks.server_file import Request, State
from browser_control.web_tasks.steps import step
from browser_control.web_tasks.task_file import MISTAKE, Goto, WebTask

logger = logging.getLogger(__name__)
_LEAVING_SECONDS = 5.0  # after which a page that leaves by itself is not loaded again
LOADING_SECONDS = 12  # as page_own.js has it
OPENING_SECONDS = 14.0  # of COMMAND_SECONDS, in which the first page is waited for with that patience; then with little
_LITTLE = 0.3  # seconds
SLOT_SECONDS = 30.0  # that a session waits for its turn to load; with the rest of a reset, less than a client waits
_BLANK = "about:blank"
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
_AGAIN = 0.02  # seconds between two tries while another document is on its way
_WORD = 20  # ms in which what one window tells another arrives
MOMENT = 100  # ms without a change and a request, after which the page of an application is at rest
_REQUEST_SECONDS = 5.0  # that requests of a page are waited for
_EMPTY_SECONDS = 0.5  # that a window without a document is waited for
_LONGEST_WAIT = 2000.0  # ms that one action may let pass


_HAS_NO_SCRIPT = "!window.browserControl && location.protocol !== 'chrome-error:'"
_HIDDEN = "***"  # where the page would show a secret


def _document(url: str) -> str:
    """The URL without query and fragment."""
    return url.partition("#")[0].partition("?")[0]


def _is_answer(seen: object) -> TypeGuard[Message]:
    """Whether it is what `settle` of page_own.js answers with."""
    if not isinstance(seen, dict):
        return False
    if isinstance(seen.get("missed", seen.get("mistake")), str):
        return True
    return isinstance(seen.get("items"), list) and {"url", "done", "raw", "viewport"} <= seen.keys()


class OwnPageSession(TabSession):
    """One page that plays the episodes of one web task, or of those of one application.

    Attributes:
        instance: the application's, where the web task has one; it is made ready when an episode begins.
        gate: the way to it.
        session: a name of the session's own.
        loads: how many of those that share it begin an episode at once. Where all sessions of a busy machine load their
            pages together, each takes as long as all.
    """

    _task: WebTask
    _judges = ("null", "null")
    _parameters: dict[str, Value]
    _secrets: tuple[str, ...] = ()  # that the page may not show
    _judged = False  # not before the policy's first turn
    _begins = False  # whether that is now
    _begun = ""  # the address that it was sent to last
    _led = ""  # the address that what is done before the first turn led to
    _mistaken = ""  # what the judges said of another page, to which it had left
    _asked_at = 0.0  # when the episode's first page was asked for; 0 once it is there
    instance: Instance | None = None
    gate: Gate | None = None
    loads: asyncio.Semaphore | None = None
    session = ""

    async def reset(self, web_task: str, seed: int, kept: bool = False, shows: frozenset[str] = frozenset()) -> View:
        found = registry.own(web_task)
        assert found is not None
        self._task = found
        self._parameters = parameters = found.draw(seed)
        self._goal = found.goal(parameters)
        failure = found.file.failure if isinstance(found.file.failure, str) else ""
        self._judges = (found.judge(found.file.success, parameters), found.judge(failure, parameters))
        self._judged = self._begins = False
        try:
            view = await self._begin(shows)
        except (BrowserGone, DevToolsError, TimeoutError) as error:
            self.web_task = ""
            unanswered = isinstance(error, TimeoutError) and self._judged
            asked = ", from the page or from success and failure" if unanswered else ""
            raise PageLost(f"no episode could be started: {reason(error)}{asked}") from error
        self._episodes += 1
        self.web_task = web_task if self._episodes < KEPT_EPISODES else ""
        self.left = not self.web_task
        return view

    async def _begin(self, shows: frozenset[str]) -> View:
        """The first page that the policy sees; begun anew where it left for elsewhere by itself, a few times."""
        played, began = self._episodes > 0, time.monotonic()
        for last in (*[False] * (LOADS - 1), True):
            if self.instance is not None:
                assert self.gate is not None
                self.gate.shut()  # no word of the episode before reaches the server that is made ready
                await self.instance.begin(self.session, self._parameters)
                self.instance.open(self.gate)
            if played:
                async with asyncio.timeout(COMMAND_SECONDS):
                    await self._clear()
            try:
                async with asyncio.timeout(COMMAND_SECONDS) as limit:
                    view = await self._open(shows, limit)
                    if not self._is_away(view.url):
                        break
                    left = f"{self._begun} left for {await self._address()} before the first turn{self._mistaken}"
            finally:
                self._asked_at = 0.0
            if last or time.monotonic() - began > _LEAVING_SECONDS:
                raise PageLost(left)
            logger.warning("%s; it is loaded again", left)
            played = True
        return view

    @contextlib.asynccontextmanager
    async def _turn(self, limit: asyncio.Timeout) -> AsyncIterator[None]:
        """In it a page is loaded; `limit` does not count the wait. Raises PageLost where others load for too long."""
        asked, when = time.monotonic(), limit.when()
        assert when is not None
        limit.reschedule(None)
        try:
            if self.loads is not None:
                await asyncio.wait_for(self.loads.acquire(), SLOT_SECONDS)
        except TimeoutError:
            raise PageLost(
                f"the pages of other sessions were still loading after {SLOT_SECONDS:g} seconds: the machine is too"
                " busy for so many sessions"
            ) from None
        try:
            waited = time.monotonic() - asked
            limit.reschedule(when + waited)
            self._asked_at += waited
            yield
        finally:
            if self.loads is not None:
                self.loads.release()

    def _patience(self, seconds: float) -> float:
        """So many seconds, or what is left of those in which the first page is waited for."""
        if not self._asked_at:
            return seconds
        return max(_LITTLE, min(seconds, self._asked_at + OPENING_SECONDS - time.monotonic()))

    async def _open(self, shows: frozenset[str], limit: asyncio.Timeout) -> View:
        """The page after what its file has done before the first turn, which keeps no other session from loading."""
        self._asked_at = time.monotonic()
        before = list(self._task.file.before)
        await self._show(shows | actions.shows([str(each).partition(" ")[0] for each in before]))
        self._secrets = tuple(os.environ[name] for name in self._task.secrets if os.environ.get(name))
        while before and isinstance(before[0], Request):
            await self._ask(before.pop(0))
        if self.instance is not None and (cookies := self.instance.cookies()):
            given = {"cookies": cookies, "browserContextId": self._context}
            await self._browser.connection.send("Storage.setCookies", given)
        async with self._turn(limit):
            await self._load_url(self._task.start_url({**self._parameters, "session": self.session}))
            if not before:
                return await self._arrive(shows, led=False)
            seen: Message | None = await self._settle()
        for each in before:
            await self._do_before(each, seen)
            seen = None
        return await self._arrive(shows, led=True)

    async def _do_before(self, each: Request | Goto | str, seen: Message | None) -> None:
        """`seen`: the page, where it is at rest."""
        if isinstance(each, Request):
            await self._ask(each)
        elif isinstance(each, Goto):
            path = fill_in(each.goto, {**self._parameters, "session": self.session})
            if seen is None:
                await self._settle()
            await self._let_go()
            await self._load_url(f"{self._task.origin}{path}")
        else:
            await self._take(each, seen or await self._settle())

    async def _arrive(self, shows: frozenset[str], led: bool) -> View:
        """The page that the policy sees first; `led`: to which it was led from the one that was loaded."""
        await self._show(shows)
        self._led, self._mistaken = await self._address() if led else "", ""
        self._judged = self._begins = True
        seen = await self._settle()
        self._begins = False
        if self._is_bare(seen):
            raise PageLost(f"{self._begun} still had nothing on it after {LOADING_SECONDS} seconds{self._trouble()}")
        if self.gate is None and not seen.get("loaded", True):  # we serve it; a server of its own may owe it a file
            raise PageLost(
                f"{self._begun} was still loading after {LOADING_SECONDS} seconds: the machine is too busy for so many"
                " sessions, or the page asks for something that never comes"
            )
        return self._view(seen)

    async def _load_url(self, url: str) -> None:
        """Goes there; once more where an interface of this machine came or went meanwhile, such as a container's."""
        self._begun = self._at = url
        if self.gate is not None:
            self.gate.refused = ""
        for last in (*[False] * (LOADS - 1), True):
            answer = await self._send("Page.navigate", {"url": url})
            error = "it is a file to be downloaded" if answer.get("isDownload") else answer.get("errorText", "")
            if not error:
                return
            if last or error != NETWORK_CHANGED:
                if self.gate is not None and self.gate.refused:
                    raise self._mistake(f"{url} leads to {self.gate.refused}, which its pages do not reach")
                raise PageLost(f"{url} could not be loaded: {error}{self._trouble()}")

    async def _ask(self, request: object) -> None:
        assert self.instance is not None and isinstance(request, Request)
        await self.instance.ask(request, self.session, self._parameters)

    async def _take(self, written: str, seen: Message) -> None:
        """One action of those before the first turn; its words are never shown, for they may hold a secret."""
        if self._dialog is not None and not actions.shows([written.partition(" ")[0]]):
            await self._let_go()
            seen = await self._settle()
        elements = [each for each in self._items(seen) if isinstance(each, Element)]
        parameters = {name: spelled(value) for name, value in self._parameters.items()}
        action = step(written).on(elements, {**parameters, "session": self.session})
        if action is None:
            raise PageLost(f"{MISTAKE}: {self._task.name}: before: {written!r} names nothing that is on the page then")
        try:
            argument = reveal(action.argument, os.environ)
        except KeyError as error:
            raise PageLost(missing(self._task.name, error.args[0])) from None
        try:
            _, failed = await self.act(parse_action(replace(action, argument=argument).to_browsergym()))
        except ActionRefused as refused:
            failed = str(refused)
        if failed:
            raise PageLost(f"{MISTAKE}: {self._task.name}: before: {written!r}: {failed}")

    def _trouble(self) -> str:
        """What befell the application, to end a sentence."""
        trouble = self.instance.trouble if self.instance is not None else ""
        return f"; {trouble}" if trouble else ""

    async def _clear(self) -> None:
        """Takes away what the episode before left: its document first, whose scripts then have had their last word."""
        await self._hide()
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
        origin = {"origin": self._task.origin, "storageTypes": "all"}
        targets, *_ = await asyncio.gather(
            send("Target.getTargets"),
            self._call("forget"),
            self._send("Page.resetNavigationHistory"),
            self._send("Storage.clearDataForOrigin", origin),
            send("Storage.clearCookies", context),
            # what passes a gate in the clear is not kept
            *([self._send("Network.clearBrowserCache")] if self._task.origin.startswith("https:") else []),
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

    async def _come_to_rest(self) -> Message:
        """The page at rest, and how the episode stands; raises ApplicationFailed where its server is gone."""
        seen = await self._rest()
        begin = time.monotonic()
        enough = self._patience(_REQUEST_SECONDS)
        while self.gate is not None and "missed" not in seen and time.monotonic() - begin < enough:
            if self.gate.quiet_for > MOMENT / 1000:
                break
            await asyncio.sleep(_AGAIN)  # a page does not know of what the browser fetches for it, such as modules
            if self.gate.quiet_for > MOMENT / 1000:
                seen = await self._rest()
        enough = self._patience(LOADING_SECONDS) if self._begins else enough
        while self._is_bare(seen) and time.monotonic() - begin < enough:
            await asyncio.sleep(_AGAIN)
            seen = await self._rest()
        if self.instance is None or "missed" in seen:
            return seen
        if trouble := self.instance.trouble:
            raise ApplicationFailed(trouble)
        state, failure = self._task.file.state, self._task.file.failure
        if self._judged and state is not None and await self._holds(state):
            seen |= {"done": True, "raw": 1}
        elif self._judged and not seen["done"] and isinstance(failure, State) and await self._holds(failure):
            seen |= {"done": True, "raw": 0}
        return seen

    def _is_bare(self, seen: Message) -> bool:
        """Whether an application's page has nothing on it yet: a busy machine is slow to compile its scripts."""
        return self.gate is not None and not seen.get("items", True) and not seen["done"]

    async def _holds(self, state: State) -> bool:
        assert self.instance is not None
        return await self.instance.holds(state, self.session, self._parameters)

    def _moment(self) -> int:
        """Milliseconds without a change after which the page is at rest; 0 for as few as a static page needs."""
        return MOMENT if self.gate is not None else 0

    async def _rest(self) -> Message:
        """The window in front at rest; the judges look at the first one, where the episode began."""
        success, failure = self._judges if self._judged else ("null", "null")
        for tab in [each for each in self._tabs[1:] if not each.rested and each is not self._front]:
            if tab in self._tabs:  # it may close meanwhile
                await self._rest_of(tab, "null", "null")
                tab.rested = True
        if self._front is self._first:
            return await self._with_others(await self._rest_of(self._first, success, failure))
        front = await self._rest_of(self._front, "null", "null")
        if "missed" in front or front["done"]:
            return front
        judged = await self._rest_of(self._first, success, failure, _WORD)
        return await self._with_others(front | {name: judged[name] for name in ("done", "raw") if name in judged})

    async def _rest_of(self, tab: Tab, success: str, failure: str, moment: int = 0) -> Message:
        moment, begins = self._moment() or moment, str(self._begins).lower()
        began = time.monotonic()
        while True:
            await self._frames_are_told()
            tab.departures.are_waited_for()
            loading = round(1000 * self._patience(LOADING_SECONDS)) if self._asked_at else 0
            asked = f"{success}, {failure}, {moment}, {begins}, {loading}"
            try:
                answer = await self._send(
                    "Runtime.evaluate",
                    {
                        # what is no JavaScript fails here before anything runs
                        "expression": f"window.browserControl?.settle({asked})",
                        "awaitPromise": True,
                        "returnByValue": True,
                    },
                    tab.session,
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
            if seen is None and tab is not self._first and await self._is_empty(tab):
                continue
            if seen is None:  # a page of the browser's own, which says that there is no such page
                return {"url": "", "items": [], "viewport": None, "done": True, "raw": 0}
            if not _is_answer(seen):
                raise PageLost("the page has replaced what answers for it: change its scripts, or leave it out")
            if "missed" not in seen and not tab.departures.doubted:
                tab.departures.were_waited_for()
            if tab.departures.doubted and "missed" not in seen and time.monotonic() - began < _REQUEST_SECONDS:
                continue  # told that it stays, and judged, when it had just begun to leave again
            if await self._has_left(seen):
                self._mistaken = f", where {seen['mistake']}" if "mistake" in seen else ""
                return {"url": "", "items": [], "viewport": None, "done": True, "raw": 0}
            if "mistake" in seen:
                raise self._mistake(seen["mistake"])
            return seen

    async def _has_left(self, seen: Message) -> bool:
        """Whether, as the episode begins, the page is another of the same host that is not its own any more.

        A start page may lead on to another by itself, which then is the first; but not to one that our own server does
        not have, or of which the judges cannot speak.
        """
        if not self._begins or not ("mistake" in seen or (self.gate is None and seen.get("status", 0) >= 400)):
            return False
        # as the browser spells it
        asked = {"expression": f"new URL({json.dumps(self._led or self._begun)}).href", "returnByValue": True}
        began = (await self._send("Runtime.evaluate", asked))["result"]["value"]
        return _document(str(began)) != _document(str(seen.get("url", "")))

    async def _is_empty(self, tab: Tab) -> bool:
        """Whether no document was loaded in a window yet: one comes, or our script comes into the one that is there."""
        begin, empty = time.monotonic(), False
        asked = {"expression": _HAS_NO_SCRIPT, "returnByValue": True}
        try:
            while (await self._send("Runtime.evaluate", asked, tab.session))["result"].get("value"):
                empty = True
                if time.monotonic() - begin > _EMPTY_SECONDS:
                    await self._send("Runtime.evaluate", {"expression": self._script}, tab.session)
                    break
                await asyncio.sleep(_AGAIN)
        except DevToolsError as error:
            if not self._is_on_its_way(str(error)):
                raise
            return True
        return empty

    def _mistake(self, words: str) -> PageLost:
        """What the author of the judges has to put right."""
        return PageLost(f"{MISTAKE}: {self._task.name}: {words}")

    @staticmethod
    def _is_on_its_way(words: str) -> bool:
        """Whether a command failed for another document took the place of the one that was asked."""
        return any(sign in words for sign in ("context was destroyed", "navigated", "Cannot find context", "collected"))

    def _view(self, seen: Message) -> View:
        items = tuple(self._hidden(item) for item in self._items(seen)) if self._secrets else self._items(seen)
        if self._is_away(seen["url"]):
            return View(self._goal, items, seen["url"], 0.0, True)
        raw, viewport, reading = float(seen["raw"]), self._viewport(seen), self._reading(seen)
        return View(self._goal, items, seen["url"], raw, bool(seen["done"]), raw, viewport, reading)

    def _hidden(self, item: Item) -> Item:
        """The item without a secret that was typed, or that the page says."""

        def hide(text: str) -> str:
            for secret in self._secrets:
                text = text.replace(secret, _HIDDEN)
            return text

        if isinstance(item, Text):
            return replace(item, text=hide(item.text))
        value = hide(item.value) if item.value else item.value
        return replace(item, name=hide(item.name), value=value, options=tuple(map(hide, item.options)))

    async def _do_scroll(self, delta_x: float, delta_y: float) -> None:
        """Where not the page scrolls but a part that takes most of it, the mouse goes there, as a hand would."""
        if point := await self._call("wheelPoint", *self._mouse, delta_y):
            await self._move(*point)
        await super()._do_scroll(delta_x, delta_y)

    async def _do_noop(self, wait_ms: float) -> None:
        await self._call("advance", max(0.0, min(wait_ms, _LONGEST_WAIT)))

    def _stays(self, url: str) -> bool:
        """Whether a URL is of the web task's own host."""
        return urlsplit(url).hostname == self._task.host

    def _is_away(self, url: str) -> bool:
        return not self._stays(url) and not (url == _BLANK and self._front is not self._first)

    async def _address(self) -> str:
        """Where the first window is; of a page of the browser's own, what it stands for."""
        history = await self._send("Page.getNavigationHistory", session=self._first.session)
        return str(history["entries"][history["currentIndex"]]["url"])

    async def _step_history(self, by: int) -> None:
        """Back or on, within the episode."""
        history = await self._send("Page.getNavigationHistory")
        index = history["currentIndex"] + by
        entries = history["entries"][max(0, index) : index + 1]
        if not entries or not self._stays(entries[0]["url"]):
            raise ActionFailed(f"there is no page {'before' if by < 0 else 'after'} this one")
        await self._send("Page.navigateToHistoryEntry", {"entryId": entries[0]["id"]})

    async def _do_goto(self, url: str) -> None:
        if not self._stays(url):
            raise ActionFailed(f"goto leaves the web task's own host {self._task.host}")
        answer = await self._send("Page.navigate", {"url": url})
        if answer.get("errorText"):
            raise ActionFailed(f"goto: {answer['errorText']}")
