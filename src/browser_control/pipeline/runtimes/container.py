"""One container: what it may, how its output is read, and how it ended."""

import codecs
import contextlib
import io
import re
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import requests
from docker.errors import APIError, DockerException, NotFound
from docker.types import CancellableStream, LogConfig, Mount

from browser_control.errors import EngineUnavailable, ServiceFailed
from browser_control.pipeline.engine import AWAY, NO_GPU, PATIENCE, PAUSE, answering
from browser_control.pipeline.runtimes.base import Service, Stage
from browser_control.pipeline.runtimes.output import Output
from browser_control.pipeline.runtimes.ownership import caller
from browser_control.programs import model_cache

PORT = 8080  # of a service, within its container

_WORKSPACE = PurePosixPath("/workspace")  # WORKDIR of the images
_HUB_CACHE, _MODEL_CACHE = "/hf_cache", "/model_cache"  # HF_HOME and BROWSER_CONTROL_CACHE of the training image
_PIDS = 4096
_ENDING = 20.0  # seconds, of a container whose output has ended


def arguments(stage: Stage) -> dict[str, Any]:
    """What the SDK's `containers.create` is told for a stage, but for names, labels, network and limits."""
    user, group = caller()
    published = stage.published if isinstance(stage, Service) else 0
    return {
        "command": list(stage.command),
        "user": f"{user}:{group}",
        "init": True,  # reaps, and hands on SIGTERM to a program that as process 1 would not see it
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "tmpfs": {"/tmp": "exec,mode=1777"},  # compiled kernels are loaded from there
        "pids_limit": _PIDS,
        "shm_size": "1g",
        "environment": dict(stage.environ),
        "mounts": mounts(stage),
        "ports": {f"{PORT}/tcp": ("127.0.0.1", published)} if published else {},
        # Who is not for the internet finds no names but those of its neighbours.
        "dns": None if stage.internet else ["127.0.0.1"],
        "extra_hosts": {"host.docker.internal": "host-gateway"} if stage.internet else None,
        "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "256m"}),
    }


def mounts(stage: Stage) -> list[Mount]:
    """The folders that the stage names, at their own place, and the caches of models, which only what fetches may fill.

    A path that is relative here is so within, too.
    """
    found = [Mount(str(_WORKSPACE / path), str(path.absolute()), type="bind") for path in stage.writes]
    found += [Mount(str(_WORKSPACE / path), str(path.absolute()), type="bind", read_only=True) for path in stage.reads]
    if not isinstance(stage, Service):
        for target, source in caches().items():
            found.append(Mount(target, str(source), type="bind", read_only=not stage.fetches))
    return found


def caches() -> dict[str, Path]:
    """The caches of models on this machine, by their place within."""
    return {_HUB_CACHE: model_cache.hub().absolute(), f"{_MODEL_CACHE}/models": model_cache.converted().absolute()}


