"""NVIDIA's driver against the CUDA that a build of PyTorch brings.

A build of CUDA N.x runs on every driver from that of N.0 on (NVIDIA calls it minor version compatibility).
`scripts/bootstrap.py`, which may import nothing of ours, has the same rows; a test holds them together.
"""

import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from browser_control.errors import ConfigurationError

OLDEST = {13: "580.65.06", 12: "525.60.13", 11: "450.80.02"}  # oldest driver for Linux, by CUDA's major version


@dataclass(frozen=True)
class Torch:
    """A build of PyTorch that is installed.

    Attributes:
        cuda: of the build, as `13.0`; None for one without.
    """

    version: str
    cuda: str | None


def version(file: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """The kernel module's version, as `535.129.03`; None where it is not loaded."""
    try:
        found = re.search(r"Kernel Module\D*?(?:for \S+\s+)?(\d+\.[\d.]+)", file.read_text())
    except OSError:
        return None
    return found[1] if found else None


def is_older(driver: str, than: str) -> bool:
    return [int(part) for part in driver.split(".")] < [int(part) for part in than.split(".")]


def backend(driver: str | None) -> str:
    """The build for an image, as TORCH_BACKEND spells it: `cuda`, or an older one for an older driver.

    Raises:
        ConfigurationError: no build runs on this driver.
    """
    if driver is None or not is_older(driver, OLDEST[13]):
        return "cuda"
    if not is_older(driver, OLDEST[12]):
        return "cu126"
    raise ConfigurationError(
        f"NVIDIA's driver {driver} is too old for PyTorch, which needs {OLDEST[12]}: install a newer one, or go without"
        " the GPU (--gpus none)"
    )


def installed_torch() -> Torch | None:
    """Read from its files, for an import takes seconds; None where there is none."""
    try:
        spec, known = importlib.util.find_spec("torch"), importlib.metadata.version("torch")
        text = Path(str(spec and spec.origin)).with_name("version.py").read_text()
    except (importlib.metadata.PackageNotFoundError, OSError):
        return None
    cuda = re.search(r"^cuda\b.*=\s*'([\d.]+)'", text, re.MULTILINE)
    return Torch(known, cuda[1] if cuda else None)


def trouble(gpus: Sequence[str], torch: Torch, driver: str | None) -> str:
    """Why PyTorch will not find these GPUs, in one sentence; empty where nothing tells."""
    if not gpus:
        return ""
    begin = f"this machine has a GPU ({', '.join(gpus)}), but PyTorch {torch.version} finds none:"
    end = "or set model.device=cpu to go without"
    if torch.cuda is None:
        return f"{begin} it is a build without CUDA; set up one with it (`make clean setup`), {end}"
    needed = OLDEST.get(int(torch.cuda.split(".")[0]))
    if needed is None or driver is None or not is_older(driver, needed):
        return ""
    return (
        f"{begin} its CUDA {torch.cuda} needs driver {needed}, and {driver} is there; install a newer driver, set up"
        f" PyTorch's build for this one (`make clean setup`), {end}"
    )


def refuse(gpus: Sequence[str]) -> None:
    """Raises ConfigurationError where a program of this environment would not find the GPUs that are there."""
    torch = installed_torch()
    if torch is not None and (words := trouble(gpus, torch, version())):
        raise ConfigurationError(words)
