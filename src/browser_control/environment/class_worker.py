"""Plays BrowserGym's task classes, as they are, in a process of their own: `python -m …class_worker`.

A class takes a page of Playwright's synchronous interface, which one thread has to itself. So the service asks this
process, one JSON object a line: `setup` begins an episode, `validate` judges it, `send` passes a command of the
DevTools protocol on to the page, by which the service lists it and acts on it as on any other. Answers come in the
same order. Chromium is started once; each episode has a context of its own.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from browser_control.environment.chromium import SANDBOX_VARIABLE, is_visible
from browser_control.web_tasks import packages

_GREETING = "Hi! I am your UI assistant, I can perform web tasks for you. What can I help you with?"  # BrowserGym's
# As BrowserGym, scroll bars take their room; and what a confined browser does without (environment/chromium.py).
_FEATURES = (
    "OverlayScrollbars,ExtendedOverlayScrollbars,Translate,MediaRouter,OptimizationHints,PaintHolding,HttpsUpgrades,"
    "BackForwardCache,RenderDocument"
)


# What a class may do with its page and its context so that nothing but the page's own doings are left of it. Whatever
# else it asks of them (routes, bindings, scripts, handlers, headers) has the next episode begin in a new context.
_NAMES = """
    goto reload go_back url title content context frames frame main_frame frame_locator locator is_closed
    video evaluate evaluate_handle eval_on_selector eval_on_selector_all query_selector query_selector_all
    wait_for_function wait_for_load_state wait_for_selector wait_for_timeout wait_for_url get_by_alt_text
    get_by_label get_by_placeholder get_by_role get_by_test_id get_by_text get_by_title click dblclick fill
    press type hover focus check uncheck select_option drag_and_drop inner_html inner_text input_value
    text_content get_attribute is_checked is_disabled is_editable is_enabled is_hidden is_visible
    viewport_size screenshot pages cookies