def bytes_of(text: str) -> int:
    """Bytes, of a number with one of Docker's units: 512m, 8g."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)b?", text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is no amount of memory, such as 512m or 8g")
    return int(float(found[1]) * 1024 ** "bkmgt".index(found[2] or "b"))


class Container:
    """A container from its start to its removal.

    Args:
        created: the SDK's object.
        stage: what it runs.
    """

    def __init__(self, created: Any, stage: Stage) -> None:
        self._container = created
        self._stage = stage
        self._output: Output | None = None
        self._closed = threading.Event()
        self._lost: EngineUnavailable | None = None
        self._ran = False

    def start(self) -> None:
        """Raises ServiceFailed for a taken port, EngineUnavailable for a GPU that is not there."""
        try:
            with answering(), contextlib.ExitStack() as stack:
                # Attached before the start, it misses nothing; the engine's log keeps back a last line without an end.
                output = self._container.attach(stream=True, stdout=True, stderr=True)
                stack.callback(_close, output)
                self._container.start()
                stack.pop_all()
        except EngineUnavailable as error:
            raise _explained(error, self._stage) from error
        self._ran = True
        self._output = Output(self._follow(output), self._stage.log)

    @property
    def alive(self) -> bool:
        """Whether it runs; while the engine does not answer, whether it ran when it last did."""
        try:
            self._container.reload()
            self._ran = bool(self._container.status == "running")
        except NotFound:
            self._ran = False
        except (DockerException, requests.RequestException):
            pass
        return self._ran

    def lines(self) -> Iterator[str]:
        """Lines as they come, until the program has ended."""
        return self._output.lines() if self._output is not None else iter(())

    def tail(self) -> Sequence[str]:
        return self._output.tail() if self._output is not None else ()

    def end(self) -> tuple[int, bool]:
        """The exit code, negative for a signal, and whether memory ran out, once the output has ended.

        Raises EngineUnavailable where the engine is gone, and does not come back.
        """
        if self._lost is not None:
            raise self._lost
        deadline = time.monotonic() + _ENDING
        while (state := self._state()) is not None and state["Running"] and time.monotonic() < deadline:
            time.sleep(PAUSE)
        if state is None or state["Running"]:  # None: removed by somebody
            return -signal.SIGKILL, False
        return signal_as_negative(state["ExitCode"]), bool(state["OOMKilled"])

    def close(self, grace: float) -> None:
        """Stops the program, if it still runs, and removes the container; a second interrupt cuts the grace short."""
        try:
            with contextlib.suppress(DockerException, requests.RequestException):
                self._container.stop(timeout=round(grace))
        finally:
            self._closed.set()
            if self._output is not None:
                self._output.close()
            remove(self._container)

    def _follow(self, output: CancellableStream) -> Iterator[str]:
        """Its output; where the connection broke, or the engine was away, with all that was said meanwhile."""
        heard = time.time(), time.monotonic()
        while True:
            with contextlib.suppress(APIError, requests.RequestException, OSError):
                try:
                    for line in _lines(output):
                        heard = time.time(), time.monotonic()
                        yield line
                finally:
                    _close(output)
            if self._is_over():
                return
            # The engine's log knows the hour alone. Where somebody set the clock meanwhile, a line may come twice.
            since = min(heard[0], time.time() - (time.monotonic() - heard[1]))
            with contextlib.suppress(APIError, requests.RequestException):
                output = self._container.logs(stream=True, follow=True, since=since)

    def _is_over(self) -> bool:
        """Whether there is no more to be heard of it; waits for an engine that does not answer."""
        try:
            self._container.reload()
            if self._container.status != "running":
                return True
        except (DockerException, requests.RequestException):
            pass
        try:
            return self._closed.wait(PAUSE) or self._state() is None
        except EngineUnavailable as error:
            self._lost = error
            return True

    def _state(self) -> dict[str, Any] | None:
        """What the engine says of it; None where it knows of none. One that does not answer is waited for.

        Raises EngineUnavailable where it stays away.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self._container.reload()
                return dict(self._container.attrs["State"])
            except NotFound:
                return None
            except (DockerException, requests.RequestException) as error:
                if self._closed.wait(PAUSE) or time.monotonic() > deadline:
                    raise EngineUnavailable(AWAY) from error


def signal_as_negative(exit_code: int) -> int:
    """As `subprocess` has it: an engine reports a program that a signal ended as 128 and the signal's number."""
    return 128 - exit_code if 128 < exit_code < 128 + signal.NSIG else exit_code


def remove(container: Any) -> None:
    """Kills and removes, as far as the engine still answers; what is left then is for the reaper."""
    with contextlib.suppress(DockerException, requests.RequestException):
        container.remove(force=True, v=True)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines as a process's are read: one that ends in a carriage return, as progress bars do, is a line."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from whole
    *whole, rest = (rest + decoder.decode(b"", final=True)).split("\n")
    yield from whole
    if rest:
        yield rest


def _close(stream: CancellableStream) -> None:
    """Closes the connection as well, which the SDK leaves to the garbage collector."""
    with contextlib.suppress(OSError):
        stream.close()
    stream._response.close()


def _explained(error: EngineUnavailable, stage: Stage) -> Exception:
    words = str(error.__cause__)
    if isinstance(stage, Service) and ("already allocated" in words or "address already in use" in words):
        return ServiceFailed(f"port {stage.published} is taken: stop what listens there, or choose another port")
    if "could not select device driver" in words:
        return EngineUnavailable(NO_GPU)
    if isinstance(error.__cause__, APIError):
        return EngineUnavailable(f"the Docker Engine does not start {stage.name}: {error.__cause__.explanation}")
    return error
