"""What runs a program: the contract that the process and the Docker runtime keep.

A *stage* is a program that runs to its end; a *service* runs until it is stopped. Whoever starts a thing stops it.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from browser_control.errors import EXIT_PREEMPTED, EXIT_USER_ERROR, BrowserControlError

Reason = Literal["out_of_memory", "killed", "preempted", "configuration", "crashed"]
OnLine = Callable[[str], None]

TAIL = 20  # lines of the log that an error carries
_NO_SPACE = "No space left on device"
_OUT_OF_MEMORY = re.compile(
    r"^MemoryError|OutOfMemoryError|CUDA out of memory|can't allocate memory|Cannot allocate memory"
    r"|std::bad_alloc",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Stage:
    """A program that runs to its end.

    Attributes:
        name: names the log and, in Docker, the container.
        command: argv; nothing goes through a shell.
        log: the file that gets all of its output, stderr included; appended to.
        environ: variables on top of those of the runtime; they may hold secrets, and are named in no error.
        writes: folders that it writes to; they are at the same place wherever it runs.
        reads: files and folders beside them that it reads, at the same place.
        gpu: whether it computes.
        internet: whether it talks to others than the services of its run.
        fetches: whether it fills the caches of models, which all others only read.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    writes: tuple[Path, ...] = ()
    reads: tuple[Path, ...] = ()
    gpu: bool = False
    internet: bool = False
    fetches: bool = False


@dataclass(frozen=True)
class Service(Stage):
    """A program that serves until it is stopped.

    Attributes:
        port: TCP port that it listens on, as `Runtime.listening` gave it; the command already says so.
        published: port of this machine's loopback under which it shall be seen, where it would not be; 0: it need not.
    """

    port: int = 0
    published: int = 0


@dataclass(frozen=True)
class Listening:
    """Where a service has to listen to be found."""

    host: str
    port: int


class Served(ABC):
    """A service that was started."""

    urls: tuple[str, ...]

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the program still runs; says nothing of its health."""

    @abstractmethod
    def tail(self) -> Sequence[str]:
        """The last lines of its log."""

    @abstractmethod
    def restart(self) -> None:
        """Starts it again under the same URLs, where it died."""


class Images(Protocol):
    """What a runtime starts programs from, where it does not take them as they lie here."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the images that are in use; none before `build`."""

    def build(self, openenv_commit: str | None, logs: Path, on_line: OnLine) -> list[str]:
        """Builds what is not there as it is needed; returns a word on each image."""


class Runtime(ABC):
    """Runs stages and services.

    Attributes:
        grace: how long a program that is asked to stop may take, before it is killed; seconds.
        python: the interpreter that has our programs, where they run.
        images: None where programs are taken as they lie here.
    """

    grace: float = 8.0
    python: str
    images: Images | None = None

    @property
    @abstractmethod
    def gpu(self) -> bool:
        """Whether a stage that computes finds a GPU."""

    def check(self, server: bool = True) -> None:
        """Raises UserError for what can be seen to be missing, before anything is started.

        Args:
            server: whether a Prefect server can be asked by now.
        """
        return

    def reap(self) -> None:
        """Removes what dead runs left behind."""
        return

    def close(self) -> None:
        """Removes what belongs to the run as a whole."""
        return

    @abstractmethod
    def listening(self, port: int) -> Listening:
        """Where a service shall listen that is wanted at `port` of this machine; 0 for anywhere."""

    @abstractmethod
    def run(self, stage: Stage, on_line: OnLine | None = None) -> None:
        """Runs a stage to its end, handing on its output line by line.

        Whatever is raised meanwhile, an interrupt or an error of `on_line`, stops the stage first.

        Raises:
            StageError: it ended with another exit code than 0.
        """

    @abstractmethod
    def serve(self, service: Service) -> AbstractContextManager[Served]:
        """Runs a service inside a `with` block. That it started does not mean that it is healthy."""


class StageError(BrowserControlError):
    """A program ended otherwise than it should."""

    def __init__(self, name: str, command: Sequence[str], exit_code: int, reason: Reason, tail: Sequence[str]) -> None:
        self.name = name
        self.command = tuple(command)
        self.exit_code = exit_code
        self.reason: Reason = reason
        self.tail = tuple(tail)
        super().__init__(self._sentence())

    def __reduce__(self) -> tuple[type["StageError"], tuple[object, ...]]:
        return (StageError, (self.name, self.command, self.exit_code, self.reason, self.tail))

    @property
    def retriable(self) -> bool:
        return self.reason not in ("out_of_memory", "configuration")

    def _sentence(self) -> str:
        if self.reason == "configuration":
            return _last_words(self.tail) or f"{self.name} refused what it was asked for"
        words = {
            "out_of_memory": "ran out of memory; lower training.tokens_per_micro_batch or environment.sessions, or let"
            " it have more (in Docker, --memory)",
            "killed": f"was killed by signal {-self.exit_code}",
            "preempted": "was asked to stop; what was done is saved",
            "crashed": f"crashed with exit code {self.exit_code}",
        }
        return f"{self.name} {words[self.reason]}"


def reason_of(exit_code: int, tail: Sequence[str], killed_for_memory: bool) -> Reason:
    """Why a program ended with `exit_code`, negative for a signal."""
    if killed_for_memory or (exit_code != 0 and _OUT_OF_MEMORY.search("\n".join(tail))):
        return "out_of_memory"
    if exit_code == EXIT_USER_ERROR or (exit_code != 0 and any(_NO_SPACE in line for line in tail)):
        return "configuration"
    if exit_code == EXIT_PREEMPTED:
        return "preempted"
    return "killed" if exit_code < 0 else "crashed"


def _last_words(tail: Sequence[str]) -> str:
    """What a program said of what is wrong: the line of a full disk, else the last one."""
    for line in reversed(tail):
        if _NO_SPACE in line and "free some" not in line:
            return f"{line.removeprefix('error: ')}: free some, and run the same command again"
    return tail[-1].removeprefix("error: ") if tail else ""
