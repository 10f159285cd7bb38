"""However much a program says, and however long its lines are: the file has it all, memory little of it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser_control.pipeline.runtimes.output import AHEAD, LONGEST, Output


def test_lines_that_nobody_reads_are_not_kept(tmp_path: Path) -> None:
    """A service's are not."""
    output = Output((f"line {number}" for number in range(3 * AHEAD)), tmp_path / "log")
    output.close(60)
    found = list(output.lines())
    assert found == [f"line {number}" for number in range(2 * AHEAD, 3 * AHEAD)]
    assert len((tmp_path / "log").read_text().splitlines()) == 3 * AHEAD
    assert output.tail()[-1] == found[-1]


def test_a_reader_that_keeps_up_gets_each_line_once(tmp_path: Path) -> None:
    asked = threading.Semaphore(0)

    def source() -> Iterator[str]:
        for number in range(1000):
            asked.acquire()
            yield f"line {number}\n"

    output = Output(source(), tmp_path / "log")
    asked.release()
    found = []
    for line in output.lines():
        found.append(line)
        asked.release()
    assert found == [f"line {number}" for number in range(1000)]


def test_a_line_of_ten_million_characters_is_handed_on_in_short(tmp_path: Path) -> None:
    output = Output(["x" * 10_000_000, "the end"], tmp_path / "log")
    long, last = output.lines()
    assert (len(long) < LONGEST + 50, long[-22:], last) == (True, "... (10000000 characters)"[-22:], "the end")
    assert (tmp_path / "log").stat().st_size == 10_000_000 + len("\nthe end\n")


def test_a_full_disk_stops_no_program_and_shows_no_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = Output(["one", "two"], Path("/dev/full"))
    assert list(output.lines()) == ["one", "two"]
    output.close()
    assert capfd.readouterr().err == ""
