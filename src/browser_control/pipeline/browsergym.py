"""The BrowserGym service as a run uses it: one that we start, or one that is already there."""

import os
from dataclasses import dataclass

from browser_control import configuration
from browser_control.configuration import Configuration
from browser_control.errors import EnvironmentUnreachable
from browser_control.pipeline import health
from browser_control.pipeline.runtimes.base import Served


@dataclass
class BrowserGym:
    """Where the environment answers; `served` is None where somebody else runs it.

    `web_task` is the one that the health gate plays.
    """

    urls: tuple[str, ...]
    web_task: str
    served: Served | None = None

    @property
    def died(self) -> bool:
        """Whether it was ours and is no more."""
        return self.served is not None and not self.served.alive

    def last_words(self) -> str:
        return " | ".join(self.served.tail()[-5:]) if self.served is not None else ""

    def pass_gate(self) -> list[health.Health]:
        """Waits until a real browser answers; raises what `health.pass_gate` raises."""
        return health.pass_gate(self.urls, self.web_task, served=self.served)

    def revive(self) -> None:
        """Starts the service again if it died, and waits until it is healthy."""
        if self.served is not None and self.died:
            self.served.restart()
            self.pass_gate()


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
