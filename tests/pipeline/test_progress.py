"""What a person sees of a run."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from browser_control import progress as programs
from browser_control.pipeline.progress import Pace, Progress, Terminal, describe, duration, parse_progress
from browser_control.records.summary import Score, markdown, read_scores, sentence, table


def test_what_programs_report_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    programs.report("train", 12, 40, 0.81, "4 of 8 groups differ")
    line = capsys.readouterr().out.rstrip("\n")
    assert parse_progress(line) == Progress("train", 12, 40, 0.81, "4 of 8 groups differ")


@pytest.mark.parametrize(
    "line", ["", "progress", "progress {", 'progress {"stage": "x"}', "progress [1]", "in progress"]
)
def test_other_lines_are_no_progress(line: str) -> None:
    assert parse_progress(line) is None


def test_what_is_left_follows_from_what_was_done_under_our_eyes() -> None:
    pace = Pace()
    assert pace.seconds_left(Progress("train", 20, 40), now=100.0) is None  # continued from 20
    assert pace.seconds_left(Progress("train", 25, 40), now=150.0) == 150.0
    assert pace.seconds_left(Progress("train", 40, 40), now=300.0) == 0.0


def test_what_is_left_is_told_of_each_part_by_its_own_pace() -> None:
    pace = Pace()
    pace.seconds_left(Progress("warm start: demonstrations", 8, 40), now=0.0)
    pace.seconds_left(Progress("warm start: demonstrations", 40, 40), now=120.0)
    assert pace.seconds_left(Progress("warm start: learning", 9, 40), now=140.0) is None
    assert pace.seconds_left(Progress("warm start: learning", 19, 40), now=190.0) == 105.0
    assert pace.seconds_left(Progress("warm start: learning", 1, 40), now=300.0) is None  # the next round
    assert pace.seconds_left(Progress("warm start: learning", 11, 40), now=350.0) == 145.0


@pytest.mark.parametrize(("seconds", "words"), [(7.2, "7 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_durations_are_said_as_a_person_would(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_line_says_how_far_how_well_and_how_long_still() -> None:
    assert describe("train", Progress("train", 12, 40, 0.81), 95.0) == "train 12/40 · success 0.81 · 1 min 35 s left"
    assert describe("warm-start", Progress("warm start: learning", 9, 40), None) == "warm-start learning 9/40"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_terminal_tells_of_each_stage(is_terminal: bool) -> None:
    output = io.StringIO()
    terminal = Terminal(Console(file=output, force_terminal=is_terminal, highlight=False, width=100))
    terminal.began("train")
    terminal.progressed("train", Progress("train", 1, 2, 0.5), 3.0)
    terminal.ended("train", "2 updates [fast]")
    terminal.began("archive")
    terminal.failed("archive", "no space")
    shown = output.getvalue()
    assert "2 updates [fast]" in shown
    assert "no space" in shown


def test_what_a_run_waits_for_is_said_at_once() -> None:
    output = io.StringIO()
    terminal = Terminal(Console(file=output, force_terminal=False, highlight=False, width=100))
    terminal.began("take-gpu")
    terminal.progressed("take-gpu", Progress("take-gpu", 0, 1, message="waiting for GPU 0"), None)
    assert "take-gpu 0/1 · waiting for GPU 0" in output.getvalue()


def test_scores_are_shown_by_web_task_and_over_all() -> None:
    rates = {"strict": {"successes": 3}, "success": {"successes": 5}}
    evaluation = {"web_tasks": {"a": {**rates, "pages": 11, "unscorable": 1, "exempt": False}}}
    scores = read_scores(evaluation)
    assert scores == {"a": Score(3, 5, 10)}
    assert sentence(scores) == "success 0.30 [0.11, 0.60], 0.50 [0.24, 0.76] as BrowserGym counts"
    few = Score(2, 2, 2, exempt=True)
    rows = table({"base": {"few": few, **scores}, "after": {"few": few, "a": Score(9, 9, 10)}})
    assert rows == [
        {"web task": "a", "base": "0.30 [0.11, 0.60]", "after training": "0.90 [0.60, 0.98]"},
        {"web task": "a (BrowserGym)", "base": "0.50 [0.24, 0.76]", "after training": "0.90 [0.60, 0.98]"},
        {"web task": "few (2 pages)", "base": "1.00 [0.34, 1.00]", "after training": "1.00 [0.34, 1.00]"},
        {"web task": "all (BrowserGym)", "base": "0.50 [0.24, 0.76]", "after training": "0.90 [0.60, 0.98]"},
        {"web task": "all", "base": "0.30 [0.11, 0.60]", "after training": "0.90 [0.60, 0.98]"},
    ]
    shown = markdown("run", rows, {"archive": "a/b", "Prefect": "http://127.0.0.1:4200/run/1 (start it first)"})
    assert "| all | 0.30 [0.11, 0.60] | 0.90 [0.60, 0.98] |" in shown
    assert "- archive: `a/b`" in shown
    assert "- Prefect: [http://127.0.0.1:4200/run/1](http://127.0.0.1:4200/run/1) (start it first)" in shown


def test_a_sweep_shows_what_a_run_said_as_it_is() -> None:
    shown = io.StringIO()
    Terminal(Console(file=shown, width=120)).compared(
        [{"seed": "0", "success": "Crashed: File [/home/x] [a: 1]", "archive": ""}]
    )
    assert "Crashed: File [/home/x] [a: 1]" in shown.getvalue()
    assert "archive" not in shown.getvalue()


@pytest.mark.parametrize("word", ["began('train')", "ended('train', 'well')", "failed('train', 'so')"])
def test_a_run_whose_reader_is_gone_ends_and_can_still_be_logged(word: str, tmp_path: Path) -> None:
    program = f"""
import sys
from rich.console import Console
from browser_control.pipeline.progress import Listeners, OutputLost, Terminal
try:
    while True:
        Listeners([Terminal()]).{word}
except OutputLost as lost:
    Console(stderr=True).print("as Prefect does, on the same output")
    open(sys.argv[1], "w").write(str(lost))
"""
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "said")], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.read(1)
        process.stderr.close()
        assert process.wait(30) == 0
    assert "that this run belongs to is gone" in (tmp_path / "said").read_text()
