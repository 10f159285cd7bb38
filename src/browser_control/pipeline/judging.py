"""Judging an adapter outside of the run that made it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from browser_control.errors import UserError
from browser_control.pipeline.parameters import Parameters, validate
from browser_control.pipeline.run import Run, announced
from browser_control.records import archive
from browser_control.records.registry import Registry, misfit, read_candidate


@dataclass(frozen=True)
class Judged:
    """What is judged: the base model, or an adapter that the run holds a copy of."""

    evaluation: Literal["base", "promoted"]
    title: Literal["base", "promoted", "archived"]
    words: str


def name_run(now: datetime | None = None) -> str:
    """A run id for an evaluation: each is a run of its own."""
    return f"evaluation-{now or datetime.now(UTC):%Y%m%d-%H%M%S-%f}"


def fetch_adapter(run: Run, adapter: str, models: str) -> Judged:
    """Copies what `adapter` names into the run: `promoted`, or an archive; `base` needs none.

    Raises:
        UserError: nothing is promoted, or the adapter is of another model.
        ArchiveInvalid: its archive is not whole.
    """
    with announced(run, "fetch-adapter") as words:
        if adapter == "base":
            judged = Judged("base", "base", "the base model")
        elif adapter == "promoted":
            judged = _fetch_promoted(run, models)
        else:
            candidate = read_candidate(adapter)
            if candidate.settings.shape != run.configuration.shape:
                raise UserError(f"the adapter of {adapter} is of another base model or LoRA shape")
            archive.fetch(candidate.url, candidate.checkpoint, run.directory.promoted)
            judged = Judged("promoted", "archived", f"run {candidate.manifest['run_id']}")
        words.append(judged.words)
        return judged


def _fetch_promoted(run: Run, models: str) -> Judged:
    name = run.configuration.name
    promoted = Registry(models, name).read().promoted
    if promoted is None:
        raise UserError(f"no adapter of {name!r} was promoted yet (in {models}); adapter=base judges the base model")
    if words := misfit(promoted, run.configuration):
        raise UserError(words)
    archive.fetch(promoted.archive, promoted.checkpoint, run.directory.promoted)
    return Judged("promoted", "promoted", f"run {promoted.run_id}")


def parameters(environment_sessions: int | None, overrides: list[str] | None, **values: str) -> Parameters:
    """An evaluation's parameters as a run has them."""
    chosen = {
        "run_id": name_run(),
        "environment_sessions": environment_sessions,
        "overrides": overrides or [],
        **values,
    }
    return validate(chosen)
