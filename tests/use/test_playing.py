"""Play: an episode that a person can follow, stop, correct, and look at afterwards."""

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from PIL import Image
from tiny import PaperEnvironments

from browser_control.cli import main
from browser_control.environment.chromium import find_chromium
from browser_control.environment.live import LiveEnvironments
from browser_control.errors import BrowserNotFound, UserError
from browser_control.language import prompts
from browser_control.policy.policy import Policy
from browser_control.training.rollout import build_prompt
from browser_control.use import film, play_command, playing
from browser_control.use.person import Person
from browser_control.web_tasks import registry, task_file
from browser_control.web_tasks.task_file import fill_in

ROOT = Path(__file__).resolve().parents[2]
MakePolicy = Callable[..., Policy]


def paper() -> PaperEnvironments:
    class Pictured(PaperEnvironments):
        def reset(self, session: int, web_task: str, seed: int, pictures: bool = False):  # type: ignore[no-untyped-def]
            return super().reset(session, web_task, seed)

    return Pictured(1, lambda taken: 1.0 if taken[-1] == "click('11')" else None)


def test_each_action_is_said_with_what_was_seen_and_what_came_of_it(make_policy: MakePolicy) -> None:
    said: list[str] = []
    played = playing.play(make_policy(), paper(), "click-button", 0, 3, say=said.append)
    assert said[0] == "goal: Choose yes"
    assert '  button "yes" [11]' in said
    assert [line for line in said if line[:2] in ("1>", "2>", "3>")] == [
        f"{number}> {turn.said}" for number, turn in enumerate(played.turns, 1)
    ]
    assert said[-1] == played.outcome


def typing(*lines: str, asks: bool = True) -> tuple[Person, list[str]]:
    """A person who types these lines, and what they were told."""
    told: list[str] = []
    left = iter(lines)

    def read(words: str) -> str:
        told.append(words)
        return next(left)

    return Person(asks, read, told.append), told


def test_a_person_corrects_the_policy_and_what_they_did_is_kept_as_theirs(make_policy: MakePolicy) -> None:
    person, told = typing("press the red one", 'click button "no" [12]', "click 11")
    played = playing.play(make_policy(), paper(), "click-button", 0, 3, person=person)
    assert any(words.startswith("no action of this page") for words in told)  # asked again: nothing was done
    kept = played.demonstration()
    assert [turn["said"] for turn in kept["turns"]] == ['click button "no" [12]', 'click button "yes" [11]']
    assert kept["turns"][1]["by"] == "person" and kept["strict"] is True
    assert kept["solution"] == ['click button "no"', 'click button "yes"']
    assert played.outcome == "won: the whole task done"


def test_a_person_takes_over_and_hands_back(make_policy: MakePolicy) -> None:
    policy = make_policy()
    person, told = typing("me", "click 12", "go")
    played = playing.play(policy, paper(), "click-button", 0, 3, person=person)
    assert [turn.by for turn in played.turns] == ["person", "policy", "policy"][: len(played.turns)]
    assert played.turns[0].said == 'click button "no" [12]'
    assert told.count("you> ") == 2  # then nobody is asked any more


def test_what_a_person_did_by_hand_is_looked_at_and_is_no_turn(make_policy: MakePolicy) -> None:
    environments = paper()
    person, _ = typing("look", "click 11")
    played = playing.play(make_policy(), environments, "click-button", 0, 3, person=person)
    assert [turn.said for turn in played.turns] == ['click button "yes" [11]']


def test_a_person_stops_it_before_anything_is_done(make_policy: MakePolicy) -> None:
    person, _ = typing("q")
    played = playing.play(make_policy(), paper(), "click-button", 0, 3, person=person)
    assert played.stopped and not played.turns and played.outcome == "stopped"


def test_ctrl_c_has_the_next_action_asked_and_a_second_one_stops(make_policy: MakePolicy) -> None:
    told: list[str] = []

    def read(words: str) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it went on")

    person = Person(False, read, told.append)
    before = signal.getsignal(signal.SIGINT)
    with person.at_the_keyboard():
        os.kill(os.getpid(), signal.SIGINT)
        played = playing.play(make_policy(), paper(), "click-button", 0, 3, person=person)
    assert played.stopped and not played.turns
    assert signal.getsignal(signal.SIGINT) is before


def test_a_web_task_of_ones_own_is_played_by_its_folder_and_kept_as_a_solution(
    trained: Callable[..., tuple[str, Policy]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    url, _ = trained()
    folder, kept = ROOT / "examples" / "shop" / "order-shirts", tmp_path / "kept.jsonl"
    web_task = task_file.read(folder)
    parameters = web_task.draw(3)
    steps = [fill_in(step, parameters) for step in web_task.file.solution]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(["me", *steps, ""])))
    arguments = ["play", str(folder), "--adapter", url, "--seed", "3", "--max-turns", "6", "--step"]
    assert main([*arguments, "--keep", str(kept)]) == 0
    line = json.loads(kept.read_text())
    assert (line["web_task"], line["seed"], line["strict"]) == (web_task.name, 3, True)
    assert line["solution"] == list(web_task.file.solution)


