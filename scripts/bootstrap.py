"""Sets up all that `make train` and `make test` need, on a machine with Python, git and make; twice does nothing.

A locked environment in `.venv` (by a uv that is there, or one of our own in `.cache`), PyTorch in the build that fits
this machine, and a Chromium. Images are made by the same code: `bootstrap.py --image EXTRA` puts the locked packages of
one extra, without ourselves, into `/opt/venv`. Standard library only, and syntax that an older Python can read far
enough to be told that it is too old. What a person has to do is said in one sentence, with exit code 2.
"""

from __future__ import annotations

import configparser
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache" / "bootstrap"
STAMP = VENV / ".bootstrapped"
IMAGE_VENV = Path("/opt/venv")
LOG = CACHE / "bootstrap.log"

PYTHONS = ((3, 11), (3, 12))  # requires-python of pyproject.toml
UV = "uv>=0.9,<1"
APT_PACKAGES = (("chromium-headless-shell",), ("chromium",))
# Oldest drivers for Linux, as browser_control.drivers has them, with builds of PyTorch's own index that run on them;
# on the newest the package index's does.
DRIVERS = (("580.65.06", ()), ("525.60.13", ("cu126", "cu128")))
# What pip and uv are told of where packages are.
PIP_AND_UV = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
}
FONTS = "fonts-liberation"  # as wide as Arial, which the pages ask for: the layout depends on it
_NETWORK = re.compile(
    r"dns error|failed to fetch|failed to lookup|error sending request|connection refused|network is unreachable"
    r"|could not connect|name resolution|temporary failure|tcp connect|no route to host|timed out"
    r"|NewConnectionError|ConnectionResetError|tunnel",
    re.IGNORECASE,
)
_LOCKED = re.compile(r"Could not get lock (\S+?)\.?(?=[\s,]|$)(?:.*?held by( process \d+(?: \([^)]*\))?))?")


class Problem(Exception):
    """One sentence that says what to do."""


