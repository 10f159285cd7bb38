"""Programs as processes of this machine, each on a leash (`leash.py`)."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from browser_control import gpus, leash, proxies
from browser_control.errors import ServiceFailed
from browser_control.pipeline.runtimes.base import (
    Listening,
    OnLine,
    Runtime,
    Served,
    Service,
    Stage,
    StageError,
    reason_of,
)
from browser_control.pipeline.runtimes.output import Output

_HOST = "127.0.0.1"
_SERVICE_GRACE = 2.0  # a service has nothing to save


class ProcessSettings(BaseModel):
    """Run programs as processes of this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["process"] = "process"
    grace: float = 6.0


class ProcessRuntime(Runtime):
    """Programs as process trees of this machine, with the environment variables of the caller."""

    python = sys.executable

    def __init__(self, settings: ProcessSettings | None = None) -> None:
        self.grace = (settings or ProcessSettings()).grace

    @property
    def gpu(self) -> bool:
        return bool(gpus.visible())

    def listening(self, port: int) -> Listening:
        return Listening(_HOST, port or free_port())

    def run(self, stage: Stage, on_line: OnLine | None = None) -> None:
        kills = _kills_for_memory()
        with contextlib.closing(LeashedProcess(stage, self.grace)) as process:
            for line in process.lines():
                if on_line is not None:
                    on_line(line)
            exit_code = process.exit_code()
        if exit_code != 0:
            killed_for_memory = exit_code == -signal.SIGKILL and _kills_for_memory() > kills
            reason = reason_of(exit_code, process.tail(), killed_for_memory)
            raise StageError(stage.name, stage.command, exit_code, reason, process.tail())

    @contextlib.contextmanager
    def serve(self, service: Service) -> Iterator[Served]:
        refuse_taken_port(service.port)
        with contextlib.closing(_ServedProcess(service, min(self.grace, _SERVICE_GRACE))) as served:
            yield served


class LeashedProcess:
    """A program with all that descends from it."""

    def __init__(self, stage: Stage, grace: float) -> None:
        self._grace = grace
        theirs, self._ours = os.pipe()
        try:
            self._process = _spawn(stage, theirs, grace)
        except BaseException:
            os.close(self._ours)
            raise
        finally:
            os.close(theirs)
        assert self._process.stdout is not None
        self._output = Output(self._process.stdout, stage.log)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def tail(self) -> Sequence[str]:
        return self._output.tail()

    def lines(self) -> Iterator[str]:
        """Lines as they come, until the program has ended."""
        return self._output.lines()

    def exit_code(self) -> int:
        """Waits for the end; negative for a signal."""
        return self._process.wait()

    def close(self) -> None:
        """Stops the program, if it still runs, and all that it left behind; a second interrupt cuts the grace short."""
        if self._process.returncode is None:
            try:
                self._process.terminate()
                self._process.wait(self._grace + 6.0)  # the leash itself keeps the grace, then kills
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                self._kill_tree()
        os.close(self._ours)
        self._output.close()

    def _kill_tree(self) -> None:
        for pid in leash.descendants(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()


class _ServedProcess(Served):
    def __init__(self, service: Service, grace: float) -> None:
        self.urls = (f"http://{_HOST}:{service.port}",)
        self._service = service
        self._grace = grace
        self._process = LeashedProcess(service, grace)

    @property
    def alive(self) -> bool:
        return self._process.alive

    def tail(self) -> Sequence[str]:
        return self._process.tail()

    def restart(self) -> None:
        self._process.close()
        refuse_taken_port(self._service.port)
        self._process = LeashedProcess(self._service, self._grace)

    def close(self) -> None:
        self._process.close()


def free_port() -> int:
    """A TCP port of this machine that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def refuse_taken_port(port: int) -> None:
    """Raises `ServiceFailed` where another program listens on `port` of this machine."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, port))
        except OSError as error:
            raise ServiceFailed(
                f"port {port} is taken ({error.strerror}): stop what listens there, or choose another port"
            ) from error


def _spawn(stage: Stage, pipe: int, grace: float) -> subprocess.Popen[str]:
    environ: Mapping[str, str] = {**os.environ, **proxies.spared(os.environ), "PYTHONUNBUFFERED": "1", **stage.environ}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", leash.__file__, str(pipe), str(grace), *stage.command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environ,
        pass_fds=(pipe,),
        start_new_session=True,  # a Ctrl-C at the terminal is ours to handle
        text=True,
        encoding="utf-8",
        errors="replace",
        bufsize=1,
    )


def _kills_for_memory() -> int:
    """How often the kernel has killed for lack of memory; 0 where it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