def test_what_an_adapter_was_trained_with_is_played_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_own", {})
    shop = str(ROOT / "examples" / "shop")
    chosen = argparse.Namespace(web_task="shop.order-shirts", url=None)
    with pytest.raises(UserError, match="is named by its folder"):
        play_command.what_is_played(chosen, lambda: ["flight", str(ROOT / "examples" / "library"), "gone/shop"])
    assert play_command.what_is_played(chosen, lambda: ["flight", shop]) == ("shop.order-shirts", [Path(shop)])


def test_an_environment_without_pictures_is_one_sentence(make_policy: MakePolicy, tmp_path: Path) -> None:
    played = playing.play(make_policy(), paper(), "click-button", 0, 1)
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


def test_what_is_drawn_has_its_colour_in_every_frame_and_so_has_the_page() -> None:
    colourful = Image.merge("RGB", [Image.linear_gradient("L").rotate(angle) for angle in (0, 90, 180)])
    plain = Image.new("RGB", colourful.size, "#3366cc")
    for frame in (frames := [colourful, plain]):
        frame.putpixel((3, 3), (207, 34, 46))  # picture.MARK
    found = [each.quantize(palette=film.palette(frames), dither=Image.Dither.NONE).convert("RGB") for each in frames]
    assert [each.getpixel((3, 3)) for each in found] == [(207, 34, 46)] * 2
    assert found[1].getpixel((9, 9)) == (51, 102, 204)


ORDER = """<!doctype html><title>Order</title><h1>Order</h1>
<label>City <select id=city><option>Lima<option>Oslo</select></label>
<a href="data:text/html,gone" target=_blank>Elsewhere</a>
<button onclick="setTimeout(() => { document.body.append('Sent ' + city.value); }, 50)">Send</button>"""


@pytest.fixture
def order(tmp_path: Path) -> Iterator[playing.Environments]:
    """A page that is no web task, on which text says that it is done."""
    try:
        program = find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    path = tmp_path / "order.html"
    path.write_text(ORDER)
    until = "document.body.innerText.includes('Sent Oslo')"
    with LiveEnvironments(program, path.as_uri(), "Send it to Oslo.", until, 5) as environments:
        yield environments


def test_any_page_is_played_on_until_what_was_asked_for_is_so(
    order: playing.Environments, make_policy: MakePolicy, tmp_path: Path
) -> None:
    person, _ = typing("me", 'select combobox "City" option "Oslo"', 'click button "Send"')
    played = playing.play(make_policy(), order, "file:///order.html", 0, 5, pictures=True, person=person)
    assert (played.goal, played.outcome) == ("Send it to Oslo.", "won: the whole task done")
    assert played.demonstration()["solution"] == ['select combobox "City" option "Oslo"', 'click button "Send"']
    film.write(played, tmp_path / "film.webm")
    with av.open(str(tmp_path / "film.webm")) as file:
        [stream] = file.streams.video
        frames = [frame.to_image() for frame in file.decode(stream)]
    assert stream.codec_context.name == "libvpx-vp9" or "vp9" in stream.codec_context.name
    assert len(frames) == 14 + 14 + 28  # three pages at ten pictures a second, the last twice as long
    marked = frames[0].convert("RGB").getcolors(1 << 24) or []
    assert any(red > 150 and green < 90 and blue < 90 for _, (red, green, blue) in marked)  # type: ignore[misc]


def test_a_page_that_goes_on_ends_after_its_turns_and_a_link_opens_in_the_same_window(
    order: playing.Environments,
) -> None:
    observation = order.reset(0, "", 0).result()
    link = next(line for line in observation.text.splitlines() if line.startswith("link"))
    bid = link.partition("[")[2].partition("]")[0]
    observation = order.step(0, f"click('{bid}')").result()
    assert observation.error == "" and not observation.done
    for _ in range(4):
        observation = order.step(0, "noop(10)").result()
    assert observation.done and observation.truncated and observation.strict is False


