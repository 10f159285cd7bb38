"""Metrics of a run: TensorBoard, `metrics.jsonl` and, where its key is set, Weights & Biases."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from browser_control.integrity import line, lines
from browser_control.run_directory import RunDirectory, write_text

_WANDB_SECONDS = 30.0  # that training waits for it to answer, once

Value = float | int | str | None


class Metrics:
    """Writes what every update measured.

    Args:
        run: whose `logs/` and `metrics.jsonl` are written.
        after: the update to continue after; what an interrupted run logged beyond it is taken back.
    """

    def __init__(self, run: RunDirectory, after: int, project: str = "browser-control") -> None:
        run.logs.mkdir(parents=True, exist_ok=True)
        self._path = run.metrics
        _keep_until(self._path, after)
        self._tensorboard = SummaryWriter(str(run.logs), purge_step=after + 1)
        self._wandb = _wandb(run, project)

    def log(self, update: int, values: Mapping[str, Value]) -> None:
        """One line of `metrics.jsonl`, and one point a number; names with a slash group them in TensorBoard."""
        with self._path.open("a") as file:
            file.write(line({"update": update, **values}))
        for name, value in values.items():
            if isinstance(value, int | float):
                self._tensorboard.add_scalar(name, value, update)
        self._tensorboard.flush()
        if self._wandb is not None:
            self._wandb.log(dict(values), step=update)

    def text(self, update: int, name: str, text: str) -> None:
        """A sample episode, say."""
        self._tensorboard.add_text(name, f"```\n{text}\n```", update)

    def close(self) -> None:
        self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


class Unlogged:
    """In place of `Metrics` in a process whose metrics another writes."""

    def log(self, update: int, values: Mapping[str, Value]) -> None: ...

    def text(self, update: int, name: str, text: str) -> None: ...

    def close(self) -> None: ...


def _keep_until(path: Path, update: int) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]  # a kill cuts the last one short
    found = list(lines(whole))
    if None in found:
        print(f"{path}: {found.count(None)} damaged lines are left out", flush=True)
    write_text(path, "".join(line(each) for each in found if each is not None and each.get("update", 0) <= update))


def _wandb(run: RunDirectory, project: str) -> Any:
    """A run of Weights & Biases if WANDB_API_KEY is set and one is to be had, else None: training goes on without."""
    if not os.environ.get("WANDB_API_KEY"):
        return None
    import wandb

    try:
        patience = wandb.Settings(init_timeout=_WANDB_SECONDS)
        return wandb.init(project=project, id=run.root.name, dir=str(run.logs), resume="allow", settings=patience)
    except wandb.Error as error:
        print(f"logging without Weights & Biases: {' '.join(str(error).split())}", flush=True)
        return None
