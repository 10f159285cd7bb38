"""One container: what it may, how its output is read, and how it ended."""

import contextlib
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from docker.errors import APIError, NotFound
from docker.types import CancellableStream, LogConfig, Mount

from browser_control.errors import EngineUnavailable, ServiceFailed
from browser_control.pipeline import engine
from browser_control.pipeline.engine import AWAY, FAULTS, NO_GPU, PAUSE, answering
from browser_control.pipeline.runtimes import container_output
from browser_control.pipeline.runtimes.base import Service, Stage
from browser_control.pipeline.runtimes.container_output import Heard
from browser_control.pipeline.runtimes.output import Output
from browser_control.pipeline.runtimes.ownership import caller
from browser_control.programs import model_cache

PORT = 8080  # of a service, within its container

_WORKSPACE = PurePosixPath("/workspace")  # WORKDIR of the images
_HUB_CACHE, _MODEL_CACHE = "/hf_cache", "/model_cache"  # HF_HOME and BROWSER_CONTROL_CACHE of the training image
_PIDS = 4096
_ENDING = 20.0  # seconds, of a container whose output has ended
_LOG = 256 * 2**20  # bytes; then the engine begins the log anew
_WHOLE = _LOG // 2  # about; then it may have


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
        "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": str(_LOG)}),
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
        patience: seconds for which the engine may be away.
    """

    def __init__(self, created: Any, stage: Stage, patience: float = engine.PATIENCE) -> None:
        self._container = created
        self._stage = stage
        self._patience = patience
        self._output: Output | None = None
        self._listening: CancellableStream | None = None
        self._watch: engine.Watch | None = None
        self._closed = threading.Event()
        self._lost: EngineUnavailable | None = None
        self._ran = False
        self.gone = False  # it runs no more, by the engine's own word

    def start(self) -> None:
        """Raises ServiceFailed for a taken port, EngineUnavailable for a GPU that is not there."""
        try:
            with answering(known=True), contextlib.ExitStack() as stack:
                # Attached before the start, it misses nothing; the engine's log keeps back a last line without an end.
                output = self._container.attach(stream=True, stdout=True, stderr=True)
                stack.callback(engine.hang_up, output._response)
                self._container.start()
                stack.pop_all()
        except EngineUnavailable as error:
            raise _explained(error, self._stage) from error
        self._ran = True
        self._listening = output
        self._watch = engine.Watch(self._container.client, self._cut, self._patience)
        self._output = Output(container_output.lines(self._follow(output)), self._stage.log)

    @property
    def alive(self) -> bool:
        """Whether it runs; while the engine does not answer, whether it ran when it last did."""
        try:
            self._container.reload()
            self._ran = bool(self._container.status == "running")
        except NotFound:
            self._ran = False
        except FAULTS:
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
        self.gone = state is None or not state["Running"]
        if state is None or state["Running"]:  # None: removed by somebody
            return -signal.SIGKILL, False
        return signal_as_negative(state["ExitCode"]), bool(state["OOMKilled"])

    def close(self, grace: float) -> None:
        """Stops the program, if it still runs, and removes the container; a second interrupt cuts the grace short.

        An engine that does not answer is waited for, unless it was already, and then told once, unheard: what is left
        is for the reaper, and `gone` is not set.
        """
        reached = False
        try:
            reached = self._reached()
            with contextlib.suppress(*FAULTS):
                if reached:
                    self._container.stop(timeout=round(grace))
        finally:
            self._closed.set()
            if self._watch is not None:
                self._watch.end()
            if self._output is not None:
                self._output.close()
            self.gone = remove(self._container, None if reached else min(engine.ANSWER, self._patience)) or self.gone

    def _reached(self) -> bool:
        """Whether the engine answers, asked until the patience is spent."""
        deadline = time.monotonic() + self._patience
        while not engine.answers(self._container.client, min(engine.ANSWER, self._patience)):
            if self._lost is not None or time.monotonic() > deadline:
                return False
            time.sleep(PAUSE)
        return True

    def _follow(self, output: CancellableStream) -> Iterator[bytes]:
        """Its output; where the connection broke, or the engine was away, with all that was said meanwhile."""
        heard = Heard()
        yield from heard.keep(container_output.pieces(output))
        while (state := self._after_a_break()) is not None:
            with contextlib.suppress(*FAULTS):
                yield from heard.keep(self._logged(heard, state))
            if not state["Running"]:  # the log was whole
                return
            self._closed.wait(PAUSE)

    def _after_a_break(self) -> dict[str, Any] | None:
        """What the engine says of it, waited for; None where there is no more to be heard."""
        try:
            return None if self._closed.is_set() or self._lost is not None else self._state()
        except EngineUnavailable as error:
            self._lost = error
            return None

    def _logged(self, heard: Heard, state: dict[str, Any]) -> Iterator[bytes]:
        """What the engine's log has that was not heard, and what comes meanwhile.

        One that may have begun anew does not tell where that is: it is read from about when something was heard last,
        by the engine's clock and our seconds, so that a line may come twice.
        """
        running, whole = state["Running"], heard.size < _WHOLE
        if not running and not whole:
            return
        since = None if whole else (datetime.fromisoformat(state["StartedAt"]) + heard.age).timestamp()
        output = self._container.logs(stream=True, follow=running, since=since)
        self._listening = output
        if self._lost is not None:  # `_cut` did not see this one
            engine.hang_up(output._response)
            return
        pieces = container_output.pieces(output)
        yield from heard.unheard(pieces) if whole else pieces

    def _cut(self) -> None:
        self._lost = EngineUnavailable(AWAY)
        if self._listening is not None:
            engine.wake(self._container.client, self._listening._response)

    def _state(self) -> dict[str, Any] | None:
        """What the engine says of it; None where it knows of none. One that does not answer is waited for.

        Raises EngineUnavailable where it stays away.
        """
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._container.reload()
                return dict(self._container.attrs["State"])
            except NotFound:
                return None
            except FAULTS as error:
                if self._closed.wait(PAUSE) or self._lost is not None or time.monotonic() > deadline:
                    raise EngineUnavailable(AWAY) from error


def signal_as_negative(exit_code: int) -> int:
    """As `subprocess` has it: an engine reports a program that a signal ended as 128 and the signal's number."""
    return 128 - exit_code if 128 < exit_code < 128 + signal.NSIG else exit_code


