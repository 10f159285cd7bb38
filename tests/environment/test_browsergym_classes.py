"""Classes of BrowserGym's, as they are: played in a worker, listed and acted on as any other page."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from service_process import Service, start_service, stop_service

from browser_control import leash
from browser_control.environment.client import Environments, Observation
from browser_control.errors import ConfigurationError, EnvironmentFailure
from browser_control.language.page import parse_page
from browser_control.web_tasks import packages, registry

CLASSES = Path(__file__).parent / "classes"


@pytest.fixture(scope="module", autouse=True)
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The classes can be imported; the file that they write to when they are torn down."""
    torn_down = tmp_path_factory.mktemp("classes") / "torn-down"
    torn_down.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(CLASSES), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("TORN_DOWN", str(torn_down))
        yield torn_down


@pytest.fixture(scope="module")
def classes(chromium: str, environ: Path) -> Iterator[Service]:
    running = start_service("--sessions", "2", "--max-turns", "6", "--web-tasks", "browsergym.miniwob", "own_classes")
    yield running
    processes = below(running)
    assert stop_service(running) == 0
    assert_gone(processes)


def found_on(observation: Observation) -> str:
    return observation.text.splitlines()[0].strip('"')


def bid(observation: Observation, role: str) -> str:
    return next(each.bid for each in parse_page(observation.text).elements if each.role == role)


def test_miniwobs_own_classes_show_what_our_miniwob_shows(classes: Service) -> None:
    with Environments([classes.url], 1) as environments:
        for seed, web_task in enumerate(["click-button", "login-user", "click-tab-2", "book-flight"]):
            ours = environments.reset(0, web_task, seed).result()
            theirs = environments.reset(0, f"browsergym.miniwob.{web_task}", seed).result()
            assert (theirs.goal, theirs.text) == (ours.goal, ours.text)


def test_a_class_judges(classes: Service) -> None:
    with Environments([classes.url], 1) as environments:
        first = environments.reset(0, "browsergym.miniwob.click-test", 1).result()
        won = environments.step(0, f"click({bid(first, 'button')!r})").result()
        assert (won.reward, won.strict, won.done, won.error) == (1.0, True, True, "")
        first = environments.reset(0, "browsergym/notes.plain", 1).result()
        assert first.goal in ("Write\nlorem", "Write\nipsum")
        wrong = environments.step(0, f"fill({bid(first, 'textbox')!r}, 'dolor')").result()
        assert (wrong.reward, wrong.done) == (0.0, False)
        assert environments.step(0, "send_msg_to_user('pay')").result().reward == 0.5
        word = first.goal.splitlines()[1]
        right = environments.step(0, f"fill({bid(first, 'textbox')!r}, {word!r})").result()
        assert (right.reward, right.strict, right.done) == (1.0, True, True)


def test_a_page_of_a_class_reaches_no_host_that_is_not_allowed(classes: Service) -> None:
    port = urlsplit(classes.url).port
    with Environments([classes.url], 1) as environments:
        for address in (f"http://127.0.0.1:{port}/health", f"http://localhost:{port}/health"):
            environments.reset(0, "browsergym.miniwob.click-test", 1).result()
            refused = environments.step(0, f"goto({address!r})").result()
            assert refused.error == "goto: net::ERR_NAME_NOT_RESOLVED"


def test_nothing_of_an_episode_is_left_for_the_next_whatever_a_class_did(classes: Service, environ: Path) -> None:
    clean = "undefined,,,2,500"
    with Environments([classes.url], 1) as environments:
        for web_task in ("plain", "page", "context", "window", "page", "plain"):
            observation = environments.reset(0, f"browsergym.notes.{web_task}", 1).result()
            assert found_on(observation) == clean, web_task
            if web_task == "window":
                opened = environments.step(0, f"click({bid(observation, 'link')!r})").result()
                assert (opened.text, opened.done) == ("", False)
    deadline = time.monotonic() + 20
    while len(environ.read_text().split()) < 6 and time.monotonic() < deadline:  # the last one with the session
        time.sleep(0.05)
    assert len(environ.read_text().split()) >= 6


def test_a_class_begins_again_where_a_network_came_meanwhile(classes: Service) -> None:
    with Environments([classes.url], 1) as environments:
        for web_task in ("network", "half"):
            assert environments.reset(0, f"browsergym.notes.{web_task}", 1).result().goal.startswith("Write")


def test_what_a_class_says_is_wrong_is_said_in_one_sentence(classes: Service) -> None:
    with Environments([classes.url], 1) as environments:
        with pytest.raises(EnvironmentFailure) as raised:
            environments.reset(0, "browsergym.notes.no-server", 1).result()
        assert str(raised.value) == (
            "unscorable: the web task is wrong: browsergym.notes.no-server does not begin: AssertionError: "
            "Environment variable NOTES_URL missing. Please set it to the server's."
        )
        environments.reset(0, "browsergym.notes.plain", 1).result()
        with pytest.raises(EnvironmentFailure, match=r"cannot be judged: RuntimeError: no judgement of this$"):
            environments.step(0, "send_msg_to_user('raise')").result()


def test_a_class_that_dies_makes_its_episode_unscorable_and_no_other(classes: Service) -> None:
    with Environments([classes.url], 1) as environments:
        environments.reset(0, "browsergym.notes.plain", 1).result()
        with pytest.raises(EnvironmentFailure, match="unscorable: the page does not answer: the worker died"):
            environments.step(0, "report_infeasible('die')").result()
        assert environments.reset(0, "browsergym.notes.plain", 1).result().goal


def below(service: Service) -> list[int]:
    """The processes of a service, of which one is a worker."""
    found = leash.descendants(service.process.pid)
    assert any(b"class_worker" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in found)
    return found


def assert_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]


def test_a_worker_and_its_browser_end_with_a_service_that_is_killed(chromium: str) -> None:
    running = start_service("--sessions", "1", "--web-tasks", "own_classes")
    with Environments([running.url], 1) as environments:
        environments.reset(0, "browsergym.notes.plain", 1).result()
        processes = below(running)
        running.process.kill()
    stop_service(running)
    assert_gone(processes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken_classes", "the package broken_classes does not import: RuntimeError: this package needs something"),
        ("no_such_package", "there is neither a folder nor a Python package 'no_such_package': install it into "),
        ("json", "the package json registers no task (browsergym.core.registration.register_task)"),
    ],
)
def test_a_package_that_is_none_is_refused_in_one_sentence(name: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        registry.use([name])
    assert str(raised.value).startswith(words) and "\n" not in str(raised.value)


def test_a_package_says_what_it_registers() -> None:
    package = packages.read("own_classes")
    assert package.names == tuple(
        f"browsergym.notes.{name}" for name in ("plain", "page", "context", "window", "network", "half", "no-server")
    )
    registry.use(["own_classes"])
    assert registry.find("browsergym/notes.plain") == "browsergym.notes.plain"
    assert registry.digests([*package.names, "click-test"]) == {"browsergym.notes.no-server": package.digest}
    with pytest.raises(ConfigurationError, match=r"did you mean 'browsergym.notes.plain'"):
        registry.find("browsergym.notes.plan")
