"""Whether an environment service can be trained on: not that it listens, but that a real browser answers."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import httpx

from browser_control import proxies
from browser_control.environment.client import Environments
from browser_control.errors import ConfigurationError, EnvironmentFailure, EnvironmentMismatch, EnvironmentUnreachable
from browser_control.language.page import PageUnreadable, parse_page
from browser_control.web_tasks.task_file import MISTAKE

SECONDS = 120.0  # a first start reads the browser from a cold disk

_PAUSE = 0.1  # between two questions to a service that is not yet up
_WORDS_EVERY = 0.5


@dataclass(frozen=True)
class Health:
    """What the gate saw."""

    url: str
    seconds: float
    web_task: str
    elements: int


def pass_gate(
    urls: Sequence[str],
    web_task: str,
    seconds: float = SECONDS,
    waiting: Callable[[str], None] = lambda words: None,
    max_turns: int = 0,
    digests: Mapping[str, str] = MappingProxyType({}),
) -> list[Health]:
    """Waits until every service at `urls` is healthy, plays an episode, and has `digests`.

    Args:
        digests: of those web tasks that are not MiniWoB's, by name.
        waiting: is told about twice a second what is still amiss; what it raises ends the wait.
        max_turns: that an episode may take.

    Raises:
        EnvironmentMismatch: one ends episodes earlier than that, or lists pages in another way.
        ConfigurationError: a web task that its author has to put right.
        EnvironmentUnreachable: one was not healthy in time.
    """
    deadline = time.monotonic() + seconds
    seen = [_wait_for(url, web_task, max_turns, deadline, waiting) for url in urls]
    for url in urls:
        compare(url, digests)
    return seen


def compare(url: str, digests: Mapping[str, str]) -> None:
    """Begins an episode of each web task.

    Raises:
        EnvironmentMismatch: the service does not know one, or has another version of it.
        ConfigurationError: a web task that its author has to put right.
    """
    with Environments([url], 1) as environments:
        for name, digest in digests.items():
            try:
                served = environments.reset(0, name, seed=0).result().digest
            except EnvironmentFailure as failure:
                if MISTAKE in str(failure):
                    raise ConfigurationError(str(failure).removeprefix("unscorable: ")) from None
                if "there is no web task" in str(failure):
                    raise EnvironmentMismatch(
                        f"the environment at {url} has no web task {name!r}: start it with --web-tasks FOLDER"
                    ) from None
                raise EnvironmentMismatch(f"the environment at {url} cannot begin {name!r}: {failure}") from None
            if served != digest:
                raise EnvironmentMismatch(
                    f"the environment at {url} has another version of the web task {name!r}: start it again"
                )


def play_one_episode(url: str, web_task: str, max_turns: int = 0) -> int:
    """Resets, clicks the first element, and returns how many elements the first page had.

    Raises:
        EnvironmentFailure: there was none, or the environment failed.
    """
    with Environments([url], 1, max_turns) as environments:
        observation = environments.reset(0, web_task, seed=0).result()
        try:
            elements = [element.bid for element in parse_page(observation.text).elements]
        except PageUnreadable as error:
            raise EnvironmentMismatch(
                f"the environment at {url} lists pages in another way than this project ({error}): serve them with"
                " python -m browser_control.environment"
            ) from error
        if not elements:
            raise EnvironmentFailure(f"the page of {web_task} has no elements: {observation.text[:200]!r}")
        environments.step(0, f"click({elements[0]!r})").result()
        return len(elements)


def answers(url: str, seconds: float = 10.0) -> bool:
    """Whether `/health` says healthy."""
    return not trouble_at(url, seconds)


def trouble_at(url: str, seconds: float = 10.0) -> str:
    """What `/health` says is amiss; empty where nothing is."""
    try:
        response = httpx.get(f"{url.rstrip('/')}/health", timeout=seconds, trust_env=not proxies.is_loopback(url))
    except (httpx.HTTPError, httpx.InvalidURL):
        return "/health does not answer"
    if response.is_success:
        return ""
    try:
        return str(response.json()["reason"])
    except (ValueError, KeyError, TypeError):
        return f"/health answers with {response.status_code}"


def _wait_for(url: str, web_task: str, max_turns: int, deadline: float, waiting: Callable[[str], None]) -> Health:
    begin = said = time.monotonic()
    while True:
        if not (trouble := trouble_at(url)):
            try:
                elements = play_one_episode(url, web_task, max_turns)
            except (EnvironmentFailure, EnvironmentUnreachable) as error:
                trouble = str(error)
                if MISTAKE in trouble:
                    raise ConfigurationError(trouble.removeprefix("unscorable: ")) from None
            else:
                return Health(url, time.monotonic() - begin, web_task, elements)
        if time.monotonic() >= deadline:
            raise EnvironmentUnreachable(f"no healthy environment at {url} ({trouble}): is it running?")
        if time.monotonic() - said >= _WORDS_EVERY:
            said = time.monotonic()
            waiting(f"{url}: {trouble}")
        time.sleep(_PAUSE)
