"""Whether an environment service can be trained on: not that it listens, but that a real browser answers."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from browser_control.environment_client import Environments
from browser_control.errors import EnvironmentFailure, EnvironmentUnreachable, ServiceFailed
from browser_control.pipeline.runtimes.base import Served

_ELEMENT = re.compile(r"\[(\w+)\]")
_PAUSE = 0.1  # between two questions to a service that is not yet up


@dataclass(frozen=True)
class Health:
    """What the gate saw."""

    url: str
    seconds: float
    web_task: str
    elements: int


def pass_gate(urls: Sequence[str], web_task: str, seconds: float = 60.0, served: Served | None = None) -> list[Health]:
    """Waits until every service at `urls` is healthy and plays an episode.

    Args:
        served: the service, where we started it ourselves; one that died is reported at once, with its log.

    Raises:
        ServiceFailed: a service of ours died, or was not healthy in time.
        EnvironmentUnreachable: the same of a service that somebody else runs.
    """
    deadline = time.monotonic() + seconds
    return [_wait_for(url, web_task, deadline, served) for url in urls]


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


def _wait_for(url: str, web_task: str, deadline: float, served: Served | None) -> Health:
    begin = time.monotonic()
    trouble = "/health does not answer"
    while True:
        if served is not None and not served.alive:
            raise ServiceFailed(f"the environment service ended before it was healthy: {_last_words(served)}")
        if answers(url):
            try:
                elements = play_one_episode(url, web_task)
            except (EnvironmentFailure, EnvironmentUnreachable) as error:
                trouble = str(error)
            else:
                return Health(url, time.monotonic() - begin, web_task, elements)
        if time.monotonic() >= deadline:
            if served is None:
                raise EnvironmentUnreachable(f"no healthy environment at {url} ({trouble}): is it running?")
            raise ServiceFailed(f"the environment service is not healthy ({trouble}): {_last_words(served)}")
        time.sleep(_PAUSE)


def _last_words(served: Served) -> str:
    return " | ".join(served.tail()[-5:]) or "it said nothing"
