"""Archives: what mattered of a run, immutable, listed in a manifest that is written last.

Where the manifest is, the archive is complete. An archive lives in a folder or at any other fsspec URL.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem

from browser_control.configuration import (
    DEMONSTRATION_SEEDS,
    EVALUATION_SEEDS,
    FINAL_SEEDS,
    TRAINING_SEEDS,
    Configuration,
)
from browser_control.errors import ArchiveInvalid, ArchivesUnreachable, BrowserControlError, RecordDamaged
from browser_control.integrity import seal, unsealed
from browser_control.language.version import VERSION
from browser_control.run_directory import RunDirectory

MANIFEST = "manifest.json"
FORMAT = 2
_PACKAGES = (
    "browser-control",
    "browsergym-core",
    "browsergym-miniwob",
    "llguidance",
    "miniwob",
    "openenv",
    "peft",
    "playwright",
    "prefect",
    "torch",
    "transformers",
)
_CHUNK = 1 << 20
PATIENCE = 60.0  # seconds that a store may take for a file, and as many as the file takes at SLOW
SLOW = 100_000  # bytes a second


@dataclass(frozen=True)
class Origin:
    """Where a run's code came from; None where it does not apply."""

    git_commit: str | None
    openenv_commit: str | None = None
    images: tuple[str, ...] = ()


def write(directory: RunDirectory, url: str, run_id: str, settings: Configuration, origin: Origin) -> dict[str, Any]:
    """Copies what mattered of a run to `url`, and the manifest last; returns the manifest.

    A copy that was cut short is taken up again: a file that is there with the right digest is not copied twice.

    Raises:
        ArchivesUnreachable: `url` is in a store elsewhere, which fails; so do all that read an archive.
    """
    files: dict[str, dict[str, Any]] = {}
    with _at(url) as (system, root):
        for name, path in sorted(_contents(directory)):
            entry = {"sha256": _digest(_chunks(path)), "bytes": path.stat().st_size}
            if not _holds(system, f"{root}/{name}", entry):
                _copy(system, path, f"{root}/{name}")
            files[name] = entry
        for stray in set(_listing(system, root)) - set(files) - {MANIFEST}:
            system.rm_file(f"{root}/{stray}")
        manifest = {**provenance(run_id, settings, origin), "files": files}
        _put(system, f"{root}/{MANIFEST}", json.dumps(seal(manifest), indent=2).encode() + b"\n")
    return manifest


def trouble_with(url: str) -> str:
    """Why no archive could be written below `url`, found by trying; empty where one could."""
    try:
        system, root = _open(join(url, f".tried-{uuid.uuid4().hex}"))
        _put(system, root, b"")
        system.rm_file(root)
    except Exception as error:  # each file system has errors of its own
        return _words_of(error)
    return ""


def verify(url: str) -> dict[str, Any]:
    """Reads every file of an archive and compares it with the manifest, which is returned.

    Raises:
        ArchiveInvalid: there is no manifest, or a file is missing, altered or not listed; all are named.
    """
    manifest = read_manifest(url)
    listed: dict[str, dict[str, Any]] = manifest["files"]
    with _at(url) as (system, root):
        present = set(_listing(system, root)) - {MANIFEST}
        wrong = [f"{name} is missing" for name in sorted(set(listed) - present)]
        wrong += [f"{name} is not listed" for name in sorted(present - set(listed))]
        for name in sorted(present & set(listed)):
            if not _holds(system, f"{root}/{name}", listed[name]):
                wrong.append(f"{name} was altered")
    if wrong:
        raise ArchiveInvalid(f"the archive at {url} is not as its manifest says: {'; '.join(wrong)}")
    return manifest


def read_manifest(url: str) -> dict[str, Any]:
    """Raises ArchiveInvalid where there is none, or it cannot be read."""
    if (content := _content(url, MANIFEST)) is None:
        raise ArchiveInvalid(f"there is no complete archive at {url}: {MANIFEST} is missing")
    try:
        manifest = unsealed(content, MANIFEST)
        for entry in dict(manifest["files"]).values():
            str(entry["sha256"]), int(entry["bytes"])
    except (RecordDamaged, ValueError, KeyError, TypeError):
        raise ArchiveInvalid(f"{MANIFEST} of the archive at {url} is damaged") from None
    for name in manifest["files"]:  # an archive may be anybody's
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
            raise ArchiveInvalid(f"{MANIFEST} of the archive at {url} names {name!r}, which is outside of it")
    return manifest


def read(url: str, name: str) -> bytes:
    """One file of an archive; raises ArchiveInvalid where it is not there.

    It is not compared with the manifest: who has not called `verify` compares it by `read_listed`.
    """
    if (content := _content(url, name)) is None:
        raise ArchiveInvalid(f"the archive at {url} holds no {name}")
    return content


def read_listed(url: str, name: str) -> bytes:
    """`read`, once it was compared with the manifest; raises ArchiveInvalid where it was altered or is not listed."""
    listed, content = read_manifest(url)["files"], read(url, name)
    if not is_listed(listed, name, content):
        raise ArchiveInvalid(f"{name} of the archive at {url} was altered")
    return content


def is_listed(listed: Mapping[str, dict[str, Any]], name: str, content: bytes) -> bool:
    """Whether a file is what the manifest's `files` say of it."""
    return name in listed and hashlib.sha256(content).hexdigest() == listed[name]["sha256"]


