"""One run at a time has the GPUs of a machine."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import wait_until

from browser_control import gpus
from browser_control.pipeline import gpu
from browser_control.pipeline.runtimes.docker import device_request

HOLDER = """
import sys, time
from pathlib import Path
from browser_control import gpus
from browser_control.pipeline import gpu
with gpu.held("run first", print, ("1",), Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_who_waits_says_for_whom_and_goes_on_when_that_one_is_killed(tmp_path: Path) -> None:
    said: list[str] = []
    done = threading.Event()

    def wait_for_it() -> None:
        with gpu.held("run second", said.append, ("1", "0"), tmp_path):
            done.set()

    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        try:
            wait_until(lambda: said)
            assert said == ["waiting for GPU 1 of this machine, which run first has"]
            assert not done.is_set()
        finally:
            holder.kill()
    waiting.join(10)
    assert done.is_set()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["", ""]


def test_where_nobody_has_it_nobody_waits(tmp_path: Path) -> None:
    said: list[str] = []
    with gpu.held("first", said.append, ("0",), tmp_path), gpu.held("second", said.append, ("1",), tmp_path):
        assert (tmp_path / "browser-control-gpu-1.lock").read_text() == "second"
    with gpu.held("third", said.append, ("0", "1"), tmp_path):
        assert said == []


@pytest.mark.parametrize(
    ("value", "devices"),
    [("", ()), ("-1", ()), ("1", ("1",)), ("0, 2", ("0", "2")), ("0,-1,2", ("0",)), ("GPU-ab", ("GPU-ab",))],
)
def test_a_run_gets_the_gpus_that_cuda_visible_devices_names(
    value: str, devices: tuple[str, ...], tmp_path: Path
) -> None:
    assert gpus.named({"CUDA_VISIBLE_DEVICES": value}) == devices
    for number in range(3):
        (tmp_path / f"nvidia{number}").touch()
    (tmp_path / "nvidiactl").touch()
    assert gpus.visible({"CUDA_VISIBLE_DEVICES": value}, tmp_path) == devices
    assert gpus.visible({}, tmp_path) == ("0", "1", "2")
    assert gpus.visible({"CUDA_VISIBLE_DEVICES": value}, tmp_path / "none") == ()


def test_in_wsl_a_gpu_counts_where_windows_lends_nvidias_library(tmp_path: Path) -> None:
    (tmp_path / "dxg").touch()
    assert gpus.present(tmp_path, tmp_path / "lib") == ()  # another maker's
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libcuda.so.1").touch()
    assert gpus.present(tmp_path, tmp_path / "lib") == ("0",)
    (tmp_path / "nvidia3").touch()
    assert gpus.present(tmp_path, tmp_path / "lib") == ("3",)


def test_a_uuid_is_the_gpu_that_the_driver_says(tmp_path: Path) -> None:
    folder = tmp_path / "0000:18:00.0"
    folder.mkdir()
    (folder / "information").write_text("Model: \t NVIDIA H100\nGPU UUID: \t GPU-1234-abcd\nDevice Minor: \t 3\n")
    assert gpus.numbers(tmp_path) == {"GPU-1234-abcd": "3"}


def test_docker_is_asked_for_the_same_gpus() -> None:
    assert device_request(None)["Count"] == -1
    assert device_request(("0", "2"))["DeviceIDs"] == ["0", "2"]
    assert device_request(("0", "2"))["Count"] == 0
