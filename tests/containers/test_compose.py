"""The compose file by its five commands, with a real BrowserGym and two updates of a real model."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker" / "docker-compose.training.yml"


def compose_command() -> list[str]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("neither `docker compose` nor docker-compose is there")


class Checkout:
    """The files that the commands are called on, in a folder of their own, so that results go there."""

    def __init__(self, folder: Path, base_image: str) -> None:
        self.folder = folder
        for name in ("docker", "src", "configs", "scripts", "pyproject.toml", "uv.lock", ".dockerignore"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source, folder / name, ignore=shutil.ignore_patterns("OpenEnv", "__pycache__", "events*")
                )
            else:
                shutil.copy(source, folder / name)
        (folder / "checkpoints").mkdir()
        (folder / "docker" / "logs").mkdir(exist_ok=True)
        self.environ = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": f"bc{uuid.uuid4().hex[:8]}",
            "TRAINING_BASE": base_image,
            "BROWSERGYM_BASE": base_image,
            "TORCH_BACKEND": "cpu",
            "BROWSERGYM_PORT": "0",
            "HF_TOKEN": "planted-token",
        }

    def __call__(self, *arguments: str) -> str:
        command = [*compose_command(), "-f", "docker/docker-compose.training.yml", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=800)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr


@pytest.fixture
def checkout(client: Any, base_image: str, tmp_path: Path) -> Iterator[Checkout]:
    made = Checkout(tmp_path / "checkout", base_image)
    yield made
    made("down", "--volumes")
    assert client.containers.list(all=True, filters={"label": project(made)}) == []


def project(checkout: Checkout) -> str:
    return f"com.docker.compose.project={checkout.environ['COMPOSE_PROJECT_NAME']}"


def inspect(client: Any, checkout: Checkout, service: str) -> Any:
    filters = {"label": [project(checkout), f"com.docker.compose.service={service}"]}
    (container,) = client.containers.list(all=True, filters=filters)
    return container


@pytest.mark.timeout(900)
def test_the_five_commands(checkout: Checkout, client: Any, training_image: str, browsergym_image: str) -> None:
    checkout("build", "browsergym", "training")
    checkout("up", "-d", "browsergym")
    browsergym = inspect(client, checkout, "browsergym")
    checkout(*TRAIN, "--set", "training.updates=2", *small())
    assert "environment ready on" in checkout("logs", "browsergym")

    (run,) = (path for path in (checkout.folder / "checkpoints").iterdir() if path.is_dir())
    assert (run / "result.json").is_file()
    assert (run / "checkpoints" / "step-000002").is_dir()
    assert list((checkout.folder / "docker" / "logs" / run.name).rglob("events.out.tfevents.*"))
    owner = (checkout.folder / "checkpoints").stat().st_uid
    assert owner != 0
    assert {path.stat().st_uid for path in run.rglob("*")} == {owner}

    browsergym.reload()
    config, host = browsergym.attrs["Config"], browsergym.attrs["HostConfig"]
    assert browsergym.attrs["State"]["Health"]["Status"] == "healthy"
    assert config["User"] == "10001:10001"
    assert not any("planted-token" in variable for variable in config["Env"])
    assert (host["CapDrop"], host["SecurityOpt"], host["Init"]) == (["ALL"], ["no-new-privileges:true"], True)
    assert {each["HostIp"] for ports in browsergym.ports.values() for each in ports or []} == {"127.0.0.1"}
    outside = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=2)"
    assert browsergym.exec_run(["python", "-c", outside]).exit_code != 0


TRAIN = (
    "run",
    "training-cpu",
    *("python", "-m", "src.browser_control.fine_tune_local"),
    *("--config-file-name", "smollm2_135m_local_lora.yaml"),
)


def small() -> list[str]:
    settings = [
        "training.web_tasks=[click-button]",
        "training.groups=1",
        "training.group_size=2",
        "training.resample_limit=0",
        "warm_start.demonstrations=0",
        "warm_start.web_tasks=[]",
        "environment.sessions=2",
    ]
    return [part for setting in settings for part in ("--set", setting)]


def test_compose_says_what_the_user_described() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    training, browsergym = services["training"], services["browsergym"]
    assert training["depends_on"] == {"browsergym": {"condition": "service_healthy"}}
    assert {"BROWSERGYM_URL=http://browsergym:8080", "HF_TOKEN", "WANDB_API_KEY"} <= set(training["environment"])
    assert {"./logs:/workspace/logs", "../checkpoints:/workspace/checkpoints"} <= set(training["volumes"])
    (device,) = training["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert browsergym["build"]["args"]["BASE_IMAGE"].endswith("python:3.12-slim}")
    assert training["build"]["args"]["BASE_IMAGE"].endswith("nvidia/cuda:12.1.0-cudnn8-devel-ubuntu22.04}")
    assert "deploy" not in services["training-cpu"]
    for service in services.values():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
        assert service["init"] and service["pids_limit"] and service["mem_limit"]
    assert "docker.sock" not in COMPOSE.read_text()
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))
