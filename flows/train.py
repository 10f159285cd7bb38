"""The flow `train`: the whole job, from the base model to an archive of the trained one.

Each task is a plain function of `browser_control.pipeline` with Prefect around it: remove the decorators and the code
still works. Long tasks are called directly, not submitted, so that a cancellation reaches their `finally`.

    python flows/train.py                      with no server: a temporary one
    PREFECT_API_URL=... python flows/train.py  on a server
    python flows/train.py --help               every parameter
"""

import contextlib
import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # parses before it imports this file again for the flow, so that --help needs no Prefect
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from browser_control.pipeline.command_line import main

    main(__file__)

from typing import Any, Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Cancelled

from browser_control.errors import BrowserControlError
from browser_control.pipeline import artifacts, judging, openenv, schedule, secrets, stages, start
from browser_control.pipeline.browsergym import BrowserGym
from browser_control.pipeline.chain import Chain
from browser_control.pipeline.parameters import Parameters, Port, Replicas, Seed, Sessions
from browser_control.pipeline.run import Run, begin, web_task_secrets
from browser_control.pipeline.runtimes.base import Images
from browser_control.pipeline.start import Start, StartFrom
from browser_control.records.promotion import Decision
from browser_control.records.summary import Scores


def may_succeed_next_time(task: object, task_run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed task is worth another attempt: not if memory ran out, or what was asked for is wrong."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, BrowserControlError):
        return error.retriable
    return not isinstance(error, OSError)


# What the tasks are given stays in this process: nothing is cached, nothing is stored.
once: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False, "task_run_name": artifacts.task_name}
again: dict[str, Any] = once | {
    "retries": 2,
    "retry_delay_seconds": [1, 10],
    "retry_condition_fn": may_succeed_next_time,
}
patiently = again | {"retries": 4, "retry_delay_seconds": [2, 8, 30, 60]}  # for a network that comes back


@task(name="clone-openenv", **patiently)
def clone_openenv(run: Run, url: str, ref: str) -> str:
    return stages.clone_openenv(run, url, ref)


@task(name="build-images", **again)
def build_images(run: Run, images: Images, openenv_commit: str) -> None:
    stages.build_images(run, images, openenv_commit)


@task(name="fetch-model", **again)
def fetch_model(run: Run) -> Path:
    return stages.fetch_model(run)


@task(name="take-gpu", **once)
def take_gpu(run: Run, services: contextlib.ExitStack) -> None:
    services.enter_context(stages.gpu(run))


@task(name="start-browsergym", **once)
def start_browsergym(run: Run, port: int, replicas: int, services: contextlib.ExitStack) -> BrowserGym:
    return services.enter_context(stages.browsergym(run, port, replicas))


@task(name="health-gate", **once)
def health_gate(run: Run, environment: BrowserGym) -> None:
    stages.pass_health_gate(run, environment)


@task(name="evaluate-before", **again)
def evaluate_before(run: Run, environment: BrowserGym) -> Scores:
    return stages.evaluate(run, "base", environment)


@task(name="fetch-promoted", **again)
def fetch_promoted(run: Run, models: str, start_from: StartFrom) -> Start:
    return start.fetch_promoted(run, models, start_from)


@task(name="evaluate-promoted", **again)
def evaluate_promoted(run: Run, environment: BrowserGym) -> Scores:
    return stages.evaluate(run, "promoted", environment)


@task(name="warm-start", **again)
def warm_start(run: Run, environment: BrowserGym) -> None:
    stages.warm_start(run, environment)


@task(name="evaluate-warm-start", **again)
def evaluate_warm_start(run: Run, environment: BrowserGym) -> Scores:
    return stages.evaluate(run, "warm-start", environment)


@task(name="train", **again)
def fine_tune(run: Run, environment: BrowserGym, begun: Start) -> None:
    stages.train(run, environment, *start.arguments(run, begun))


@task(name="evaluate-after", **again)
def evaluate_after(run: Run, environment: BrowserGym) -> Scores:
    return stages.evaluate(run, "after", environment)


@task(name="archive", **again)
def archive_run(run: Run, openenv_commit: str | None) -> None:
    stages.archive(run, openenv_commit)


