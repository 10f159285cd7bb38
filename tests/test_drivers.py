"""Which driver a build of PyTorch needs, by what drivers said of themselves."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from browser_control import drivers
from browser_control.drivers import Torch
from browser_control.errors import ConfigurationError

RECORDED = {  # first line of /proc/driver/nvidia/version
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  Thu May  2 14:37:44 UTC 2024": "470.256.02",
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  525.60.13  Wed Nov 30 06:39:21 UTC 2022": "525.60.13",
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023": "535.129.03",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build  (dvs)": "570.124.06",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22)": "580.65.06",
    "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95.05  Release Build  (root@build)": "580.95.05",
}


@pytest.mark.parametrize(("line", "version"), RECORDED.items())
def test_the_version_is_read_as_the_kernel_module_says_it(tmp_path: Path, line: str, version: str) -> None:
    (tmp_path / "version").write_text(line + "\nGCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n")
    assert drivers.version(tmp_path / "version") == version


def test_no_driver_has_no_version(tmp_path: Path) -> None:
    assert drivers.version(tmp_path / "version") is None


@pytest.mark.parametrize(
    ("cuda", "driver", "found"),
    [
        ("13.0", "580.65.06", True),
        ("13.0", "570.124.06", False),
        ("12.8", "535.129.03", True),
        ("12.6", "525.60.13", True),
        ("12.6", "470.256.02", False),
        ("13.0", None, True),  # nothing tells
        ("99.0", "580.65.06", True),
    ],
)
def test_a_driver_older_than_cuda_is_named_with_the_one_that_is_needed(
    cuda: str, driver: str | None, found: bool
) -> None:
    words = drivers.trouble(("0",), Torch("2.13.0", cuda), driver)
    assert (words == "") is found
    if words:
        assert f"its CUDA {cuda} needs driver {drivers.OLDEST[int(cuda.split('.')[0])]}, and {driver} is there" in words
        assert "\n" not in words


@pytest.mark.parametrize(
    ("driver", "backend", "attempts"),
    [
        (None, "cuda", [["torch==1"]]),
        ("580.65.06", "cuda", [["torch==1"]]),
        ("580.95.05", "cuda", [["torch==1"]]),
        ("570.124.06", "cu126", [["--torch-backend", name, "torch==1"] for name in ("cu126", "cu128")]),
        ("525.60.13", "cu126", [["--torch-backend", name, "torch==1"] for name in ("cu126", "cu128")]),
    ],
)
def test_the_build_follows_the_driver_in_the_image_as_in_setup(
    driver: str | None, backend: str, attempts: list[list[str]]
) -> None:
    assert drivers.backend(driver) == backend
    assert bootstrap().torch_attempts({}, True, "torch==1", driver) == attempts


def test_a_driver_too_old_for_any_build_is_refused_in_both() -> None:
    with pytest.raises(ConfigurationError, match=r"470\.256\.02 is too old for PyTorch, which needs 525"):
        drivers.backend("470.256.02")
    setup = bootstrap()
    with pytest.raises(setup.Problem, match=r"470\.256\.02 is too old for torch==1, which needs 525"):
        setup.torch_attempts({}, True, "torch==1", "470.256.02")


def test_torch_backend_chooses_and_a_name_that_is_none_is_refused() -> None:
    setup = bootstrap()
    for driver in (None, "470.256.02"):
        chosen = setup.torch_attempts({"TORCH_BACKEND": "cu128"}, True, "torch==1", driver)
        assert chosen == [["--torch-backend", "cu128", "torch==1"]]
        asked = setup.torch_attempts({"TORCH_BACKEND": "cuda"}, True, "torch==1", driver)
        assert asked == [["torch==1"]]
        without = setup.torch_attempts({"TORCH_BACKEND": "cpu"}, True, "torch==1", driver)
        assert without == [["--torch-backend", "cpu", "torch==1"], ["torch==1"]]
    with pytest.raises(setup.Problem, match="TORCH_BACKEND=gpu is no build of PyTorch"):
        setup.torch_attempts({"TORCH_BACKEND": "gpu"}, True, "torch==1")


def test_setup_knows_the_same_drivers(tmp_path: Path) -> None:
    setup = bootstrap()
    assert [oldest for oldest, _ in setup.DRIVERS] == [drivers.OLDEST[13], drivers.OLDEST[12]]
    for line, version in RECORDED.items():
        (tmp_path / "version").write_text(line)
        assert setup.driver_version(tmp_path / "version") == version


def bootstrap() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "scripts" / "bootstrap.py"
    spec = importlib.util.spec_from_file_location("bootstrap", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_build_without_cuda_is_said_where_there_is_a_gpu() -> None:
    assert "build without CUDA" in drivers.trouble(("0", "1"), Torch("2.13.0+cpu", None), "580.65.06")
    assert drivers.trouble((), Torch("2.13.0+cpu", None), None) == ""


def test_the_installed_pytorch_is_known_without_an_import() -> None:
    import torch

    installed = drivers.installed_torch()
    assert installed is not None
    assert (installed.version, installed.cuda) == (str(torch.__version__), torch.version.cuda)
