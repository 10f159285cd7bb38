"""Whether an environment service can be trained on: not that it listens, but that a real browser answers."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from browser_control.environment.client import Environments
from browser_control.errors import EnvironmentFailure, EnvironmentUnreachable

SECONDS = 120.0  # a first start reads the browser from a cold disk

_ELEMENT = re.compile(r"\[(\w+)\]")
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
    urls: Sequence[str], web_task: str, seconds: float = SECONDS, waiting: Callable[[str], None] = lambda words: None
) -> list[Health]:
    """Waits until every service at `urls` is healthy and plays an episode.

    Args:
        waiting: is told about twice a second what is still amiss; what it raises ends the wait.

    Raises:
        EnvironmentUnreachable: one was not healthy in time.
    """
    deadline = time.monotonic() + seconds
    return [_wait_for(url, web_task, deadline, waiting) for url in urls]


def play_one_episode(url: str, web_task: str) -> int:
    """Resets, clicks the first element, and returns how many elements the first page had.

    Raises:
        EnvironmentFailure: there was none, or the environment failed.
    """
    with Environments([url], sessions=1) as environments:
        observation = environments.reset(0, web_task, seed=0).result()
        elements = _ELEMENT.findall(observation.text)
        if not elements:
            raise EnvironmentFailure(f"the page of {web_task} has no elements: {observation.text[:200]!r}")
        environments.step(0, f"click({elements[0]!r})").result()
        return len(elements)


def answers(url: str, seconds: float = 5.0) -> bool:
    """Whether `/health` says healthy."""
    try:
        return httpx.get(f"{url.rstrip('/')}/health", timeout=seconds).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _wait_for(url: str, web_task: str, deadline: float, waiting: Callable[[str], None]) -> Health:
    begin = said = time.monotonic()
    trouble = "/health does not answer"
    while True:
        if answers(url):
            try:
                elements = play_one_episode(url, web_task)
            except (EnvironmentFailure, EnvironmentUnreachable) as error:
                trouble = str(error)
            else:
                return Health(url, time.monotonic() - begin, web_task, elements)
        if time.monotonic() >= deadline:
            raise EnvironmentUnreachable(f"no healthy environment at {url} ({trouble}): is it running?")
        if time.monotonic() - said >= _WORDS_EVERY:
            said = time.monotonic()
            waiting(f"{url}: {trouble}")
        time.sleep(_PAUSE)
