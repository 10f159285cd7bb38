"""What a run begins from: the base model, or the promoted adapter, of which it keeps a copy of its own.

The copy is judged beside the run's adapter on the same pages, whatever training begins from.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from browser_control.errors import ArchiveInvalid, CheckpointDamaged, ConfigurationError, RecordDamaged
from browser_control.integrity import read_sealed, verify_folder, write_sealed
from browser_control.pipeline.run import Run, announced
from browser_control.records import archive, summary
from browser_control.records.registry import Promoted, Registry, misfit, other_language

StartFrom = Literal["base", "promoted"]


class Start(BaseModel):
    """Written once, when the run begins: a run that continues does so from where it began.

    Attributes:
        start_from: what was asked for.
        seeds_drawn: training seeds to pass over.
        lot: of held-out pages, that the run is judged on.
        promoted: the adapter in use at that time.
        trouble: why that one cannot be judged in this run; empty where it can.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start_from: StartFrom
    seeds_drawn: int = 0
    lot: int = 0
    promoted: Promoted | None = None
    trouble: str = ""

    @property
    def judged(self) -> bool:
        """Whether there is a promoted adapter to judge beside the run's own."""
        return self.promoted is not None and not self.trouble

    @property
    def from_promoted(self) -> bool:
        return self.start_from == "promoted" and self.promoted is not None


def fetch_promoted(run: Run, models: str, start_from: StartFrom) -> Start:
    """Copies the promoted adapter into the run, once, and says what training begins from.

    Raises:
        ConfigurationError: the run was begun from something else.
        ArchiveInvalid: training is to begin from the promoted adapter, and its archive is not whole.
    """
    with announced(run, "fetch-promoted") as words:
        start = _read(run.directory.start)
        if start is None:
            start = _begin(run, Registry(models, run.configuration.name), start_from)
            write_sealed(run.directory.start, start.model_dump(mode="json"))
        elif start.start_from != start_from:
            raise ConfigurationError(f"run {run.id!r} was begun from {start.start_from}; choose another run_id")
        else:
            _mend_copy(run, start, words)
        words.append(_describe(start))
        return start


def arguments(run: Run, start: Start) -> tuple[str, ...]:
    """What tells the training program to begin from the promoted adapter, on pages that it has not seen."""
    if not start.from_promoted:
        return ()
    return ("--initial-adapter", str(run.directory.promoted), "--seeds-drawn", str(start.seeds_drawn))


def _begin(run: Run, registry: Registry, start_from: StartFrom) -> Start:
    record = registry.read()
    if record.promoted is None:
        return Start(start_from=start_from, lot=registry.take_lot())
    trouble = misfit(record.promoted, run.configuration)
    if not trouble:
        try:
            archive.fetch(record.promoted.archive, record.promoted.checkpoint, run.directory.promoted)
        except ArchiveInvalid as error:
            trouble = (
                f"{error}; `{summary.command('browser-control')} rollback {registry.name}` goes back to the one before"
            )
    if start_from == "promoted" and (words := trouble or other_language(record.promoted)):
        raise ArchiveInvalid(f"cannot start from the promoted adapter: {words}")
    lot = registry.take_lot()  # last, so that an attempt that fails takes none
    if start_from == "base":
        return Start(start_from="base", lot=lot, promoted=record.promoted, trouble=trouble)
    return Start(start_from="promoted", lot=lot, promoted=record.promoted, seeds_drawn=record.seeds_drawn)


def _mend_copy(run: Run, start: Start, words: list[str]) -> None:
    """Copies the promoted adapter again, where the run's copy of it is not what was copied.

    Raises:
        ArchiveInvalid: its archive is not whole either.
    """
    if start.promoted is None or start.trouble:
        return
    try:
        verify_folder(run.directory.promoted)
    except CheckpointDamaged as error:
        words.append(f"{error}; it was copied again")
        archive.fetch(start.promoted.archive, start.promoted.checkpoint, run.directory.promoted)


def _read(path: Path) -> Start | None:
    if not path.exists():
        return None
    try:
        return Start.model_validate(read_sealed(path))
    except (RecordDamaged, ValidationError) as error:
        raise ConfigurationError(f"{path} is damaged; choose another run_id") from error


def _describe(start: Start) -> str:
    if start.promoted is None:
        return "nothing is promoted yet" + (": from the base model" if start.start_from == "promoted" else "")
    if start.trouble:
        return start.trouble
    return f"run {start.promoted.run_id}" + (", to start from" if start.from_promoted else ", to compare with")
