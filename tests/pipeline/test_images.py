"""Images built by a real engine, from a Dockerfile of a few lines."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound
from meddler import Meddler, meddling

from browser_control.errors import BuildFailed, EngineUnavailable
from browser_control.pipeline import engine, images
from browser_control.pipeline.images import Image

ROOT = Path(__file__).resolve().parents[2]
COMMITS = {"SOURCE_COMMIT": "5" * 40, "OPENENV_COMMIT": "0" * 40}


class Checkout:
    """A repository with one image, of `base`."""

    def __init__(self, client: Any, folder: Path, base: str) -> None:
        self.client = client
        self.folder = folder
        self.base = base
        self.built: set[str] = set()
        self.lines: list[str] = []
        self.on_line: Callable[[str], object] = self.lines.append
        (folder / "docker" / "training").mkdir(parents=True)
        (folder / ".dockerignore").write_text("# all but these\n*\n!docker\n!code\n")
        (folder / "code").write_text("print(1)\n")
        self.steps("COPY code /code")

    def steps(self, *steps: str) -> None:
        labels = (ROOT / "docker/training/Dockerfile").read_text().partition("ARG SOURCE")
        text = "\n".join(["ARG BASE_IMAGE", "FROM ${BASE_IMAGE}", *steps, labels[1] + labels[2]])
        (self.folder / "docker" / "training" / "Dockerfile").write_text(text)

    def ensure(self, base: str = "") -> tuple[str, bool]:
        image = Image("training", {"BASE_IMAGE": base or self.base})
        name, built = images.ensure(self.client, self.folder, image, COMMITS, self.on_line)
        self.built.add(name)
        return name, built

    def fails(self, base: str = "") -> BuildFailed:
        with pytest.raises(BuildFailed) as caught:
            self.ensure(base)
        assert "\n" not in str(caught.value) and "intermediate container" not in str(caught.value)
        return caught.value


@pytest.fixture
def checkout(client: Any, base_image: str, tmp_path: Path) -> Iterator[Checkout]:
    made = Checkout(client, tmp_path, base_image)
    yield made
    for name in made.built:
        client.images.remove(name)


def test_an_image_is_built_once_for_what_is_in_it(checkout: Checkout) -> None:
    first, built = checkout.ensure()
    assert built
    os.utime(checkout.folder / "code")
    (checkout.folder / "ignored").write_text("not a part of it")
    assert checkout.ensure() == (first, False)
    (checkout.folder / "code").write_text("print(2)\n")
    second, built = checkout.ensure()
    assert built and second != first


def test_of_openenv_only_what_is_used_goes_into_an_image(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text((ROOT / ".dockerignore").read_text())
    for name in (
        "src/openenv/core.py",
        "envs/browsergym_env/models.py",
        "envs/other_env/film.mov",
        "README.md",
        ".git/HEAD",
    ):
        for image in ("training", "browsergym"):
            file = tmp_path / "docker" / image / "OpenEnv" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    assert images.context(tmp_path, Image("training"))[1:] == [
        "docker/training/OpenEnv/envs/browsergym_env/models.py",
        "docker/training/OpenEnv/src/openenv/core.py",
    ]


def test_an_image_says_where_it_comes_from_and_holds_no_secret(
    checkout: Checkout, client: Any, base_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "planted-token")
    name, _ = checkout.ensure()
    image = client.images.get(name)
    assert {key: value for key, value in image.labels.items() if key != "org.opencontainers.image.title"} == {
        "org.opencontainers.image.revision": "5" * 40,
        "org.opencontainers.image.base.name": base_image,
        "browser-control.openenv-commit": "0" * 40,
        "browser-control.context-digest": name.partition(":")[2],
        "browser-control.image": "training",
    }
    assert "planted-token" not in repr(image.attrs) + repr(image.history())


def test_a_failing_step_is_named_with_its_own_words(checkout: Checkout) -> None:
    checkout.steps(f"RUN : {time.time()} && echo fine", "RUN echo the moon is in the wrong house >&2 && false")
    error = checkout.fails()
    assert str(error).startswith("the image training cannot be built, at 'RUN echo the moon")
    assert str(error).endswith(": the moon is in the wrong house")
    assert "fine" in checkout.lines and not error.retriable


def test_a_full_disk_is_said(checkout: Checkout) -> None:
    checkout.steps("RUN cat /etc/passwd > /dev/full")
    assert str(checkout.fails()).endswith("no space left on the disk; free some")


def test_a_base_image_that_cannot_be_pulled_is_named(checkout: Checkout) -> None:
    error = checkout.fails(base="127.0.0.1:9/nosuch:1")
    assert str(error).startswith("the base image 127.0.0.1:9/nosuch:1 of training cannot be pulled (")
    assert "choose another with --training-base" in str(error)


def test_a_build_leaves_no_container(checkout: Checkout, client: Any) -> None:
    step = f"RUN : {time.time()} && false"
    checkout.steps(step)
    checkout.fails()
    found = client.containers.list(all=True, ignore_removed=True)
    assert [each for each in found if step.removeprefix("RUN ") in " ".join(each.attrs["Config"]["Cmd"] or [])] == []


def test_a_container_that_an_engine_left_which_was_killed_under_a_build_is_removed(
    checkout: Checkout, client: Any
) -> None:
    """The build's log tells of it, whose lines are there as soon as they are said."""
    log = checkout.folder / "logs" / "build-training.log"
    log.parent.mkdir()
    left, other = (client.containers.create(checkout.base, "true") for _ in range(2))
    there: list[bool] = []
    try:
        log.write_text(
            f" ---> Running in {other.id[:12]}\nRemoving intermediate container {other.id[:12]}\nStep 3/9 : RUN true\n"
            f" ---> Running in {left.id[:12]}\n"
        )
        wanted = {"training": Image("training", {"BASE_IMAGE": checkout.base})}
        built = images.BuiltImages(lambda: client, checkout.folder, wanted)
        built.build(None, log.parent, lambda line: there.append(line in log.read_text()))
        checkout.built.add(built.name("training"))
        with pytest.raises(NotFound):
            client.containers.get(left.id)
        assert client.containers.get(other.id)
        assert f"Removing intermediate container {left.id[:12]}" in log.read_text()
        assert all(there) and len(there) > 3
    finally:
        for each in (left, other):
            with contextlib.suppress(NotFound):
                each.remove()