@task(name="promote", **again)
def promote(run: Run, models: str) -> Decision:
    return stages.promote(run, models, partial(judging.judge_beside, run))


@flow(name="train", validate_parameters=True)
def train(
    config: str = "smollm2_135m_local_lora.yaml",
    runtime: Literal["process", "docker"] = "process",
    run_id: str = "",
    seed: Seed | None = None,
    environment_sessions: Sessions | None = None,
    environment_port: Port = 0,
    environment_replicas: Replicas = 1,
    runs: str = "runs",
    archives: str = "archives",
    overrides: list[str] | None = None,
    start_from: StartFrom = "base",
    models: str = "models",
    gpus: Literal["auto", "all", "none"] = "auto",
    memory: str = "",
    openenv_url: str = openenv.URL,
    openenv_ref: str = openenv.COMMIT,
    training_base: str = "",
    browsergym_base: str = "",
    docker_host: str = "",
    docker_registry: str = "",
) -> str | State[Any]:
    """Train a small language model to operate web pages, and say how much better it got.

    Args:
        config: A YAML file, or the name of one in configs/.
        runtime: Where the programs run: as processes of this machine, or in containers.
        run_id: Names the run. Empty: from the configuration, so that the same command continues its run.
        seed: Seed of the run. Empty: the configuration's.
        environment_sessions: Episodes that run at a time. Empty: the configuration's.
        environment_port: TCP port of this machine for the BrowserGym service. 0: a free one; in Docker none.
        environment_replicas: BrowserGym services that share the sessions.
        runs: Folder of the run directories.
        archives: Folder, or any other fsspec URL, of the archives.
        overrides: Values of the configuration to replace, as section.key=value.
        start_from: What training starts from: the base model, or the promoted adapter, if there is one.
        models: Folder that says which adapters are promoted.
        gpus: Docker: the GPUs that training gets; auto: all, where there are any.
        memory: Docker: memory limit of a training container, as 8g. Empty: nearly all.
        openenv_url: Docker: any git URL or folder to clone OpenEnv from.
        openenv_ref: Docker: commit, branch or tag of OpenEnv.
        training_base: Docker: base image for training. Empty: the Dockerfile's.
        browsergym_base: Docker: base image for BrowserGym. Empty: the Dockerfile's.
        docker_host: Docker: name of a DockerHost block. Empty: DOCKER_HOST, or this machine.
        docker_registry: Docker: name of a DockerRegistryCredentials block to pull with.

    Returns:
        Where the archive is; or the state Cancelled, where the schedule's next run is due already.
    """
    chosen = Parameters(**{name: value for name, value in locals().items() if value is not None})
    if reason := schedule.superseded():
        return Cancelled(message=reason)
    needed = web_task_secrets(chosen)
    with (
        secrets.taken(needed) as held,
        begin(chosen, artifacts.RunLog, held, trains=True) as run,
        contextlib.ExitStack() as services,
    ):
        artifacts.tag(run)
        then = Chain()
        commit = None
        if run.runtime.images is not None:
            commit = then(clone_openenv, run, chosen.openenv_url, chosen.openenv_ref)
            then(build_images, run, run.runtime.images, commit)
        begun = then(fetch_promoted, run, chosen.models, chosen.start_from)
        then(fetch_model, run)
        if stages.wants_gpu(run):
            then(take_gpu, run, services)
        environment = then(start_browsergym, run, chosen.environment_port, chosen.environment_replicas, services)
        then(health_gate, run, environment)
        scores = {"base": then(evaluate_before, run, environment)}
        if begun.judged:
            scores["promoted"] = then(evaluate_promoted, run, environment)
        if stages.wants_warm_start(run) and not begun.from_promoted:
            then(warm_start, run, environment)
            if run.configuration.training.updates:  # without, its adapter is the one that is judged at the end
                scores["warm-start"] = then(evaluate_warm_start, run, environment)
        then(fine_tune, run, environment, begun)
        scores["after"] = then(evaluate_after, run, environment)
        services.close()
        then(archive_run, run, commit)
        artifacts.publish(run, scores, then(promote, run, chosen.models))
        return run.archive_url
