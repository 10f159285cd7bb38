"""A real Prefect server with real process workers, whose programs are stand-ins."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import LogSort
from prefect.states import AwaitingRetry, Cancelling

from browser_control.pipeline.runtimes.process import free_port

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PLANTED = {"HF_TOKEN": "hf_planted_0123456789", "WANDB_API_KEY": "wandb_planted_0123456789"}
RUN = "BROWSER_CONTROL_TEST_RUN"  # by this variable all processes of a run are found, whatever they are called


@dataclass
class Server:
    """A Prefect server in a folder of its own, with what `make deploy` sets up.

    Attributes:
        mark: in the environment of all that descends from it.
        more: settings beside the usual ones.
        auth: user and password, where it asks for them.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    mark: str = field(default_factory=lambda: str(uuid.uuid4()))
    more: Mapping[str, str] = field(default_factory=dict)
    auth: str = ""
    process: subprocess.Popen[bytes] | None = None
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return {
            **inherited,
            "PREFECT_HOME": str(self.folder / "home"),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            **of_make_server(),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "0",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",  # thirty otherwise
            "DO_NOT_TRACK": "1",
            "BROWSER_CONTROL_PROGRAMS": "stand_ins",
            "PYTHONPATH": str(ROOT / "tests"),
            "CUDA_VISIBLE_DEVICES": "",
            "TMPDIR": str(self.folder / "tmp"),
            "STAND_IN_RELEASE": str(self.folder / "release"),
            "MARK": self.mark,
            **self.more,
            **({"PREFECT_API_AUTH_STRING": self.auth} if self.auth else {}),
        }

    def client(self) -> SyncPrefectClient:
        return SyncPrefectClient(self.environ["PREFECT_API_URL"], auth_string=self.auth or None)

    def start(self) -> None:
        (self.folder / "tmp").mkdir(exist_ok=True)
        command = [str(BIN / "prefect"), "server", "start", "--port", str(self.port)]
        self.process = self._spawn(command, "server.log", {})
        deadline = time.monotonic() + 180
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def kill(self) -> None:
        assert self.process is not None
        kill_tree(self.process)

    def lose_an_hour(self, runs: Sequence[FlowRun]) -> None:
        """Kills the server and starts it an hour later, as far as its database can tell, which waits for these runs."""
        waited_for = {f"prefect.flow-run.{each.id}" for each in runs}
        deadline = time.monotonic() + 60
        while not waited_for <= {key for key, _ in self._buckets()}:
            assert time.monotonic() < deadline, "the server waits for none of them"
            time.sleep(0.2)
        self.kill()
        with sqlite3.connect(self.folder / "home" / "prefect.db", timeout=30) as database:
            for row in self._buckets().values():
                database.execute('UPDATE automation_bucket SET start=?, "end"=? WHERE id=?', row)
        self.start()

    def _buckets(self) -> dict[tuple[str, str], tuple[str, str, str]]:
        """What the server waits to hear, by the run and the row; when it began and will end, each an hour earlier."""
        with sqlite3.connect(self.folder / "home" / "prefect.db", timeout=30) as database:
            rows = database.execute('SELECT id, bucketing_key, start, "end" FROM automation_bucket').fetchall()
        hour = timedelta(hours=1)
        found = {}
        for name, key, start, end in rows:
            before, after = (str(datetime.fromisoformat(each) - hour) for each in (start, end))
            found[(json.loads(key)[0], name)] = (before, after, name)
        return found

    def work(self, pool: str, secrets: Mapping[str, str] = PLANTED) -> "subprocess.Popen[bytes]":
        """Starts the pool's worker, in place of the one before, as `make worker` does; its environment has secrets."""
        if pool in self.workers:
            kill_tree(self.workers[pool])
        limit = ["--limit", "1"] if pool == "gpu" else []
        command = [str(BIN / "prefect"), "worker", "start", "--type", "process", "--pool", pool, *limit]
        self.workers[pool] = self._spawn(command, f"worker-{pool}.log", secrets)
        return self.workers[pool]

    def command(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        command, environ = [str(BIN / arguments[0]), *arguments[1:]], {**self.environ, **environ}
        return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120)

    def parameters(self, **chosen: Any) -> dict[str, Any]:
        folders = {name: str(self.folder / name) for name in ("runs", "archives", "models")}
        return {"config": str(self.folder / "config.yaml"), "runtime": "process", **folders, **chosen}

    def run(self, deployment: str, parameters: dict[str, Any] | None = None, **stand_ins: str) -> FlowRun:
        """Creates a flow run, on stand-ins that misbehave as they are told."""
        parameters = self.parameters() if parameters is None else parameters
        variables = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", RUN: parameters.get("run_id", ""), **stand_ins}
        with self.client() as client:
            found = client.read_deployment_by_name(deployment)
            return client.create_flow_run_from_deployment(
                found.id, parameters=parameters, job_variables={"env": variables}
            )

    def state(self, run: FlowRun) -> tuple[str, str]:
        """Name and message of a run's state."""
        with self.client() as client:
            state = client.read_flow_run(run.id).state
        assert state is not None
        return str(state.name), str(state.message)

    def wait_for(self, run: FlowRun, *names: str, seconds: float = 150, after: str = "") -> str:
        """Waits until the run is in a state of one of these names; returns the state's message.

        Args:
            after: an end that the run has come to before, and is about to leave.
        """
        deadline = time.monotonic() + seconds
        ends = {"Failed", "Crashed", "Cancelled", "Completed"} - {after}
        while (found := self.state(run))[0] not in names:
            assert time.monotonic() < deadline, f"{found}, not {names}; {self.tail()}"
            assert found[0] not in ends, f"{found}; {self.tail()}"
            time.sleep(0.2)
        return found[1]

    def wait_for_text(self, run_id: str, text: str, log: str = "train") -> None:
        path = self.folder / "runs" / run_id / "logs" / f"{log}.log"
        deadline = time.monotonic() + 150
        while not (path.exists() and text in path.read_text()):
            assert time.monotonic() < deadline, f"no {text!r} in {path}; {self.tail()}"
            time.sleep(0.1)

    def cancel(self, run: FlowRun) -> None:
        with self.client() as client:
            client.set_flow_run_state(run.id, Cancelling())

    def retry(self, run: FlowRun) -> None:
        """What the button Retry of the UI does."""
        with self.client() as client:
            client.set_flow_run_state(run.id, AwaitingRetry(message="Retry from the UI"))

    def wait_for_none(self, run_id: str, seconds: float) -> None:
        """Waits until no process of the run is left: neither its flow nor a program, nor what those started."""
        deadline = time.monotonic() + seconds
        while found := commands(RUN, run_id):
            assert time.monotonic() < deadline, found
            time.sleep(0.1)

    def logs(self, run: FlowRun) -> list[str]:
        """The lines that the server has of a run, as the UI shows them."""
        chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
        lines: list[str] = []
        with self.client() as client:
            while page := client.read_logs(chosen, limit=200, offset=len(lines), sort=LogSort.TIMESTAMP_ASC):
                lines += [log.message for log in page]
        return lines

    def artifacts(self, key: str) -> dict[str, Any]:
        """The contents of the artifacts whose key begins with `key`, by key."""
        chosen = ArtifactFilter(key=ArtifactFilterKey(like_=f"{key}%"))
        with self.client() as client:
            return {str(each.key): each.data for each in client.read_artifacts(artifact_filter=chosen)}

    def summary(self, run_id: str) -> str:
        return str(self.artifacts(f"{run_id}-summary")[f"{run_id}-summary"])

    def descriptions(self, key: str) -> list[str]:
        """What is said of the artifacts of this key, as of a task's progress."""
        chosen = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        with self.client() as client:
            return [str(each.description) for each in client.read_artifacts(artifact_filter=chosen)]

    def tasks(self, run: FlowRun) -> set[str]:
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        with self.client() as client:
            return {task.name for task in client.read_task_runs(flow_run_filter=chosen)}

    def deployments(self) -> set[str]:
        with self.client() as client:
            flows = {flow.id: flow.name for flow in client.read_flows()}
            return {f"{flows[each.flow_id]}/{each.name}" for each in client.read_deployments()}

    def number_of_runs(self) -> int:
        with self.client() as client:
            return len(client.read_flow_runs())

    def tail(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("worker-*.log"))

    def stop(self) -> None:
        for process in [*self.workers.values(), *([self.process] if self.process else [])]:
            kill_tree(process)

    def _spawn(self, command: list[str], log: str, environ: dict[str, str]) -> "subprocess.Popen[bytes]":
        with (self.folder / log).open("ab") as file:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environ, **environ},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/health", timeout=2):
                return True
        except OSError:
            return False


def of_make_server() -> dict[str, str]:
    """The settings that `make server` gives its server."""
    lines = re.findall(r"^server: export (PREFECT_\w+) [?:]= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return dict(lines)


def kill_tree(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL to a process and all that descends from it, as when a host dies."""
    from browser_control.leash import descendants

    if process.poll() is None:
        for pid in [process.pid, *descendants(process.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    process.wait(10)


def commands(variable: str, value: str) -> list[str]:
    """Command lines of the live processes with this variable in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"{variable}={value}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
