"""The flow `evaluate`: judges the promoted adapter, or a named one, on held-out pages.

    python flows/evaluate.py --help            every parameter

A checkpoint alone is judged by `python -m browser_control.programs.evaluate`.
"""

import contextlib
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from browser_control.pipeline.command_line import main_by_signature

    main_by_signature(__file__, "evaluate")

from typing import Any, Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from browser_control.pipeline import artifacts, judging, secrets, stages
from browser_control.pipeline.browsergym import BrowserGym
from browser_control.pipeline.chain import Chain
from browser_control.pipeline.parameters import Lot, Sessions
from browser_control.pipeline.run import Run, begin, web_task_secrets
from browser_control.records.summary import Scores, total

once: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False, "task_run_name": artifacts.task_name}


@task(name="fetch-adapter", **once)
def fetch_adapter(run: Run, adapter: str, models: str) -> judging.Judged:
    return judging.fetch_adapter(run, adapter, models)


@task(name="fetch-model", **once)
def fetch_model(run: Run) -> Path:
    return stages.fetch_model(run)


@task(name="take-gpu", **once)
def take_gpu(run: Run, services: contextlib.ExitStack) -> None:
    services.enter_context(stages.gpu(run))


@task(name="start-browsergym", **once)
def start_browsergym(run: Run, services: contextlib.ExitStack) -> BrowserGym:
    return services.enter_context(stages.browsergym(run, 0))


@task(name="health-gate", **once)
def health_gate(run: Run, environment: BrowserGym) -> None:
    stages.pass_health_gate(run, environment)


@task(name="evaluate-adapter", **once)
def evaluate_adapter(
    run: Run, environment: BrowserGym, judged: judging.Judged, pages: stages.Pages, lot: int
) -> Scores:
    return stages.evaluate(run, judged.evaluation, environment, pages, lot)


@flow(name="evaluate", validate_parameters=True)
def evaluate(
    config: str = "smollm2_135m_local_lora.yaml",
    adapter: str = "promoted",
    runtime: Literal["process", "docker"] = "process",
    environment_sessions: Sessions | None = None,
    runs: str = "runs",
    models: str = "models",
    overrides: list[str] | None = None,
    pages: Literal["evaluation", "final"] = "evaluation",
    lot: Lot = 0,
) -> str:
    """Judge an adapter on held-out pages.

    Args:
        config: A YAML file, or the name of one in configs/.
        adapter: promoted, base (the untrained model), or the archive whose adapter is judged.
        runtime: Where the programs run: as processes of this machine, or in Docker.
        environment_sessions: Episodes that run at a time. Empty: the configuration's.
        runs: Folder of the run directories.
        models: Folder that says which adapters are promoted.
        overrides: Values of the configuration to replace, as section.key=value.
        pages: Held-out pages for evaluation, or the final set, which decides nothing and is for what is published.
        lot: Of the pages for evaluation; lots share no seed, and each training run was judged on one of its own.

    Returns:
        Success over all pages, with its 95% Wilson interval.
    """
    chosen = judging.parameters(
        environment_sessions, overrides, config=config, runtime=runtime, runs=runs, models=models
    )
    needed = web_task_secrets(chosen)
    with (
        secrets.taken(needed) as held,
        begin(chosen, artifacts.RunLog, held) as run,
        contextlib.ExitStack() as services,
    ):
        artifacts.tag(run)
        then = Chain()
        judged = then(fetch_adapter, run, adapter, models)
        then(fetch_model, run)
        if stages.wants_gpu(run):
            then(take_gpu, run, services)
        environment = then(start_browsergym, run, services)
        then(health_gate, run, environment)
        scores = then(evaluate_adapter, run, environment, judged, pages, lot)
        artifacts.publish_scores(run, {judged.title: scores})
        return str(total(scores))
