"""Starting and stopping the service as its own process, for tests and benchmarks."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


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
