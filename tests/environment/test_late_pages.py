"""Pages of one's own that come late, or leave by themselves before the policy's first turn; with shorter deadlines."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest

from browser_control.environment import own_episode, tabs
from browser_control.environment.actions import parse_action
from browser_control.environment.departures import Departures
from browser_control.environment.devtools import Browser, Message
from browser_control.environment.episode import PageLost, View
from browser_control.environment.gate import Gate
from browser_control.environment.own_episode import LOADING_SECONDS, OwnPageSession
from browser_control.environment.service import OWN_SCRIPT, page_script, resolver_rules
from browser_control.environment.tabs import Tab, TabSession
from browser_control.language.actions import DIALOGS
from browser_control.language.page import Element, format_page
from browser_control.web_tasks import registry
from browser_control.web_tasks.task_file import MISTAKE, WebTask

DEADLINE, SOON = 200, 1200  # ms, in place of 5,000, and where a test asks for it of 12,000
PAGE = "<!doctype html><title>Late</title><script>var saved = null</script><button>Save</button>"
LEAVES = "<!doctype html><script>var saved = null; location = {where!r}</script>"


class LateServer:
    """Answers with `pages`; of a list of them each time with the next, the last one again and again.

    Args:
        seconds: after which the rest of a document comes, whose head comes at once.
        late: the only one that comes so late, if it is not all.
        together: so many documents of that name have to be asked for before any of them comes.
        whole: other answers, each as it is and after some seconds.
    """

    def __init__(
        self,
        pages: Mapping[str, str | list[str]],
        seconds: float = 0.0,
        late: str = "",
        together: int = 0,
        whole: Mapping[str, tuple[float, str]] = MappingProxyType({}),
    ) -> None:
        self.late, self.together = late, together
        self.whole, self.whole_asked = whole, 0
        self.pages, self.seconds, self.port, self.asked = pages, seconds, 0, 0
        self.under_way = self.most = 0  # documents at once
        self.answering: set[asyncio.Task[None]] = set()

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answering.add(asyncio.create_task(self.answer(reader, writer)))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer.transport), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            name = head.split()[1].decode().rpartition("/")[2]
            if name in self.whole:
                self.whole_asked += 1
                seconds, text = self.whole[name]
                await asyncio.sleep(seconds)
                writer.write(text.encode())
                await writer.drain()
                return
            found = self.pages.get(name)
            self.asked += isinstance(found, list)
            page = (found.pop(0) if len(found) > 1 else found[0]) if isinstance(found, list) else found
            body = (page or "").encode()
            status = "200 OK" if found else "404 Not Found"
            kind = "Content-Type: text/html\r\nCache-Control: no-store\r\nConnection: close"
            writer.write(f"HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            await writer.drain()
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(self.seconds if self.late in ("", name) else 0)
            while name == self.late and self.most < self.together:
                await asyncio.sleep(0.01)
            self.under_way -= 1
            writer.write(body)
            await writer.drain()


@contextlib.asynccontextmanager
async def pages_on(
    chromium: str,
    server: LateServer,
    count: int = 1,
    loading: int = 1000 * LOADING_SECONDS,
    changes: Mapping[str, str] = MappingProxyType({}),
    deadline: int = DEADLINE,
) -> AsyncIterator[list[OwnPageSession]]:
    listening = await asyncio.start_server(server.take, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    [web_task] = registry.all_own()
    hosts = {web_task.host: SimpleNamespace(port=server.port)}
    browser = await Browser.launch(Path(chromium), resolver_rules(hosts, frozenset()))  # type: ignore[arg-type]
    try:
        script = page_script(OWN_SCRIPT)
        for written, other in changes.items():
            assert script.count(written) == 1
            script = script.replace(written, other)
        for name, known, shorter in (("DEADLINE", 5000, deadline), ("LOADING", 1000 * LOADING_SECONDS, loading)):
            assert script.count(f"const {name} = {known};") == 1
            script = script.replace(f"const {name} = {known};", f"const {name} = {shorter};")
        proxy = f"http://{web_task.host}:80"
        yield [await OwnPageSession.open(browser, script, proxy=proxy) for _ in range(count)]
    finally:
        browser.kill()
        listening.close()
        for each in server.answering:
            each.cancel()
        await asyncio.gather(*server.answering, return_exceptions=True)
        await asyncio.sleep(0)  # in which connections are closed


@pytest.fixture(autouse=True)
def web_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_own", {})
    (tmp_path / "late" / "save").mkdir(parents=True)
    (tmp_path / "late" / "save" / "page.html").write_text(PAGE)
    (tmp_path / "late" / "save" / "task.yaml").write_text(
        "start: page.html\ngoal: Save.\nsuccess: saved !== null\nmax_turns: 3\n"
    )
    registry.use([tmp_path / "late"])


def begun(chromium: str, server: LateServer, episodes: int = 1, loading: int = 1000 * LOADING_SECONDS) -> View:
    """The first page of the last of some episodes; raises PageLost."""

    async def reset() -> View:
        async with pages_on(chromium, server, loading=loading) as [page]:
            for _ in range(episodes):
                view = await page.reset("late.save", 0)
            return view

    return asyncio.run(reset())


def test_a_document_that_comes_late_is_waited_for_and_not_judged_before(chromium: str) -> None:
    view = begun(chromium, LateServer({"page.html": PAGE}, 2.5 * DEADLINE / 1000))
    assert not view.done
    assert 'button "Save"' in format_page(view.items)


def test_a_document_that_does_not_come_is_no_page_to_judge_a_policy_on(chromium: str) -> None:
    with pytest.raises(PageLost, match=r"^http://save\.late\.localhost/page\.html was still loading after 12 seconds"):
        begun(chromium, LateServer({"page.html": PAGE}, 60), loading=SOON)


@pytest.mark.parametrize("episodes", [1, 2])
def test_a_page_that_left_before_the_first_turn_is_loaded_again(
    chromium: str, caplog: pytest.LogCaptureFixture, episodes: int
) -> None:
    pages = [*[PAGE] * (episodes - 1), LEAVES.format(where="/systemError.do"), PAGE]
    with caplog.at_level(logging.WARNING):
        view = begun(chromium, LateServer({"page.html": pages}), episodes)
    assert not view.done
    assert 'button "Save"' in format_page(view.items)
    [said] = caplog.messages
    assert (
        "page.html left for http://save.late.localhost/systemError.do before the first turn, where success throws"
        in said
    )
    assert said.endswith("; it is loaded again")


@pytest.mark.parametrize("where", ["http://save.late.localhost/systemError.do", "http://example.com/", "about:blank"])
def test_a_page_that_always_leaves_says_where_it_goes(chromium: str, where: str) -> None:
    server = LateServer({"page.html": [LEAVES.format(where=where)]})
    with pytest.raises(
        PageLost, match=rf"page\.html left for {where} before the first turn(, where success throws .*)?$"
    ):
        begun(chromium, server)
    assert server.asked > 1


@pytest.mark.parametrize("loads", [1, 3])
def test_no_more_pages_are_loaded_at_once_than_may_be(chromium: str, loads: int) -> None:
    server = LateServer({"page.html": PAGE}, 0.5)

    async def reset() -> list[View]:
        async with pages_on(chromium, server, 3) as pages:
            shared = asyncio.Semaphore(loads)
            for each in pages:
                each.loads = shared
            return await asyncio.gather(*(each.reset("late.save", 0) for each in pages))

    assert [view.done for view in asyncio.run(reset())] == [False] * 3
    assert server.most <= loads
    assert loads == 1 or server.most > 1


MORE = PAGE + "<a href=more.html>More</a>"


def test_what_comes_before_the_first_turn_keeps_no_other_session_from_loading(
    chromium: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(tmp_path, monkeypatch, "page.html", "saved !== null", ['click link "More"'])
    server = LateServer({"page.html": MORE, "more.html": MORE}, late="more.html", together=2)

    async def reset() -> list[View]:
        async with pages_on(chromium, server, 2) as pages:
            shared = asyncio.Semaphore(1)
            for each in pages:
                each.loads = shared
            return await asyncio.gather(*(each.reset("late.save", 0) for each in pages))

    assert [view.done for view in asyncio.run(reset())] == [False] * 2


EMPTY = "<!doctype html><title>Late</title><script>var saved = null; {more}</script>"
BUTTON = (
    "setTimeout(() => { document.body.innerHTML = '<button>Save</button>' }, 1500)"  # longer than timers are awaited
)


@pytest.mark.parametrize("more", [BUTTON, ""])
def test_an_application_that_shows_nothing_yet_is_waited_for_where_an_episode_begins(
    chromium: str, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    monkeypatch.setattr(own_episode, "_REQUEST_SECONDS", 0.2)
    if not more:
        monkeypatch.setattr(own_episode, "LOADING_SECONDS", 1)

    async def reset() -> View:
        async with pages_on(chromium, LateServer({"page.html": EMPTY.format(more=more)})) as [page]:
            page.gate = Gate("gate")  # through which nothing goes
            return await page.reset("late.save", 0)

    if more:
        assert 'button "Save"' in format_page(asyncio.run(reset()).items)
    else:
        with pytest.raises(
            PageLost, match=r"^http://save\.late\.localhost/page\.html still had nothing on it after 1 s"
        ):
            asyncio.run(reset())


ROUTER = """<!doctype html><title>Late</title><script>var saved = null;
navigation.addEventListener("navigate", event => { %s });</script><a href="/orders.html">Orders</a>"""
LEAVING = "realTimeout(goesNot, 3000, going)"


@pytest.mark.parametrize("does", ["event.intercept({ handler: async () => {} })", "event.preventDefault()"])
def test_a_navigation_that_the_pages_router_takes_is_not_waited_for(chromium: str, does: str) -> None:
    async def rested() -> bool:
        server = LateServer({"page.html": ROUTER % does})
        async with pages_on(chromium, server, changes={LEAVING: "0"}) as [page]:  # who leaves is busy for ever
            view = await page.reset("late.save", 0)
            [link] = [each for each in view.items if isinstance(each, Element)]
            await page.act(parse_action(f"click('{link.bid}')"))
            return await rests(page)

    assert asyncio.run(rested())


def test_a_page_that_answers_in_our_script_s_place_is_no_page_to_play_on(chromium: str) -> None:
    async def reset() -> None:
        forged = {
            "const episodes = { settle,": "const episodes = { settle: () => ({ url: location.href, done: true }),"
        }
        async with pages_on(chromium, LateServer({"page.html": PAGE}), changes=forged) as [page]:
            await page.reset("late.save", 0)

    with pytest.raises(PageLost, match=r"^the page has replaced what answers for it"):
        asyncio.run(reset())


FAKES = """<!doctype html><title>Late</title><p>Tea.</p><iframe srcdoc="Cups"></iframe><iframe srcdoc="Pots"></iframe>
<script>
var saved = null, asked = 0;
const known = [Element.prototype.getAttribute, Array.prototype.map];
const evil = () => { throw Error("overridden"); };
const answer = { url: location.href, items: [], viewport: null, done: true, raw: 1, rested: true };
const others = { isBusy: () => false, isLeft: () => false, missed: () => null, mark: () => [], watch() { } };
const fakes = [{ ...others, shield() { asked |= 1; return answer; }, unshield: () => answer }, {
  ...others,
  unshield: work => [work(), work()],
  shield(work) {
    asked |= 2;
    Element.prototype.getAttribute = Array.prototype.map = Object.prototype.then = evil;
    work();
    work();
    [Element.prototype.getAttribute, Array.prototype.map] = known;
    delete Object.prototype.then;
    Object.prototype.get = evil;
    throw Error("it fails");
  },
}];
addEventListener("load", () => fakes.forEach((value, index) => {
  Object.defineProperty(frames[index], "browserControl", { __proto__: null, value });
}));
</script><button onclick="delete Object.prototype.get; if (asked === 3) saved = 1">Save</button>"""


def test_what_is_in_the_place_of_our_script_in_a_frame_does_not_answer_for_it(chromium: str) -> None:
    offered = 'Object.defineProperty(window, "browserControl"'

    async def play() -> tuple[View, View]:
        # ours runs in every frame that a page of these tests can make
        changes = {offered: f"if (window === top) {offered}"}
        async with pages_on(chromium, LateServer({"page.html": FAKES}), changes=changes) as [page]:
            first = await page.reset("late.save", 0)
            [save] = [each for each in first.items if isinstance(each, Element)]
            then, failed = await page.act(parse_action(f"click('{save.bid}')"))
            assert not failed
            return first, then

    first, then = asyncio.run(play())
    assert not first.done and "Tea." in format_page(first.items)
    assert then.done and then.reward == 1.0


def test_a_session_that_waits_too_long_for_its_turn_to_load_says_so(
    chromium: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_episode, "SLOT_SECONDS", 0.05)

    async def reset() -> None:
        async with pages_on(chromium, LateServer({"page.html": PAGE})) as [page]:
            page.loads = asyncio.Semaphore(0)
            await page.reset("late.save", 0)

    with pytest.raises(PageLost, match=r"^the pages of other sessions were still loading after 0\.05 seconds"):
        asyncio.run(reset())


NEVER = """<!doctype html><title>Late</title><script>var saved = null</script><img src=never.png>
<button>Log in</button><a href=more.html>More</a>"""


def changed(folder: Path, monkeypatch: pytest.MonkeyPatch, start: str, success: str, before: list[str]) -> None:
    """Writes the web task anew."""
    task = {"start": start, "goal": "Save.", "success": success, "before": before, "max_turns": 3}
    (folder / "late" / "save" / "task.yaml").write_text(json.dumps(task))
    monkeypatch.setattr(registry, "_own", {})
    registry.use([folder / "late"])


def test_a_page_that_never_ends_to_load_is_waited_for_where_the_episode_begins_and_once(
    chromium: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(tmp_path, monkeypatch, "page.html", "saved !== null", ['click button "Log in"'] * 3)
    monkeypatch.setattr(own_episode, "OPENING_SECONDS", 1.0)
    server = LateServer({"page.html": NEVER, "more.html": NEVER, "never.png": "x"}, 60, "never.png")

    async def play() -> tuple[View, View]:
        # who waits as where an episode begins, does so until the action is given up
        async with pages_on(chromium, server, loading=1_000_000) as [page]:
            page.gate = Gate("gate")  # through which nothing goes
            first = await page.reset("late.save", 0)
            [link] = [each for each in first.items if isinstance(each, Element) and each.name == "More"]
            then, failed = await page.act(parse_action(f"click('{link.bid}')"))
            assert not failed
            return first, then

    first, then = asyncio.run(play())
    assert 'button "Log in"' in format_page(first.items)
    assert then.url.endswith("/more.html") and not then.done


@pytest.mark.parametrize(
    ("start", "before"), [("page.html#/start", []), ("x/../page.html", []), ("page.html", ['click link "More"'])]
)
def test_a_mistake_in_the_judges_is_said_wherever_the_web_task_begins(
    chromium: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, before: list[str]
) -> None:
    changed(tmp_path, monkeypatch, "page.html", "shoppingCart.length > 0", before)
    monkeypatch.setattr(WebTask, "start_url", lambda web_task, parameters: f"{web_task.origin}/{start}")
    pages = {"page.html": PAGE + "<a href=more.html>More</a>", "more.html": PAGE}
    with pytest.raises(PageLost, match=f"{MISTAKE}: late.save: success throws .*shoppingCart is not defined"):
        begun(chromium, LateServer(pages))


# Each leaves for what is no document; but `twice` for one that comes late, having changed its mind.
STAYING = """<!doctype html><title>Late</title><script>var saved = null</script>
<a href=none>none</a><a href=file>file</a><form action=none method=post><button>send</button></form>
<button onclick="location = 'none'">script</button>
<button onclick="document.querySelector('iframe').contentWindow.location = 'none'">frame</button>
<button onclick="document.body.append(Object.assign(document.createElement('iframe'), { src: 'none' }))">new</button>
<button onclick="location = 'slow'; setTimeout(() => { location = 'other.html'; }, 30)">twice</button>
<iframe src=inner.html></iframe>"""
NOTHING = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
FILE = "HTTP/1.1 200 OK\r\nContent-Type: text/{kind}\r\nContent-Length: 6\r\nConnection: close\r\n{more}\r\n<p>a,b"
ANSWERS = {
    "none": (0.0, NOTHING),
    "file": (0.0, FILE.format(kind="csv", more="Content-Disposition: attachment; filename=a.csv\r\n")),
    "slow": (60.0, NOTHING),
    "other.html": (0.3, FILE.format(kind="html", more="")),
}


async def rests(page: OwnPageSession) -> bool:
    async with asyncio.timeout(60):  # a browser on a busy machine may take a while to say so
        while not (await page._settle())["rested"]:
            pass
    return True


async def clicked(page: OwnPageSession, name: str, shows: frozenset[str] = frozenset()) -> View:
    view = await page.reset("late.save", 0, shows=shows)
    [asked] = [each for each in view.items if isinstance(each, Element) and each.name == name]
    view, failed = await page.act(parse_action(f"click('{asked.bid}')"))
    assert not failed
    return view


@pytest.mark.parametrize("what", ["none", "file", "send", "script", "frame", "new"])
def test_a_page_that_stays_since_no_document_came_is_not_waited_for(chromium: str, what: str) -> None:
    server = LateServer({"page.html": STAYING, "inner.html": PAGE}, whole=ANSWERS)

    async def rested() -> bool:
        async with pages_on(chromium, server, changes={LEAVING: "0"}) as [page]:  # who leaves is busy for ever
            view = await clicked(page, what)
            assert view.url.endswith("/page.html")
            return await rests(page)

    assert asyncio.run(rested())
    assert server.whole_asked == 1


def test_a_navigation_that_takes_the_place_of_another_is_waited_for(chromium: str) -> None:
    async def play() -> View:
        server = LateServer({"page.html": STAYING, "inner.html": PAGE}, whole=ANSWERS)
        async with pages_on(chromium, server, deadline=5000) as [page]:
            return await clicked(page, "twice")

    assert asyncio.run(play()).url.endswith("/other.html")


@pytest.mark.parametrize(
    ("what", "goes"),
    [
        ("script", "location = 'other.html'"),
        ("frame", "document.querySelector('iframe').contentWindow.location = 'other.html'"),
        ("new", "[...document.querySelectorAll('iframe')].at(-1).src = 'other.html'"),
    ],
)
def test_who_leaves_again_as_it_is_told_that_it_stays_is_waited_for(chromium: str, what: str, goes: str) -> None:
    """It begins to, in each try, after the browser said that no document came, and before the page hears that."""
    gone = False

    async def play() -> View:
        def hear(method: str, params: Message) -> bool:
            nonlocal gone
            if method == "Page.frameStoppedLoading" and server.whole_asked == 1 and not gone:
                gone = True
                page._send("Runtime.evaluate", {"expression": goes})
            return page._hear(page._session, method, params)

        async with pages_on(chromium, server, deadline=5000) as [page]:
            page._browser.connection.listeners[page._session] = hear
            return await clicked(page, what)

    server = LateServer({"page.html": STAYING, "inner.html": PAGE}, whole=ANSWERS)
    view = asyncio.run(play())
    assert gone
    assert view.url.endswith("/other.html") if what == "script" else "a,b" in format_page(view.items)


def test_a_frame_that_a_dialog_kept_from_being_told_that_it_stays_is_told_later(chromium: str) -> None:
    """The dialogs open after the browser said that no document came, and before the page hears that."""
    server = LateServer({"page.html": STAYING, "inner.html": PAGE}, whole=ANSWERS)
    kept_from: list[frozenset[str]] = []

    async def rested() -> bool:
        def hear(method: str, params: Message) -> bool:
            if method == "Page.frameStoppedLoading" and server.whole_asked == 1 and not kept_from:
                page._send("Runtime.evaluate", {"expression": "alert(1); alert(2)"})
            elif method == "Page.javascriptDialogClosed":
                kept_from.append(frozenset(page._first.departures.untold))
            return page._hear(page._session, method, params)

        async with pages_on(chromium, server, changes={LEAVING: "0"}) as [page]:  # who leaves is busy for ever
            page._browser.connection.listeners[page._session] = hear
            await clicked(page, "new", frozenset({DIALOGS}))
            async with asyncio.timeout(60):
                while len(kept_from) < 2:
                    await page.act(parse_action("accept_dialog()" if page._dialog else "noop()"))
            return await rests(page)

    assert asyncio.run(rested())
    assert kept_from[0]


def test_a_page_whose_frames_are_never_told_is_waited_for_once(chromium: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def tell(page: TabSession, tab: Tab, frame: str) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(tabs, "_TELLING_SECONDS", 0.01)
    monkeypatch.setattr(TabSession, "_tell_frame", tell)
    server = LateServer({"page.html": STAYING, "inner.html": PAGE}, whole=ANSWERS)

    async def play() -> View:
        async with pages_on(chromium, server) as [page]:
            view = await clicked(page, "new")
            assert page._telling
            for each in page._telling:
                each.cancel()
            return view

    assert not asyncio.run(play()).done


FORGETFUL = """<!doctype html><title>Late</title><script>var saved = null</script>
<form action=none method=post target=first></form><iframe name=first src=inner.html></iframe>
<button onclick="document.forms[0].submit(); frames[0].stop();
  document.body.append(Object.assign(document.createElement('iframe'), { src: 'none' }))">send</button>"""


