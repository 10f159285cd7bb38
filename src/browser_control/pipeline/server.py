"""A temporary Prefect server for a run that was given none.

Prefect starts one by itself, but imports the whole server into the flow's process first, waits, and leaves it behind
on SIGTERM. Ours starts while Prefect is still being imported, and is on a leash. It keeps its records in Prefect's
own database, so that `prefect server start` shows the run afterwards.
"""

import contextlib
import http.client
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from browser_control import proxies
from browser_control.errors import EXIT_USER_ERROR, ConfigurationError, ServiceFailed
from browser_control.pipeline.runtimes.base import Service
from browser_control.pipeline.runtimes.process import LeashedProcess, free_port
from browser_control.records import summary

STARTUP_SECONDS = 180.0  # six, but on a machine that is busy with something else
_PAUSE = 0.05
_HEALTH_SECONDS = 30.0  # ten were too few for a server on a machine that is busy with something else

START = "start it (make server)"
_LATER_UI = "http://127.0.0.1:4200"  # where `prefect server start` will show the run

# A server for one run: no page to look at, and none of the services that look after deployments.
_ENVIRON = {
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_UI_ENABLED": "0",
    "PREFECT_SERVER_UI_ENABLED": "0",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "0",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}

# A heartbeat by itself comes every 180 seconds, and the automation of deployments/setup.py takes the run for dead. Nine
# retries of a call, each after twice the time of the one before, are 17 minutes in which a server may be away.
OF_A_RUN = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_CLIENT_MAX_RETRIES": "9",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "408,500,504",  # beside 429, 502 and 503, as a proxy or a full database says
}

SILENT = "no heartbeat: its process or its host is gone"  # what that automation says of a run; it may be wrong

# Our own lines are what the terminal shows; Prefect's are in its database.
QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "DO_NOT_TRACK": "1",
}


class TemporaryServer:
    """A Prefect server that lives as long as we do."""

    def __init__(self, process: LeashedProcess, url: str) -> None:
        self._process = process
        self.api_url = f"{url}/api"

    def wait(self, seconds: float = STARTUP_SECONDS) -> None:
        """Waits until it answers; raises ServiceFailed if it does not."""
        deadline = time.monotonic() + seconds
        while not _answers(f"{self.api_url}/health"):
            if not self._process.alive or time.monotonic() > deadline:
                words = " | ".join(self._process.tail()[-3:]) or "it said nothing"
                raise ServiceFailed(f"Prefect's temporary server did not start: {words}")
            time.sleep(_PAUSE)


@contextlib.contextmanager
def temporary_server(log: Path) -> Iterator[TemporaryServer]:
    """Starts the server and points Prefect at it, without waiting for it."""
    port = free_port()
    application = ("--factory", "prefect.server.api.server:create_app", "--lifespan", "on")
    where = ("--host", "127.0.0.1", "--port", str(port), "--log-level", "error")
    service = Service(
        "prefect-server", (sys.executable, "-m", "uvicorn", *application, *where), log, _ENVIRON, port=port
    )
    with contextlib.closing(LeashedProcess(service, grace=3.0)) as process:
        server = TemporaryServer(process, f"http://127.0.0.1:{port}")
        pointers = {"PREFECT_API_URL": server.api_url, "PREFECT_UI_URL": _LATER_UI}
        os.environ.update(pointers)
        try:
            yield server
        finally:
            for name in pointers:
                os.environ.pop(name, None)


def ui_hint(url: str | None) -> str:
    """Where a person sees the run, and what to do first where its server is gone by then."""
    if url is None:
        return "no page"
    return f"{url} (once `{summary.command('prefect')} server start` runs)" if url.startswith(_LATER_UI) else url


def configured_server(environ: Mapping[str, str] = os.environ) -> str | None:
    """The API that Prefect would use by itself: from the environment, or from its profile and settings files.

    Those files are Prefect's to read, which takes two seconds, so it is asked only where there are any.
    """
    if url := environ.get("PREFECT_API_URL"):
        return url
    home = Path(environ.get("PREFECT_HOME", Path.home() / ".prefect"))
    profiles = Path(environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml"))
    if not any(path.exists() for path in (profiles, Path("prefect.toml"), Path(".env"))):
        return None
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def refuse_unreachable(url: str) -> None:
    """Raises ConfigurationError where no Prefect server answers; one that asks for a password is there."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=_HEALTH_SECONDS) as answer:
            if answer.read(100).strip() == b"true":
                return
            reason: object = "what answers there is no Prefect server"
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404, 407):  # it asks for a password; Prefect Cloud has no such page
            return
        reason = f"HTTP {error.code} {error.reason}"
    except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return
    words = " ".join(str(reason).split()) or type(reason).__name__
    raise ConfigurationError(
        f"no Prefect server answers at {url} ({words}): {START}, or unset PREFECT_API_URL to run without one"
    )


def exit_unreachable() -> None:
    """Ends a program of `deployments/` with one sentence where the server that is named does not answer."""
    proxies.spare_loopback()
    try:
        if url := configured_server():
            refuse_unreachable(url)
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR) from error


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def flush() -> None:
    """Sends what Prefect still holds back, so that a server that is about to stop has it all."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=5)
    EventsWorker.drain_all(timeout=5)