def test_what_keeps_the_log_fails_once_and_is_said(checkout: Checkout) -> None:
    """It is no matter of the engine's."""
    reader, writer = os.pipe()
    os.close(reader)

    def keep(line: str) -> None:
        checkout.lines.append(line)
        os.write(writer, line.encode())

    checkout.on_line = keep
    with pytest.raises(BrokenPipeError):
        checkout.ensure()
    os.close(writer)
    assert len(checkout.lines) == 1


def test_a_file_that_goes_away_is_named(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = images.context_digest

    def and_goes_away(root: Path, image: Image, paths: Iterable[str]) -> str:
        found = digest(root, image, paths)
        (root / "code").unlink()
        return found

    monkeypatch.setattr(images, "context_digest", and_goes_away)
    with pytest.raises(FileNotFoundError, match="code"):
        checkout.ensure()
    assert checkout.lines == []


@pytest.fixture
def meddled(checkout: Checkout) -> Iterator[tuple[Checkout, Meddler]]:
    """A checkout whose engine is reached through a meddler, and whose build goes on for a moment."""
    if not engine.is_local(checkout.client):
        pytest.skip("takes an engine of this machine")
    with meddling(Path("/var/run/docker.sock")) as meddler:
        direct = checkout.client
        with contextlib.closing(docker.DockerClient(f"tcp://127.0.0.1:{meddler.port}")) as checkout.client:
            checkout.steps(f"RUN : {time.time()} && echo begun && sleep 1")
            yield checkout, meddler
        checkout.client = direct


@pytest.mark.parametrize("breaks", [2, 3])
def test_a_build_whose_connection_breaks_is_tried_three_times(meddled: tuple[Checkout, Meddler], breaks: int) -> None:
    checkout, meddler = meddled
    broken = []

    def keep(line: str) -> None:
        checkout.lines.append(line)
        if line == "begun" and len(broken) < breaks:
            broken.append(line)
            meddler.does("passes on")  # as it does; what is open breaks

    checkout.on_line = keep
    if breaks == 2:
        assert checkout.ensure()[1]
    else:
        with pytest.raises(EngineUnavailable, match="does not answer any more"):
            checkout.ensure()
    assert len(broken) == breaks
    assert sum("went away while training was built" in line for line in checkout.lines) == breaks
