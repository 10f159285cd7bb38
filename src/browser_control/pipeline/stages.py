"""The programs of a run as stages: what each is called with, what it leaves, and when it need not run again."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from browser_control import configuration
from browser_control.errors import BrowserControlError
from browser_control.pipeline import archive as archives
from browser_control.pipeline import summary
from browser_control.pipeline.browsergym import BrowserGym, given_urls
from browser_control.pipeline.progress import Pace, parse_progress
from browser_control.pipeline.promotion import Decision
from browser_control.pipeline.registry import Registry
from browser_control.pipeline.run import Run, announced
from browser_control.pipeline.runtimes.base import Service, Stage, StageError
from browser_control.pipeline.runtimes.process import free_port
from browser_control.run_directory import read_json

Evaluation = Literal["base", "promoted", "warm-start", "after"]

_EVALUATIONS = {  # the task that makes it, and the checkpoint that is judged
    "base": ("evaluate-before", "base"),
    "promoted": ("evaluate-promoted", None),  # the run's copy of it
    "warm-start": ("evaluate-warm-start", "warm-start"),
    "after": ("evaluate-after", "latest"),
}


def package() -> str:
    """The package whose programs are run: ours, or one with stand-ins of the same names, as tests use it."""
    return os.environ.get("BROWSER_CONTROL_PROGRAMS", "browser_control")


def program(run: Run, name: str, *arguments: str, log: str, environ: Mapping[str, str] | None = None) -> Stage:
    """A program with the arguments that all of them take."""
    command = (sys.executable, "-m", f"{package()}.{name}")
    where = ("--config-file-name", str(run.directory.config), "--run-directory", str(run.directory.root))
    variables = {**(environ or {}), **run.secrets.get(name, {})}
    if name != "fetch_model":
        variables["HF_HUB_OFFLINE"] = "1"  # the model is there: ask nobody, so that no other program needs a token
    return Stage(log, command + where + arguments, run.directory.logs / f"{log}.log", variables)


class ServiceDied(BrowserControlError):
    """The environment service ended under a stage; started again, the stage may go on."""


def fetch_model(run: Run) -> Path:
    """Puts the base model where training finds it; returns its folder."""
    with announced(run, "fetch-model") as words:
        lines: list[str] = []
        _run(run, program(run, "fetch_model", log="fetch-model"), lines)
        words.append(run.configuration.model.name)
        return Path(lines[-1])


@contextlib.contextmanager
def browsergym(run: Run, port: int) -> Iterator[BrowserGym]:
    """The service that the run is told to use, or one of its own for the length of the block; 0 takes a free port."""
    web_task = run.configuration.judged_web_tasks[0]
    with contextlib.ExitStack() as stack:
        with announced(run, "start-browsergym") as words:
            if urls := given_urls(run.configuration):
                environment = BrowserGym(urls, web_task)
            else:
                served = stack.enter_context(run.runtime.serve(_environment_service(run, port or free_port())))
                environment = BrowserGym(served.urls, web_task, served)
            words += environment.urls
        yield environment


def pass_health_gate(run: Run, environment: BrowserGym) -> None:
    """Waits until a real browser answers; raises what `health.pass_gate` raises."""
    with announced(run, "health-gate") as words:
        for health in environment.pass_gate():
            words.append(f"{health.web_task}, {health.elements} elements")


def evaluate(run: Run, name: Evaluation, environment: BrowserGym) -> summary.Scores:
    """Scores on held-out pages, from `evaluation/NAME.json` where they are there."""
    stage, checkpoint = _EVALUATIONS[name]
    output = run.directory.evaluation(name)
    with announced(run, stage) as words:
        if not output.exists():
            arguments = ("--checkpoint", checkpoint or str(run.directory.promoted), "--output", str(output))
            _run_on(environment, run, program(run, "evaluate", *arguments, log=stage, environ=_at(environment)))
        scores = summary.read_scores(read_json(output))
        words.append(f"success {summary.total(scores)}")
        return scores


def wants_warm_start(run: Run) -> bool:
    return run.configuration.warm_start.demonstrations > 0


def warm_start(run: Run, environment: BrowserGym) -> None:
    """Behaviour cloning, unless its checkpoint is there."""
    with announced(run, "warm-start") as words:
        if not run.directory.warm_start.exists():
            _run_on(environment, run, program(run, "warm_start", log="warm-start", environ=_at(environment)))
        words.append(f"{run.configuration.warm_start.demonstrations} demonstrations")


def train(run: Run, environment: BrowserGym, *start: str) -> None:
    """GRPO, from the newest checkpoint where there is one, unless its result is there.

    Args:
        start: arguments that say what to begin from.
    """
    with announced(run, "train") as words:
        if not run.directory.result.exists():
            _run_on(environment, run, program(run, "fine_tune_local", *start, log="train", environ=_at(environment)))
        words.append(f"{run.configuration.training.updates} updates")


def archive(run: Run) -> None:
    """Copies what mattered to the archive and reads it back; the run directory stays."""
    with announced(run, "archive") as words:
        origin = archives.Origin(git_commit=archives.git_commit(configuration.CONFIGS.parent))
        archives.write(run.directory, run.archive_url, run.id, run.configuration, origin)
        manifest = archives.verify(run.archive_url)
        words.append(f"{len(manifest['files'])} files, {run.archive_url}")


def promote(run: Run, models: str) -> Decision:
    """Puts the archived adapter to use if it is better than the one in use; says why, or why not."""
    with announced(run, "promote") as words:
        rule = run.configuration.promotion
        decision = Registry(models, run.configuration.name).promote(run.archive_url, rule)
        words.append(decision.reason)
        return decision


def _environment_service(run: Run, port: int) -> Service:
    """The BrowserGym service with the sessions that the run asks for, and one to look at its health."""
    settings = run.configuration.environment
    arguments = ("--port", port, "--sessions", settings.sessions + 1, "--max-turns", settings.max_turns)
    command = (sys.executable, "-m", f"{package()}.environment", *map(str, arguments))
    return Service("environment", command, run.directory.logs / "environment.log", port=port)


def _at(environment: BrowserGym) -> dict[str, str]:
    return {"BROWSERGYM_URL": ",".join(environment.urls)}


def _run_on(environment: BrowserGym, run: Run, stage: Stage) -> None:
    """Runs a stage that needs the environment; where that died, the stage's failure is the environment's."""
    environment.revive()
    try:
        _run(run, stage)
    except StageError as error:
        if environment.died:
            words = environment.last_words()
            raise ServiceDied(f"the environment service died during {stage.name}: {words}") from error
        raise


def _run(run: Run, stage: Stage, lines: list[str] | None = None) -> None:
    """Runs a stage and tells the run's listener of its lines and its progress."""
    pace = Pace()

    def on_line(line: str) -> None:
        progress = parse_progress(line)
        if progress is not None:
            run.listener.progressed(stage.name, progress, pace.seconds_left(progress, time.monotonic()))
            return
        run.listener.line(stage.name, line)
        if lines is not None and line.strip():
            lines.append(line)

    run.runtime.run(stage, on_line)