"""
_HARMLESS = frozenset(_NAMES.split())
_FORGET = "location.href === 'about:blank' && (browserControl.forget(), true)"
_WINDOW_SECONDS = 2.0  # that a window may take to open
_PAUSE = 5  # ms
_ASKED_FOR_HISTORY = 20  # times at most, some milliseconds each
_NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"  # an interface of this machine came or went, such as a container's
_KEPT_EPISODES = 200  # after which there is a new context in any case


class _Window:
    """A page in a context of its own, and what has become of it.

    Args:
        options: of the context.
    """

    def __init__(self, browser: Any, options: dict[str, Any], script: str) -> None:
        self.options = options
        self.context = browser.new_context(**options)
        self.context.add_init_script(script)
        self.page = self.context.new_page()
        self._shown, self._devtools = self.page, self.context.new_cdp_session(self.page)
        self._id = self._devtools.send("Target.getTargetInfo")["targetInfo"]["browserContextId"]
        self._origins: set[str] = set()
        self._episodes = 0
        self._asked: set[str] = set()  # of page and context by a class, by name
        self._lent = False
        self.network_changed = False  # while something of its page was loaded, which the page then lacks
        self._marks = set(vars(self.page))
        self.page.on("requestfailed", self._failed)
        self.page.on("framenavigated", lambda frame: self._origins.add(_origin(frame.url)))
        for each in (self.page, self.context):
            each.__class__ = _watched(type(each), self._note)

    def _failed(self, request: Any) -> None:
        self.network_changed |= request.failure == _NETWORK_CHANGED

    def _note(self, name: str) -> None:
        if self._lent:
            self._asked.add(name)

    @contextlib.contextmanager
    def lent(self) -> Iterator[Any]:
        """The window that is shown, while a class has it."""
        shown = self.shown()
        self._lent = True
        try:
            yield shown
        finally:
            self._lent = False

    def shown(self) -> Any:
        """The window that was opened last, of those that are open; a new one where there is none."""
        pages = self.context.pages
        return pages[-1] if pages else self.context.new_page()

    def wait_for_windows(self, targets: Sequence[dict[str, Any]]) -> None:
        """Until Playwright knows all windows that the browser has; a click returns before it does."""
        count = sum(each["type"] == "page" and each.get("browserContextId") == self._id for each in targets)
        deadline = time.monotonic() + _WINDOW_SECONDS
        while len(self.context.pages) < count and time.monotonic() < deadline:
            self.page.wait_for_timeout(_PAUSE)

    def send(self, commands: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
        """The answers to commands of the DevTools protocol that reach the page together."""
        page = self.shown()
        if page is not self._shown:
            self._shown, self._devtools = page, self.context.new_cdp_session(page)
        devtools = self._devtools._impl_obj

        async def together() -> list[Any]:
            return await asyncio.gather(*(devtools.send(*each) for each in commands), return_exceptions=True)

        answers = self._devtools._sync(together())
        return [{"error": str(each)} if isinstance(each, BaseException) else {"result": each or {}} for each in answers]

    def cleared(self) -> bool:
        """Whether it is as a new one would be; what the page's own scripts left is taken away."""
        origins = self._origins - {""}
        own = [self.page] == self.context.pages and len(origins) < 2
        self._episodes += 1
        if not own or self._asked - _HARMLESS or self._episodes == _KEPT_EPISODES:
            return False
        for name in set(vars(self.page)) - self._marks:
            delattr(self.page, name)
        [gone] = self.send([("Page.navigate", {"url": "about:blank"})])  # Playwright's `goto` waits for more
        mouse = {"type": "mouseMoved", "x": 0, "y": 0}
        commands: list[tuple[str, dict[str, Any]]] = [
            ("Runtime.evaluate", {"expression": _FORGET}),
            ("Network.clearBrowserCookies", {}),
            ("Input.dispatchMouseEvent", mouse),
            ("Browser.resetPermissions", {"browserContextId": self._id}),
            *(("Storage.clearDataForOrigin", {"origin": each, "storageTypes": "all"}) for each in origins),
        ]
        answers = self.send(commands)
        self._asked.clear()
        self._origins.clear()
        blank = answers[0].get("result", {}).get("result", {}).get("value") is True
        return blank and not any("error" in each for each in (gone, *answers)) and self._without_history()

    def _without_history(self) -> bool:
        """Forgets the pages before the empty one; the browser may hear that it is there after the page itself does."""
        for _ in range(_ASKED_FOR_HISTORY):
            _, answer = self.send([("Page.resetNavigationHistory", {}), ("Page.getNavigationHistory", {})])
            if [each["url"] for each in answer.get("result", {}).get("entries", ())] == ["about:blank"]:
                return True
        return False


def _watched(kind: type, note: Callable[[str], None]) -> type:
    """`kind`, which tells `note` what is asked of it."""

    def __getattribute__(self: Any, name: str) -> Any:
        if not name.startswith("_"):
            note(name)
        return object.__getattribute__(self, name)

    return type(kind.__name__, (kind,), {"__getattribute__": __getattribute__, "__module__": kind.__module__})


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if url != "about:blank" else ""


