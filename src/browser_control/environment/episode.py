"""Episodes of MiniWoB's web tasks in one page of the browser: reset, act, judge.

What BrowserGym and Playwright do in many round trips happens here in three a step: aim (one script finds the
element, waits for it as Playwright would and says where to click), the real input events, and one script that
lets the page's clock run on and lists the page.
"""

import asyncio
import functools
import json
import re
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from browser_control.environment import keyboard
from browser_control.environment.actions import Call
from browser_control.environment.devtools import Browser, BrowserGone, DevToolsError, Driven, Message
from browser_control.environment.page_server import HOST, page_url
from browser_control.errors import reason
from browser_control.language.page import Element, Item, Text, plain

VIEWPORT = {"width": 800, "height": 600}
ORIGIN = (0.0, 0.0)  # where the mouse is before an episode
SCALE = 1.5  # by which BrowserGym's coordinates are larger than the page's
# The page's time that passes in BrowserGym before it looks at a page, in ms: after a reset and an action
# (slow_mo of 100, pre_observation_delay of 500, and what its own round trips take).
RESET_WAIT = 200
STEP_WAIT = 650
AIMS = 3  # how often an action is aimed anew if something comes between the aim and the click
HOLD = 5  # ms for which a page that would change between the events of a click waits for all of them
KEPT_EPISODES = 200  # after which a page is loaded again, whatever its scripts have gathered
LOADS = 3  # how often a page is loaded until all its files have arrived
# After which a page's garbage is collected; by itself Chromium lets 50 MB a page gather before it does.
GARBAGE_EPISODES = 25
STRICT_REWARD = 0.999  # of the page, from which the whole task counts as done
DRAG_STEPS = 5  # moves of the mouse
COMMAND_SECONDS = 20.0
BOXES = """(() => {
  const found = {};
  const look = (root, right, down) => {
    for (const each of root.querySelectorAll("*")) {
      const box = each.getBoundingClientRect();
      const bid = each.getAttribute("bid");
      if (bid) found[bid] = [box.left + right, box.top + down, box.width, box.height].map(Math.round);
      if (each.shadowRoot) look(each.shadowRoot, right, down);
      if (each.localName === "iframe" && each.contentDocument)
        look(each.contentDocument, right + box.left + each.clientLeft, down + box.top + each.clientTop);
    }
  };
  look(document, 0, 0);
  return found;
})()"""

HTML = "document.documentElement.outerHTML"
MOUSE_BUTTONS = {"left": 1, "right": 2, "middle": 4}


class ActionFailed(Exception):
    """The action could not be carried out; the message says why. The episode goes on."""


class PageLost(Exception):
    """The page, or the browser, does not answer any more: the episode cannot be judged."""


@dataclass(frozen=True, slots=True)
class View:
    """The page after a reset or an action, and how the episode stands.

    `reward` is BrowserGym's, 1 for any positive reward of the page; `raw` is the page's own, without decay over time.
    `viewport` is the first and the last item that it shows of a longer page, `reading` its longest text's number among
    the items, and the first and the last character of it.
    """

    goal: str
    items: tuple[Item, ...]
    url: str
    reward: float
    done: bool
    raw: float = 0.0
    viewport: tuple[int, int] | None = None
    reading: tuple[int, int, int] | None = None

    @property
    def strict(self) -> bool:
        """Whether the whole task was done, and not a part that MiniWoB pays something for."""
        return self.done and self.raw >= STRICT_REWARD


def _leads_to(url: str, hosts: frozenset[str]) -> str:
    """HOST or one of `hosts`, if a browser asks that for `url`; "" too where Python and the browser could disagree."""
    if re.fullmatch(rf"http://{HOST}/[!-~]*", url):
        return HOST
    found = re.fullmatch(r"https?://([a-z0-9.-]+)(:[0-9]+)?([/?#][!-~]*)?", url)
    return found[1] if found and found[1] in hosts and found[1] != HOST and "\\" not in url else ""


