"""The fault matrix: every cell, listed before anything is run.

A cell is a task of a run, a fault and a runtime. Of each it is known what the user reads and how the command ends; that
nothing is left and that the same command then succeeds, with the numbers of an undisturbed run, holds for all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from meddler import WAYS

Runtime = Literal["process", "docker", "worker", "s3"]
CONTINUES = "stopped; the same command continues this run"
OWNER = "have its owner"


@dataclass(frozen=True)
class Cell:
    """One fault at one place.

    Attributes:
        what: task of the flow, or the file that is damaged.
        fault: in words.
        code: exit code of the disturbed command, negative for a signal; of a run on a worker the state it ends in.
        words: that the user reads, as a regular expression; empty where the run just goes on.
        quick: whether it is run in every test run.
    """

    runtime: Runtime
    what: str
    fault: str
    code: int | str
    words: str
    quick: bool = False

    @property
    def name(self) -> str:
        return f"{self.runtime}-{self.what}-{self.fault}".replace(" ", "_").replace("/", ".")


PROGRAMS = {  # by task: the stand-in that it runs
    "fetch-model": "fetch_model",
    "health-gate": "health_gate",
    "evaluate-before": "evaluate:base",
    "warm-start": "warm_start",
    "evaluate-warm-start": "evaluate:warm-start",
    "train": "fine_tune_local",
    "evaluate-after": "evaluate:latest",
}
BESIDE_PROGRAMS = ("build-images", "archive")  # tasks that ask the engine for something else than to run one
UNDER_LOCK = ("fetch-promoted", "promote")  # tasks of the flow's own process

MADE_AGAIN = "is damaged.*made again"
FILES = {  # by file of a run directory: what is said where it is cut short or a bit of it flips
    "config.yaml": "choose another run_id",
    "start.json": "is damaged; choose another run_id",
    "evaluation/base.json": MADE_AGAIN,
    "evaluation/warm-start.json": MADE_AGAIN,
    "evaluation/after.json": MADE_AGAIN,
    "evaluation/base.episodes.jsonl": MADE_AGAIN,
    "evaluation/after.episodes.jsonl": MADE_AGAIN,
    "result.json": MADE_AGAIN,
    "metrics.jsonl": "",  # a gap, which the report counts
    "checkpoints/warm-start/adapter.bin": MADE_AGAIN,
    "checkpoints/warm-start/digests.json": "made again",
    "checkpoints/step-000002/adapter.bin": MADE_AGAIN,
    "checkpoints/step-000002/state.json": MADE_AGAIN,
    "checkpoints/step-000002/digests.json": "made again",
    "checkpoints/step-000001/adapter.bin": "",  # no more needed
    "logs/train.log": "",
    "report.html": "",
}
ARCHIVED = {  # by file of the archive of a run that was stopped before it was judged
    "manifest.json": "damaged; it was written again",
    "evaluation/after.json": "was altered; it was written again",
    "checkpoints/step-000002/adapter.bin": "was altered; it was written again",
}
DAMAGE = ("cut short", "a bit flipped", "emptied")
REFUSING = ("start.json", "config.yaml")


def _programs() -> Iterator[Cell]:
    for task in PROGRAMS:
        quick = task == "train"
        gate = task == "health-gate"
        fetch = task == "fetch-model"
        yield Cell("process", task, "SIGTERM of the flow", 75, CONTINUES)
        yield Cell("process", task, "SIGINT of the flow", 75, CONTINUES)
        yield Cell("process", task, "SIGKILL of the flow", -9, "", quick)
        yield Cell("process", task, "program frozen, SIGTERM of the flow", 75, CONTINUES)
        killed = f"{task} was killed by signal 9"
        yield Cell("process", task, "SIGKILL of the program, once", 1 if gate else 0, killed if gate else "", quick)
        yield Cell("process", task, "SIGKILL of the program, for ever", 1, killed)
        yield Cell("process", task, "disk full", 2, "No space left on device.*free some")
        yield Cell("process", task, "memory ends", 1, f"{task} ran out of memory; lower")
        if not fetch:
            died = "ended before it was healthy" if gate else f"the environment service died during {task}"
            yield Cell("process", task, "SIGKILL of the service, once", 2 if gate else 0, died if gate else "", quick)
            yield Cell("process", task, "SIGKILL of the service, for ever", 2 if gate else 1, died)


def _flow() -> Iterator[Cell]:
    for task in UNDER_LOCK:
        yield Cell("process", task, "SIGTERM of the flow", 75, CONTINUES)
        yield Cell("process", task, "SIGINT of the flow", 75, CONTINUES)
        yield Cell("process", task, "SIGKILL of the flow", -9, "")


def _files() -> Iterator[Cell]:
    for file, words in FILES.items():
        for damage in DAMAGE:
            code = 2 if file in REFUSING else 0
            yield Cell(
                "process", file, damage, code, words, (file, damage) == ("evaluation/base.json", "a bit flipped")
            )
    for file, words in ARCHIVED.items():
        for damage in DAMAGE:
            yield Cell("process", f"archive/{file}", damage, 0, words)
    for damage in DAMAGE:
        yield Cell("process", "models/promoted.json", damage, 2, "promoted.json is damaged, or was edited: bring back")
    for file in (
        "config.yaml",
        "start.json",
        "evaluation/base.json",
        "result.json",
        "checkpoints/warm-start/adapter.bin",
    ):
        yield Cell("process", file, "another user's", 2, f"Permission denied: .*{file}: {OWNER}")
    for folder in ("run directory", "checkpoints", "evaluation", "logs", "models"):
        yield Cell(
            "process",
            folder,
            "another user's",
            2,
            f"may not be written to: {OWNER} .* give it to you",
            folder == "models",
        )
    for folder in ("run directory", "archives", "models"):
        yield Cell("process", folder, "read-only file system", 2, "may( not)? be written to")


def _networks() -> Iterator[Cell]:
    """A way in which a network is bad, for good or for a while."""
    for way in WAYS:
        yield Cell("process", "Prefect API, at the start", f"network {way}", 2, "no Prefect server answers at")
        yield Cell("process", "Prefect API, while a program works", f"network {way} for a while", 0, "")
        yield Cell("process", "environment.urls, at the start", f"network {way}", 2, "no environment answers at")
        yield Cell("process", "environment.urls, at the health gate", f"network {way} for a while", 0, "")
        yield Cell("process", "OpenEnv's repository", f"network {way}", 2, "cannot be cloned .*: check the network")


BREAKS_OFF = "breaks off in mid-upload"
FOR_GOOD = ("refuses", "answers garbage", "answers 500")  # of a store; the others differ in what they take to give up


def _stores() -> Iterator[Cell]:
    """The same of the network between a run and the S3 in which its archives are."""
    for way in WAYS:
        yield Cell("s3", "archives, at the start", f"network {way}", 2, "archives: .* cannot be written to: ")
    for way in (*WAYS, BREAKS_OFF):
        yield Cell("s3", "archive", f"network {way} for a while", 0, "")
    for way in (*FOR_GOOD, BREAKS_OFF):
        yield Cell("s3", "archive", f"network {way}", 2, "the store of the archive at s3://.* fails: ")
    for way in WAYS:
        yield Cell("s3", "fetch-promoted", f"network {way} for a while", 0, "")
    for way in FOR_GOOD:
        yield Cell("s3", "fetch-promoted", f"network {way}", 2, "the store of the archive at s3://.* fails: ")


def _hub() -> Iterator[Cell]:
    """That of the base model."""
    for way in WAYS:
        yield Cell("process", "fetch-model", f"hub {way}", 2, "the hub does not answer: check the network")
        yield Cell("process", "fetch-model", f"hub {way} for a while", 0, "")
    yield Cell("process", "fetch-model", "hub breaks off in mid-download, once", 0, "")
    yield Cell("process", "fetch-model", "hub breaks off in mid-download, for ever", 2, "the hub does not answer")


def _containers() -> Iterator[Cell]:
    """What `docker kill`, `docker stop` and `docker pause` do to a run in containers."""
    for task in ("fetch-model", "evaluate-before", "warm-start", "train"):
        yield Cell("docker", task, "SIGKILL of the container, once", 0, "")
    for task in ("evaluate-before", "train"):
        yield Cell("docker", task, "SIGKILL of the container, for ever", 1, f"{task} was killed by signal 9")
        died = f"the environment service died during {task}"
        yield Cell("docker", task, "SIGKILL of the service's container, once", 0, "")
        yield Cell("docker", task, "SIGKILL of the service's container, for ever", 1, died)
        yield Cell("docker", task, "SIGTERM of the flow", 75, CONTINUES)
        yield Cell("docker", task, "SIGKILL of the flow", -9, "")
    yield Cell("docker", "train", "the container is stopped", 0, "")
    yield Cell("docker", "train", "the container is paused for a while", 0, "")
    yield Cell("docker", "train", "the service's container is paused for a while", 0, "")


def _engines() -> Iterator[Cell]:
    """An engine that goes away under a run, with its containers or without, or takes connections and says nothing."""
    away = "the Docker Engine does not answer any more: start"
    for task in ("fetch-model", "evaluate-before", "train"):
        yield Cell("docker", task, "the engine is killed and comes back", 0, "")
    for task in ("evaluate-before", "train"):
        yield Cell("docker", task, "the engine is killed for good", 2, away)
    yield Cell("docker", "train", "the engine is stopped and comes back", 0, "")
    yield Cell("docker", "train", "the engine is killed and comes back with live-restore", 0, "")
    yield Cell("docker", "train", "the engine stands still for a while", 0, "")
    for task in BESIDE_PROGRAMS:
        yield Cell("docker", task, "the engine is killed and comes back", 0, "")
        yield Cell("docker", task, "the engine is killed for good", 2, away)
    for task in (*BESIDE_PROGRAMS, "fetch-model", "health-gate", "evaluate-before", "train"):
        yield Cell("docker", task, "the engine stands still for good", 2, away)


def _clocks() -> Iterator[Cell]:
    """The wall clock of flow, programs and service; of a worker's run that of the server, too."""
    for jump in ("clock an hour ahead", "clock an hour back"):
        for task in ("evaluate-before", "warm-start", "train"):
            yield Cell("process", task, jump, 0, "")
        yield Cell("worker", "train", jump, "Completed", "")