def test_of_a_long_text_as_much_is_shown_as_fits_around_what_the_viewport_shows(
    make_policy: MakePolicy, tmp_path: Path
) -> None:
    try:
        program = find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    page = tmp_path / "lines.txt"  # as README.md is where a server says text/plain
    page.write_text("".join(f"This is what line {number} says.\n" for number in range(1_500)))
    policy = make_policy()
    with LiveEnvironments(program, page.as_uri(), "Read.", "", 9) as environments:
        at_top = environments.reset(0, "", 0).result()
        lower = environments.step(0, "scroll(0, 9000)").result()
        at_bottom = environments.step(0, "scroll(0, 99999)").result()
        assert at_top.text == lower.text == at_bottom.text and at_top.viewport == (0, 0)
    shown = []
    for seen in (at_top, lower, at_bottom):
        line, goal = build_prompt(policy, seen, prompts.Memory(), "").text.split("\n")
        assert policy.count_tokens(line) < policy.settings.max_prompt_tokens and goal == "Goal: Read."
        shown.append([int(each) for each in re.findall(r"what line (\d+) says", line)])
    assert shown[0][0] == 0 and shown[0][-1] < shown[1][0] < shown[1][-1] < 1_450 < shown[2][0]


def test_a_page_that_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    try:
        program = find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    page, program_file = tmp_path / "page.html", tmp_path / "program.toml"
    page.write_text(ORDER)
    program_file.write_text("a = 1")
    for url, until, words in (
        ("http://127.0.0.1:9/", "", "could not be loaded: net::ERR_"),
        (program_file.as_uri(), "", "could not be loaded: it is a file to be downloaded"),
        (page.as_uri(), "nothing.at.all", "--until: throws ReferenceError"),
        (page.as_uri(), "((", "--until: SyntaxError"),
    ):
        with (
            LiveEnvironments(program, url, "Go.", until, 5) as environments,
            pytest.raises(UserError, match=re.escape(words)),
        ):
            environments.reset(0, "", 0).result()


@contextlib.contextmanager
def busy_server(then: Callable[[], None]) -> Iterator[str]:
    """A page whose server takes no connection before `then` is done; its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as waiting:
        for _ in range(4):  # as many as the kernel keeps for it, and more
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(server.getsockname())

        def serve() -> None:
            time.sleep(1)  # by then the browser waits for a connection
            then()
            time.sleep(1)
            waiting.close()
            with contextlib.suppress(OSError):  # the test is over
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.settimeout(1)
                        if connection.recv(4096):
                            said = b"Content-Type: text/html\r\nConnection: close\r\nContent-Length: 19"
                            connection.sendall(b"HTTP/1.1 200 OK\r\n" + said + b"\r\n\r\n<button>Go</button>")

        server.settimeout(30)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            server.close()
            thread.join()


def test_a_page_is_loaded_again_where_a_network_of_the_machine_comes_meanwhile() -> None:
    """As when a container starts: Chromium gives up what it was about to load."""
    try:
        chromium = find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("adding an interface takes root, and ip")

    def add() -> None:
        subprocess.run(["ip", "link", "add", "bc-test", "type", "veth", "peer", "name", "bc-other"], check=True)
        for name in ("bc-test", "bc-other"):
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        subprocess.run(["ip", "address", "add", "198.51.100.7/32", "dev", "bc-test"], check=True)

    try:
        with busy_server(add) as url, LiveEnvironments(chromium, url, "Go.", "", 5) as environments:
            assert environments.reset(0, "", 0).result().text.startswith('button "Go"')
    finally:
        subprocess.run(["ip", "link", "delete", "bc-test"], check=False, capture_output=True)


def test_the_service_ends_with_whoever_started_it() -> None:
    try:
        find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    words = "import time\nfrom browser_control.use.playing import service\n"
    words += "with service(2) as url:\n    print(url, flush=True)\n    time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        port = int(owner.stdout.readline().rpartition(":")[2])
        owner.kill()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) != 0:
                return
        time.sleep(0.1)
    raise AssertionError("the service went on")


def test_what_is_asked_wrongly_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    for arguments, words in (
        (["click-button", "--record", "film.mp4"], "ends in .gif or .webm"),
        (["no-such-task"], "no-such-task"),
        (["library.return-book"], "is named by its folder"),
        (["flight.aa-one-wy"], "did you mean 'flight.aa-one-way'?"),
        ([], "name a web task"),
        (["click-button", "--url", "https://example.org", "--goal", "Go."], "name a web task"),
        (["--url", "https://example.org"], "--url needs --goal"),
        (["--url", "example", "--goal", "Go."], "is no address and no file"),
        (["click-button", "--goal", "Go."], "a web task has its own"),
        (["click-button", "--visible"], "needs a display"),
        (["click-button", "--models", str(tmp_path)], "was promoted yet"),
    ):
        assert main(["play", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_a_browser_that_starts_removes_what_killed_ones_left_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        program = find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    stale, ours, other = (
        tmp_path / f"browser-control-{name}" for name in (f"of-{ended}-x", f"of-{os.getpid()}-x", "x")
    )
    for folder in (stale, ours, other):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    page = tmp_path / "page.html"
    page.write_text(ORDER)
    with LiveEnvironments(program, page.as_uri(), "Go.", "", 1):
        assert (stale.exists(), ours.exists(), other.exists()) == (False, True, True)
