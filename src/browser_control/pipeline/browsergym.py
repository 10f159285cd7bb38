"""The BrowserGym service as a run uses it: one that we start, in one or more copies, or one that is already there."""

import os
from dataclasses import dataclass

from browser_control import configuration
from browser_control.configuration import Configuration
from browser_control.environment import health
from browser_control.errors import EnvironmentUnreachable
from browser_control.pipeline.runtimes.base import Served


@dataclass
class BrowserGym:
    """Where the environment answers; `served` is empty where somebody else runs it."""

    urls: tuple[str, ...]
    served: tuple[Served, ...] = ()

    @property
    def died(self) -> bool:
        """Whether one of ours is no more."""
        return any(not served.alive for served in self.served)

    def last_words(self) -> str:
        """Of those that died; of all, where none did."""
        dead = [served for served in self.served if not served.alive] or self.served
        return " | ".join(line for served in dead for line in served.tail()[-5:]) or "it said nothing"

    def revive(self) -> bool:
        """Starts again what died, and returns whether there was any; it is not healthy yet."""
        dead = [served for served in self.served if not served.alive]
        for served in dead:
            served.restart()
        return bool(dead)


def given_urls(settings: Configuration) -> tuple[str, ...]:
    """The services that the run is told to use; none means that it starts its own.

    A configuration that names the default URL names none: nobody expects to have to start a service by hand.
    """
    given = settings.environment.urls
    named = given != configuration.Environment().urls or os.environ.get("BROWSERGYM_URL")
    return given if named else ()


def refuse_unreachable(urls: tuple[str, ...]) -> None:
    """Raises EnvironmentUnreachable for a given service that does not answer, before anything is started."""
    for url in urls:
        if not health.answers(url):
            raise EnvironmentUnreachable(f"no environment answers at {url}: is it running, and is the URL right?")
