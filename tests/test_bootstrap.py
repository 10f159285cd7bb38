"""The pure parts of the bootstrap; the whole of it is tried on a bare machine."""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


def test_an_index_that_a_file_of_pip_names_is_asked(bootstrap: ModuleType, tmp_path: Path) -> None:
    """By the uv that sets everything up."""
    with listening() as (url, asked):
        (tmp_path / ".config" / "pip").mkdir(parents=True)
        (tmp_path / ".config" / "pip" / "pip.conf").write_text(f"[global]\nindex-url = {url}/simple\n")
        environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"}
        bootstrap.CACHE.mkdir(parents=True, exist_ok=True)
        command = [bootstrap.find_uv(), "pip", "install", "--dry-run", "--python", sys.executable, "of-the-company==1"]
        cache = {"UV_CACHE_DIR": str(tmp_path / "cache"), "UV_HTTP_RETRIES": "0"}
        done = subprocess.run(command, env={**bootstrap.uv_environ(environ), **cache}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "/simple/of-the-company/" in asked, done.stderr


def test_of_pip_s_settings_the_nearest_counts(bootstrap: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "pip.conf").write_text(
        "[global]\nindex-url = https://machine\nextra-index-url =\n  https://a\n  https://b\n"
        "[install]\nfind-links = /w\n"
    )
    (tmp_path / "mine.conf").write_text("[global]\ntrusted-host = machine\n")
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "mine.conf"), "PIP_INDEX_URL": "https://shell"}
    assert bootstrap.pip_settings(environ, tmp_path) == {
        "PIP_INDEX_URL": "https://shell",
        "PIP_EXTRA_INDEX_URL": "https://a https://b",
        "PIP_FIND_LINKS": "/w",
        "PIP_TRUSTED_HOST": "machine",
    }
    assert bootstrap.pip_settings({"HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}, tmp_path) == {}
    (tmp_path / "etc" / "pip.conf").write_text("index-url = of no section")
    assert bootstrap.pip_settings({"HOME": str(tmp_path)}, tmp_path) == {}


def test_an_image_says_what_is_in_it(bootstrap: ModuleType) -> None:
    bootstrap.CACHE.mkdir(parents=True, exist_ok=True)
    found = json.loads(bootstrap.bill_of_materials(bootstrap.find_uv(), Path(sys.prefix)))
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.5")
    here = {each["name"]: each for each in found["components"]}
    assert here["pydantic"]["purl"] == f"pkg:pypi/pydantic@{importlib.metadata.version('pydantic')}"
    assert len(here) > 100


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A package index that has nothing, and what it was asked for."""
    asked: list[str] = []

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


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
