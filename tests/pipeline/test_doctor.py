"""`browser-control doctor` as a command, and that it says what the flow's refusals say."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from browser_control import configuration, drivers, gpus
from browser_control.drivers import Torch
from browser_control.environment.chromium import find_chromium
from browser_control.errors import BrowserNotFound, ConfigurationError
from browser_control.pipeline import doctor, engine, run
from browser_control.pipeline.parameters import Parameters
from browser_control.records import archive

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock", "PREFECT_HOME": "/nowhere"}


def ask(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "browser_control.cli", "doctor", *arguments]
    known = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.run(command, env={**known, **NO_ENGINE, **environ}, capture_output=True, text=True, check=False)


def answer(**environ: str) -> tuple[int, dict[str, Any]]:
    done = ask("--json", **environ)
    return done.returncode, json.loads(done.stdout)


def words_on(answer: dict[str, Any], about: str) -> str:
    (finding,) = [each for each in answer["findings"] if each["about"] == about]
    return ": ".join(filter(None, (finding["found"], finding["remedy"])))


def test_a_machine_that_can_run_the_default_is_said_to_with_exit_code_0() -> None:
    code, said = answer(CUDA_VISIBLE_DEVICES="")
    assert (code, said["default"], said["ways"]["cpu"]["can_run"]) == (0, "cpu", True)
    assert set(said["ways"]) == set(doctor.WAYS)
    assert said["ways"]["docker"] == {"can_run": False, "lacks": ["Docker"]}
    about = {each["about"] for each in said["findings"]}
    assert {"GPU", "Chromium", "fonts", "proxies", "disk", "shared memory", "cgroups", "git", "Prefect server"} <= about


def test_the_table_has_a_line_for_each_way() -> None:
    done = ask(CUDA_VISIBLE_DEVICES="", COLUMNS="160")
    assert done.returncode == 0, done.stderr
    assert all(words in done.stdout for words in doctor.WAYS.values())
    assert "(the default)" in done.stdout


def test_what_the_default_lacks_ends_with_exit_code_1_and_the_words_of_the_refusal() -> None:
    environ = {"BROWSER_CONTROL_CHROMIUM": "/nowhere/chromium", "CUDA_VISIBLE_DEVICES": ""}
    code, said = answer(**environ)
    assert (code, said["ways"]["cpu"]) == (1, {"can_run": False, "lacks": ["Chromium"]})
    with pytest.raises(BrowserNotFound) as refusal:
        find_chromium(environ=environ)
    assert words_on(said, "Chromium") == str(refusal.value)


def test_a_prefect_server_that_is_away_hinders_every_run() -> None:
    code, said = answer(PREFECT_API_URL="http://127.0.0.1:9/api", CUDA_VISIBLE_DEVICES="")
    assert code == 1
    assert not any(way["can_run"] for way in said["ways"].values())
    assert words_on(said, "Prefect server").startswith("no Prefect server answers at http://127.0.0.1:9/api")


def test_a_proxy_that_no_container_reaches_is_said_and_hinders_nothing() -> None:
    code, said = answer(http_proxy="http://127.0.0.1:9", CUDA_VISIBLE_DEVICES="")
    assert code == 0
    assert "no container reaches a proxy on loopback" in words_on(said, "proxies")


def test_no_engine_is_said_as_the_flow_says_it() -> None:
    _, said = answer()
    assert words_on(said, "Docker").startswith("no Docker Engine answers: install and start one")


@pytest.mark.parametrize("torch", [Torch("2.13.0", "13.0"), Torch("2.13.0+cpu", None)])
def test_a_gpu_that_pytorch_would_not_find_is_refused_before_a_run_with_the_doctor_s_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, torch: Torch
) -> None:
    monkeypatch.setattr(gpus, "present", lambda devices=None: ("0",))  # a machine with an older driver
    monkeypatch.setattr(drivers, "version", lambda: "535.129.03")
    monkeypatch.setattr(drivers, "installed_torch", lambda: torch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    folders = {name: str(tmp_path / name) for name in ("runs", "archives", "models")}
    with pytest.raises(ConfigurationError, match="finds none") as refusal:
        run.check(Parameters(overrides=["model.device=auto"], **folders))  # type: ignore[arg-type]
    (finding,) = [each for each in doctor._gpu({}) if each.about == "driver"]
    assert f"{finding.found}: {finding.remedy}" == str(refusal.value)
    assert finding.hinders == ("gpu",)
    assert not (tmp_path / "runs").exists()


def test_a_driver_whose_library_is_another_ones_is_said_in_nvidia_s_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho Failed to initialize NVML: Driver/library version mismatch\nexit 18\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(gpus, "present", lambda devices=None: ("0",))
    (finding,) = [each for each in doctor._gpu({}) if each.about == "NVML"]
    assert finding.found == "Failed to initialize NVML: Driver/library version mismatch"
    assert finding.remedy.startswith("restart the machine") and finding.hinders == ("gpu", "docker-gpu")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user, which only root can")
def test_a_checkout_of_another_user_is_said_with_what_git_asks_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Git does not read it, and so archives name no commit."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 12345, 12345)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setattr(configuration, "CONFIGS", tmp_path / "configs")
    (finding,) = doctor._git({})
    assert finding.found == "the checkout belongs to another user"
    assert finding.remedy.endswith(f"`git config --global --add safe.directory {tmp_path}`")
    assert archive.git_commit(tmp_path) is None


class _Engine:
    """What an engine says of itself, as recorded."""

    def __init__(self, name: str, *options: str) -> None:
        self._name, self._options = name, options

    def version(self) -> dict[str, Any]:
        return {"Version": "28.1.1", "Components": [{"Name": self._name}]}

    def info(self) -> dict[str, Any]:
        return {"SecurityOptions": list(self._options)}


@pytest.mark.parametrize(
    ("recorded", "kind", "words"),
    [
        (_Engine("Engine", "name=seccomp,profile=builtin", "name=cgroupns"), "Docker Engine 28.1.1", ""),
        (
            _Engine("Engine", "name=seccomp,profile=builtin", "name=rootless"),
            "Docker Engine 28.1.1, rootless",
            "ROOTLESS",
        ),
        (_Engine("Engine", "name=apparmor", "name=userns"), "Docker Engine 28.1.1, userns-remap", "REMAPPED"),
        (_Engine("Engine", "name=seccomp,profile=builtin", "name=selinux"), "Docker Engine 28.1.1, SELinux", ""),
        (_Engine("Podman Engine", "name=seccomp,profile=default"), "Podman 28.1.1", "PODMAN"),
        (_Engine("Podman Engine", "name=rootless"), "Podman 28.1.1, rootless", "PODMAN"),
    ],
)
def test_an_engine_is_known_by_what_it_says_and_one_on_which_runs_fail_is_refused(
    recorded: _Engine, kind: str, words: str
) -> None:
    assert engine.kind(recorded) == kind
    assert engine.trouble(recorded) == (getattr(engine, words) if words else "")
    assert "\n" not in engine.trouble(recorded)


def test_a_check_that_fails_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(environ: object) -> None:
        raise OSError("no such device")

    broken.__name__ = "_disk"
    monkeypatch.setattr(doctor, "_disk", broken)
    monkeypatch.setattr(doctor, "_docker", lambda environ: iter(()))
    found = {
        each.about: each.found for each in doctor.diagnose({"PATH": os.environ["PATH"], "PREFECT_HOME": "/x"}).findings
    }
    assert found["disk"] == "could not be looked at: no such device"
    assert "git" in found
