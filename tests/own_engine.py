"""A Docker Engine of the tests' own, which may be killed: in folders and a network of its own, beside the machine's."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from processes import wait_until


class OwnEngine:
    """`dockerd` as root.

    Attributes:
        folder: of images, containers and the socket; its path must be short, as a socket's must.
        url: for DOCKER_HOST.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/socket"
        self._network = f"engine-{os.getpid()}"  # outlives a daemon, as a machine's does
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Starts the daemon, and waits until it answers."""
        (self.folder / "pid").unlink(missing_ok=True)
        within = ["nsenter", f"--net=/run/netns/{self._network}"]
        places = ["--data-root", self.folder / "data", "--exec-root", self.folder / "exec", "--pidfile"]
        command = [*within, "dockerd", *places, self.folder / "pid", "--host", self.url, *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until(self._answers, 120)

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.send(number)
        assert self._process is not None
        self._process.wait(120)
        wait_until(lambda: not self._containerd_lives(), 30)  # a daemon that starts meanwhile takes it for its own

    def _containerd_lives(self) -> bool:
        """Its process ends with the daemon's, a moment later."""
        with contextlib.suppress(OSError, ValueError):
            number = (self.folder / "exec" / "containerd" / "containerd.pid").read_text().strip()
            return ") Z " not in Path("/proc", number, "stat").read_text()
        return False

    def client(self) -> Any:
        return docker.DockerClient(self.url, timeout=600)  # seconds: an image is loaded, beside other tests

    def _answers(self) -> bool:
        """Asked without the SDK, which leaves its socket open where nothing answers."""
        assert self._process is not None and self._process.poll() is None, (self.folder / "log").read_text()[-3000:]
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self.url.removeprefix("unix://"))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
            return b" 200 OK" in connection.recv(200)
        return False

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @contextmanager
    def running(self) -> Iterator["OwnEngine"]:
        """From its first start to its end, after which nothing of it is left."""
        subprocess.run(["ip", "netns", "add", self._network], check=True)
        try:
            subprocess.run(["ip", "-n", self._network, "link", "set", "lo", "up"], check=True)
            self.start()
            yield self
        finally:
            if not self._alive():
                self.start()  # which ends the containers that a killed one left
            client = self.client()
            for container in client.containers.list(all=True):
                container.remove(force=True)
            client.close()
            self.stop()
            subprocess.run(["ip", "netns", "delete", self._network], check=True)
            for mount in _mounts_below(self.folder):  # of daemons that were killed
                subprocess.run(["umount", "--lazy", mount], check=True)
            shutil.rmtree(self.folder)


def _mounts_below(folder: Path) -> list[str]:
    """The latest first."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [place for place in reversed(places) if place.startswith(f"{folder}/")]
