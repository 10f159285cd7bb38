"""Starting and stopping the service as its own process, for tests and benchmarks."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from browser_control.web_tasks import registry


@dataclass
class Service:
    process: "subprocess.Popen[str]"
    url: str

    def chromium(self) -> int:
        """The process id of its only browser."""
        [browser] = self.chromiums()
        return browser

    def chromiums(self) -> list[int]:
        """The process ids of its browsers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(child) for child in children.read_text().split()]


def start_service(*options: str) -> Service:
    process = subprocess.Popen(
        [sys.executable, "-m", "browser_control.environment", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )
    assert process.stdout is not None and process.stderr is not None
    greeting = process.stdout.readline()
    if not greeting.startswith("environment ready on "):
        process.kill()
        _, errors = process.communicate()
        raise AssertionError(f"the service did not start: {errors}")
    return Service(process, greeting.split()[3].rstrip(","))


def stop_service(service: Service) -> int:
    service.process.terminate()
    try:
        return service.process.wait(timeout=20)
    finally:
        service.process.kill()
        service.process.communicate()


@contextlib.contextmanager
def own_web_tasks(folder: Path, tasks: Mapping[str, Mapping[str, Any]], files: Mapping[str, str]) -> Iterator[Service]:
    """A service of one session that knows the web tasks of a folder, which is made; each has the same files.

    Args:
        tasks: by name, what `task.yaml` holds.
    """
    for name, values in tasks.items():
        (folder / name).mkdir(parents=True)
        for file, text in files.items():
            (folder / name / file).write_text(text)
        (folder / name / "task.yaml").write_text(yaml.safe_dump(dict(values)))
    running = start_service("--sessions", "1", "--max-turns", "100", "--web-tasks", str(folder))
    try:
        registry.use([folder])
        yield running
    finally:
        ended = stop_service(running)
    assert ended == 0