def test_a_frame_that_is_to_leave_and_never_begins_to_is_in_no_other_ones_way(chromium: str) -> None:
    server = LateServer({"page.html": FORGETFUL, "inner.html": PAGE}, whole=ANSWERS)
    asked: list[str] = []

    async def rested() -> bool:
        def hear(method: str, params: Message) -> bool:
            if method in ("Page.frameRequestedNavigation", "Page.frameStartedNavigating"):
                asked.append(f"{method} {params['frameId']}")
            return page._hear(page._session, method, params)

        async with pages_on(chromium, server) as [page]:
            page._browser.connection.listeners[page._session] = hear
            await clicked(page, "send")
            return await rests(page)

    assert asyncio.run(rested())
    *_, form, _, new = asked
    assert form.startswith("Page.frameRequested") and form.replace("Requested", "Started") not in asked[-2:]
    assert new.startswith("Page.frameStarted")


def test_what_stops_since_another_navigation_took_its_place_does_not_stay() -> None:
    """In the order in which Chromium says it."""
    departures = Departures()
    asked = ("Page.frameRequestedNavigation", {"frameId": "main", "disposition": "currentTab"})
    begun = ("Page.frameStartedNavigating", {"frameId": "main", "navigationType": "differentDocument"})
    stopped = ("Page.frameStoppedLoading", {"frameId": "main"})
    told = [departures.heard(*each) for each in (asked, begun, asked, stopped, begun, stopped)]
    assert [bool(each) for each in told] == [False] * 5 + [True]
    assert not departures.doubted and not departures.leaves("main")
    assert departures.heard(*asked) == "main"
    assert departures.doubted and departures.leaves("main")


def test_who_leaves_long_after_it_was_told_that_it_stays_is_in_no_doubt() -> None:
    departures = Departures()
    begun = ("Page.frameStartedNavigating", {"frameId": "main", "navigationType": "differentDocument"})
    stopped = ("Page.frameStoppedLoading", {"frameId": "main"})
    departures.heard(*begun)
    departures.are_waited_for()
    assert departures.heard(*stopped) == "main"
    departures.were_waited_for()  # what it was told may not have come before it was looked at
    assert departures.heard(*begun) == "main" and departures.doubted
    assert departures.heard(*stopped) == "main"
    departures.are_waited_for()
    departures.were_waited_for()
    assert departures.heard(*begun) == "" and not departures.doubted
