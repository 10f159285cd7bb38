"""The Docker Engine: how it is reached, and what it says when it cannot be."""

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException
from docker.types import CancellableStream
from urllib3.exceptions import HTTPError

from browser_control.errors import EngineUnavailable

NO_GPU = (
    "a GPU is asked for, but the Docker Engine can give none: install the NVIDIA Container Toolkit on its host, or"
    " choose --gpus none"
)

ROOTLESS = (
    "the Docker Engine is rootless, and maps the users of what a run mounts: choose one that runs as root (DOCKER_HOST,"
    " or `docker context use default`), or --runtime process"
)
REMAPPED = (
    "the Docker Engine maps users (userns-remap), so that a run could not write to its own folder: take userns-remap"
    " out of /etc/docker/daemon.json and restart the engine, or choose --runtime process"
)
PODMAN = (
    "what answers is Podman, on whose networks a run's containers do not find each other by name: name a Docker Engine"
    " in DOCKER_HOST, or choose --runtime process"
)

AWAY = (
    "the Docker Engine does not answer any more: start it again (as root `systemctl restart docker`) and run the same"
    " command again, which continues this run"
)
PATIENCE = 120.0  # seconds: an engine that is restarted or upgraded is back by then
PAUSE = 0.2
ANSWER = 10.0  # seconds, for the shortest of its answers
_WATCH = 5.0  # seconds between two questions whether it is there

Client = Any  # docker.DockerClient; the SDK carries no types
FAULTS = (DockerException, requests.RequestException, HTTPError, OSError)  # of the SDK, where an engine goes away


def connect(host_block: str = "", registry_block: str = "") -> Client:
    """A client of the engine that DOCKER_HOST names, or that a block of prefect-docker's describes.

    Args:
        host_block: name of a `DockerHost` block.
        registry_block: name of a `DockerRegistryCredentials` block; base images are then pulled as it says.

    Raises:
        EngineUnavailable: none answers, or we may not use it.
    """
    with answering():
        client = _from_block(host_block) if host_block else docker.from_env()
        client.ping()
        if registry_block:
            from prefect_docker.credentials import DockerRegistryCredentials

            block = _block(DockerRegistryCredentials, registry_block)
            password = block.password.get_secret_value()  # the block's own login is a coroutine
            client.login(username=block.username, password=password, registry=block.registry_url, reauth=block.reauth)
        return client


def answers(client: Client, seconds: float = ANSWER) -> bool:
    """Whether an engine that answered before does so still; at most `seconds` long."""
    try:
        return bool(client.api._get(client.api._url("/_ping"), timeout=seconds).ok)
    except FAULTS:
        return False


def wait_for(client: Client, seconds: float = PATIENCE) -> None:
    """Waits for an engine that answered before, and may be about to start again; raises EngineUnavailable."""
    deadline = time.monotonic() + seconds
    while not answers(client, min(ANSWER, seconds + PAUSE)):
        if time.monotonic() > deadline:
            raise EngineUnavailable(AWAY)
        time.sleep(PAUSE)


class Watch:
    """Cuts what waits for an engine's word, once it has not answered for long: it may hang with its connections open.

    Args:
        cut: called once, in a thread of the watch's own.
        seconds: that it may not answer.
    """

    def __init__(self, client: Client, cut: Callable[[], None], seconds: float = PATIENCE) -> None:
        self.lost = False
        self._client = client
        self._cut = cut
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(ANSWER)

    def _watch(self) -> None:
        every, within = min(_WATCH, self._seconds), min(ANSWER, self._seconds)
        silent: float | None = None  # seconds since the first question that was not answered
        before = time.monotonic()
        while not self._ended.wait(every):
            answered = answers(self._client, within)
            now = time.monotonic()
            # A time in which we stood still ourselves (SIGSTOP, a machine's pause) counts as one question.
            silent = None if answered else 0.0 if silent is None else silent + min(now - before, every + within)
            before = now
            if silent is not None and silent > self._seconds and not self._ended.is_set():
                self.lost = True
                self._cut()
                return


