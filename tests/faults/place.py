"""A run in folders of its own, on stand-in programs, as a person starts it; and what it leaves."""

import contextlib
import fcntl
import functools
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import unittest.mock
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import marked, wait_until
from stand_ins import CONFIG

from browser_control.pipeline import command_line
from browser_control.pipeline.parameters import Parameters
from browser_control.pipeline.run import check
from browser_control.records import archive

ROOT = Path(__file__).resolve().parents[2]
RUN_ID = "mine"
STRANGER = 12345
# root, without its right to pass over permissions
AS_A_USER = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner", "--inh-caps", "-dac_override")


@dataclass
class Place:
    """Folders for one cell.

    Attributes:
        server: URL of the API of a Prefect server.
        mark: in the environment of all that descends from a command of this place.
        archives: URL; a folder of this place, where nothing else is said.
        more: variables of the environment.
        options: of the command, beside the usual ones.
        run_id: of the run that is disturbed.
    """

    folder: Path
    server: str
    mark: str = field(default_factory=lambda: str(uuid.uuid4()))
    archives: str = ""
    more: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    run_id: str = RUN_ID

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yaml").write_text(CONFIG)
        (self.folder / "tmp").mkdir()
        self.archives = self.archives or str(self.folder / "archives")

    @property
    def run(self) -> Path:
        return self.folder / "runs" / self.run_id

    @property
    def archive(self) -> Path:
        return self.folder / "archives" / self.run_id

    @property
    def models(self) -> Path:
        return self.folder / "models" / "stand-in"

    @property
    def words(self) -> str:
        """All that the last command said."""
        return (self.folder / "stderr").read_text()

    @property
    def held(self) -> int:
        """The stand-in that waits for what will be done to it."""
        return int((self.folder / "held").read_text())

    def start(
        self,
        misbehaviour: str = "",
        before: tuple[str, ...] = (),
        root: Path = ROOT,
        **parameters: str,
    ) -> "subprocess.Popen[bytes]":
        """The command of the flow, of this checkout or another; its words go to a file."""
        chosen = self.parameters(**parameters)
        options = [part for name, value in chosen.items() for part in (f"--{name.replace('_', '-')}", value)]
        command = [*before, sys.executable, str(root / "flows" / "train.py"), *options]
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_API_URL": self.server,
            "PREFECT_HOME": str(self.folder / "prefect"),
            **self.variables(misbehaviour),
        }
        with (self.folder / "stderr").open("wb") as words:
            return subprocess.Popen(command, env=variables, stdout=words, stderr=words)

    def parameters(self, **chosen: str) -> dict[str, str]:
        folders = {name: str(self.folder / name) for name in ("runs", "models")}
        usual = {"config": str(self.folder / "config.yaml"), "run_id": self.run_id, "archives": self.archives}
        return {**usual, **folders, **self.options, **chosen}

    def variables(self, misbehaviour: str) -> dict[str, str]:
        return {
            "BROWSER_CONTROL_PROGRAMS": "stand_ins",
            "PYTHONPATH": str(ROOT / "tests"),
            "STAND_IN": misbehaviour,
            "STAND_IN_PIDS": str(self.folder / "environment.pid"),
            "STAND_IN_PLACE": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "CUDA_VISIBLE_DEVICES": "",
            "MARK": self.mark,
            **self.more,
        }

    def here(self, misbehaviour: str = "", **parameters: str) -> int:
        """The same in this process, which has imported by now what takes long; the programs are processes as ever."""
        chosen = self.parameters(**parameters)
        words, code = io.StringIO(), 0
        try:
            with (
                unittest.mock.patch.dict(os.environ, self.variables(misbehaviour)),
                contextlib.redirect_stderr(words),
                command_line.exit_codes(),
            ):
                check(Parameters.model_validate(chosen))
                the_flow()(**chosen)
        except SystemExit as ended:
            code = int(ended.code or 0)
        (self.folder / "stderr").write_text(words.getvalue())
        self.wait_for_none()
        return code

    def end(self, process: "subprocess.Popen[bytes]", seconds: float = 180) -> int:
        """Waits for the end of the command, and until no process of it is left; its exit code."""
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"it does not end: {self.words}") from None
        self.wait_for_none()
        return code

    def wait_for_none(self) -> None:
        """Waits a while until no process is left; `leftovers` tells of those that are."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not marked(self.mark), 15)

    def wait_for_words(self, words: str) -> None:
        wait_until(lambda: words in self.words, 120)

    def is_one_sentence(self) -> bool:
        """Whether the command ended in one sentence: the last line, and no traceback of ours."""
        *_, last = self.words.strip().splitlines()
        return "Traceback" not in self.words and last.startswith(("error: ", "stopped; "))

    def leftovers(self) -> list[str]:
        """Processes, half-written files, temporary files and locks that are still there; in words."""
        found = [f"process {pid}" for pid in marked(self.mark)]
        for name in ("runs", "archives", "models", "tmp"):
            for path in (self.folder / name).rglob("*"):
                hidden = any(part.startswith(".") for part in path.relative_to(self.folder).parts)
                if hidden or path.suffix == ".part" or (name == "tmp" and path.is_file()):
                    found.append(str(path.relative_to(self.folder)))
        for folder in (self.run, self.models):
            if folder.exists() and not can_be_locked(folder):
                found.append(f"lock on {folder}")
        return found

    def numbers(self, run_id: str = "") -> dict[str, Any]:
        """All that the run found out, from its archive, which is verified."""
        url = archive.join(self.archives, run_id or self.run_id)
        manifest = archive.verify(url)
        judged = [name for name in manifest["files"] if name.startswith("evaluation/") and name.endswith(".json")]
        evaluations = {name: archive.read_json(url, name) for name in judged}
        adapters = {name: entry for name, entry in manifest["files"].items() if name.startswith("checkpoints/")}
        promoted = json.loads((self.models / "promoted.json").read_text())["promoted"]
        promoted = {
            name: promoted[name] for name in ("checkpoint", "successes", "episodes", "web_tasks", "seeds_drawn")
        }
        return {"evaluations": evaluations, "adapters": adapters, "promoted": promoted}


@functools.cache
def the_flow() -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location("train_disturbed", ROOT / "flows" / "train.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.train  # type: ignore[no-any-return]


def can_be_locked(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock on `folder`, as another run does that changes what is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[None]:
    """A file system of its own at `folder`, with what is in the folder by now."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def damage(path: Path, how: str) -> None:
    """What a disk, a copy that was cut short or an editor's slip does to a file."""
    content = path.read_bytes()
    if how == "cut short":
        path.write_bytes(content[: len(content) // 2])
    elif how == "emptied":
        path.write_bytes(b"")
    else:  # a digit becomes another where there is one: that is still well-formed, and wrong
        number = re.compile(rb"updates: ()\d" if path.name == "config.yaml" else rb"()\d")
        found = number.search(content, 0 if path.name == "config.yaml" else len(content) // 2) or number.search(content)
        place = found.start(1) if found else len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
