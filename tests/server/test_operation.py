"""Operation on a real Prefect server with real workers: what its users and their nights do to it."""

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed, Pending, Scheduled
from prefect_server import PLANTED, ROOT, RUN, Server, commands, kill_tree, read_json
from processes import wait_until
from stand_ins import digest

from browser_control.pipeline.server import SILENT
from browser_control.records import archive
from browser_control.records.registry import Registry

Calls = Callable[[str], list[str]]
LOCAL, GPU = "train/smollm2-135m", "train/lfm2-350m"
IN_BLOCKS = {"hf-token": "hf_in_a_block_0123456789", "wandb-api-key": "wandb_in_a_block_0123456789"}
SECRETS = [*PLANTED.values(), *IN_BLOCKS.values()]


@pytest.fixture(scope="module")
def killed(server: Server) -> Iterator[FlowRun]:
    """A run whose worker, and all that descends from it, was killed."""
    worker = server.work("gpu")
    run = server.run(GPU, server.parameters(run_id="killed"), STAND_IN="fine_tune_local=hang")
    server.wait_for_text("killed", "progress")
    kill_tree(worker)
    yield run


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
    assert "adapter: `not promoted, no better: 0 pages won, 10 lost of 20" in server.summary("third")
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
    assert any("stand_ins.environment" in command for command in commands(RUN, "cancelled"))
    server.cancel(run)
    server.wait_for_none("cancelled", seconds=10)
    server.wait_for(run, "Cancelled", seconds=60)  # the worker imports the flow once more, to look for hooks
    server.wait_for(server.run(LOCAL, parameters), "Completed")
    archive.verify(str(server.folder / "archives" / "cancelled"))
    assert calls("cancelled").count("warm_start") == 1
    result = read_json(server.folder / "runs" / "cancelled" / "result.json")
    assert result["continued_from"] == ["step-000001"]


def test_a_retry_from_the_ui_resumes(server: Server, calls: Calls) -> None:
    run = server.run(LOCAL, server.parameters(run_id="retried"), STAND_IN="fine_tune_local=oom-once")
    assert "train ran out of memory" in server.wait_for(run, "Failed")
    server.retry(run)
    server.wait_for(run, "Completed", after="Failed")
    archive.verify(str(server.folder / "archives" / "retried"))
    assert calls("retried")[-4:] == ["fine_tune_local", "fetch_model", "fine_tune_local", "evaluate"]


def test_a_run_outlives_a_restart_of_the_server(server: Server) -> None:
    run = server.run(LOCAL, server.parameters(run_id="restarted"), STAND_IN="fine_tune_local=wait")
    server.wait_for_text("restarted", "progress")
    server.kill()
    server.start()
    (server.folder / "release").touch()
    server.wait_for(run, "Completed")
    archive.verify(str(server.folder / "archives" / "restarted"))


def test_one_machine_serves_its_flows_without_a_worker(server: Server) -> None:
    command = [sys.executable, str(ROOT / "deployments" / "serve.py")]
    with subprocess.Popen(command, env=server.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as serving:
        try:
            wait_until(lambda: server.deployments() >= {f"{LOCAL}-here", "evaluate/smollm2-135m-here"}, 60)
            run = server.run(f"{LOCAL}-here", server.parameters(run_id="served"))
            server.wait_for(run, "Completed")
        finally:
            serving.terminate()
    assert LOCAL in server.deployments()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("environment_sessions=0", "'environment_sessions'. Failure reason: 0 is less than the minimum of 1"),
        ("runtime=dokcer", "'runtime'. Failure reason: 'dokcer' is not one of ['process', 'docker']"),
        ("sesions=4", "specified but not found on the deployment: 'sesions'"),
    ],
)
def test_a_wrong_value_is_refused_before_there_is_a_run(server: Server, value: str, words: str) -> None:
    before = server.number_of_runs()
    done = server.command("prefect", "deployment", "run", LOCAL, "-p", value)
    assert done.returncode == 1
    assert words in " ".join((done.stdout + done.stderr).split())
    assert server.number_of_runs() == before


def test_a_run_that_was_taken_for_dead_ends_with_its_archive(server: Server) -> None:
    (server.folder / "release").unlink(missing_ok=True)
    run = server.run(LOCAL, server.parameters(run_id="alive"), STAND_IN="fine_tune_local=wait")
    server.wait_for_text("alive", "progress")
    with server.client() as client:
        client.set_flow_run_state(run.id, Crashed(message="no heartbeat"))
    (server.folder / "release").touch()
    wait_until(lambda: archive.exists(str(server.folder / "archives" / "alive")), 60)
    server.wait_for_none("alive", seconds=60)


