"""The images: what they are made of, and how they are built by a Docker Engine.

An image is named by a digest of all that goes into it, so that one that is there need not be built, and two runs of
different code do not take each other's.
"""

import contextlib
import hashlib
import io
import re
import tarfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import requests
from docker.errors import APIError, DockerException, ImageNotFound, StreamParseError
from docker.utils.build import exclude_paths
from urllib3.exceptions import HTTPError

from browser_control.errors import BuildFailed, EngineUnavailable
from browser_control.pipeline import engine
from browser_control.pipeline.engine import Client, answering
from browser_control.records.archive import git_commit

REPOSITORY = "browser-control"
IMAGE_LABEL = "browser-control.image"
_ATTEMPTS = 3  # at an image, whose engine went away
_KEPT = 3  # of each image, the newest; others are removed after a build once they are a week old and not in use
_KEPT_SECONDS = 7 * 86400  # a run that uses one has no container of it between two stages

_NETWORK = re.compile(
    r"temporary failure|could not resolve|name resolution|timed? ?out|connection (refused|reset)|network is unreachable"
    r"|failed to fetch|dns error|tls handshake|i/o timeout|no such host|does not answer|EOF$|unexpected EOF",
    re.IGNORECASE,
)
_PULL = re.compile(
    r"pull access denied|manifest (for .* not found|unknown)|not found: manifest|repository does not exist"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STEP = re.compile(r"Step \d+/\d+ : ")
_ENGINES = re.compile(r"\s*$| ---> |Removing intermediate container ")  # not the step's own words
_BEGUN = re.compile(r" ---> Running in ([0-9a-f]{12,64})$")  # the container of a step
_REMOVED = "Removing intermediate container "


@dataclass(frozen=True)
class Image:
    """One of `docker/*/Dockerfile`.

    Attributes:
        name: of its folder.
        arguments: build arguments that change what is in it; an empty one is the Dockerfile's default.
    """

    name: str
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def dockerfile(self) -> str:
        return f"docker/{self.name}/Dockerfile"

    @property
    def given_arguments(self) -> dict[str, str]:
        return {name: value for name, value in self.arguments.items() if value}


def context(root: Path, image: Image) -> list[str]:
    """Paths below `root` that go to the engine: what `.dockerignore` admits, but for what is another image's."""
    lines = (root / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line.strip() and not line.startswith("#")]
    paths = exclude_paths(str(root), patterns, dockerfile=image.dockerfile)
    ours = (f"docker/{image.name}/", "docker/scripts/")
    files = (path for path in paths if not (root / path).is_dir() or (root / path).is_symlink())
    return sorted(path for path in files if not path.startswith("docker/") or path.startswith(ours))


def context_digest(root: Path, image: Image, paths: Iterable[str]) -> str:
    """Twelve hex digits over the contents and the execute bits of files, and the build arguments."""
    digest = hashlib.sha256(repr(sorted(image.given_arguments.items())).encode())
    for path in paths:
        file = root / path
        content = str(file.readlink()).encode() if file.is_symlink() else file.read_bytes()
        executable = not file.is_symlink() and bool(file.stat().st_mode & 0o100)
        digest.update(f"{path}\0{executable}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]


def tag(image: Image, digest: str) -> str:
    return f"{REPOSITORY}/{image.name}:{digest}"


def ensure(
    client: Client,
    root: Path,
    image: Image,
    commits: Mapping[str, str],
    on_line: Callable[[str], None],
    former: Iterable[str] = (),
) -> tuple[str, bool]:
    """Builds an image unless the engine has it; returns its tag, and whether it was built.

    Args:
        commits: `SOURCE_COMMIT` and `OPENENV_COMMIT` for the labels; they do not make it another image.
        on_line: gets the output of the build.
        former: lines of builds before this one; a container that they left is removed.

    Raises:
        BuildFailed: with the failing step's own words.
        EngineUnavailable: the engine went away, and is not back in time; or it refuses.
        OSError: a file cannot be read, or what `on_line` raises.
    """
    paths = context(root, image)
    digest = context_digest(root, image, paths)
    name = tag(image, digest)
    arguments = {**image.given_arguments, **commits, "CONTEXT_DIGEST": digest}
    built, cause = False, None
    steps = _Steps(former)

    def heard(line: str) -> None:
        steps.hear(line)
        on_line(line)

    for _ in range(_ATTEMPTS):
        engine.wait_for(client)
        try:
            for container in tuple(steps.left):  # of an engine that went away in the middle of a step
                _remove_step(client, container)
                heard(f"{_REMOVED}{container}")
            if not _is_there(client, name):
                build(client, root, image, _packed(root, paths), name, arguments, heard)
                built = True
                _prune(client, image)
            if _is_there(client, name):  # an answer that broke off between two lines looks like a whole one
                return name, built
        except _WentAway as away:
            cause = away.__cause__
        on_line(f"the Docker Engine went away while {image.name} was built; what was built by then is there")
    raise EngineUnavailable(engine.AWAY) from cause


class _Steps:
    """Containers of steps of a build that began and were not removed, as its lines say.

    Attributes:
        left: their ids, by age.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.left: dict[str, None] = {}
        for line in lines:
            self.hear(line)

    def hear(self, line: str) -> None:
        if begun := _BEGUN.match(line):
            self.left[begun[1]] = None
        elif line.startswith(_REMOVED):
            self.left.pop(line.removeprefix(_REMOVED).strip(), None)


def _remove_step(client: Client, container: str) -> None:
    with _asking(client), contextlib.suppress(APIError):  # it is gone, or about to be
        client.api.remove_container(container, force=True, v=True)


class _WentAway(Exception):
    """The engine did, while it was asked for something; its cause is what the SDK raised."""


@contextlib.contextmanager
def _asking(client: Client) -> Iterator[None]:
    """For nothing but requests to the engine; raises _WentAway, or EngineUnavailable where it refuses."""
    try:
        yield
    except APIError as error:
        raise EngineUnavailable(f"the Docker Engine refused: {error.explanation}") from error
    except (requests.RequestException, HTTPError, StreamParseError, OSError) as error:
        raise _WentAway from error
    except DockerException as error:
        if engine.answers(client):
            raise
        raise _WentAway from error


def _is_there(client: Client, name: str) -> bool:
    with _asking(client):
        try:
            client.images.get(name)
        except ImageNotFound:
            return False
        return True


def build(
    client: Client,
    root: Path,
    image: Image,
    packed: io.BytesIO,
    name: str,
    arguments: Mapping[str, str],
    on_line: Callable[[str], None],
) -> None:
    """Builds `name` of what is `packed`; raises BuildFailed, EngineUnavailable, _WentAway, or what `on_line` does."""
    step: deque[str] = deque(maxlen=40)
    try:
        with contextlib.closing(_output(client, image, packed, name, arguments)) as lines:
            for line in lines:
                if _STEP.match(line):
                    step.clear()
                step.append(line)
                on_line(line)
    except _Failure as failure:
        raise _failed(image, base_of(root, image), str(failure), list(step)) from None


def _output(
    client: Client, image: Image, packed: io.BytesIO, name: str, arguments: Mapping[str, str]
) -> Generator[str]:
    """What a build says, line by line; what is raised over a line does not come in here."""
    with _asking(client), engine.attended(client):
        stream = client.api.build(
            fileobj=packed,
            custom_context=True,
            dockerfile=image.dockerfile,
            tag=name,
            buildargs=dict(arguments),
            labels={IMAGE_LABEL: image.name},
            rm=True,
            forcerm=True,
            decode=True,
            timeout=engine.PATIENCE,  # until the engine has the context
        )
        yield from _lines(stream)


def base_of(root: Path, image: Image) -> str:
    """The base image: as it was chosen, or the Dockerfile's."""
    default = re.search(r"^ARG BASE_IMAGE=(\S+)", (root / image.dockerfile).read_text(), re.MULTILINE)
    return image.arguments.get("BASE_IMAGE") or (default[1] if default else "")


def _failed(image: Image, base: str, error: str, step: list[str]) -> BuildFailed:
    """What went wrong, from the engine's word for it and the failing step's output."""
    said = "\n".join([*step, error])
    if "No space left on device" in said or "no space left on device" in said:
        return BuildFailed(f"the image {image.name} cannot be built: no space left on the disk; free some")
    first = next((line for line in step if _STEP.match(line)), "")
    if " : FROM " in first or _PULL.search(error):
        return BuildFailed(
            f"the base image {base} of {image.name} cannot be pulled ({error.strip()}): check its name and the network,"
            f" or choose another with --{image.name}-base",
            network=bool(_NETWORK.search(error)) and not _PULL.search(error),
        )
    words = " | ".join(line for line in step[1:] if not _ENGINES.match(line))[-600:] or error
    command = _STEP.sub("", first)[:100]
    return BuildFailed(f"the image {image.name} cannot be built, at {command!r}: {words}", bool(_NETWORK.search(said)))


class BuiltImages:
    """The images of a run, each built from its folder, or one that is there already.

    Args:
        client: of the engine, when it is needed.
        source: the repository.
        wanted: by name, what to build, or the tag of an image that is there.
    """

    def __init__(
        self, client: Callable[[], Client], source: Path, wanted: Mapping[str, str | Image | Callable[[], Image]]
    ) -> None:
        self._client = client
        self._source = source
        self._wanted = wanted
        self._tags = {name: image for name, image in wanted.items() if isinstance(image, str)}

    @property
    def ids(self) -> tuple[str, ...]:
        if self._tags:
            engine.wait_for(self._client())
        with answering(known=True):
            return tuple(f"{name}@{self._client().images.get(name).id}" for name in self._tags.values())

    def name(self, image: str) -> str:
        """The tag of an image that was built."""
        return self._tags[image]

    def build(self, openenv_commit: str | None, logs: Path, on_line: Callable[[str], None]) -> list[str]:
        commits = {
            "SOURCE_COMMIT": git_commit(self._source) or "unknown",
            "OPENENV_COMMIT": openenv_commit or "none",
        }
        words = []
        for name, wanted in self._wanted.items():
            if isinstance(wanted, str):
                continue
            image = wanted if isinstance(wanted, Image) else wanted()
            path = logs / f"build-{name}.log"
            former = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
            with path.open("a", encoding="utf-8", buffering=1) as log:  # whoever looks, or is killed, has every line

                def keep(line: str, log: TextIO = log) -> None:
                    log.write(line + "\n")
                    on_line(line)

                self._tags[name], built = ensure(self._client(), self._source, image, commits, keep, former)
            words.append(f"{self._tags[name]} {'built' if built else 'is there'}")
        return words


class _Failure(Exception):
    """The stream of a build ended with an error; nothing else tells."""


def _lines(stream: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Whole lines of a build's output; what moves, as the progress of a pull, is left out."""
    rest, failure = "", None
    for event in stream:
        if "error" in event:
            failure = _Failure(str(event["error"]))  # read to the end all the same, which closes the connection
        elif "stream" in event:
            *whole, rest = _COLOUR.sub("", rest + event["stream"]).split("\n")
            yield from (line.rstrip("\r") for line in whole if line.strip())
        elif "status" in event and "progress" not in event:
            yield " ".join(filter(None, (event.get("id"), event["status"])))
    if rest:
        yield rest
    if failure is not None:
        raise failure


def _packed(root: Path, paths: Iterable[str]) -> io.BytesIO:
    """A tar archive of `paths` that depends on nothing but their contents."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in paths:
            member = archive.gettarinfo(str(root / path), arcname=path)
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = 0
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            if member.isreg():
                with (root / path).open("rb") as file:
                    archive.addfile(member, file)
            else:
                archive.addfile(member)
    packed.seek(0)
    return packed


def _prune(client: Client, image: Image) -> None:
    """Removes images of the same name that are old, but for the newest."""
    with _asking(client):
        found = client.images.list(filters={"label": f"{IMAGE_LABEL}={image.name}"})
    found.sort(key=lambda each: each.attrs["Created"], reverse=True)
    before = datetime.fromtimestamp(time.time() - _KEPT_SECONDS, UTC).isoformat()
    for old in (each for each in found[_KEPT:] if each.attrs["Created"] < before):
        for name in old.tags:
            if name.startswith(f"{REPOSITORY}/{image.name}:"):
                try:
                    with _asking(client):
                        client.images.remove(name, noprune=False)
                except EngineUnavailable:  # in use
                    break
