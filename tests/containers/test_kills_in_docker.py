"""A run in Docker that is stopped, killed or starved leaves nothing that the next run does not take away."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL
from stand_in_checkout import StandInCheckout
from stand_ins import CONFIG

from browser_control.pipeline.runtimes.docker import RUN_LABEL

RUN = f"kills-{os.getpid()}"
PLANTED = {"HF_TOKEN": "planted-token", "WANDB_API_KEY": "planted-key"}


class Command:
    """`python flows/train.py --runtime docker` of a checkout with stand-ins, on the server of the tests."""

    def __init__(self, checkout: StandInCheckout, openenv: str) -> None:
        self.folder = checkout.folder
        (self.folder / "config.yaml").write_text(CONFIG)
        options = {
            "config": self.folder / "config.yaml",
            "runtime": "docker",
            "run-id": RUN,
            "runs": self.folder / "runs",
            "archives": self.folder / "archives",
            "models": self.folder / "models",
            "training-base": checkout.base_image,
            "browsergym-base": checkout.base_image,
            "openenv-url": openenv,
            "openenv-ref": "main",
        }
        self.arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        self.environ = {
            **os.environ,
            "BROWSER_CONTROL_PROGRAMS": "stand_ins",
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            **PLANTED,
        }

    @contextlib.contextmanager
    def started(self, *arguments: str, host: str = "") -> Iterator[subprocess.Popen[str]]:
        """With another host name, where one is given."""
        command = [sys.executable, str(self.folder / "flows" / "train.py"), *self.arguments, *arguments]
        if host:
            command = ["unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh", *command]
        with subprocess.Popen(
            command, cwd=self.folder, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield process
            except BaseException:
                process.terminate()
                raise

    def finish(self, *arguments: str, host: str = "") -> tuple[int, str]:
        with self.started(*arguments, host=host) as process:
            words, _ = process.communicate(timeout=240)
        return process.returncode, words

    def log(self, name: str) -> str:
        return "".join(path.read_text() for path in self.folder.glob(f"runs/*/logs/{name}.log"))


@pytest.fixture
def command(flow: ModuleType, stand_in_checkout: StandInCheckout, openenv: str) -> Command:
    return Command(stand_in_checkout, openenv)


def left(client: Any) -> list[str]:
    """What is labelled with our run."""
    label = {"label": f"{RUN_LABEL}={RUN}"}
    containers = client.containers.list(all=True, filters=label, ignore_removed=True)
    return [each.name for each in [*containers, *client.networks.list(filters=label)]]


def building(client: Any, step: str) -> list[str]:
    found = client.containers.list(all=True, ignore_removed=True)
    return [each.name for each in found if step in " ".join(each.attrs["Config"]["Cmd"] or [])]


def wait_for(condition: Callable[[], object], process: "subprocess.Popen[str] | None" = None) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0] if process else ""
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def confined(client: Any) -> None:
    """What `docker inspect` says of the service and of training, and what they reach."""
    environment, train = (client.containers.get(f"browser-control-{RUN}-{name}") for name in ("environment", "train"))
    for each in (environment, train):
        config, host = each.attrs["Config"], each.attrs["HostConfig"]
        assert config["User"].split(":")[0] not in ("", "0", "root")
        assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False)
        assert (host["SecurityOpt"], host["Init"], host["ReadonlyRootfs"]) == (["no-new-privileges"], True, True)
        assert 0 < host["PidsLimit"] <= 4096
        assert 0 < host["Memory"] == host["MemorySwap"]
        assert (host["NetworkMode"], host["PidMode"]) == (f"browser-control-{RUN}-inside", "")
        assert not host["PortBindings"]
        assert not any("docker.sock" in mount["Source"] for mount in each.attrs["Mounts"])
        assert not any(mount["RW"] for mount in each.attrs["Mounts"] if "cache" in mount["Destination"])
        assert not any(value in repr(config["Labels"]) for value in PLANTED.values())
    assert "planted" not in repr(environment.attrs)
    assert [variable for variable in train.attrs["Config"]["Env"] if "planted" in variable] == [
        "WANDB_API_KEY=planted-key"
    ]
    joined = environment.attrs["NetworkSettings"]["Networks"]
    networks = {name: client.networks.get(name).attrs["Internal"] for name in joined}
    assert networks == {f"browser-control-{RUN}-inside": True}
    named = environment.exec_run(["python", "-c", "import socket; socket.getaddrinfo('example.com', 80)"])
    assert b"gaierror" in named.output


@pytest.mark.timeout(600)
def test_a_run_is_confined_and_leaves_nothing_when_it_is_stopped(
    client: Any, command: Command, stand_in_checkout: StandInCheckout
) -> None:
    stand_in_checkout.write_dockerfiles("fine_tune_local=hang")
    with command.started() as process:
        wait_for(lambda: "progress" in command.log("train"), process)
        assert len(left(client)) == 4  # two containers, two networks
        confined(client)
        process.send_signal(signal.SIGTERM)
        words, _ = process.communicate(timeout=60)
    assert process.returncode == 75, words
    assert "the same command continues this run" in words
    assert left(client) == []


@pytest.mark.timeout(600)
def test_a_build_that_is_stopped_leaves_no_container(
    client: Any, command: Command, stand_in_checkout: StandInCheckout
) -> None:
    step = f"sleep 31{os.getpid()}"
    stand_in_checkout.write_dockerfiles(step=f"RUN {step}")
    with command.started() as process:
        wait_for(lambda: building(client, step), process)
        process.send_signal(signal.SIGTERM)
        words, _ = process.communicate(timeout=60)
    assert process.returncode == 75, words
    wait_for(lambda: not building(client, step))
    assert left(client) == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("program", "task"),
    [
        ("fetch_model", "fetch-model"),
        ("evaluate", "evaluate-before"),
        ("warm_start", "warm-start"),
        ("fine_tune_local", "train"),
    ],
)
def test_what_a_run_leaves_that_is_killed_at_a_task_is_taken_by_the_next(
    client: Any, command: Command, stand_in_checkout: StandInCheckout, program: str, task: str
) -> None:
    stand_in_checkout.write_dockerfiles(f"{program}=stubborn")
    with command.started() as process:
        wait_for(lambda: "progress" in command.log(task), process)
        process.kill()
    assert left(client)
    stand_in_checkout.write_dockerfiles()
    code, words = command.finish(host="renamed" if os.getuid() == 0 else "")  # DHCP gave the machine another name
    assert code == 0, words
    assert left(client) == []
    run = command.folder / "runs" / RUN
    assert {path.lstat().st_uid for path in (run, *run.rglob("*"))} == {os.getuid()}
    lines = (command.folder / "runs" / RUN / "secrets").read_text().splitlines()
    seen = {line.partition("=")[0] for line in lines}
    assert seen == {"fetch_model HF_TOKEN", "fine_tune_local WANDB_API_KEY", "evaluate", "warm_start"}
    kept = [path for root in ("runs", "archives") for path in (command.folder / root).rglob("*") if path.is_file()]
    assert not any(b"planted" in path.read_bytes() for path in kept)


@pytest.mark.timeout(600)
def test_training_that_is_killed_for_memory_is_not_tried_again_and_says_what_to_do(
    client: Any, command: Command, stand_in_checkout: StandInCheckout
) -> None:
    stand_in_checkout.write_dockerfiles("fine_tune_local=eat")
    code, words = command.finish("--memory", "96m")
    assert code == 1
    sentence = (
        "error: train ran out of memory; lower training.tokens_per_micro_batch or environment.sessions, or let it"
    )
    assert sentence in words
    calls = (command.folder / "runs" / RUN / "calls").read_text().split()
    assert calls.count("fine_tune_local") == 1
    assert left(client) == []
