"""Several processes give what one gives, end together, and one takes over from the other."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from paper_service import paper_service
from safetensors.torch import load_file
from tiny import make_configuration

from browser_control import configuration, fine_tune_local
from browser_control.errors import EXIT_PREEMPTED
from browser_control.integrity import lines
from browser_control.run_directory import RunDirectory
from browser_control.training import launcher, parallel

FORKS = multiprocessing.get_context("forkserver")
Prepare = Callable[..., Sequence[str]]


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    FORKS.set_forkserver_preload(["browser_control.training.trainer", "accelerate"])
    with paper_service() as url:
        yield url


@pytest.fixture
def prepare(service: str, model_folder: Callable[[str], Path], tmp_path: Path) -> Prepare:
    """Writes the configuration of a run called `name`; returns the program's arguments."""

    def write(name: str, **training: Any) -> Sequence[str]:
        settings = make_configuration(
            model={"name": str(model_folder("llama")), "device": "cpu"},
            environment={"urls": [service], "sessions": 8, "max_turns": 2},
            training={"updates": 2, "groups": 4, "learning_rate": 0.003, **training},
        )
        configuration.write(settings, tmp_path / f"{name}.yaml")
        return ["--config-file-name", str(tmp_path / f"{name}.yaml"), "--run-directory", str(tmp_path / name)]

    return write


def be_rank(main: Callable[..., int], rank: int, environ: dict[str, str], argv: Sequence[str], output: str) -> None:
    os.environ.update(environ)
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(f"{output}.{rank}", "a", buffering=1)  # noqa: SIM115
    os._exit(main(argv))


