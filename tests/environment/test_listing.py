"""What real pages have is listed and can be operated: on a page of our own, in a real browser."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from browser_control.environment import service
from browser_control.environment.actions import parse_action
from browser_control.environment.episode import PageSession, View
from browser_control.environment.page_server import bundle_folder
from browser_control.environment.service import BrowserPool
from browser_control.language.actions import Action
from browser_control.language.page import Element, Page, Text

PAGES = Path(__file__).parent / "pages"
Play = Callable[["Episode"], Awaitable[None]]


class Episode:
    """An episode on one of our pages, played with the actions that the policy has."""

    def __init__(self, session: PageSession, view: View) -> None:
        self.session = session
        self.view = view
        self.error = ""

    @property
    def page(self) -> Page:
        return Page(self.view.items)

    def named(self, name: str, role: str = "") -> Element:
        [element] = [each for each in self.page.elements if each.name == name and role in ("", each.role)]
        return element

    async def act(self, verb: str, name: str = "", argument: str = "", role: str = "") -> None:
        """Acts on the element of that name; the action is offered, and can be done."""
        bid = self.named(name, role).bid if name else ""
        self.view, self.error = await self.session.act(parse_action(Action(verb, bid, argument).to_browsergym()))


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """MiniWoB's files, with our pages beside its own."""
    for folder in ("core", "common"):
        shutil.copytree(bundle_folder() / folder, tmp_path / folder)
    (tmp_path / "miniwob").mkdir()
    for page in PAGES.iterdir():
        (tmp_path / "miniwob" / page.name).write_text(page.read_text())
    monkeypatch.setattr(service, "bundle_folder", lambda: tmp_path)
    yield tmp_path


def play(chromium: str, page: str, work: Play) -> None:
    async def run() -> None:
        pool = BrowserPool(Path(chromium))
        await pool.start()
        try:
            session = await pool.page()
            await work(Episode(session, await session.reset(page, 1)))
        finally:
            pool.stop()

    asyncio.run(run())


def test_everything_that_a_real_page_has_is_listed(chromium: str, bundle: Path) -> None:
    async def work(episode: Episode) -> None:
        lines = [str(item) for item in episode.view.items]
        known = [line.replace(f"[{item.bid}]", "[]") if isinstance(item, Element) else line
                 for item, line in zip(episode.view.items, lines, strict=True)]  # fmt: skip
        for line in (
            'combobox "City" [] value "Pick" options "Pick", "Buenos Aires", "New York"',
            'listbox "Toppings" [] multiple options "Ham", "Olives", "Corn"',
            'combobox "Room" [] value "North: Blue" options "North: Blue", "South: Blue"',
            'textbox "Note" [] value "first line"',
            'textbox "From" [] as "yyyy-mm-dd"',
            'textbox "At" [] as "hh:mm"',
            'textbox "Colour" [] value "#000000" as "#rrggbb"',
            'button "Photo" [] as "file"',
            'slider "Volume" [] value "5" as "0 to 10"',
            'spinbutton "Seats" [] as "1 to 6"',
            'textbox "Code" [] value "X1" readonly',
            'textbox "Mail" [] required',
            'button "In the frame" []',
            'textbox "Inside" []',
            'link "Deeper" []',
            'textbox "Card number" []',
            'button "Pay now" []',
            'button "Accept" []',
            'item "More" []',
            'link "the terms" []',
            'switch "Wi-Fi" [] mixed',
            'button "Later" [] disabled',
        ):
            assert line in known, "\n".join(known)
        assert '"Your card"' in known
        assert not [line for line in known if "Hidden link" in line]
        assert episode.named("In the frame").bid[0] == "a"
        assert episode.named("Deeper").bid[:2] == "aa"
        assert episode.named("Pay now").bid.isdigit()

    play(chromium, "order", work)


def test_everything_that_is_listed_has_its_place_in_a_picture(chromium: str, bundle: Path) -> None:
    async def work(episode: Episode) -> None:
        boxes = await episode.session.boxes()
        places = {
            name: boxes[episode.named(name).bid] for name in ("City", "In the frame", "Deeper", "Pay now", "Done")
        }
        tops = [top for _, top, _, _ in places.values()]
        assert tops == sorted(tops), places  # one below the other, as on the page
        assert all(width > 0 and height > 0 for _, _, width, height in places.values())
        left, top, *_ = places["Deeper"]
        assert left > places["In the frame"][0] and top > places["In the frame"][1]  # of the frame in the frame

    play(chromium, "order", work)


def test_everything_that_is_listed_can_be_operated(chromium: str, bundle: Path) -> None:
    async def work(episode: Episode) -> None:
        for verb, name, argument, role, value in (
            ("select", "City", "Buenos Aires", "", "Buenos Aires"),
            ("select", "Room", "South: Blue", "", "South: Blue"),
            ("select", "Toppings", "Ham", "", "Ham"),
            ("toggle", "Toppings", "Corn", "", "Ham, Corn"),
            ("toggle", "Toppings", "Ham", "", "Corn"),
            ("fill", "Note", "two", "", "two"),
            ("fill", "From", "2012-02-04", "", "2012-02-04"),
            ("fill", "At", "23:05", "", "23:05"),
            ("fill", "Colour", "#00ff00", "", "#00ff00"),
            ("fill", "Volume", "7", "", "7"),
            ("fill", "Seats", "4", "", "4"),
            ("fill", "Inside", "Ada", "", "Ada"),
            ("fill", "Card number", "4111", "", "4111"),
            ("paste", "Mail", "", "", None),
            ("copy", "Inside", "", "", "Ada"),
            ("paste", "Card number", "", "", "4111Ada"),
        ):
            await episode.act(verb, name, argument, role)
            if value is None:
                assert episode.error == "nothing was copied"
            else:
                assert (episode.error, episode.named(name).value) == ("", value), (verb, name)
        await episode.act("fill", "From", "02/04/2012")
        assert episode.error == '"02/04/2012" is not a value of a date field, which takes yyyy-mm-dd'
        await episode.act("click", "In the frame")
        assert (episode.error, episode.named("Pressed").role) == ("", "button")
        await episode.act("click", "Pay now")
        assert (episode.error, Text("Paid") in episode.view.items) == ("", True)
        await episode.act("hover", "Deeper")
        assert episode.error == ""
        shape = next(element for element in episode.page.elements if element.role == "text")
        await episode.act("click", shape.name)
        assert (episode.error, Text("drawn") in episode.view.items) == ("", True)
        await episode.act("click", "More")
        assert episode.named("Hidden link").role == "link"
        await episode.act("type", "", "x")
        await episode.act("key", "", "Tab")
        assert episode.error == ""
        await episode.act("click", "Done")
        assert (episode.view.reward, episode.view.done) == (1.0, True)

    play(chromium, "order", work)