def test_a_wrong_value_of_the_configuration_fails_in_one_sentence_before_anything_starts(server: Server) -> None:
    run = server.run(LOCAL, server.parameters(run_id="wrong", overrides=["training.updats=3"]))
    assert "training.updats" in server.wait_for(run, "Failed")
    assert not (server.folder / "runs" / "wrong").exists()


def test_what_a_run_shows(server: Server) -> None:
    """Tags by model and web tasks, progress with the success rate, a table, a summary that links to the run; log lines
    of a program that chatters for a while, and all of them in a file."""
    run = server.run(LOCAL, server.parameters(run_id="shown"), STAND_IN="fine_tune_local=chatter")
    server.wait_for(run, "Completed")
    with server.client() as client:
        assert {"stand-in", "click-button", "enter-text"} <= set(client.read_flow_run(run.id).tags)
    tasks = {"train", "health-gate", "evaluate-before", "evaluate-after", "archive", "promote"}
    wait_until(lambda: tasks <= server.tasks(run), 30)  # the server hears of them by events, a little later
    assert "success 0.50" in str(server.descriptions("shown-train"))
    assert json.loads(server.artifacts("shown")["shown-success"])[-1]["web task"] == "all"
    assert f"/flow-run/{run.id})" in server.summary("shown")
    wait_until(lambda: "... more in logs/train.log of the run directory" in server.logs(run), 30)  # sent now and then
    lines = [line for line in server.logs(run) if line.startswith("line ")]
    assert sorted(lines) == sorted(f"line {number} of many" for number in range(300))
    assert (server.folder / "runs" / "shown" / "logs" / "train.log").read_text().count(" of many\n") == 1000


def test_a_sweep_compares_runs_of_a_deployment(server: Server) -> None:
    parameters = {
        "grid": {"seed": [2, 0], "training.learning_rate": [1e-4, 2e-4]},
        "deployment": LOCAL,
        "name": "sweep",
        "config": str(server.folder / "config.yaml"),
        "runs": str(server.folder / "runs"),
        "archives": str(server.folder / "archives"),
    }
    run = server.run("sweep/smollm2-135m", parameters)
    server.wait_for(run, "Completed", seconds=240)
    with server.client() as client:
        children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
        assert len(client.read_flow_runs(flow_run_filter=children)) == 4
    table = json.loads(server.artifacts("sweep-success")["sweep-success"])
    assert [(row["seed"], row["training.learning_rate"], row["success"][:4]) for row in table] == [
        ("0", "0.0001", "0.90"),
        ("0", "0.0002", "0.90"),
        ("2", "0.0001", "0.70"),
        ("2", "0.0002", "0.70"),
    ]
    for row in table:
        archive.verify(row["archive"])
    assert not (server.folder / "models" / "sweep").exists()


def test_a_killed_run_is_seen_as_crashed_and_the_next_starts_clean(server: Server, killed: FlowRun) -> None:
    assert commands(RUN, "killed") == []
    waiting = server.run(GPU, server.parameters(run_id="killed"))
    server.work("gpu")
    assert "heartbeat" in server.wait_for(killed, "Crashed", seconds=200)  # two minutes on an idle machine
    server.wait_for(waiting, "Completed")
    archive.verify(str(server.folder / "archives" / "killed"))


def test_a_run_whose_worker_alone_is_killed_saves_says_so_and_goes_on_with_the_next(server: Server) -> None:
    worker = server.work("gpu")
    parameters = server.parameters(run_id="orphaned")
    run = server.run(GPU, parameters, STAND_IN="fine_tune_local=talk")
    server.wait_for_text("orphaned", "progress")
    worker.kill()
    worker.wait(10)
    assert "the worker, or the terminal, that this run belongs to is gone" in server.wait_for(
        run, "Crashed", seconds=120
    )
    server.wait_for_none("orphaned", seconds=10)
    server.work("gpu")
    server.wait_for(server.run(GPU, parameters), "Completed")
    assert read_json(server.folder / "runs" / "orphaned" / "result.json")["continued_from"] == ["step-000001"]
    archive.verify(str(server.folder / "archives" / "orphaned"))


