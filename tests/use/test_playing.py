"""Play: an episode that a person can follow, stop, correct, and look at afterwards."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tiny import PaperEnvironments

from browser_control.cli import main
from browser_control.environment.chromium import find_chromium
from browser_control.errors import BrowserNotFound, UserError
from browser_control.policy.policy import Policy
from browser_control.use import film, playing

MakePolicy = Callable[..., Policy]


def paper() -> PaperEnvironments:
    class Pictured(PaperEnvironments):
        def reset(self, session: int, web_task: str, seed: int, pictures: bool = False):  # type: ignore[no-untyped-def]
            return super().reset(session, web_task, seed)

    return Pictured(1, lambda taken: 1.0 if taken[-1] == "click('11')" else None)


def test_each_action_is_said_with_what_was_seen_and_what_came_of_it(make_policy: MakePolicy) -> None:
    said: list[str] = []
    played = playing.play(make_policy(), paper(), "click-button", 0, 3, say=said.append)  # type: ignore[arg-type]
    assert said[0] == "goal: Choose yes"
    assert '  button "yes" [11]' in said
    assert [line for line in said if line[:2] in ("1>", "2>", "3>")] == [
        f"{number}> {turn.said}" for number, turn in enumerate(played.turns, 1)
    ]
    assert said[-1] == played.outcome


def test_a_person_corrects_the_policy_and_what_they_did_is_kept_as_theirs(make_policy: MakePolicy) -> None:
    wanted = iter(["press the red one", 'click button "no" [12]', 'click button "yes" [11]'])
    said: list[str] = []
    played = playing.play(
        make_policy(),
        paper(),  # type: ignore[arg-type]
        "click-button",
        0,
        3,
        ask=lambda _: next(wanted),
        say=said.append,
    )
    assert any(line.startswith("no action of this page") for line in said)  # asked again: nothing was done
    kept = played.demonstration()
    assert [turn["said"] for turn in kept["turns"]] == ['click button "no" [12]', 'click button "yes" [11]']
    assert kept["turns"][1]["by"] == "person" and kept["strict"] is True
    assert played.outcome == "won: the whole task done"


def test_a_person_stops_it_before_anything_is_done(make_policy: MakePolicy) -> None:
    environments = paper()
    played = playing.play(make_policy(), environments, "click-button", 0, 3, ask=lambda _: None)  # type: ignore[arg-type]
    assert played.stopped and not played.turns and played.outcome == "stopped"


def test_an_environment_without_pictures_is_one_sentence(make_policy: MakePolicy, tmp_path: Path) -> None:
    played = playing.play(make_policy(), paper(), "click-button", 0, 1)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="gives no pictures"):
        film.write(played, tmp_path / "out.gif")


def test_a_recorded_episode_frames_what_was_acted_on(
    trained: Callable[..., tuple[str, Policy]], tmp_path: Path
) -> None:
    try:
        find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    url, _ = trained()
    out, kept = tmp_path / "out.gif", tmp_path / "kept.jsonl"
    arguments = ["play", "click-test", "--adapter", url, "--max-turns", "2"]
    assert main([*arguments, "--record", str(out), "--keep", str(kept)]) == 0
    turns = json.loads(kept.read_text())["turns"]
    with Image.open(out) as gif:
        assert gif.n_frames == len(turns) + 1  # type: ignore[attr-defined]
        page = gif.convert("RGB").crop((0, 0, gif.width, gif.height - 50))
    colours = [colour for _, colour in page.getcolors(1 << 24) or []]
    assert any(red > 180 and green < 80 for red, green, _ in colours)  # type: ignore[misc]
    assert out.stat().st_size < 200_000


def test_what_is_asked_wrongly_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, words in (
        (["click-button", "--record", "film.mp4"], "ends in .gif"),
        (["no-such-task"], "no-such-task"),
        (["click-button", "--models", str(tmp_path)], "was promoted yet"),
    ):
        assert main(["play", *arguments]) == 2
        assert words in capsys.readouterr().err
