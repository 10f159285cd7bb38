"""A service for one web task, as long as a block lasts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browser_control import proxies
from browser_control.environment.client import Environments
from browser_control.errors import ServiceFailed
from browser_control.language.actions import VERBS, shows
from browser_control.web_tasks import registry, task_file
from browser_control.web_tasks.task_file import WebTask


def read(folder: str) -> WebTask:
    """The web task in a folder, known to the registry from now on; raises ConfigurationError."""
    found = task_file.read(Path(folder))
    registry.use([found.folder.parent])
    return found


@contextmanager
def served(web_task: WebTask, sessions: int) -> Iterator[Environments]:
    """Sessions of a service of this process's own; raises ServiceFailed.

    Dialogs are shown where the solution answers them, or where there is none yet.
    """
    verbs = [each.partition(" ")[0] for each in web_task.file.solution] or list(VERBS)
    with (
        service(web_task.folder.parent, sessions) as url,
        Environments([url], sessions, shows=shows(verbs)) as environments,
    ):
        yield environments


@contextmanager
def service(folder: Path, sessions: int) -> Iterator[str]:
    """The URL of a service with the web tasks of a folder; raises ServiceFailed, in the words of the service."""
    command = [sys.executable, "-m", "browser_control.environment", "--port", "0", "--sessions", str(sessions)]
    command += ["--max-turns", "100", "--web-tasks", str(folder)]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **proxies.spared(os.environ)},
        start_new_session=True,  # a Ctrl-C at the terminal is ours to handle
    ) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            greeting = process.stdout.readline()
            if not greeting.startswith("environment ready on "):
                words = process.stderr.read().strip().splitlines()
                raise ServiceFailed(words[-1] if words else "the environment service did not start")
            yield greeting.split()[3].rstrip(",")
        finally:
            process.terminate()