@contextlib.contextmanager
def attended(client: Client, seconds: float = PATIENCE) -> Iterator[None]:
    """For requests whose answers come in pieces, with long silences: they end when the engine is gone for `seconds`.

    Raises:
        EngineUnavailable: it is.
    """
    responses: list[Any] = []

    def begun(response: Any, **_: Any) -> None:
        if not response.url.endswith("/_ping"):
            client.api._disable_socket_timeout(client.api._get_raw_response_socket(response))
            responses.append(response)

    def cut() -> None:
        for each in responses:
            wake(client, each)

    hooks = client.api.hooks["response"]
    hooks.append(begun)
    watch = Watch(client, cut, seconds)
    try:
        yield
    except BaseException as error:
        for each in responses:
            hang_up(each)
        if watch.lost and isinstance(error, FAULTS):
            raise EngineUnavailable(AWAY) from error
        raise
    finally:
        hooks.remove(begun)
        watch.end()
    if watch.lost:
        raise EngineUnavailable(AWAY)


def wake(client: Client, response: Any) -> None:
    """Ends an answer for the thread that reads it, which then hangs up: closed under its hands, it would raise."""
    with contextlib.suppress(OSError, AttributeError):  # the latter: there is no connection any more
        connection = client.api._get_raw_response_socket(response)  # a file of it, but for TLS and SSH
        getattr(connection, "_sock", connection).shutdown(socket.SHUT_RDWR)


def hang_up(response: Any) -> None:
    """Closes an answer with its connection, which the SDK leaves to the garbage collector."""
    with contextlib.suppress(OSError, DockerException):  # the latter: of an engine behind SSH
        CancellableStream(iter(()), response).close()
    response.close()


@contextlib.contextmanager
def answering(known: bool = False) -> Iterator[None]:
    """Turns what the SDK raises where there is no engine into one sentence.

    Args:
        known: that it answered before.
    """
    try:
        yield
    except FAULTS as error:
        words = str(error)
        if isinstance(error, APIError):
            raise EngineUnavailable(f"the Docker Engine refused: {error.explanation}") from error
        if "Permission denied" in words or "PermissionError" in words:
            raise EngineUnavailable(
                "the Docker Engine may not be used by this user: join the group docker (as root `usermod -aG docker"
                " NAME`, then log in again), or choose --runtime process"
            ) from error
        if known:
            raise EngineUnavailable(AWAY) from error
        raise EngineUnavailable(
            "no Docker Engine answers: install and start one (as root `apt-get install docker.io`), name another in"
            " DOCKER_HOST, or choose --runtime process"
        ) from error


def kind(client: Client) -> str:
    """Which engine that is, in a few words, as `Docker Engine 28.1.1, rootless`."""
    version, options = client.version(), _security_options(client)
    name = "Podman" if _is_podman(version) else "Docker Engine"
    words = {"rootless": "rootless", "userns": "userns-remap", "selinux": "SELinux"}
    special = [word for option, word in words.items() if option in options]
    return ", ".join([f"{name} {version.get('Version', 'of an unknown version')}", *special])


def trouble(client: Client) -> str:
    """Why runs do not work on this kind of engine, in one sentence; empty where they do."""
    options = _security_options(client)
    if _is_podman(client.version()):
        return PODMAN
    return ROOTLESS if "rootless" in options else REMAPPED if "userns" in options else ""


def _is_podman(version: dict[str, Any]) -> bool:
    return any("podman" in str(part.get("Name", "")).lower() for part in version.get("Components") or [])


def _security_options(client: Client) -> set[str]:
    """Names of those that are in force, of `name=seccomp,profile=builtin`."""
    parts = [option.split(",")[0] for option in client.info().get("SecurityOptions") or []]
    return {part.removeprefix("name=") for part in parts}


def is_local(client: Client) -> bool:
    """Whether the engine is of this machine, so that what we see is what it has."""
    return bool(client.api.base_url.startswith("http+docker://"))


def has_gpu(client: Client) -> bool:
    """Whether a container can be given a GPU, as far as the engine tells before one is started."""
    info = client.info()
    if "nvidia" in info.get("Runtimes", {}):
        return True
    if any("nvidia" in str(device) for device in info.get("DiscoveredDevices") or []):
        return True
    # The hook is looked for by an engine of this machine.
    return is_local(client) and shutil.which("nvidia-container-runtime-hook") is not None


def _from_block(name: str) -> Client:
    from prefect_docker.host import DockerHost

    return _block(DockerHost, name).get_client()


def _block(kind: Any, name: str) -> Any:
    try:
        return kind.load(name)
    except ValueError as error:
        raise EngineUnavailable(
            f"the Prefect server has no {kind.__name__} block {name!r}: register one with"
            " `prefect block register -m prefect_docker`, then make it in the UI"
        ) from error