def fails_in_rank_one(argv: Sequence[str]) -> int:
    with parallel.join(cpu=True) as processes:
        processes.together(lambda: 1 // (1 - processes.rank))
    return 0


PATIENCE = 250  # seconds: how busy the machine is decides nothing; pytest ends what hangs after 300


def start(
    argv: Sequence[str], processes: int, main: Callable[[Sequence[str]], int] = fine_tune_local.main
) -> list[Any]:
    """A program as so many ranks, each a fork that has imported everything."""
    port = launcher._free_port()
    ranks = []
    for rank in range(processes):
        environ = launcher._environ(rank, processes, port)
        ranks.append(FORKS.Process(target=be_rank, args=(main, rank, environ, argv, f"{argv[-1]}.output")))
        ranks[-1].start()
    return ranks


def finish(ranks: Sequence[Any]) -> list[int]:
    """Their exit codes; none may hang."""
    deadline = time.monotonic() + PATIENCE
    try:
        for process in ranks:
            process.join(max(0.0, deadline - time.monotonic()))
        return [process.exitcode for process in ranks]
    finally:
        for process in ranks:
            process.kill()
            process.join()


def adapter(argv: Sequence[str], update: int = 2) -> torch.Tensor:
    tensors = load_file(RunDirectory(Path(argv[-1])).step(update) / "adapter_model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def metrics(argv: Sequence[str]) -> list[dict[str, Any]]:
    return [each for each in lines(RunDirectory(Path(argv[-1])).metrics.read_bytes()) if each is not None]


def said(argv: Sequence[str]) -> list[str]:
    return [Path(f"{argv[-1]}.output.{rank}").read_text() for rank in (0, 1)]


def wait_for_update(argv: Sequence[str]) -> None:
    path = RunDirectory(Path(argv[-1])).metrics
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not (path.exists() and path.read_text()):
        time.sleep(0.01)


MEASURED = ("time/", "speed/", "memory/")


SWITCHES = {
    "baseline": "state",
    "decay": "cosine",
    "entropy": 0.05,
    "first_turns": 1,
    "first_turns_updates": 2,
    "imitation": 0.5,
    "silent_temperature": 2.0,
}


@pytest.mark.parametrize("switches", [{}, SWITCHES], ids=["off", "on"])
def test_two_processes_give_the_updates_of_one(prepare: Prepare, switches: dict[str, Any]) -> None:
    alone, together = prepare("alone", **switches), prepare("together", **switches)
    assert finish(start(alone, 1)) == [0]
    assert finish(start(together, 2)) == [0, 0]
    torch.testing.assert_close(adapter(together), adapter(alone), atol=1e-5, rtol=1e-5)  # Adam's steps are 3e-3
    for one, two in zip(metrics(alone), metrics(together), strict=True):
        assert one.keys() == two.keys()
        for name in one:
            if not name.startswith(MEASURED):
                assert two[name] == pytest.approx(one[name], rel=1e-5, abs=1e-6), name
    speaker, listener = said(together)
    assert speaker.count("progress ") == 2
    assert listener == ""


def test_a_process_without_a_share_does_not_keep_the_others_waiting(prepare: Prepare) -> None:
    argv = prepare("few", groups=1)
    assert finish(start(argv, 2)) == [0, 0]
    assert len(metrics(argv)) == 2


def test_sigterm_at_one_process_ends_all_and_another_number_of_them_continues(prepare: Prepare) -> None:
    whole, stopped = prepare("whole", updates=6), prepare("stopped", updates=6)
    assert finish(start(whole, 1)) == [0]
    ranks = start(stopped, 2)
    wait_for_update(stopped)
    os.kill(ranks[1].pid, signal.SIGTERM)
    assert finish(ranks) == [EXIT_PREEMPTED, EXIT_PREEMPTED]
    assert 1 <= len(metrics(stopped)) < 6
    assert finish(start(stopped, 1)) == [0]
    torch.testing.assert_close(adapter(stopped, 6), adapter(whole, 6), atol=1e-6, rtol=1e-5)


def test_what_one_process_fails_with_is_told_to_all(prepare: Prepare, tmp_path: Path) -> None:
    full = prepare("full")
    RunDirectory(Path(full[-1])).root.mkdir()
    RunDirectory(Path(full[-1])).checkpoints.write_text("a file where rank 0 wants a folder")
    assert finish(start(full, 2)) == [1, 1]
    assert all("FileExistsError" in words for words in said(full))

    broken = [str(tmp_path / "broken")]
    assert finish(start(broken, 2, fails_in_rank_one)) == [1, 1]
    assert "RankFailed: rank 1 failed: ZeroDivisionError" in said(broken)[0]


def test_fewer_sessions_than_processes_are_refused(prepare: Prepare) -> None:
    *config, option, run = prepare("poor")
    argv = [*config, "--set", "environment.sessions=1", option, run]
    assert finish(start(argv, 2)) == [2, 2]
    assert "error: environment.sessions must be at least 2, one a process" in said(argv)[0]


def test_the_program_starts_its_processes_and_ends_as_they_do(prepare: Prepare) -> None:
    argv = prepare("launched", updates=6, processes=2)
    command = [sys.executable, "-m", "browser_control.fine_tune_local", *argv]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            wait_for_update(argv)
            process.terminate()
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == EXIT_PREEMPTED, output
    assert 1 <= len(metrics(argv)) < 6


def launch_all(folder: Path, code: str) -> subprocess.Popen[str]:
    """Our launcher, with two ranks that do what `code` says."""
    (folder / "rank_program.py").write_text(code)
    command = (
        "import sys; from browser_control.training import launcher; from browser_control.preemption import Preemption;"
        "sys.exit(launcher.launch('rank_program', [], 2, Preemption().listen()))"
    )
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.Popen([sys.executable, "-c", command], env=environ, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("rank_0", "rank_1", "expected"),
    [("exit(0)", "exit(0)", 0), ("time.sleep(3600)", "exit(3)", 3), ("time.sleep(3600)", "os.abort()", 134)],
)
def test_a_process_that_fails_ends_the_others(tmp_path: Path, rank_0: str, rank_1: str, expected: int) -> None:
    code = f"import os, time\nif os.environ['RANK'] == '0': {rank_0}\nelse: {rank_1}\n"
    with launch_all(tmp_path, code) as process:
        assert process.wait(PATIENCE) == expected


def test_a_request_to_end_reaches_ranks_that_do_not_listen_yet(tmp_path: Path) -> None:
    code = """
import sys, time
from browser_control.errors import Preempted
from browser_control.preemption import Preemption
print("begun\\n", end="", flush=True)
time.sleep(1)
preemption = Preemption().listen()
try:
    while True:
        preemption.check()
        time.sleep(0.01)
except Preempted:
    sys.exit(75)
"""
    with launch_all(tmp_path, code) as process:
        assert process.stdout is not None
        assert [process.stdout.readline(), process.stdout.readline()] == ["begun\n", "begun\n"]
        process.terminate()
        assert process.wait(PATIENCE) == EXIT_PREEMPTED


def test_no_rank_outlives_a_launcher_that_was_killed(tmp_path: Path) -> None:
    with launch_all(
        tmp_path, "import os, time\nprint(f'{os.getpid()}\\n', end='', flush=True)\ntime.sleep(3600)\n"
    ) as process:
        assert process.stdout is not None
        pids = [int(process.stdout.readline()) for _ in range(2)]
        process.kill()
        assert process.stdout.read() == ""  # closed once the last rank is gone
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in pids)
