"""Pictures of an evaluation's episodes: what was done is done again on the same pages."""

import dataclasses
import io
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from PIL import Image

from browser_control.environment.chromium import find_chromium
from browser_control.environment.client import Environments, Observation
from browser_control.errors import BrowserNotFound
from browser_control.language import prompts
from browser_control.language.actions import LABEL_FORMAT, Action
from browser_control.policy.sampling import Completion
from browser_control.training import pictures
from browser_control.training.rollout import Episode, Start, Turn
from browser_control.use.playing import service

MAX_TURNS = 3


@pytest.fixture(scope="module")
def environments() -> Iterator[Environments]:
    try:
        find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    with service(MAX_TURNS, 2) as url, Environments([url], 2, MAX_TURNS) as sessions:
        yield sessions


def played(environments: Environments, web_task: str, seed: int, name: str, turns: int = MAX_TURNS) -> Episode:
    """An episode whose every action is a click on the first element of that name."""
    observation = environments.reset(0, web_task, seed).result()
    episode = Episode(Start(web_task, seed))
    while not observation.done and len(episode.turns) < turns:
        prompt = prompts.build(observation.text, observation.goal)
        element = next(each for each in prompt.elements if each.name == name)
        action = Action("click", element.bid)
        said = Completion((), (), (), (), (), action.spell(prompt.elements))
        episode.turns.append(Turn(prompt, said, True, ""))
        observation = environments.step(0, action.to_browsergym()).result()
    episode.strict = observation.done and bool(observation.strict)
    episode.reward, episode.truncated = float(episode.strict), observation.truncated or not observation.done
    return episode


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def reddish(image: Image.Image) -> int:
    return sum(count for count, (red, green, _) in image.getcolors(1 << 24) or [] if red > 170 and green < 110)  # type: ignore[misc]


def test_each_page_of_an_episode_is_a_small_picture_with_what_was_acted_on_framed(environments: Environments) -> None:
    won = played(environments, "click-test", 1, "Click Me!")
    assert won.strict
    taken = pictures.take([won], environments, LABEL_FORMAT, seconds=600)
    assert list(taken) == ["click-test/1/0.webp", "click-test/1/1.webp"]
    before, end = map(opened, taken.values())
    assert before.size == end.size and before.width <= 320 and before.height <= 240
    assert reddish(before) > 100 > reddish(end)
    assert all(len(content) < 20_000 for content in taken.values())


def test_the_page_of_a_truncated_episode_at_its_end_is_shown_too(environments: Environments) -> None:
    lost = played(environments, "enter-text", 2, "", turns=2)
    assert lost.truncated and not lost.strict
    assert list(pictures.take([lost], environments, LABEL_FORMAT, seconds=600)) == [
        f"enter-text/2/{turn}.webp" for turn in range(3)
    ]


def test_an_episode_that_goes_otherwise_the_second_time_has_no_pictures(environments: Environments) -> None:
    won = played(environments, "click-test", 1, "Click Me!")
    elsewhere = dataclasses.replace(won, start=Start("click-link", 1))
    lost = dataclasses.replace(won, strict=False, reward=0.0)
    assert pictures.take([elsewhere], environments, LABEL_FORMAT, seconds=600) == {}
    assert pictures.take([lost], environments, LABEL_FORMAT, seconds=600) == {}


def test_each_web_task_has_an_episode_in_pictures_before_any_has_a_second(environments: Environments) -> None:
    episodes = [played(environments, "click-test-2", 0, "ONE"), played(environments, "click-test-2", 1, "TWO")]
    assert [each.strict for each in episodes] == [True, False]
    episodes += [played(environments, "click-test", seed, "Click Me!") for seed in range(4)]
    taken = list(pictures.take(episodes, environments, LABEL_FORMAT, seconds=600))
    assert [name.rpartition("/")[0] for name in taken[::2]] == [
        "click-test/0",
        "click-test-2/1",
        "click-test/1",
        "click-test-2/0",
    ]


def test_a_page_that_does_not_answer_holds_nothing_up(
    environments: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    won = played(environments, "click-test", 1, "Click Me!")
    monkeypatch.setattr(environments, "step", lambda session, action: Future[Observation]())
    assert pictures.take([won], environments, LABEL_FORMAT, seconds=0.5) == {}


def test_a_program_that_is_asked_to_end_takes_no_more(environments: Environments) -> None:
    won = played(environments, "click-test", 1, "Click Me!")
    assert pictures.take([won], environments, LABEL_FORMAT, seconds=600, asked=lambda: True) == {}


def test_the_file_is_a_zip_archive_that_is_the_same_for_the_same_pictures(tmp_path: Path) -> None:
    for name in ("one", "other"):
        pictures.write({"b/1/0.webp": b"b", "a/1/0.webp": b"a"}, tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()
    assert zipfile.ZipFile(tmp_path / "one.zip").namelist() == ["a/1/0.webp", "b/1/0.webp"]