class Player:
    """One Chromium, and one class at a time that plays in it.

    Args:
        program: Chromium.
        rules: which names there are for it (`chromium.command_line`).
        script: what runs in every page before its own scripts.
    """

    def __init__(self, program: str, rules: str, script: str) -> None:
        import browsergym.core
        from playwright.sync_api import sync_playwright

        self._script = script
        self._playwright = sync_playwright().start()
        browsergym.core._set_global_playwright(self._playwright)  # of which a thread can have but one
        self._playwright.selectors.set_test_id_attribute("bid")
        self._browser = self._playwright.chromium.launch(
            executable_path=program,
            headless=not is_visible(),
            chromium_sandbox=os.geteuid() != 0 and os.environ.get(SANDBOX_VARIABLE) != "0",
            args=[
                f"--host-resolver-rules={rules}",
                "--no-proxy-server",
                "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
                f"--disable-features={_FEATURES}",
            ],
            ignore_default_args=["--hide-scrollbars"],
            env={**os.environ, "TZ": "UTC", "LANG": "en_US.UTF-8", "LC_ALL": "en_US.UTF-8"},
        )
        self._root = self._browser.new_browser_cdp_session()
        self._task: Any = None
        self._window: _Window | None = None
        self._chat: list[dict[str, Any]] = []

    def setup(self, package: str, web_task: str, seed: int, fresh: bool) -> dict[str, Any]:
        """Begins an episode as `BrowserEnv.reset` does: its goal, and the scale of coordinates in actions.

        Args:
            fresh: whether the page of the episode before cannot be taken.
        """
        self.teardown()
        env = packages.entry(package, web_task)
        task = env.task_entrypoint(seed=seed, **env.task_kwargs)

        def wanted(name: str) -> Any:
            return getattr(task, name) if getattr(env, name) is None else getattr(env, name)

        options = {name: wanted(name) for name in ("viewport", "locale", "timezone_id")} | env.pw_context_kwargs
        window = self._take_window(options, fresh)
        window.context.set_default_timeout(wanted("timeout"))
        self._task = task
        window.network_changed = False
        try:
            with window.lent() as page:
                goal, _ = task.setup(page=page)
        finally:
            if window.network_changed:
                raise ConnectionError(f"{_NETWORK_CHANGED} while the page of {web_task} was loaded")
        goals = _texts(goal)
        self._chat = [_message("assistant", _GREETING), *(_message("user", each) for each in goals)]
        return {"goal": "\n".join(goals), "scale": getattr(window.page, "_bgym_scale_factor", 1.0)}

    def _take_window(self, options: dict[str, Any], fresh: bool) -> _Window:
        window, self._window = self._window, None
        if window is not None:
            with contextlib.suppress(Exception):  # then it is of no use
                if not fresh and window.options == options and window.cleared():
                    self._window = window
                    return window
            self._close(window)
        self._window = _Window(self._browser, options, self._script)
        return self._window

    def validate(self, said: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """How the episode stands; `said` is what the policy added to the chat, with its role."""
        assert self._window is not None
        self._chat += [_message(role, text) for role, text in said]
        with self._window.lent() as page:
            reward, done, message, _ = self._task.validate(page, self._chat)
        if message:
            self._chat.append(_message("user", message))
        return {"reward": float(reward), "done": bool(done)}

    def windows(self) -> dict[str, Any]:
        """Has the newest window shown."""
        assert self._window is not None
        self._window.wait_for_windows(self._root.send("Target.getTargets")["targetInfos"])
        return {}

    def send(self, *commands: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """The page's answers, each a result or an error."""
        assert self._window is not None
        return self._window.send(commands)

    def teardown(self) -> dict[str, Any]:
        """Ends the episode; what a class cannot tear down is said in the log, and holds up nothing."""
        task, self._task = self._task, None
        if task is not None and self._window is not None:
            try:
                with self._window.lent():
                    task.teardown()
            except Exception as error:
                print(f"teardown: {packages.said(error)}", file=sys.stderr, flush=True)
        return {}

    def close(self) -> None:
        self.teardown()
        with contextlib.suppress(Exception):
            self._browser.close()
            self._playwright.stop()

    @staticmethod
    def _close(window: _Window) -> None:
        with contextlib.suppress(Exception):
            window.context.close()


def _texts(goal: object) -> list[str]:
    """The texts of a goal, which is one, or messages as OpenAI has them."""
    if isinstance(goal, str):
        return [goal]
    messages = goal if isinstance(goal, list) else []
    return [str(each["text"]) for each in messages if each.get("type") == "text"]


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "timestamp": time.time(), "message": text}


def _stop(*_: object) -> None:
    raise SystemExit(0)


def main() -> int:
    """The first line says what a `Player` is made of."""
    signal.signal(signal.SIGTERM, _stop)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a class prints is no answer of ours
    player = Player(**json.loads(sys.stdin.readline()))
    try:
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                answer = {"result": getattr(player, asked["do"])(*asked["with"])}
            except Exception as error:
                answer = {"error": packages.said(error)}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        player.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
