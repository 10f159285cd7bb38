"""The fast environment is plain BrowserGym's environment: same goal, page, bids, reward, end and errors.

`recordings.jsonl.gz` holds episodes of random actions that plain_browsergym.py recorded; the full run over all web
tasks is reported in docs/environment.md.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_page import compare_all
from parity import replay_all
from plain_browsergym import PlainBrowserGym, read_recordings, record

from browser_control.environment.in_page import IN_PAGE
from browser_control.environment.page_server import PageServer, bundle_folder
from browser_control.web_tasks import WEB_TASKS

# What differs now and then on a busy machine (docs/environment.md).
RACES = {("social-media", 1), ("social-media", 3)}
RECORDINGS = Path(__file__).with_name("recordings.jsonl.gz")


def test_recorded_episodes_of_browsergym_go_the_same_way(chromium: str) -> None:
    recordings = [each for each in read_recordings(RECORDINGS) if (each.web_task, each.seed) not in RACES]
    assert len({recording.web_task for recording in recordings}) >= 30
    found = asyncio.run(replay_all(recordings))
    assert {episode: differences for episode, differences in found.items() if differences} == {}


def test_recorded_episodes_go_the_same_way_in_a_page_that_played_others_before(chromium: str) -> None:
    recordings = [
        each
        for each in read_recordings(RECORDINGS)
        if each.web_task in IN_PAGE and (each.web_task, each.seed) not in RACES
    ]
    assert len({recording.web_task for recording in recordings}) >= 20
    found = asyncio.run(replay_all(recordings, in_page=True))
    assert {episode: differences for episode, differences in found.items() if differences} == {}


def test_an_episode_in_an_open_page_is_that_of_a_loaded_one(chromium: str) -> None:
    found = asyncio.run(compare_all(["click-tab-2", "login-user", "click-menu", "order-food"], range(6)))
    assert {web_task: differences for web_task, differences in found.items() if differences} == {}


def test_the_comparison_sees_a_web_task_that_does_not_begin_anew(chromium: str) -> None:
    [differences] = asyncio.run(compare_all(["use-colorwheel"], range(3))).values()
    assert "textbox" in differences[0]


def test_browsergym_of_today_goes_the_same_way(chromium: str, miniwob_url: str) -> None:
    pytest.importorskip("playwright")
    gym = PlainBrowserGym(Path(chromium), miniwob_url)
    try:
        recordings = [record(gym, web_task, 11, steps=1) for web_task in ("click-link", "login-user", "choose-list")]
    finally:
        gym.close()
    assert not any(asyncio.run(replay_all(recordings)).values())


def test_the_web_tasks_are_browsergyms() -> None:
    pages = {page.stem for page in (bundle_folder() / "miniwob").glob("*.html")}
    assert set(WEB_TASKS) <= pages
    assert len(WEB_TASKS) == len(set(WEB_TASKS)) == 125


@pytest.fixture(scope="module")
def miniwob_url() -> Iterator[str]:
    """MiniWoB's pages over HTTP, served from a thread."""
    import threading

    loop = asyncio.new_event_loop()
    server = PageServer(bundle_folder())
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/miniwob/"
    loop.call_soon_threadsafe(server.stop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(asyncio.sleep(0))  # lets the aborted connections close
    loop.close()
