"""The pure parts of the bootstrap; the whole of it is tried on a bare machine."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_python_that_fits_is_chosen(bootstrap: ModuleType) -> None:
    there = {"python3.12": "/usr/bin/python3.12"}.get
    assert bootstrap.choose_python((3, 11), "/this/python", there) == "/this/python"
    assert bootstrap.choose_python((3, 13), "/this/python", there) == "/usr/bin/python3.12"
    assert bootstrap.choose_python((3, 13), "/this/python", {}.get) is None


def test_a_python_too_old_to_go_on_is_refused(bootstrap: ModuleType) -> None:
    with pytest.raises(bootstrap.Problem, match=r"Python 3\.7 is too old"):
        bootstrap.refuse_old_python((3, 7))


def test_the_torch_of_the_lock_is_installed(bootstrap: ModuleType) -> None:
    assert bootstrap.torch_requirement('[[package]]\nname = "torch"\nversion = "2.13.0+cpu"\n') == "torch==2.13.0"
    assert bootstrap.torch_requirement((ROOT / "uv.lock").read_text()) == "torch==2.13.0"


def test_a_cpu_build_is_wanted_unless_there_is_a_gpu_or_a_wheel(bootstrap: ModuleType, tmp_path: Path) -> None:
    cpu = [["--torch-backend", "cpu", "torch==1"], ["torch==1"]]
    assert bootstrap.torch_attempts({}, False, "torch==1") == cpu
    assert bootstrap.torch_attempts({"UV_FIND_LINKS": str(tmp_path)}, False, "torch==1") == cpu
    assert bootstrap.torch_attempts({}, True, "torch==1") == [["torch==1"]]
    (tmp_path / "torch-1-cp311-cp311-linux_x86_64.whl").touch()
    assert bootstrap.torch_attempts({"UV_FIND_LINKS": f"/none,{tmp_path}"}, False, "torch==1") == [["torch==1"]]


def test_settings_for_pip_reach_uv(bootstrap: ModuleType) -> None:
    environ = {"PIP_FIND_LINKS": "/a /b", "PIP_INDEX_URL": "https://index", "VIRTUAL_ENV": "/other"}
    passed_on = bootstrap.uv_environ(environ)
    assert passed_on["UV_FIND_LINKS"] == "/a,/b"
    assert passed_on["UV_DEFAULT_INDEX"] == "https://index"
    assert "VIRTUAL_ENV" not in passed_on


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("error: Failed to fetch: `https://index/x`\n  Caused by: dns error", "does not answer: check the network"),
        ("OSError: [Errno 28] No space left on device", "no space left on the disk"),
        ("first\n  no solution found\n", "no solution found"),
    ],
)
def test_what_a_tool_said_becomes_a_reason(bootstrap: ModuleType, output: str, words: str) -> None:
    assert words in bootstrap.reason(output)


def test_another_package_manager_is_waited_for_and_named(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "LOG", tmp_path / "log")
    fake = tmp_path / "apt-get"
    locked = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 41 (unattended-upgr)"
    fake.write_text(
        f"#!/bin/sh\necho >> {tmp_path}/tries\n"
        f'[ $(wc -l < {tmp_path}/tries) -gt 2 ] || {{ echo "{locked}"; exit 100; }}\n'
    )
    fake.chmod(0o755)
    assert bootstrap.apt_get([str(fake)], {"PATH": "/usr/bin:/bin"}, seconds=60, pause=0)
    said = "another package manager, process 41 (unattended-upgr), which has /var/lib/dpkg/lock-frontend"
    assert capsys.readouterr().out.count(said) == 1
    (tmp_path / "tries").unlink()
    with pytest.raises(bootstrap.Problem, match="wait for it"):
        bootstrap.apt_get([str(fake)], {"PATH": "/usr/bin:/bin"}, seconds=60, pause=0, patience=-1)


def test_apt_s_other_failures_are_not_waited_for(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "LOG", tmp_path / "log")
    command = ["sh", "-c", "echo 'E: Unable to locate package chromium'; exit 100"]
    assert not bootstrap.apt_get(command, {"PATH": "/usr/bin:/bin"}, seconds=60)