def test_after_a_power_cut_what_was_claimed_or_ran_is_crashed_and_the_next_runs(server: Server) -> None:
    """Server, worker and run die together and are away for an hour, as far as the server's database can tell."""
    worker = server.work("gpu")
    ran = server.run(GPU, server.parameters(run_id="powerless"), STAND_IN="fine_tune_local=hang")
    server.wait_for_text("powerless", "progress")
    kill_tree(worker)
    claimed = server.run(GPU, server.parameters(run_id="claimed"))
    with server.client() as client:
        client.set_flow_run_state(claimed.id, Pending())
    server.lose_an_hour([ran, claimed])
    waiting = server.run(GPU, server.parameters(run_id="after-the-cut"))
    server.work("gpu")
    assert "no heartbeat" in server.wait_for(ran, "Crashed", seconds=60)
    assert "did not begin it" in server.wait_for(claimed, "Crashed", seconds=60)
    server.wait_for(waiting, "Completed")


def test_a_run_that_was_taken_for_dead_says_that_it_lives(server: Server) -> None:
    run = server.run(LOCAL, server.parameters(run_id="lively"), STAND_IN="fine_tune_local=talk")
    server.wait_for_text("lively", "progress")
    with server.client() as client:
        client.set_flow_run_state(run.id, Crashed(message=SILENT))
    assert "it lives" in server.wait_for(run, "Running", after="Crashed", seconds=90)
    server.cancel(run)
    server.wait_for(run, "Cancelled")


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


def test_of_two_runs_on_a_gpu_one_waits(server: Server) -> None:
    server.work("gpu")
    (server.folder / "release").unlink(missing_ok=True)
    first = server.run(GPU, server.parameters(run_id="one"), STAND_IN="fine_tune_local=wait")
    server.wait_for_text("one", "progress")
    second = server.run(GPU, server.parameters(run_id="two"))
    time.sleep(3)  # three questions of the worker
    assert server.state(second)[0] in {"Scheduled", "Late", "AwaitingConcurrencySlot"}
    (server.folder / "release").touch()
    server.wait_for(first, "Completed")
    server.wait_for(second, "Completed")


def test_a_run_waits_for_the_gpu_that_another_has_however_that_was_started(server: Server) -> None:
    (server.folder / "release").unlink(missing_ok=True)
    wants = ["model.device=cuda"]
    gpu = {"CUDA_VISIBLE_DEVICES": "0"}  # elsewhere here there is none
    parameters = server.parameters(run_id="has-it", overrides=wants)
    first = server.run(LOCAL, parameters, STAND_IN="fine_tune_local=wait", **gpu)
    server.wait_for_text("has-it", "progress")
    parameters = server.parameters(run_id="waits")
    arguments = [part for name, value in parameters.items() for part in (f"--{name.replace('_', '-')}", value)]
    command = [sys.executable, str(ROOT / "flows" / "train.py"), *arguments, "--set", *wants]
    environ = server.environ | gpu
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as second:
        words = "waiting for GPU 0 of this machine, which run has-it has"
        try:
            wait_until(lambda: words in str(server.descriptions("waits-take-gpu")), 180)
            assert second.poll() is None
            assert not (server.folder / "runs" / "waits" / "logs" / "environment.log").exists()
        finally:
            (server.folder / "release").touch()
        _, said = second.communicate(timeout=120)
    assert second.returncode == 0, said
    assert words in said.decode()
    server.wait_for(first, "Completed")


def test_a_nightly_that_is_switched_on_is_scheduled_with_its_parameters_and_stays_on(server: Server) -> None:
    assert server.command("python", "deployments/setup.py", "--nightly", "on").returncode == 0
    deadline = time.monotonic() + 100
    while not (planned := scheduled(server)):
        assert time.monotonic() < deadline, "the scheduler made no runs"
        time.sleep(0.5)
    assert planned[0].parameters["start_from"] == "promoted"
    assert "is on" in server.command("python", "deployments/setup.py").stdout
    assert "is off" in server.command("python", "deployments/setup.py", "--nightly", "off").stdout