def read_json(url: str, name: str) -> dict[str, Any]:
    """A JSON file, once it was compared with the manifest; raises ArchiveInvalid where it is not what was archived."""
    try:
        value = json.loads(read_listed(url, name))
    except ValueError as error:
        raise ArchiveInvalid(f"{name} of the archive at {url} is no JSON") from error
    if not isinstance(value, dict):
        raise ArchiveInvalid(f"{name} of the archive at {url} is no JSON object")
    return value


def fetch(url: str, folder: str, target: Path) -> None:
    """Copies a folder of an archive to `target`, whole or not at all, comparing each file with the manifest.

    Raises:
        ArchiveInvalid: there is no complete archive, or a file of the folder is missing or altered.
    """
    listed = read_manifest(url)["files"].items()
    files = {name: entry["sha256"] for name, entry in listed if name.startswith(f"{folder}/")}
    if not files:
        raise ArchiveInvalid(f"the archive at {url} holds no {folder}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        copy = Path(temporary) / "copy"
        for name, digest in files.items():
            content = read(url, name)
            if hashlib.sha256(content).hexdigest() != digest:
                raise ArchiveInvalid(f"{name} of the archive at {url} was altered")
            path = copy / name.removeprefix(f"{folder}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if target.exists():
            shutil.rmtree(target)  # of a run that was stopped before it took note of its copy
        os.replace(copy, target)


def exists(url: str) -> bool:
    """Whether there is a complete archive at `url`."""
    with _at(url) as (system, root):
        return bool(system.exists(f"{root}/{MANIFEST}"))


def join(archives: str, name: str) -> str:
    return f"{archives.rstrip('/')}/{name}"


def git_commit(repository: Path) -> str | None:
    """The commit that is checked out, with `+changes` where files differ from it; None outside a repository."""
    try:
        commit = _git(repository, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(repository, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _contents(directory: RunDirectory) -> Iterator[tuple[str, Path]]:
    """Names within the archive, and files; of the checkpoints of training the newest."""
    steps = {path.name for path in directory.steps()}
    kept = {max(steps, default="")}
    for path in directory.root.rglob("*"):
        name = path.relative_to(directory.root)
        if not path.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        if name.parts[0] == "checkpoints" and name.parts[1] in steps - kept:
            continue
        if path.is_relative_to(directory.promoted):  # a copy out of another archive, which start.json names
            continue
        yield name.as_posix(), path


def provenance(run_id: str, settings: Configuration, origin: Origin) -> dict[str, Any]:
    """What a manifest says beside its files: commits, versions, seeds."""
    return {
        "format": FORMAT,
        "run_id": run_id,
        "config_digest": settings.digest,
        "language": VERSION,
        "git_commit": origin.git_commit,
        "openenv_commit": origin.openenv_commit,
        "images": list(origin.images),
        "packages": dict(_versions(_PACKAGES)),
        "seeds": {
            "seed": settings.seed,
            "evaluation": [EVALUATION_SEEDS.start, EVALUATION_SEEDS.stop],
            "final": [FINAL_SEEDS.start, FINAL_SEEDS.stop],
            "demonstration": [DEMONSTRATION_SEEDS.start, DEMONSTRATION_SEEDS.stop],
            "training": [TRAINING_SEEDS.start, TRAINING_SEEDS.stop],
        },
    }


def _versions(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    for package in packages:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def _open(url: str) -> tuple[AbstractFileSystem, str]:
    system, root = fsspec.core.url_to_fs(url)
    return system, str(root).rstrip("/")


@contextlib.contextmanager
def _at(url: str) -> Iterator[tuple[AbstractFileSystem, str]]:
    """The file system of `url` and the path in it; what a store elsewhere raises becomes ArchivesUnreachable."""
    system, root = _open(url)
    try:
        yield system, root
    except BrowserControlError:
        raise
    except Exception as error:  # each file system has errors of its own
        if isinstance(system, LocalFileSystem):
            raise
        raise ArchivesUnreachable(
            f"the store of the archive at {url} fails: {_words_of(error)}; look at the network and at its permissions,"
            " and run the same command again"
        ) from error


def _words_of(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return " ".join(str(error).split())[:300] or type(error).__name__


def _content(url: str, name: str) -> bytes | None:
    """One file; None where it is not there."""
    with _at(url) as (system, root):
        try:
            content: bytes = system.cat_file(f"{root}/{name}")
        except FileNotFoundError:
            return None
    return content


def _listing(system: AbstractFileSystem, root: str) -> list[str]:
    system.invalidate_cache()
    return [path.removeprefix(f"{root}/") for path in system.find(root)] if system.exists(root) else []


def _holds(system: AbstractFileSystem, path: str, entry: dict[str, Any]) -> bool:
    try:
        if system.size(path) != entry["bytes"]:
            return False
        with system.open(path, "rb") as file:
            found = _digest(iter(lambda: file.read(_CHUNK), b""))
        return found == str(entry["sha256"])
    except FileNotFoundError:
        return False


def _copy(system: AbstractFileSystem, source: Path, target: str) -> None:
    """Written beside and renamed; an object store writes an object whole or not at all, and renames by copying."""
    system.makedirs(os.path.dirname(target), exist_ok=True)
    system.put_file(str(source), f"{target}.part", **_patience(system, source.stat().st_size))
    system.mv(f"{target}.part", target)


def _put(system: AbstractFileSystem, target: str, content: bytes) -> None:
    system.pipe_file(f"{target}.part", content, **_patience(system, len(content)))
    system.mv(f"{target}.part", target)


def _patience(system: AbstractFileSystem, size: int) -> dict[str, float]:
    """A deadline, where a file system knows them: aiohttp waits for ever for a server's `100 Continue`."""
    return {"timeout": PATIENCE + size / SLOW} if isinstance(system, AsyncFileSystem) else {}


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
