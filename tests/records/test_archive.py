"""Archives: a round trip, and every kind of damage."""

import hashlib
import json
from pathlib import Path

import pytest

from browser_control import configuration
from browser_control.cli import main
from browser_control.configuration import Configuration
from browser_control.errors import ArchiveInvalid
from browser_control.records import archive
from browser_control.run_directory import RunDirectory, read_json, write_json, write_text

SETTINGS = Configuration.model_validate(
    {"name": "small", "model": {"name": "/nowhere"}, "training": {"web_tasks": ["click-button"], "updates": 1}}
)
ORIGIN = archive.Origin(git_commit="c0ffee", images=("sha256:1",))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "runs" / "small")
    configuration.write(SETTINGS, run.config)
    for step in (1, 2, 3):
        write_text(run.step(step) / "adapter.bin", f"weights {step}")
    write_text(run.logs / "train.log", "hello\n")
    write_text(run.root / ".hidden", "not for the archive")
    write_json(run.result, {"updates": 3})
    return run


@pytest.fixture(params=["{tmp_path}/archives/small", "memory://archives/small"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param).format(tmp_path=tmp_path)


def test_an_archive_holds_what_mattered_and_verifies(run: RunDirectory, url: str) -> None:
    written = archive.write(run, url, "small", SETTINGS, ORIGIN)
    assert archive.verify(url) == written
    assert set(written["files"]) == {
        "checkpoints/step-000003/adapter.bin",  # the newest
        "config.yaml",
        "logs/train.log",
        "result.json",
    }
    assert written["git_commit"] == "c0ffee"
    assert written["config_digest"] == SETTINGS.digest
    assert written["packages"]["prefect"]


def test_writing_again_takes_up_what_was_cut_short(run: RunDirectory, tmp_path: Path) -> None:
    target = tmp_path / "archive"
    archive.write(run, str(target), "small", SETTINGS, ORIGIN)
    (target / archive.MANIFEST).unlink()
    (target / "result.json").write_text("cut sho")
    (target / "stray.part").write_text("left behind")
    assert not archive.exists(str(target))
    archive.write(run, str(target), "small", SETTINGS, ORIGIN)
    archive.verify(str(target))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "result.json").unlink(), "result.json is missing"),
        (lambda folder: (folder / "logs" / "train.log").write_text("hullo\n"), "logs/train.log was altered"),
        (lambda folder: (folder / "extra").touch(), "extra is not listed"),
        (lambda folder: (folder / archive.MANIFEST).unlink(), "manifest.json is missing"),
        (lambda folder: (folder / archive.MANIFEST).write_text("{"), "manifest.json .* is damaged"),
    ],
)
def test_damage_is_named(
    run: RunDirectory,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage,  # type: ignore[no-untyped-def]
    words: str,
) -> None:
    folder = tmp_path / "archive"
    archive.write(run, str(folder), "small", SETTINGS, ORIGIN)
    assert main(["verify", str(folder)]) == 0
    assert "as its manifest says" in capsys.readouterr().out
    damage(folder)
    with pytest.raises(ArchiveInvalid, match=words):
        archive.verify(str(folder))
    assert main(["verify", str(folder)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    "name", ["checkpoints/x/../../../../evil", "/tmp/evil", "checkpoints/x/..", "checkpoints/x/\0"]
)
def test_an_archive_that_names_a_place_outside_is_refused_and_unpacked_nowhere(tmp_path: Path, name: str) -> None:
    """Whatever lies there: the archive is its author's, and so is what is beside it."""
    folder = tmp_path / "archives" / "theirs"
    (folder / "checkpoints" / "x").mkdir(parents=True)
    (tmp_path / "evil").write_text("evil")
    entry = {"bytes": 4, "sha256": hashlib.sha256(b"evil").hexdigest()}
    (folder / archive.MANIFEST).write_text(json.dumps({"files": {name: entry}}))
    before = sorted(tmp_path.rglob("*"))
    for refuse in (archive.verify, lambda url: archive.fetch(url, "checkpoints/x", tmp_path / "runs" / "copy")):
        with pytest.raises(ArchiveInvalid, match="outside of it"):
            refuse(str(folder))
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_protocol_is_a_wrong_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "nonsense://there"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_the_manifest_comes_last(run: RunDirectory, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    archive.write(run, str(folder), "small", SETTINGS, ORIGIN)
    names = list(read_json(folder / archive.MANIFEST)["files"])
    newest = max(path.stat().st_mtime_ns for path in map(folder.joinpath, names))
    assert (folder / archive.MANIFEST).stat().st_mtime_ns >= newest
