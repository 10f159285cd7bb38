"""The flow `benchmark`: plays a public benchmark with the promoted adapter, or a named one, by its protocol.

    python flows/benchmark.py --help           every parameter

`browser-control benchmark miniwob` does the same without Prefect, and judges other models too (docs/benchmark.md).
"""

import contextlib
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from browser_control.pipeline.command_line import main_by_signature

    main_by_signature(__file__, "benchmark")

from typing import Any, Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from browser_control.pipeline import artifacts, judging, secrets, stages
from browser_control.pipeline.browsergym import BrowserGym
from browser_control.pipeline.chain import Chain
from browser_control.pipeline.parameters import Sessions
from browser_control.pipeline.run import Run, begin
from browser_control.web_tasks.benchmark import MAX_TURNS

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


@task(name="play-benchmark", **once)
def play_benchmark(run: Run, environment: BrowserGym, judged: judging.Judged, subset: stages.Subset) -> dict[str, Any]:
    return stages.benchmark(run, environment, judged.evaluation, judged.words, subset)


@flow(name="benchmark", validate_parameters=True)
def benchmark(
    config: str = "smollm2_135m_miniwob.yaml",
    adapter: str = "promoted",
    subset: Literal["all", "56", "heldout23"] = "all",
    runtime: Literal["process", "docker"] = "process",
    environment_sessions: Sessions | None = None,
    runs: str = "runs",
    models: str = "models",
    overrides: list[str] | None = None,
) -> str:
    """Play BrowserGym's MiniWoB benchmark with an adapter.

    Args:
        config: A YAML file, or the name of one in configs/.
        adapter: promoted, base (the untrained model), or the archive whose adapter plays.
        subset: Of its web tasks: all 125, the literature's 56, or PipelineRL's 23 held-out ones.
        runtime: Where the programs run: as processes of this machine, or in Docker.
        environment_sessions: Episodes that run at a time. Empty: the configuration's.
        runs: Folder of the run directories.
        models: Folder that says which adapters are promoted.
        overrides: Values of the configuration to replace, as section.key=value.

    Returns:
        Strict success over what was played, with its 95% Wilson interval.
    """
    overrides = [*(overrides or []), f"environment.max_turns={MAX_TURNS}"]
    chosen = judging.parameters(
        environment_sessions, overrides, config=config, runtime=runtime, runs=runs, models=models
    )
    with secrets.taken() as held, begin(chosen, artifacts.RunLog, held) as run, contextlib.ExitStack() as services:
        artifacts.tag(run)
        then = Chain()
        judged = then(fetch_adapter, run, adapter, models)
        then(fetch_model, run)
        if stages.wants_gpu(run):
            then(take_gpu, run, services)
        environment = then(start_browsergym, run, services)
        then(health_gate, run, environment)
        scores = then(play_benchmark, run, environment, judged, subset)
        artifacts.publish_benchmark(run, scores)
        whole = next(iter(scores["subsets"].values()))["strict"]
        return f"{whole['rate']:.2f} [{whole['low']:.2f}, {whole['high']:.2f}]"