def remove(container: Any, seconds: float | None = None) -> bool:
    """Kills and removes, as far as the engine still answers; what is left then is for the reaper.

    Args:
        seconds: that the answer may take; None: as long as any other.

    Returns:
        Whether the engine says that it runs no more.
    """
    api = container.client.api
    limit = {} if seconds is None else {"timeout": seconds}
    try:
        api._raise_for_status(
            api._delete(api._url("/containers/{0}", container.id), params={"force": True, "v": True}, **limit)
        )
    except NotFound:
        return True
    except APIError:  # killed, yet not removed; or not even that
        return _ended(container)
    except FAULTS:
        return False
    return True


def _ended(container: Any) -> bool:
    try:
        container.reload()
        return not container.attrs["State"]["Running"]
    except NotFound:
        return True
    except FAULTS:
        return False


def _explained(error: EngineUnavailable, stage: Stage) -> Exception:
    words = str(error.__cause__)
    if isinstance(stage, Service) and ("already allocated" in words or "address already in use" in words):
        return ServiceFailed(f"port {stage.published} is taken: stop what listens there, or choose another port")
    if "could not select device driver" in words:
        return EngineUnavailable(NO_GPU)
    if isinstance(error.__cause__, APIError):
        return EngineUnavailable(f"the Docker Engine does not start {stage.name}: {error.__cause__.explanation}")
    return error
