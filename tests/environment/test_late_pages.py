"""Pages of one's own that come late, or leave by themselves before the policy's first turn; with shorter deadlines."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest

from browser_control.environment import own_episode
from browser_control.environment.actions import parse_action
from browser_control.environment.devtools import Browser
from browser_control.environment.episode import PageLost, View
from browser_control.environment.gate import Gate
from browser_control.environment.own_episode import LOADING_SECONDS, OwnPageSession
from browser_control.environment.service import OWN_SCRIPT, page_script, resolver_rules
from browser_control.language.page import Element, format_page
from browser_control.web_tasks import registry

DEADLINE, SOON = 200, 1200  # ms, in place of 5,000, and where a test asks for it of 12,000
PAGE = "<!doctype html><title>Late</title><script>var saved = null</script><button>Save</button>"
LEAVES = "<!doctype html><script>var saved = null; location = {where!r}</script>"


class LateServer:
    """Answers with `pages`; of a list of them each time with the next, the last one again and again.

    Args:
        seconds: after which the rest of a document comes, whose head comes at once.
    """

    def __init__(self, pages: Mapping[str, str | list[str]], seconds: float = 0.0) -> None:
        self.pages, self.seconds, self.port, self.asked = pages, seconds, 0, 0
        self.under_way = self.most = 0  # documents at once
        self.answering: set[asyncio.Task[None]] = set()

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answering.add(asyncio.create_task(self.answer(reader, writer)))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer.transport), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            found = self.pages.get(head.split()[1].decode().rpartition("/")[2])
            self.asked += isinstance(found, list)
            page = (found.pop(0) if len(found) > 1 else found[0]) if isinstance(found, list) else found
            body = (page or "").encode()
            status = "200 OK" if found else "404 Not Found"
            kind = "Content-Type: text/html\r\nCache-Control: no-store\r\nConnection: close"
            writer.write(f"HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            await writer.drain()
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(self.seconds)
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
        for name, known, shorter in (("DEADLINE", 5000, DEADLINE), ("LOADING", 1000 * LOADING_SECONDS, loading)):
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
    assert "page.html left for http://save.late.localhost/systemError.do before the first turn; it is loaded" in said


@pytest.mark.parametrize("where", ["http://save.late.localhost/systemError.do", "http://example.com/", "about:blank"])
def test_a_page_that_always_leaves_says_where_it_goes(chromium: str, where: str) -> None:
    server = LateServer({"page.html": [LEAVES.format(where=where)]})
    with pytest.raises(PageLost, match=rf"page\.html left for {where} before the first turn$"):
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
            seen = [await page._settle() for _ in range(10)]
            return any(each["rested"] for each in seen)

    assert asyncio.run(rested())
