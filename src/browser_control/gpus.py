"""Which NVIDIA GPUs this machine has for us: what the driver shows, less what CUDA_VISIBLE_DEVICES leaves out."""

import os
from collections.abc import Mapping
from pathlib import Path


def named(environ: Mapping[str, str] = os.environ) -> tuple[str, ...] | None:
    """Those that CUDA_VISIBLE_DEVICES names, by number or UUID; None where it is not set.

    As CUDA reads it: empty means none, and so does whatever follows -1.
    """
    value = environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    names = []
    for part in value.split(","):
        if part.strip() in ("", "-1"):
            break
        names.append(part.strip())
    return tuple(names)


def present(devices: Path = Path("/dev"), wsl: Path = Path("/usr/lib/wsl/lib")) -> tuple[str, ...]:
    """Numbers of the GPUs for which there is a driver.

    In WSL every GPU is behind `/dev/dxg`; one is NVIDIA's where the driver of Windows lends its libcuda, and it counts
    as one.
    """
    found = tuple(sorted(path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*")))
    lent = (devices / "dxg").exists() and (wsl / "libcuda.so.1").exists()
    return found or (("0",) if lent else ())


def numbers(drivers: Path = Path("/proc/driver/nvidia/gpus")) -> dict[str, str]:
    """The number of each GPU by its UUID, as far as the driver says."""
    found = {}
    for information in drivers.glob("*/information"):
        values = dict(line.split(":", 1) for line in information.read_text().splitlines() if ":" in line)
        found[values.get("GPU UUID", "").strip()] = values.get("Device Minor", "").strip()
    return found


def visible(environ: Mapping[str, str] = os.environ, devices: Path = Path("/dev")) -> tuple[str, ...]:
    """The GPUs that a program may use, by number where that is known; empty for none."""
    chosen, there = named(environ), present(devices)
    if chosen is None or not there:
        return there
    known = numbers()
    by_uuid = {name: next((number for uuid, number in known.items() if uuid.startswith(name)), name) for name in chosen}
    return tuple(by_uuid[name] for name in chosen)
