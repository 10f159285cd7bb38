"""Operation on a real Prefect server with real workers: what its users and their nights do to it."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import PLANTED, Server, kill_tree, marked, read_json
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.states import Scheduled

from browser_control.pipeline import archive
from browser_control.pipeline.registry import Registry

Calls = Callable[[str], list[str]]
LOCAL, GPU = "train/smollm2-135m", "train/lfm2-350m"


@pytest.fixture(scope="module")
def killed(server: Server) -> Iterator[tuple[FlowRun, float]]:
    """A run whose worker, and all that descends from it, was killed; and when."""
    worker = server.work("gpu")
    run = server.run(GPU, server.parameters(run_id="killed"), STAND_IN="fine_tune_local=hang")
    server.wait_for_text("killed", "progress")
    kill_tree(worker)
    yield run, time.time()


def test_three_nights_and_a_rollback(server: Server, killed: object, calls: Calls) -> None:
    parameters = [f"-p={name}={value}" for name, value in server.parameters(run_id="first").items()]
    environ = "--job-variable=env={}".format('{"STAND_IN_SKILL": "6"}')
    done = server.command("prefect", "deployment", "run", LOCAL, "--watch", *parameters, environ)
    assert done.returncode == 0, done.stdout + done.stderr + server.tail()
    archive.verify(str(server.folder / "archives" / "first"))

    registry = Registry(server.folder / "models", "stand-in")
    scores = []
    for night, skill in (("second", 10), ("third", 5)):
        run = server.run(
            LOCAL, server.parameters(run_id=night, start_from="promoted"), STAND_IN_SKILL=str(skill), STAND_IN=""
        )
        server.wait_for(run, "Completed")
        promoted = registry.read().promoted
        assert promoted is not None
        scores.append((promoted.run_id, promoted.successes))
        assert "warm_start" not in calls(night)
        assert read_json(server.folder / "runs" / night / "start.json")["seeds_drawn"] > 0
    assert scores == [("second", 20), ("second", 20)]
    assert registry.read().seeds_drawn == 12  # of three runs, each behind the one before
    evaluation = {
        name: value for name, value in server.parameters().items() if name in {"config", "runtime", "runs", "models"}
    }
    server.wait_for(server.run("evaluate/smollm2-135m", evaluation), "Completed")
    models = str(server.folder / "models")
    assert server.command("browser-control", "rollback", "stand-in", "--models", models).returncode == 0
    assert "first" in server.command("browser-control", "promoted", "stand-in", "--models", models).stdout


def test_a_cancelled_run_ends_in_ten_seconds_with_nothing_left_and_continues(server: Server, calls: Calls) -> None:
    parameters = server.parameters(run_id="cancelled")
    run = server.run(LOCAL, parameters, STAND_IN="fine_tune_local=wait")
    server.wait_for_text("cancelled", "progress")
    server.cancel(run)
    server.wait_for_none("cancelled", seconds=10)
    server.wait_for(run, "Cancelled", seconds=60)  # the worker imports the flow once more, to look for hooks
    server.wait_for(server.run(LOCAL, parameters), "Completed")
    archive.verify(str(server.folder / "archives" / "cancelled"))
    assert calls("cancelled").count("warm_start") == 1


def test_a_run_outlives_a_restart_of_the_server(server: Server) -> None:
    run = server.run(LOCAL, server.parameters(run_id="restarted"), STAND_IN="fine_tune_local=wait")
    server.wait_for_text("restarted", "progress")
    server.kill()
    server.start()
    (server.folder / "release").touch()
    server.wait_for(run, "Completed")
    archive.verify(str(server.folder / "archives" / "restarted"))


def test_a_wrong_value_is_refused_before_anything_starts(server: Server) -> None:
    done = server.command("prefect", "deployment", "run", LOCAL, "-p", "environment_sessions=0", "-p", "run_id=wrong")
    assert done.returncode != 0
    assert "environment_sessions" in done.stdout + done.stderr
    assert not (server.folder / "runs" / "wrong").exists()


def test_a_sweep_compares_runs_of_a_deployment(server: Server) -> None:
    parameters = {
        "grid": {"seed": [0, 1]},
        "deployment": LOCAL,
        "name": "sweep",
        "config": str(server.folder / "config.yaml"),
        "runs": str(server.folder / "runs"),
        "archives": str(server.folder / "archives"),
    }
    run = server.run("sweep/smollm2-135m", parameters)
    server.wait_for(run, "Completed")
    with server.client() as client:
        children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
        assert len(client.read_flow_runs(flow_run_filter=children)) == 2
    assert len(list((server.folder / "archives").glob("sweep-*"))) == 2
    assert not (server.folder / "models" / "sweep").exists()


def test_a_killed_run_is_seen_as_crashed_within_two_minutes_and_the_next_starts_clean(
    server: Server, killed: tuple[FlowRun, float]
) -> None:
    run, when = killed
    assert [command for command in marked(server.mark) if "killed" in command] == []
    waiting = server.run(GPU, server.parameters(run_id="killed"))
    server.work("gpu")
    assert "heartbeat" in server.wait_for(run, "Crashed", seconds=max(5, 130 - (time.time() - when)))
    assert server.ended_at(run) - when < 120
    server.wait_for(waiting, "Completed")
    archive.verify(str(server.folder / "archives" / "killed"))


def test_a_slept_through_schedule_trains_once(server: Server) -> None:
    """Runs as the scheduler makes them, which no call of the API may: due on three nights."""
    server.work("gpu")
    runs = []
    for night in (3, 2, 1):
        with server.client() as client:
            deployment = client.read_deployment_by_name(GPU)
            due = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(days=night))
            parameters = server.parameters(run_id="slept")
            runs.append(client.create_flow_run_from_deployment(deployment.id, parameters=parameters, state=due))
        with sqlite3.connect(server.folder / "home" / "prefect.db", timeout=30) as database:
            database.execute("UPDATE flow_run SET auto_scheduled=1 WHERE id=?", (str(runs[-1].id),))
    for run in runs[:-1]:
        assert "a later one of the same schedule is due" in server.wait_for(run, "Cancelled")
    server.wait_for(runs[-1], "Completed")


def test_of_two_runs_on_a_gpu_one_waits(server: Server, killed: object) -> None:
    (server.folder / "release").unlink(missing_ok=True)
    first = server.run(GPU, server.parameters(run_id="one"), STAND_IN="fine_tune_local=wait")
    server.wait_for_text("one", "progress")
    second = server.run(GPU, server.parameters(run_id="two"))
    time.sleep(3)  # three questions of the worker
    assert server.state(second)[0] in {"Scheduled", "Late", "AwaitingConcurrencySlot"}
    (server.folder / "release").touch()
    server.wait_for(first, "Completed")
    server.wait_for(second, "Completed")


def test_a_nightly_that_is_switched_on_is_scheduled_with_its_parameters_and_stays_on(server: Server) -> None:
    assert server.command("python", "deployments/setup.py", "--nightly", "on").returncode == 0
    deadline = time.monotonic() + 100
    while not (planned := scheduled(server)):
        assert time.monotonic() < deadline, "the scheduler made no runs"
        time.sleep(0.5)
    assert planned[0].parameters["start_from"] == "promoted"
    assert "is on" in server.command("python", "deployments/setup.py").stdout
    assert "is off" in server.command("python", "deployments/setup.py", "--nightly", "off").stdout


def scheduled(server: Server) -> list[FlowRun]:
    """What the scheduler has planned."""
    with server.client() as client:
        runs = client.read_flow_runs()
    return [run for run in runs if run.auto_scheduled and (run.expected_start_time or datetime.min) > datetime.now(UTC)]


def test_secrets_reach_only_who_needs_them_and_are_written_nowhere(server: Server, killed: object) -> None:
    """Last, so that it searches what all the others left behind."""
    seen = {line for path in (server.folder / "runs").glob("*/secrets") for line in path.read_text().splitlines()}
    assert seen == {
        "fetch_model HF_TOKEN",
        "evaluate",
        "warm_start",
        "fine_tune_local WANDB_API_KEY",
    }
    found = [
        str(path)
        for path in server.folder.rglob("*")
        if path.is_file() and any(value.encode() in path.read_bytes() for value in PLANTED.values())
    ]
    assert found == []
    assert Path(server.folder / "home" / "prefect.db").stat().st_size > 0