def test_a_failed_nightly_notifies(server: Server, heard: list[str]) -> None:
    with temporary_settings({PREFECT_API_URL: server.environ["PREFECT_API_URL"]}):
        url = heard.pop()
        block = CustomWebhookNotificationBlock(name="heard", url=url, json_data={"words": "{{subject}} {{body}}"})
        block.save("nightly")
    assert "automation: a failed nightly notifies\n" in server.command("python", "deployments/setup.py").stdout
    server.work("gpu")
    run = server.run(GPU, server.parameters(run_id="unlucky"), STAND_IN="fine_tune_local=oom")
    server.wait_for(run, "Failed")
    wait_until(lambda: heard, 30)
    assert "nightly training: Failed" in heard[0]
    assert "train ran out of memory" in heard[0]
    assert f"/runs/flow-run/{run.id}" in heard[0]


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What a webhook was told; before that, its URL."""
    found: list[str] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        found.append(f"http://127.0.0.1:{listening.server_port}/")
        yield found
        listening.shutdown()


def test_setting_up_again_changes_nothing(server: Server) -> None:
    assert server.command("python", "deployments/setup.py", "--gpus", "2").returncode == 0
    before = set_up(server)
    done = server.command("python", "deployments/setup.py")
    assert "secret block hf-token: " in done.stdout
    assert "work pool gpu: 2 at a time" in done.stdout
    assert set_up(server) == before
    assert server.command("python", "deployments/setup.py", "--gpus", "1").returncode == 0
    assert set_up(server) != before


def set_up(server: Server) -> list[tuple[object, ...]]:
    """What there is of pools, deployments, schedules and automations, and what they say."""
    with server.client() as client:
        pools = client.read_work_pools()
        deployments = client.read_deployments()
        automations = [
            automation
            for name in (
                "a run without a heartbeat is crashed",
                "a run that nobody begins is crashed",
                "a failed nightly notifies",
            )
            for automation in client.read_automations_by_name(name)
        ]
    return sorted(
        [
            *(("pool", pool.name, str(pool.id), pool.concurrency_limit) for pool in pools),
            *(("automation", each.name, str(each.id), each.enabled) for each in automations),
            *(
                (
                    "deployment",
                    str(each.id),
                    str(each.global_concurrency_limit and each.global_concurrency_limit.limit),
                    str(each.parameters),
                    str([(schedule.slug, schedule.active, schedule.parameters) for schedule in each.schedules]),
                )
                for each in deployments
            ),
        ],
        key=str,
    )


def scheduled(server: Server) -> list[FlowRun]:
    """What the scheduler has planned."""
    with server.client() as client:
        runs = client.read_flow_runs()
    return [run for run in runs if run.auto_scheduled and (run.expected_start_time or datetime.min) > datetime.now(UTC)]


def test_a_secret_block_serves_where_the_environment_has_none(server: Server) -> None:
    with temporary_settings({PREFECT_API_URL: server.environ["PREFECT_API_URL"]}):
        for name, value in IN_BLOCKS.items():
            Secret(value=value).save(name)  # type: ignore[arg-type]
    server.work("gpu", secrets={})
    (server.folder / "release").unlink(missing_ok=True)
    run = server.run(GPU, server.parameters(run_id="blocks"), STAND_IN="fine_tune_local=wait")
    server.wait_for_text("blocks", "progress")
    running = commands(RUN, "blocks")
    assert any("fine_tune_local" in command for command in running)
    assert [command for command in running if any(value in command for value in SECRETS)] == []
    (server.folder / "release").touch()
    server.wait_for(run, "Completed")
    assert given(server, "blocks") == {
        f"fetch_model HF_TOKEN={digest(IN_BLOCKS['hf-token'])}",
        "evaluate",
        "warm_start",
        f"fine_tune_local WANDB_API_KEY={digest(IN_BLOCKS['wandb-api-key'])}",
    }


def given(server: Server, run_id: str) -> set[str]:
    """Which programs of a run were given which secrets."""
    return set((server.folder / "runs" / run_id / "secrets").read_text().splitlines())


def test_secrets_reach_only_who_needs_them_and_are_written_nowhere(server: Server) -> None:
    """Last, so that it searches what all the others left behind: run directories, archives, logs, and the database."""
    assert given(server, "first") == {
        f"fetch_model HF_TOKEN={digest(PLANTED['HF_TOKEN'])}",
        "evaluate",
        "warm_start",
        f"fine_tune_local WANDB_API_KEY={digest(PLANTED['WANDB_API_KEY'])}",
    }
    files = [path for path in server.folder.rglob("*") if path.is_file()]
    found = [path for path in files if any(value.encode() in path.read_bytes() for value in SECRETS)]
    # A worker that is killed leaves its runs' environment behind, as Prefect keeps it beside a run; for its user only.
    theirs = [path for path in found if path.name == "workspace.json" and path.is_relative_to(server.folder / "tmp")]
    assert [path for path in found if path not in theirs] == []
    assert {path.stat().st_mode & 0o777 for path in theirs} <= {0o600}
    assert [path for path in theirs if any(value.encode() in path.read_bytes() for value in IN_BLOCKS.values())] == []
    with sqlite3.connect(server.folder / "home" / "prefect.db", timeout=30) as database:
        rows = list(database.iterdump())  # a value may lie across two pages of the file
    assert [row for row in rows if any(value in row for value in SECRETS)] == []
    for table in ("log", "artifact", "flow_run", "flow_run_state", "task_run_state", "deployment", "block_document"):
        assert any(row.startswith(f'INSERT INTO "{table}"') for row in rows), table