def _frozen() -> Iterator[Cell]:
    """A machine, or a part of it, that stands still for two minutes and goes on."""
    for task in ("evaluate-before", "warm-start", "train"):
        yield Cell("process", task, "SIGSTOP of the program for two minutes", 0, "")
        yield Cell("process", task, "flow and programs in the cgroup freezer for two minutes", 0, "")
    yield Cell("process", "train", "SIGSTOP of the service for two minutes", 0, "")


def _browsers() -> Iterator[Cell]:
    """Chromium, under the real programs."""
    for task in ("evaluate-before", "train"):
        yield Cell("process", task, "SIGKILL of Chromium, once", 0, "")
        yield Cell("process", task, "SIGKILL of Chromium, for ever", 1, "error: .*unscorable")
    yield Cell("process", "evaluate-before", "clock of Chromium an hour back", 0, "")
    yield Cell("process", "train", "clock of Chromium an hour ahead", 0, "")


GONE = "the worker, or the terminal, that this run belongs to is gone"


def _workers() -> Iterator[Cell]:
    """A Prefect server of its own, with a worker."""
    for task in ("evaluate-before", "train"):
        yield Cell("worker", task, "SIGKILL of the worker", "Crashed", GONE)
        yield Cell("worker", task, "SIGKILL of the worker and all below it", "Crashed", "no heartbeat")
        yield Cell("worker", task, "SIGKILL of the server for a while", "Completed", "")
        yield Cell("worker", task, "SIGSTOP of the server for a while", "Completed", "")
        yield Cell("worker", task, "power cut of an hour", "Crashed", "no heartbeat")
    yield Cell(
        "worker", "before the first task", "SIGKILL of the worker that claimed it", "Crashed", "did not begin it"
    )


CELLS = (
    *_programs(),
    *_flow(),
    *_files(),
    *_networks(),
    *_stores(),
    *_hub(),
    *_containers(),
    *_engines(),
    *_frozen(),
    *_clocks(),
    *_browsers(),
    *_workers(),
)
assert len({cell.name for cell in CELLS}) == len(CELLS)
