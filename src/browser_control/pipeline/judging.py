"""Judging an adapter outside of the run that made it."""

import contextlib
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from browser_control import configuration
from browser_control.errors import UserError
from browser_control.language.version import VERSION
from browser_control.pipeline import stages
from browser_control.pipeline.parameters import Parameters, validate
from browser_control.pipeline.run import Run, announced, begin
from browser_control.records import archive
from browser_control.records.promotion import Decision
from browser_control.records.registry import Candidate, Promoted, Registry, absolute, misfit, read_candidate
from browser_control.run_directory import RunDirectory, write_json


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
            if run.configuration.misfit(candidate.settings.shape):
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


def judge_beside(run: Run, candidate: Candidate, promoted: Promoted) -> dict[str, Any]:
    """Plays the adapter in use on the pages that the candidate was judged on; returns its evaluation.

    Raises:
        UserError: its archive is not whole, or what is needed to play is not there.
    """
    folder = run.directory.checkpoints / f"beside-{promoted.run_id}"
    take_pages(run.directory, candidate)
    with announced(run, "fetch-adapter") as words:
        archive.fetch(promoted.archive, promoted.checkpoint, folder)
        words.append(f"run {promoted.run_id}, which was promoted meanwhile")
    with contextlib.ExitStack() as services:
        stages.fetch_model(run)
        if stages.wants_gpu(run):
            services.enter_context(stages.gpu(run))
        environment = services.enter_context(stages.browsergym(run, 0))
        stages.pass_health_gate(run, environment)
        return stages.evaluate_beside(run, folder, environment, candidate.lot)


def take_pages(directory: RunDirectory, candidate: Candidate) -> None:
    """Lets the run play the very pages that the candidate's evaluation lists, unless it has them.

    Chosen anew, by another release say, they might be others, and the two could not be compared.
    """
    path = directory.pages("evaluation", candidate.lot)
    if path.exists():
        return
    pages: dict[str, list[tuple[int, str]]] = {name: [] for name in candidate.settings.judged_web_tasks}
    for each in candidate.after["episodes"]:
        pages.setdefault(each["web_task"], []).append((each["seed"], each["page"]))
    asked = {
        "web_tasks": list(candidate.settings.judged_web_tasks),
        "episodes": candidate.settings.evaluation.episodes,
        "language": candidate.after.get("language", VERSION),
    }
    chosen = [{"web_task": name, "pages": found, "drawn": len(found)} for name, found in pages.items()]
    write_json(path, {"asked": asked, "chosen": chosen})


def promote(url: str, models: str, runs: str = "runs") -> Decision:
    """Judges an archived adapter again and puts it to use if it is better; plays what must be played for that.

    Raises:
        UserError: what is needed to play is not there.
    """
    url = absolute(url)

    def judge(candidate: Candidate, promoted: Promoted) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="browser-control-") as folder:
            config = Path(folder) / "config.yaml"
            configuration.write(candidate.settings, config)
            with begin(parameters(None, None, config=str(config), runs=runs, models=models)) as run:
                return judge_beside(run, candidate, promoted)

    return Registry(models, read_candidate(url).settings.name).promote(url, judge=judge)


def parameters(environment_sessions: int | None, overrides: list[str] | None, **values: str) -> Parameters:
    """An evaluation's parameters as a run has them."""
    chosen = {
        "run_id": name_run(),
        "environment_sessions": environment_sessions,
        "overrides": overrides or [],
        **values,
    }
    return validate(chosen)
