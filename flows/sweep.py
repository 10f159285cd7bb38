"""The flow `sweep`: trains once for each combination of values, and gathers one table.

On a server it starts runs of a deployment, which the workers share; without one (`deployment` empty) it trains here,
one after the other:

    python flows/sweep.py --grid "{seed: [0, 1]}"
"""

import contextlib
import importlib.util
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from browser_control.pipeline.command_line import main_by_signature

    main_by_signature(__file__, "sweep")

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.futures import wait
from prefect.runtime import task_run

from browser_control.pipeline import artifacts
from browser_control.pipeline.grid import Combination, combinations, rows, write_comparison
from browser_control.pipeline.progress import Terminal
from browser_control.records import archive
from browser_control.records.registry import absolute

once: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


@task(name="train-one", task_run_name="{combination}", **once)
def train_one(deployment: str, combination: Combination, parameters: dict[str, Any]) -> str:
    """Starts a run of the deployment and waits for it; returns its archive, or why there is none."""
    url = absolute(archive.join(parameters["archives"], parameters["run_id"]))
    if archive.exists(url):
        return url
    started = run_deployment(
        deployment,
        parameters=parameters,
        flow_run_name=str(combination),
        poll_interval=2,
        idempotency_key=str(task_run.id),  # the client asks again where a busy server's answer is late
    )
    assert isinstance(started, FlowRun)
    state = started.state
    if state is None or not state.is_completed():
        return f"{state.name if state else 'unknown'}: {state.message if state else ''}"
    return url


@flow(name="sweep", validate_parameters=True)
def sweep(
    grid: dict[str, list[Any]],
    deployment: str = "",
    config: str = "smollm2_135m_local_lora.yaml",
    name: str = "sweep",
    runs: str = "runs",
    archives: str = "archives",
    overrides: list[str] | None = None,
) -> list[dict[str, str]]:
    """Train once for each combination of values, and compare; nothing is promoted.

    Args:
        grid: Values to try for each key of the configuration, as {"training.learning_rate": [1e-4, 2e-4]}.
        deployment: Whose runs are started, as train/smollm2-135m. Empty: trains here, one after the other.
        config: A YAML file, or the name of one in configs/.
        name: Begins the names of the runs; the same name continues a sweep.
        runs: Folder of the run directories.
        archives: Folder, or any other fsspec URL, of the archives.
        overrides: Values that all runs share, as section.key=value.

    Returns:
        One row for each combination.
    """
    shared = {"config": config, "runs": runs, "archives": archives}
    planned = combinations(grid, name)
    wanted = {
        each: {
            **shared,
            "run_id": each.run_id,
            "overrides": [*(overrides or []), *each.overrides],
            "models": f"{runs}/{name}-models/{each.run_id}",  # each by itself: a sweep promotes nothing
        }
        for each in planned
    }
    if deployment:
        futures = {each: train_one.submit(deployment, each, parameters) for each, parameters in wanted.items()}
        wait(list(futures.values()))
        results = {each: str(future.result(raise_on_failure=False)) for each, future in futures.items()}
    else:
        results = {each: _train_here(parameters) for each, parameters in wanted.items()}
    table = rows(results)
    artifacts.publish_table(name, table)
    with contextlib.suppress(SystemExit):  # rich's, where nobody reads any more: the table is in Prefect
        Terminal().compared(table, write_comparison(name, table, runs))
    return table


def _train_here(parameters: dict[str, Any]) -> str:
    """Runs the flow `train`, of the file beside this one, unless its archive is there."""
    url = archive.join(parameters["archives"], parameters["run_id"])
    if archive.exists(url):
        return url
    spec = importlib.util.spec_from_file_location("train", Path(__file__).with_name("train.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.train(**parameters))