def _element(
    role: str,
    name: str,
    bid: str,
    value: str | None,
    states: list[str],
    options: list[str],
    form: str,
    place: list[float] | None,
    size: list[float] | None,
) -> Element:
    """An element as page_script.js lists it."""
    return Element(
        role,
        plain(name),
        bid,
        plain(value or "") or None,
        tuple(states),
        tuple(map(plain, options)),
        form,
        _whole(place),
        _whole(size),
    )


def _whole(pair: list[float] | None) -> tuple[int, int] | None:
    return (int(pair[0]), int(pair[1])) if pair else None


@functools.lru_cache(maxsize=4096)  # a group's episodes share a seed
def miniwob_seed(seed: int) -> int:
    """The seed that BrowserGym gives to MiniWoB's page for an episode of `seed`."""
    return int(np.random.RandomState(seed).randint(0, 1000000))


class PageSession:
    """One page (a tab in a context of its own) that plays one episode after the other.

    Attributes:
        seconds: after which a page that does not answer is given up.
    """

    seconds = COMMAND_SECONDS
    _scale = SCALE

    def __init__(self, browser: Driven, context: str, target: str, session: str, allowed_hosts: frozenset[str]) -> None:
        self._browser = browser
        self._allowed_hosts = allowed_hosts
        self._context = context
        self._target = target
        self._session = session
        self._mouse = ORIGIN
        self._held: set[str] = set()  # mouse buttons
        self._url = ""
        self._goal = ""
        self._copied = ""  # the episode's own clipboard: the browser's is shared by all sessions
        self._episodes = 0  # since the page was loaded
        self._uncollected = 0  # episodes
        self.web_task = ""  # whose page can take another episode as it is
        self.left = False  # for another host, which may have left windows, handlers, cookies
        self._closed = False

    @classmethod
    async def open(
        cls, browser: Browser, script: str, allowed_hosts: frozenset[str] = frozenset(), proxy: str = ""
    ) -> Self:
        """Opens a page, which `goto` may lead to the allowed hosts; raises PageLost.

        Args:
            proxy: what all else than the allowed hosts is asked of, loopback too, so that it decides which there are.
        """
        through = {"proxyServer": proxy, "proxyBypassList": ";".join(["<-loopback>", *sorted(allowed_hosts)])}
        send = browser.connection.send
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                context = (await send("Target.createBrowserContext", through if proxy else {}))["browserContextId"]
                target = (
                    await send("Target.createTarget", {"url": "about:blank", "browserContextId": context, **VIEWPORT})
                )["targetId"]
                session = (await send("Target.attachToTarget", {"targetId": target, "flatten": True}))["sessionId"]
                await asyncio.gather(*(send(method, params, session) for method, params in cls.prepared(script)))
        except (BrowserGone, DevToolsError, TimeoutError) as error:
            raise PageLost(f"no page could be opened: {error}") from error
        return cls(browser, context, target, session, allowed_hosts)

    @staticmethod
    def prepared(script: str) -> tuple[tuple[str, Message], ...]:
        """The commands that make a window ready for episodes."""
        return (
            ("Page.enable", {}),
            ("Inspector.enable", {}),
            ("Page.addScriptToEvaluateOnNewDocument", {"source": script}),
            ("Emulation.setFocusEmulationEnabled", {"enabled": True}),
            ("Emulation.setDeviceMetricsOverride", {**VIEWPORT, "deviceScaleFactor": 1, "mobile": False}),
        )

    @property
    def alive(self) -> bool:
        return self._browser.alive and not self._closed

    def close(self) -> None:
        """Gives the page back to the browser, without waiting for it."""
        self._closed = True
        if self._browser.alive:
            closing = self._browser.connection.send("Target.disposeBrowserContext", {"browserContextId": self._context})
            closing.add_done_callback(lambda done: done.exception())

    async def reset(self, web_task: str, seed: int, kept: bool = False, shows: frozenset[str] = frozenset()) -> View:
        """Begins an episode; raises PageLost.

        Args:
            kept: the page is to take more episodes of this web task without being loaded again; an episode begins in
                the open page where the one before asked for that.
            shows: what is listed beside the page (`language.actions.shows`); MiniWoB's pages have nothing of it.
        """
        self._url = page_url(web_task)
        self._copied = ""
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                seen = await self._restart(web_task, seed) if web_task == self.web_task else None
                if seen is None:
                    seen = await self._load(web_task, seed, kept)
        except (BrowserGone, DevToolsError, TimeoutError) as error:
            self.web_task = ""
            raise PageLost(f"no episode could be started: {reason(error)}") from error
        self._episodes += 1
        self._uncollected += 1
        if self._uncollected == GARBAGE_EPISODES:
            self._uncollected = 0
            self._send("HeapProfiler.collectGarbage")
        self.web_task = web_task if kept and self._episodes < KEPT_EPISODES else ""
        self._goal = seen["goal"]
        return self._view(seen)

    async def _load(self, web_task: str, seed: int, kept: bool) -> Message:
        """Begins an episode in a page that is loaded for it."""
        for button in tuple(self._held):
            self._mouse_event("mouseReleased", button, 1)
        if self._mouse != ORIGIN:  # nothing of the new page may lie under the mouse of the old one
            self._move(*ORIGIN)
        self._episodes = 0
        for last in (*[False] * (LOADS - 1), True):
            loaded = await self._send("Page.navigate", {"url": self._url})
            error = loaded.get("errorText", "")
            if not error:
                seen = await self._call("reset", web_task, miniwob_seed(seed), RESET_WAIT, kept, last)
                assert isinstance(seen, dict)
                if "lost" not in seen:
                    return seen
        raise PageLost(f"{self._url} could not be loaded: {error}")

    async def _restart(self, web_task: str, seed: int) -> Message | None:
        """Begins an episode in the open page, or says that it cannot."""
        for button in tuple(self._held):
            self._mouse_event("mouseReleased", button, 1)
        # The click takes the focus from where it was, and has the move delivered before the page is put back.
        await self._click_at(*ORIGIN)
        try:
            seen = await self._call("reset", web_task, miniwob_seed(seed), RESET_WAIT, True, False)
        except DevToolsError:
            return None
        assert isinstance(seen, dict)
        return seen if seen.get("url") == self._url else None

    async def act(self, call: Call) -> tuple[View, str]:
        """Carries out an action: the page after it, and why it failed ("" if it did not); raises PageLost."""
        try:
            async with asyncio.timeout(self.seconds):
                error = ""
                for _ in range(AIMS):
                    try:
                        await self._carry_out(call)
                    except (ActionFailed, keyboard.UnknownKey) as failure:
                        error = str(failure)
                    seen = await self._settle()
                    if "missed" not in seen:
                        return self._view(seen), error
                return self._view(await self._settle()), str(seen["missed"])
        except (BrowserGone, DevToolsError, TimeoutError) as failure:
            raise PageLost(f"the page does not answer: {reason(failure)}") from failure

    async def _carry_out(self, call: Call) -> None:
        """Raises ActionFailed and UnknownKey."""
        await getattr(self, f"_do_{call.name}")(**call.arguments)

    async def look(self) -> View:
        """The page as it is, where no action was carried out; raises PageLost."""
        try:
            async with asyncio.timeout(self.seconds):
                return self._view(await self._settle())
        except (BrowserGone, DevToolsError, TimeoutError) as failure:
            raise PageLost(f"the page does not answer: {reason(failure)}") from failure

    async def screenshot(self) -> str:
        """The page as PNG, base64; raises PageLost."""
        try:
            async with asyncio.timeout(self.seconds):
                return str((await self._send("Page.captureScreenshot", {"format": "png"}))["data"])
        except (BrowserGone, DevToolsError, TimeoutError) as failure:
            raise PageLost(f"the page does not answer: {reason(failure)}") from failure

    @staticmethod
    def _items(seen: Message) -> tuple[Item, ...]:
        return tuple(Text(plain(item)) if isinstance(item, str) else _element(*item) for item in seen["items"])

    @staticmethod
    def _viewport(seen: Message) -> tuple[int, int] | None:
        return _whole(seen["viewport"])

    @staticmethod
    def _reading(seen: Message) -> tuple[int, int, int] | None:
        found = seen.get("reading")
        return (int(found[0]), int(found[1]), int(found[2])) if found else None

    async def html(self) -> str:
        """The page as HTML, with bids; raises PageLost."""
        try:
            async with asyncio.timeout(self.seconds):
                found = await self._send("Runtime.evaluate", {"expression": HTML, "returnByValue": True})
        except (BrowserGone, DevToolsError, TimeoutError) as failure:
            raise PageLost(f"the page does not answer: {reason(failure)}") from failure
        return str(found["result"].get("value") or "")

    async def boxes(self) -> dict[str, list[int]]:
        """Where the page's elements are in its screenshot, by bid: left, top, width, height; raises PageLost."""
        try:
            async with asyncio.timeout(self.seconds):
                found = await self._send("Runtime.evaluate", {"expression": BOXES, "returnByValue": True})
        except (BrowserGone, DevToolsError, TimeoutError) as failure:
            raise PageLost(f"the page does not answer: {reason(failure)}") from failure
        return dict(found["result"].get("value") or {})

    def _view(self, seen: Message) -> View:
        items = self._items(seen)
        if seen["url"] != self._url:
            self.web_task = ""
            # as BrowserGym's AbstractMiniwobTask.validate
            return View(self._goal, items, seen["url"], 0.0, True)
        viewport, reading = self._viewport(seen), self._reading(seen)
        raw = float(seen["raw"])
        return View(self._goal, items, seen["url"], float(raw > 0), bool(seen["done"]), raw, viewport, reading)

    # -------------------------------------------------------------- the browser

    def _send(self, method: str, params: Message | None = None, session: str = "") -> "asyncio.Future[Message]":
        """To the page, or to another session of the browser."""
        return self._browser.connection.send(method, params, session or self._session)

    async def _call(self, function: str, *arguments: Any) -> Any:
        """Calls a function of page_script.js, waits for its promise, and returns its value."""
        spelled = ", ".join(map(json.dumps, arguments))
        answer = await self._send(
            "Runtime.evaluate",
            {
                "expression": f"browserControl.{function}({spelled})",
                "awaitPromise": True,
                "returnByValue": True,
            },
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise DevToolsError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    async def _settle(self) -> Message:
        seen = await self._call("settle", STEP_WAIT)
        assert isinstance(seen, dict)
        return seen

    async def _try(self, function: str, *arguments: Any) -> Message:
        result = await self._call(function, *arguments)
        if result.get("error"):
            raise ActionFailed(result["error"])
        assert isinstance(result, dict)
        return result

    def _mouse_event(
        self, kind: str, button: str = "none", clicks: int = 0, modifiers: int = 0, held: int = 0
    ) -> "asyncio.Future[Message]":
        x, y = self._mouse
        params = {
            "type": kind,
            "x": x,
            "y": y,
            "button": button,
            "buttons": held,
            "clickCount": clicks,
            "modifiers": modifiers,
        }
        if kind == "mousePressed":
            params["force"] = 0.5
            self._held.add(button)
        elif kind == "mouseReleased":
            self._held.discard(button)
        return self._send("Input.dispatchMouseEvent", params)

    def _move(
        self, x: float, y: float, held: int = 0, button: str = "none", modifiers: int = 0
    ) -> "asyncio.Future[Message]":
        self._mouse = (x, y)
        return self._mouse_event("mouseMoved", button, held=held, modifiers=modifiers)

    async def _click_at(self, x: float, y: float, button: str = "left", clicks: int = 1, modifiers: int = 0) -> None:
        # Sent together: a press makes the browser deliver at once a move that would wait for the next frame.
        sent = [self._move(x, y, modifiers=modifiers)]
        for count in range(1, clicks + 1):
            sent.append(self._mouse_event("mousePressed", button, count, modifiers, MOUSE_BUTTONS[button]))
            sent.append(self._mouse_event("mouseReleased", button, count, modifiers))
        await asyncio.gather(*sent)

    # -------------------------------------------------------------- the action set

    async def _aimed_click(self, bid: str, button: str, modifiers: list[str], clicks: int) -> None:
        aim = await self._try("aim", bid, "mouse")
        if aim["restless"]:
            self._send("Runtime.evaluate", {"expression": f"browserControl.hold({HOLD})"})
        x, y = aim["point"]
        await self._click_at(x, y, button, clicks, keyboard.modifier_mask(modifiers))

    async def _do_click(self, bid: str, button: str, modifiers: list[str]) -> None:
        await self._aimed_click(bid, button, modifiers, clicks=1)

    async def _do_dblclick(self, bid: str, button: str, modifiers: list[str]) -> None:
        await self._aimed_click(bid, button, modifiers, clicks=2)

    async def _do_hover(self, bid: str) -> None:
        point = (await self._try("aim", bid, "hover"))["point"]
        await self._move(*point)

    async def _do_fill(self, bid: str, value: str, enable_autocomplete_menu: bool) -> None:
        if not enable_autocomplete_menu:
            await self._fill(bid, value)
            return
        await self._fill(bid, "")
        if len(value) > 1:
            await self._fill(bid, value[:-1])
        if value:
            await self._try("focusOn", bid)
            await self._do_keyboard_type(value[-1])

    async def _fill(self, bid: str, value: str) -> None:
        begun = await self._try("beginFill", bid, value)
        if not begun["typed"]:
            return
        if begun["text"]:
            await self._send("Input.insertText", {"text": begun["text"]})
        else:
            await self._do_keyboard_press("Delete")

    async def _do_clear(self, bid: str) -> None:
        await self._fill(bid, "")

    async def _do_select_option(self, bid: str, options: str | list[str]) -> None:
        await self._try("selectOption", bid, [options] if isinstance(options, str) else options)

    async def _do_focus(self, bid: str) -> None:
        await self._try("focusOn", bid)

    async def _do_press(self, bid: str, key_comb: str) -> None:
        events = keyboard.chord(key_comb)
        await self._try("focusOn", bid)
        await self._keys(events)

    async def _do_keyboard_press(self, key: str) -> None:
        await self._keys(keyboard.chord(key))

    async def _do_keyboard_type(self, text: str) -> None:
        for character in text:
            if character in keyboard.KEYS:
                await self._keys(keyboard.chord(character))
            else:
                await self._do_keyboard_insert_text(character)

    async def _do_keyboard_insert_text(self, text: str) -> None:
        await self._send("Input.insertText", {"text": text})

    async def _keys(self, events: list[Message]) -> None:
        await asyncio.gather(*(self._send("Input.dispatchKeyEvent", event) for event in events))

    async def _do_drag_and_drop(self, from_bid: str, to_bid: str) -> None:
        start = (await self._try("aim", from_bid, "hover"))["point"]
        self._move(start[0], start[1])
        await self._mouse_event("mousePressed", "left", 1, held=1)
        try:
            end = (await self._try("aim", to_bid, "drop"))["point"]
            await self._move(end[0], end[1], held=1, button="left")
        finally:
            await self._mouse_event("mouseReleased", "left", 1)

    async def _do_click_at(self, bid: str, x: int, y: int) -> None:
        await self._click_at(*(await self._try("aim", bid, "mouse", [x, y]))["point"])

    async def _do_drag_by(self, bid: str, x: int, y: int) -> None:
        left, top = (await self._try("aim", bid, "hover"))["point"]
        self._move(left, top)
        await self._mouse_event("mousePressed", "left", 1, held=1)
        try:
            for step in range(1, DRAG_STEPS + 1):  # lists that are sorted by dragging follow no single leap
                part = step / DRAG_STEPS
                await self._move(left + round(x * part), top + round(y * part), held=1, button="left")
        finally:
            await self._mouse_event("mouseReleased", "left", 1)

    async def _do_toggle_option(self, bid: str, option: str) -> None:
        await self._try("toggleOption", bid, option)

    async def _do_scroll_in(self, bid: str, edge: str) -> None:
        await self._try("scrollIn", bid, edge)
        await self._frames(2)  # its event comes with the next

    async def _do_copy(self, bid: str) -> None:
        self._copied = (await self._try("textIn", bid))["text"]

    async def _do_paste(self, bid: str) -> None:
        if not self._copied:
            raise ActionFailed("nothing was copied")
        await self._try("beginPaste", bid)
        await self._send("Input.insertText", {"text": self._copied})

    async def _do_scroll(self, delta_x: float, delta_y: float) -> None:
        x, y = self._mouse
        wheel = {"type": "mouseWheel", "x": x, "y": y, "deltaX": delta_x / self._scale, "deltaY": delta_y / self._scale}
        await self._send("Input.dispatchMouseEvent", wheel)
        await self._frames(2)

    async def _frames(self, count: int) -> None:
        """Waits until the browser has drawn, where the effect of an input comes with the next frame."""
        await self._call("frames", count)

    async def _do_mouse_move(self, x: float, y: float) -> None:
        await self._move(x / self._scale, y / self._scale)

    async def _do_mouse_down(self, x: float, y: float, button: str) -> None:
        self._move(x / self._scale, y / self._scale)
        await self._mouse_event("mousePressed", button, 1, held=MOUSE_BUTTONS[button])

    async def _do_mouse_up(self, x: float, y: float, button: str) -> None:
        self._move(x / self._scale, y / self._scale)
        await self._mouse_event("mouseReleased", button, 1)

    async def _do_mouse_click(self, x: float, y: float, button: str) -> None:
        await self._click_at(x / self._scale, y / self._scale, button)

    async def _do_mouse_dblclick(self, x: float, y: float, button: str) -> None:
        await self._click_at(x / self._scale, y / self._scale, button, clicks=2)

    async def _do_mouse_drag_and_drop(self, from_x: float, from_y: float, to_x: float, to_y: float) -> None:
        await self._do_mouse_down(from_x, from_y, "left")
        await self._move(to_x / self._scale, to_y / self._scale, held=1, button="left")
        await self._mouse_event("mouseReleased", "left", 1)

    async def _do_noop(self, wait_ms: float) -> None:
        await self._call("advance", max(0.0, min(wait_ms, 60_000.0)))

    def say(self, role: str, text: str) -> None:
        """Where there is no chat, what the policy says goes nowhere."""

    async def _do_send_msg_to_user(self, text: str) -> None:
        self.say("assistant", text)

    async def _do_goto(self, url: str) -> None:
        host = _leads_to(url, self._allowed_hosts)
        if not host:
            raise ActionFailed(f"goto leaves the web task's own host {HOST} for one that is not allowed")
        self.web_task = ""
        self.left = self.left or host != HOST
        answer = await self._send("Page.navigate", {"url": url})
        if answer.get("errorText"):
            raise ActionFailed(f"goto: {answer['errorText']}")

    async def _do_accept_dialog(self, text: str | None) -> None:
        raise ActionFailed("no dialog is open")

    async def _do_dismiss_dialog(self) -> None:
        raise ActionFailed("no dialog is open")

    async def _do_tab_focus(self, index: int) -> None:
        raise ActionFailed(f"there is no window {index}")

    async def _do_tab_close(self) -> None:
        raise ActionFailed("the first window stays open")

    async def _do_go_back(self) -> None:
        await self._step_history(-1)

    async def _do_go_forward(self) -> None:
        await self._step_history(1)

    async def _step_history(self, by: int) -> None:
        raise ActionFailed("the history of an episode is its one page")
