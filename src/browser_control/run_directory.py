"""Where a run keeps its files, and how they are written: beside, then renamed.

The layout is the contract between the programs and the flow; `docs/architecture.md` draws it.
"""

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STEP = re.compile(r"step-(\d{6})")


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run. Nothing is created by naming it.

    Attributes:
        log_folder: where logs are, if not in `root`, as in a container that has a folder for all of them.
    """

    root: Path
    log_folder: Path | None = None

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def logs(self) -> Path:
        return self.log_folder or self.root / "logs"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def warm_start(self) -> Path:
        return self.checkpoints / "warm-start"

    @property
    def promoted(self) -> Path:
        """A copy of the adapter that was in use when the run began."""
        return self.checkpoints / "promoted"

    @property
    def start(self) -> Path:
        """What the run began from: see `pipeline.promoted`."""
        return self.root / "start.json"

    @property
    def kept(self) -> Path:
        """The episodes of `warm_start.kept` as they were when the run began: see `language.kept`."""
        return self.root / "kept.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    @property
    def report(self) -> Path:
        """The run as one HTML file, written before it is archived."""
        return self.root / "report.html"

    @property
    def decision(self) -> Path:
        """Whether the archived adapter was put to use, and why: with it a run is finished."""
        return self.root / "decision.json"

    def evaluation(self, name: str) -> Path:
        """The scores called `name`: `base`, `promoted`, `warm-start` or `after`."""
        return self.root / "evaluation" / f"{name}.json"

    def pages(self, purpose: str, lot: int) -> Path:
        """The pages of an evaluation, as they were chosen."""
        return self.root / "evaluation" / f"pages-{purpose}-{lot}.json"

    def step(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:06d}"

    def steps(self) -> list[Path]:
        """Checkpoints of training, oldest first; temporary folders are passed over."""
        if not self.checkpoints.is_dir():
            return []
        return sorted(path for path in self.checkpoints.iterdir() if _STEP.fullmatch(path.name))


def write_text(path: Path, text: str) -> None:
    """Writes `path` so that a reader sees all of it or nothing, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """`write_text` of `value` as indented JSON."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def sync(path: Path) -> None:
    """Waits until what was written to a file, or the names in a folder, would outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
