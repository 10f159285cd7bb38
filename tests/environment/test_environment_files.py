"""A page whose files do not all arrive: Chromium drops them when a network interface of the machine comes or goes."""

import asyncio
import re
from pathlib import Path

import pytest

from browser_control.environment.episode import LOADS, PageLost, View
from browser_control.environment.page_server import PageServer, bundle_folder
from browser_control.environment.service import BrowserPool

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def first_view(chromium: str, web_task: str) -> View:
    async def play() -> View:
        pool = BrowserPool(Path(chromium))
        await pool.start()
        try:
            return await (await pool.page()).reset(web_task, seed=3)
        finally:
            pool.stop()

    return asyncio.run(play())


def lose(monkeypatch: pytest.MonkeyPatch, file: str, times: int) -> list[str]:
    """Has the page server not find a file so many times; the list grows by the paths that were lost."""
    lost: list[str] = []
    answer = PageServer.answer

    def answer_or_lose(server: PageServer, target: str) -> bytes:
        if target.endswith(file) and len(lost) < times:
            lost.append(target)
            return NOT_FOUND
        return answer(server, target)

    monkeypatch.setattr(PageServer, "answer", answer_or_lose)
    return lost


@pytest.mark.parametrize(
    ("web_task", "file"),
    [
        ("login-user", "core.js"),
        ("login-user", "core.css"),
        ("choose-date", "jquery-ui.min.js"),
        ("email-inbox", "star-clicked.png"),
    ],
)
def test_a_page_that_lacks_a_file_is_loaded_again(
    chromium: str, monkeypatch: pytest.MonkeyPatch, web_task: str, file: str
) -> None:
    whole = first_view(chromium, web_task)
    lost = lose(monkeypatch, file, times=LOADS - 1)
    assert first_view(chromium, web_task) == whole
    assert len(lost) == LOADS - 1


def test_an_episode_without_miniwobs_core_is_not_played(chromium: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lose(monkeypatch, "core.js", times=99)
    with pytest.raises(PageLost, match="no episode could be started"):
        first_view(chromium, "login-user")


def test_every_image_of_a_style_sheet_is_in_a_rule_that_the_page_script_finds() -> None:
    """It looks at rules outside of any block, of elements that are there: no @media, no ::before."""
    for sheet in [*bundle_folder().rglob("*.css"), *bundle_folder().glob("miniwob/*.html")]:
        if "jquery-ui" in sheet.parts:
            continue
        text = sheet.read_text(errors="replace")
        for found in re.finditer(r"([^{}]*)\{[^{}]*content: *url\([^{}]*\}", text):
            assert "::" not in found[1] and "!important" not in found[0].split("content:")[1].split(";")[0]
            before = re.sub(r"(?s)^.*<style[^>]*>", "", text[: found.start()])
            assert before.count("{") == before.count("}"), (sheet.name, found[1])