def main(arguments: Sequence[str]) -> int:
    started = time.monotonic()
    try:
        if arguments[:1] in (["--image"], ["--add"]):
            refuse_old_python(sys.version_info[:2])
            CACHE.mkdir(parents=True, exist_ok=True)
            (set_up_image if arguments[0] == "--image" else add_to_image)(*arguments[1:])
            return 0
        if STAMP.is_file() and STAMP.read_text() == stamp():
            return 0
        refuse_old_python(sys.version_info[:2])
        CACHE.mkdir(parents=True, exist_ok=True)
        with only_one(CACHE / "lock"):
            set_up()
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except OSError as error:
        print("error: {}: {}".format(error.filename or "setting up", error.strerror or error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    say(f"ready in {time.monotonic() - started:.0f} s")
    return 0


def set_up() -> None:
    if STAMP.is_file() and STAMP.read_text() == stamp():  # another process was at it
        return
    LOG.write_text("")
    torch_attempts(os.environ, has_nvidia_driver(), "PyTorch", driver_version())  # a driver too old is said first
    uv = find_uv()
    make_environment(uv, VENV)
    install(uv, VENV, ["--all-extras", "--all-groups"], has_nvidia_driver())
    run([*pip_install(uv, VENV), "--no-deps", "--editable", str(ROOT)], "the project itself cannot be installed")
    chromium()
    STAMP.write_text(stamp())


def set_up_image(extra: str, torch: str, *pruned: str) -> None:
    """The locked packages of one extra in `IMAGE_VENV`, without those `pruned`.

    `torch` is `none`, `cpu`, `cuda` (the package index's build) or one of PyTorch's own, such as `cu126`.
    """
    os.environ["TORCH_BACKEND"] = torch
    LOG.write_text("")
    uv = find_uv()
    make_environment(uv, IMAGE_VENV)
    chosen = ["--no-dev", "--extra", extra, *(f"--prune={name}" for name in pruned)]
    install(uv, IMAGE_VENV, chosen, None if torch == "none" else torch != "cpu")
    (IMAGE_VENV / "sbom.cdx.json").write_text(bill_of_materials(uv, IMAGE_VENV) + "\n")


def add_to_image(requirements: str) -> None:
    """More packages in `IMAGE_VENV`, one requirement a line; what is there keeps its version."""
    LOG.write_text("")
    uv = find_uv()
    kept, wanted = CACHE / "kept.txt", CACHE / "wanted.txt"
    kept.write_text("".join(f"{each['name']}=={each['version']}\n" for each in packages_of(uv, IMAGE_VENV)))
    wanted.write_text(requirements + "\n")
    command = [*pip_install(uv, IMAGE_VENV), "--constraint", str(kept), "--requirement", str(wanted)]
    words = "what the applications of web tasks require cannot be installed beside the locked packages"
    run(command, words, uv_environ(os.environ))
    (IMAGE_VENV / "sbom.cdx.json").write_text(bill_of_materials(uv, IMAGE_VENV) + "\n")


def packages_of(uv: str, venv: Path) -> list[dict[str, str]]:
    """Name and version of each package that an environment has."""
    command = [uv, "pip", "list", "--format", "json", "--python", str(venv / "bin" / "python")]
    listed: list[dict[str, str]] = json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    )
    return listed


def bill_of_materials(uv: str, venv: Path) -> str:
    """The packages of an environment as CycloneDX 1.5 (https://cyclonedx.org/docs/1.5/json/), as they are installed."""
    components = [
        {
            "type": "library",
            "name": each["name"],
            "version": each["version"],
            "purl": "pkg:pypi/{}@{}".format(
                each["name"].lower().replace("_", "-"), each["version"].replace("+", "%2B")
            ),
        }
        for each in packages_of(uv, venv)
    ]
    return json.dumps(
        {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}, indent=1
    )


def stamp() -> str:
    """What the environment was made from: while this does not change, there is nothing to do."""
    digest = hashlib.sha256()
    for path in ("uv.lock", "pyproject.toml", "scripts/bootstrap.py"):
        digest.update((ROOT / path).read_bytes())
    return digest.hexdigest() + "\n"


def refuse_old_python(version: tuple[int, ...]) -> None:
    if version < (3, 8):
        raise Problem(f"Python {spelled(version)} is too old: install Python 3.11 or 3.12")


def find_uv() -> str:
    """A uv that works: the one on PATH, or one that is installed here."""
    here = CACHE / "uv"
    for candidate in (shutil.which("uv"), str(here / "bin" / "uv")):
        if candidate and works([candidate, "--version"]):
            return candidate
    say("getting uv, which installs the rest")
    try:
        run([sys.executable, "-m", "venv", "--clear", str(here)])
    except Problem:
        raise Problem(
            "Python's venv module is missing or incomplete: `apt-get install python3-venv`, or put uv on PATH"
        ) from None
    run([str(here / "bin" / "pip"), "install", "--quiet", UV], "uv cannot be installed")
    return str(here / "bin" / "uv")


def make_environment(uv: str, venv: Path) -> None:
    """An empty virtual environment with a Python that fits, unless there is one."""
    if works([str(venv / "bin" / "python"), "-c", python_check()]):
        return
    python = choose_python(sys.version_info[:2], sys.executable, shutil.which)
    if python is None:
        wanted = spelled(PYTHONS[-1])
        say(f"fetching Python {wanted}")
        found = spelled(sys.version_info[:2])
        try:
            run([uv, "python", "install", wanted])
        except Problem:
            raise Problem(f"Python 3.11 or 3.12 is needed, found {found}: install one of them (python3.12)") from None
        python = wanted
    run([uv, "venv", "--quiet", "--clear", "--python", python, str(venv)], "no virtual environment can be made")


def spelled(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def python_check() -> str:
    return f"import sys; sys.exit(sys.version_info[:2] not in {PYTHONS!r})"


def choose_python(version: tuple[int, ...], executable: str, which: Callable[[str], str | None]) -> str | None:
    """The interpreter for `.venv`: this one, another that is installed, or None."""
    if version in PYTHONS:
        return executable
    for wanted in PYTHONS:
        other = which(f"python{spelled(wanted)}")
        if other:
            return other
    return None


def install(uv: str, venv: Path, chosen: Sequence[str], nvidia: bool | None) -> None:
    """The packages that uv's options `chosen` name, as locked, and PyTorch in a build that fits (None: no PyTorch)."""
    environ = uv_environ(os.environ)
    export = [uv, "export", "--quiet", "--frozen", *chosen, "--no-emit-project"]
    locked = CACHE / "requirements.txt"
    run([*export, "--prune", "torch", "--output-file", str(locked)], environ=environ)
    say("installing the locked packages")
    # The lock is complete. To resolve it anew would let peft fetch a PyTorch with all of CUDA, only to be replaced.
    command = [*pip_install(uv, venv), "--no-deps", "--requirement", str(locked)]
    run(command, "the locked packages cannot be installed", environ)
    if nvidia is not None:
        constraints = CACHE / "constraints.txt"
        run([*export, "--no-hashes", "--no-annotate", "--output-file", str(constraints)], environ=environ)
        install_torch(uv, venv, without_torch(constraints), nvidia, environ)


def install_torch(uv: str, venv: Path, constraints: Path, nvidia: bool, environ: Mapping[str, str]) -> None:
    torch = torch_requirement((ROOT / "uv.lock").read_text())
    if works([str(venv / "bin" / "python"), "-c", installed_check(torch)]):
        return
    say(f"installing {torch}")
    attempts = torch_attempts(environ, nvidia, torch, driver_version() if venv == VENV else None)
    for number, arguments in enumerate(attempts, start=1):
        try:
            command = [*pip_install(uv, venv), "--constraint", str(constraints), *arguments]
            run(command, "PyTorch cannot be installed", environ)
            break
        except Problem:
            if number == len(attempts):
                raise


def pip_install(uv: str, venv: Path) -> list[str]:
    return [uv, "pip", "install", "--quiet", "--python", str(venv / "bin" / "python")]


def uv_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """uv does not read pip's settings; a machine that is set up for pip shall work all the same."""
    passed_on = dict(environ)
    for name, value in pip_settings(environ).items():
        uv = PIP_AND_UV[name]
        if not environ.get(uv) and not environ.get("UV_INDEX_URL"):
            passed_on[uv] = ",".join(value.split()) if uv == "UV_FIND_LINKS" else value
            if uv == "UV_INDEX":  # of several indexes pip takes the best, uv the first that knows the package
                passed_on.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    passed_on.pop("VIRTUAL_ENV", None)
    return passed_on


def pip_settings(environ: Mapping[str, str], root: Path = Path("/")) -> dict[str, str]:
    """What pip's files and variables say of `PIP_AND_UV`, the latter before the former, as in its own documentation."""
    home = Path(environ.get("HOME") or Path.home())
    files = [root / "etc/xdg/pip/pip.conf", root / "etc/pip.conf", home / ".pip/pip.conf"]
    files += [Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"]
    files = [] if environ.get("PIP_CONFIG_FILE") == os.devnull else files
    files += [Path(environ["PIP_CONFIG_FILE"])] if environ.get("PIP_CONFIG_FILE") else []
    found: dict[str, str] = {}
    for section in ("global", "install"):
        for file in files:
            try:
                parser = configparser.RawConfigParser()
                parser.read_string(file.read_text())
            except (OSError, UnicodeError, configparser.Error):
                continue
            for name in PIP_AND_UV:
                value = parser.get(section, name[4:].lower().replace("_", "-"), fallback="")
                found.update({name: " ".join(value.split())} if value.strip() else {})
    found.update({name: environ[name] for name in PIP_AND_UV if environ.get(name)})
    return found


def torch_requirement(lock: str) -> str:
    """`torch==2.13.0` of the lock file's text."""
    found = re.search(r'^name = "torch"\nversion = "([^"+]+)', lock, re.MULTILINE)
    if found is None:
        raise Problem("uv.lock names no torch: run `uv lock`")
    return "torch==" + found.group(1)


def torch_attempts(environ: Mapping[str, str], nvidia: bool, torch: str, driver: str | None = None) -> list[list[str]]:
    """Arguments that install PyTorch, the best first: a CPU build is a tenth of the size of one with CUDA.

    A wheel in a folder of `UV_FIND_LINKS` is somebody's choice for this machine. Where PyTorch's own index, which
    has the CPU builds, does not answer, the package index's build works on a CPU as well. `TORCH_BACKEND` chooses;
    without it the build follows the driver, where one is known.
    """
    chosen = environ.get("TORCH_BACKEND", "")
    if re.match(r"cu\d+$", chosen):
        return [["--torch-backend", chosen, torch]]
    if chosen not in ("", "auto", "cpu", "cuda", "none"):
        raise Problem(f"TORCH_BACKEND={chosen} is no build of PyTorch: name cpu, cuda, or a version, such as cu126")
    nvidia = nvidia and chosen != "cpu"
    folders = [Path(folder) for folder in environ.get("UV_FIND_LINKS", "").split(",") if folder]
    if any(any(folder.glob("torch-*.whl")) for folder in folders if folder.is_dir()):
        return [[torch]]
    if nvidia:
        return cuda_attempts(torch, None if chosen == "cuda" else driver)
    return [["--torch-backend", "cpu", torch], [torch]]


def cuda_attempts(torch: str, driver: str | None) -> list[list[str]]:
    """Those that run on a driver; raises Problem where there are none."""
    if driver is None:
        return [[torch]]
    for oldest, backends in DRIVERS:
        if [int(part) for part in driver.split(".")] >= [int(part) for part in oldest.split(".")]:
            return [["--torch-backend", backend, torch] for backend in backends] or [[torch]]
    raise Problem(
        f"NVIDIA's driver {driver} is too old for {torch}, which needs {DRIVERS[-1][0]}: install a newer one, or set"
        " TORCH_BACKEND=cpu to go without the GPU"
    )


def driver_version(file: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """As browser_control.drivers.version, which cannot be imported by now."""
    try:
        found = re.search(r"Kernel Module\D*?(?:for \S+\s+)?(\d+\.[\d.]+)", file.read_text())
    except OSError:
        return None
    return found.group(1) if found else None


def installed_check(requirement: str) -> str:
    name, _, version = requirement.partition("==")
    return f"import sys, importlib.metadata as m; sys.exit(m.version({name!r}).split('+')[0] != {version!r})"


def without_torch(constraints: Path) -> Path:
    """The constraints but for torch and what only its CUDA builds need."""
    kept = CACHE / "torch-constraints.txt"
    lines = [line for line in constraints.read_text().splitlines() if not re.match(r"torch|triton|nvidia|cuda", line)]
    kept.write_text("\n".join(lines) + "\n")
    return kept


def has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def chromium() -> None:
    """A Chromium that starts: one that is there, else Playwright's own, else the system's package."""
    if chromium_starts():
        return
    say("getting a Chromium")
    python = str(VENV / "bin" / "python")
    if works([python, "-m", "playwright", "install", "chromium"], log=True, seconds=900) and chromium_starts():
        return
    privileged = root_prefix()
    if privileged is not None and shutil.which("apt-get"):
        environ = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")
        apt_get([*privileged, "apt-get", "update"], environ, seconds=600)
        for packages in APT_PACKAGES:
            install = [*privileged, "apt-get", "install", "-y", "--no-install-recommends", *packages, FONTS]
            if apt_get(install, environ, seconds=1200) and chromium_starts():
                return
    raise Problem(
        "no Chromium could be had: install one (as root `apt-get install chromium`), or name one in"
        f" BROWSER_CONTROL_CHROMIUM; {LOG.relative_to(ROOT)} says what was tried"
    )


def chromium_starts() -> bool:
    """Whether the environment service would find a Chromium whose libraries are all there."""
    code = (
        "import subprocess, sys\n"
        "from browser_control.environment.chromium import find_chromium\n"
        "from browser_control.errors import BrowserNotFound\n"
        "try:\n"
        "    sys.exit(subprocess.run([find_chromium(), '--version'], stdout=subprocess.DEVNULL).returncode)\n"
        "except BrowserNotFound as error:\n"
        "    sys.exit(str(error))\n"
    )
    return works([str(VENV / "bin" / "python"), "-c", code], log=True)


def apt_get(
    command: Sequence[str], environ: Mapping[str, str], seconds: float, pause: float = 5, patience: float = 900
) -> bool:
    """Whether it ends well; waits, and says for what, while another package manager works, as on a fresh machine."""
    deadline, said = time.monotonic() + patience, False
    while True:
        try:
            result = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ, text=True, timeout=seconds
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        with LOG.open("a") as log:
            log.write(result.stdout)
        held = _LOCKED.search(result.stdout)
        if result.returncode == 0 or held is None:
            return result.returncode == 0
        if time.monotonic() > deadline:
            raise Problem(f"another package manager has {held.group(1)} for too long: wait for it, or end it")
        if not said:
            holder = (held.group(2) or "of unknown number").strip()
            say(f"waiting for another package manager, {holder}, which has {held.group(1)}")
            said = True
        time.sleep(pause)


def root_prefix() -> list[str] | None:
    """What a command that needs root begins with; None where we have no right to it."""
    if os.geteuid() == 0:
        return []
    return ["sudo", "-n"] if works(["sudo", "-n", "true"]) else None


def works(
    command: Sequence[str], environ: Mapping[str, str] | None = None, log: bool = False, seconds: float = 120
) -> bool:
    """Whether a command ends well."""
    if not shutil.which(command[0]):
        return False
    with LOG.open("ab") if log else open(os.devnull, "wb") as output:
        try:
            result = subprocess.run(command, stdout=output, stderr=output, env=environ, cwd=str(ROOT), timeout=seconds)
        except (OSError, subprocess.TimeoutExpired):
            return False
    return result.returncode == 0


def run(command: Sequence[str], trouble: str = "setting up failed", environ: Mapping[str, str] | None = None) -> None:
    """Runs a command, its words in the log; raises Problem with the reason if it fails."""
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ, cwd=str(ROOT), text=True
    )
    with LOG.open("a") as log:
        log.write("$ {}\n{}".format(" ".join(command), result.stdout))
    if result.returncode != 0:
        raise Problem(f"{trouble}: {reason(result.stdout)}")


def reason(output: str) -> str:
    """What went wrong, in words, of a tool's output."""
    if "No space left on device" in output:
        return "no space left on the disk: free some, and run the same command again"
    if _NETWORK.search(output):
        return f"the package index does not answer: check the network ({LOG.relative_to(ROOT)} has the details)"
    lines = [line.strip(" \t╰─▶│├") for line in output.splitlines() if line.strip()]
    return "{} ({} has the details)".format(lines[-1] if lines else "it gave no reason", LOG.relative_to(ROOT))


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """One process sets up, others wait for it."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(words: str) -> None:
    print(f"setup: {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
