"""What this machine has and lacks for each way to run, and what to do about it: `browser-control doctor`.

A check asks the function that the flow asks, and says the words of its refusal. It changes nothing. A *way* is
one of `WAYS`; a finding hinders those that it names, and one that names none is only said.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browser_control import allowance, configuration, drivers, gpus, proxies
from browser_control.environment.chromium import find_chromium
from browser_control.errors import UserError
from browser_control.pipeline.parameters import Parameters

WAYS = {
    "cpu": "as processes, on the CPU",
    "gpu": "as processes, on the GPU",
    "docker": "in Docker, on the CPU",
    "docker-gpu": "in Docker, on the GPU",
    "server": "on a Prefect server, by a worker",
}
_GB = 10**9
_DISK, _DISK_DOCKER, _MEMORY = 2 * _GB, 20 * _GB, 3 * _GB  # free, for a run of the default; for both images; available
_PROCESS = ("cpu", "gpu")
_ALL_BUT_DOCKER = (*_PROCESS, "server")


@dataclass(frozen=True)
class Finding:
    """What one check saw.

    Attributes:
        about: what was looked at.
        found: in a few words.
        remedy: what to do; empty where nothing is amiss.
        hinders: the ways that cannot run because of it.
    """

    about: str
    found: str
    remedy: str = ""
    hinders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """All findings, and what they come to."""

    findings: tuple[Finding, ...]
    default: str

    def lacks(self, way: str) -> tuple[str, ...]:
        """What hinders a way."""
        return tuple(finding.about for finding in self.findings if way in finding.hinders)

    @property
    def can_run(self) -> bool:
        """Whether the default way can."""
        return not self.lacks(self.default)

    def as_json(self) -> dict[str, Any]:
        ways = {way: {"can_run": not self.lacks(way), "lacks": list(self.lacks(way))} for way in WAYS}
        findings = [{**vars(finding), "hinders": list(finding.hinders)} for finding in self.findings]
        return {"default": self.default, "ways": ways, "findings": findings}


def diagnose(environ: Mapping[str, str] = os.environ) -> Diagnosis:
    """Looks at everything; no check ends another."""
    proxies.spare_loopback()
    findings: list[Finding] = []
    checks: tuple[Callable[[Mapping[str, str]], Iterator[Finding]], ...] = (
        _packages, _gpu, _chromium, _fonts, _docker, _prefect, _proxies, _disk, _memory, _cgroups, _processes, _git,
    )  # fmt: skip
    for check in checks:
        try:
            findings += check(environ)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            about = check.__name__.strip("_")
            findings.append(Finding(about, f"could not be looked at: {error}", "see whether that is meant"))
    return Diagnosis(tuple(findings), "gpu" if _wants_gpu(environ) else "cpu")


def _wants_gpu(environ: Mapping[str, str]) -> bool:
    """Whether the default configuration would train on a GPU of this machine."""
    device = configuration.load(str(Parameters.model_fields["config"].default)).model.device
    return device == "cuda" or (device == "auto" and bool(gpus.visible(environ)))


def _packages(environ: Mapping[str, str]) -> Iterator[Finding]:
    torch = drivers.installed_torch()
    if torch is None:
        yield Finding("PyTorch", "not installed", "run `make setup`", _ALL_BUT_DOCKER)
    else:
        kind = f"CUDA {torch.cuda}" if torch.cuda else "without CUDA"
        yield Finding("PyTorch", f"{torch.version}, {kind}, Python {sys.version.split()[0]}")


def _gpu(environ: Mapping[str, str]) -> Iterator[Finding]:
    found, driver, torch = gpus.visible(environ), drivers.version(), drivers.installed_torch()
    if not found:
        why = ", since CUDA_VISIBLE_DEVICES leaves none" if gpus.named(environ) == () and gpus.present() else ""
        yield Finding("GPU", f"none{why}", "none is needed; a GPU needs NVIDIA's driver", ("gpu", "docker-gpu"))
        return
    yield Finding("GPU", f"{', '.join(found)}, driver {driver or 'unknown'}")
    if torch is not None and (words := drivers.trouble(found, torch, driver)):
        yield Finding("driver", *_sentence(words), ("gpu",))
    if (trouble := _nvml_trouble()) is not None:
        remedy = "restart the machine, so that kernel module and library are of one driver"
        yield Finding("NVML", trouble, remedy, ("gpu", "docker-gpu"))


def _nvml_trouble() -> str | None:
    if shutil.which("nvidia-smi") is None:
        return None
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    words = (done.stdout + done.stderr).strip().splitlines()
    return None if done.returncode == 0 else (words or ["nvidia-smi said nothing"])[0]


def _chromium(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        program = find_chromium(environ=environ)
    except UserError as error:
        yield Finding("Chromium", *_sentence(str(error)), _ALL_BUT_DOCKER)
        return
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        yield Finding("Chromium", f"{done.stdout.strip()}, {program}")
    else:
        words = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        remedy = "install it anew, with what it needs (as root `apt-get install --reinstall chromium`)"
        yield Finding("Chromium", f"{program} does not start: {words}", remedy, _ALL_BUT_DOCKER)


def _fonts(environ: Mapping[str, str]) -> Iterator[Finding]:
    if shutil.which("fc-match") is None:
        there = any(Path("/usr/share/fonts").rglob("LiberationSans-Regular.*"))
        name = "Liberation Sans" if there else "no Liberation Sans"
    else:
        name = subprocess.run(["fc-match", "-f", "%{family}", "Arial"], capture_output=True, text=True).stdout
    good = name.startswith(("Liberation Sans", "Arial"))
    remedy = "pages are laid out in another way: as root `apt-get install fonts-liberation`"
    yield Finding("fonts", f"{name or 'none'} for Arial", "" if good else remedy)


def _docker(environ: Mapping[str, str]) -> Iterator[Finding]:
    from browser_control.pipeline import engine

    both = ("docker", "docker-gpu")
    try:
        client = engine.connect()
    except UserError as error:
        yield Finding("Docker", *_sentence(str(error)), both)
        return
    try:
        with engine.answering():
            kind, words = engine.kind(client), engine.trouble(client)
            root = Path(client.info().get("DockerRootDir", "/"))
            has_gpu = engine.has_gpu(client)
    finally:
        client.close()
    yield Finding("Docker", kind, *(((_sentence(words)[1] or words), both) if words else ()))
    if gpus.present() and not has_gpu:
        yield Finding("NVIDIA toolkit", *_sentence(engine.NO_GPU), ("docker-gpu",))
    if root.is_dir() and (free := shutil.disk_usage(root).free) < _DISK_DOCKER:
        yield Finding("Docker's disk", f"{free / _GB:.0f} GB free at {root}", "both images take 20: free some")


def _prefect(environ: Mapping[str, str]) -> Iterator[Finding]:
    from browser_control.pipeline import server

    url = server.configured_server(environ)
    if url is None:
        taken = _is_taken(4200)
        found = "none is named: each run brings a temporary one" + ("; something listens on port 4200" if taken else "")
        remedy = (
            f"to use a server: {'PREFECT_API_URL=http://127.0.0.1:4200/api, if it is one' if taken else server.START}"
        )
        yield Finding("Prefect server", found, remedy, ("server",))
        return
    try:
        server.refuse_unreachable(url)
    except UserError as error:
        yield Finding("Prefect server", *_sentence(str(error)), tuple(WAYS))
    else:
        yield Finding("Prefect server", f"answers at {url}")


def _is_taken(port: int) -> bool:
    with socket.socket() as asker:
        asker.settimeout(2)
        return asker.connect_ex(("127.0.0.1", port)) == 0


def _proxies(environ: Mapping[str, str]) -> Iterator[Finding]:
    chosen = proxies.chosen(environ)
    if not chosen:
        yield Finding("proxies", "none")
        return
    here = [name for name, value in chosen.items() if proxies.is_loopback(value)]
    remedy = f"no container reaches a proxy on loopback ({', '.join(here)}): name one that others reach" if here else ""
    yield Finding("proxies", f"{', '.join(chosen)} set; loopback goes through none", remedy)


def _disk(environ: Mapping[str, str]) -> Iterator[Finding]:
    for about, folder in {"disk": Path.cwd(), "temporary files": Path(environ.get("TMPDIR") or "/tmp")}.items():
        free = shutil.disk_usage(folder).free
        full = free < (_DISK if about == "disk" else _DISK // 10)
        remedy, hindered = (f"free some on the disk of {folder}", tuple(WAYS)) if full else ("", ())
        yield Finding(about, f"{free / _GB:.1f} GB free at {folder}", remedy, hindered)


def _memory(environ: Mapping[str, str]) -> Iterator[Finding]:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    remedy = "the default takes 3 GB: end what else runs, or lower training.tokens_per_micro_batch"
    yield Finding("memory", f"{available / _GB:.1f} GB available", remedy if available < _MEMORY else "")
    shared = shutil.disk_usage("/dev/shm").total
    small = "several training processes need more: mount a larger /dev/shm (in a container --shm-size 1g)"
    yield Finding("shared memory", f"{shared / 10**6:.0f} MB", small if shared < 2**28 else "")


def _cgroups(environ: Mapping[str, str], root: Path = Path("/sys/fs/cgroup")) -> Iterator[Finding]:
    second = (root / "cgroup.controllers").exists()
    limit = root / ("memory.max" if second else "memory/memory.limit_in_bytes")
    value = limit.read_text().strip() if limit.exists() else "max"
    words = f", memory limit {int(value) / _GB:.1f} GB" if value.isdigit() and int(value) < 2**60 else ""
    version = "version 2" if second else "version 1" if (root / "memory").is_dir() else "not mounted"
    yield Finding("cgroups", f"{version}, {allowance.cores():g} cores{words}")


def _processes(environ: Mapping[str, str]) -> Iterator[Finding]:
    readable = Path("/proc/self/stat").exists()
    yield (
        Finding("/proc", "readable")
        if readable
        else Finding(
            "/proc",
            "cannot be read",
            "mount it: without it, what a program leaves behind is not found",
            _ALL_BUT_DOCKER,
        )
    )


def _git(environ: Mapping[str, str]) -> Iterator[Finding]:
    root = configuration.CONFIGS.parent
    if shutil.which("git") is None:
        yield Finding("git", "missing", "install it (as root `apt-get install git`)", ("docker", "docker-gpu"))
        return
    done = subprocess.run(["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    if done.returncode == 0:
        yield Finding("git", f"commit {done.stdout.strip()}")
    elif "dubious ownership" in done.stderr:
        remedy = f"archives name no commit: `git config --global --add safe.directory {root}`"
        yield Finding("git", "the checkout belongs to another user", remedy)
    else:
        yield Finding("git", "no checkout: archives name no commit")


def _sentence(words: str) -> tuple[str, str]:
    """What is amiss and what to do, of a sentence of the form `amiss: do`."""
    amiss, _, remedy = words.partition(": ")
    return amiss, remedy
