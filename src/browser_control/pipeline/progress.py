"""What a run shows while it runs: the programs' progress lines, and the terminal that a person follows."""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from browser_control.records.summary import legend

_PREFIX = "progress "
_PLAIN_SECONDS = 10.0  # between two lines of progress where output is no terminal


@dataclass(frozen=True)
class Progress:
    """One progress line of a program."""

    stage: str
    done: int
    total: int
    success: float | None = None
    message: str = ""

    @property
    def percent(self) -> float:
        return 100.0 * min(1.0, self.done / self.total) if self.total > 0 else 0.0


def parse_progress(line: str) -> Progress | None:
    """The progress that a line of output reports, if it reports any."""
    if not line.startswith(_PREFIX):
        return None
    try:
        values = json.loads(line.removeprefix(_PREFIX))
        success = values.get("success")
        return Progress(
            stage=str(values["stage"]),
            done=int(values["done"]),
            total=int(values["total"]),
            success=None if success is None else float(success),
            message=str(values.get("message", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class Pace:
    """Estimates what is left of a part of a stage from what was done since its first report.

    A warm start has several parts, each with a count of its own: demonstrations, learning, corrections.
    """

    def __init__(self) -> None:
        self._first: tuple[float, Progress] | None = None

    def seconds_left(self, progress: Progress, now: float) -> float | None:
        """None until something was done under our eyes: a run that continues starts in the middle."""
        if self._first is None or self._another_part(self._first[1], progress):
            self._first = (now, progress)
        since, first = self._first
        done = progress.done - first.done
        if done <= 0 or progress.total <= 0:
            return None
        return (now - since) / done * max(0, progress.total - progress.done)

    @staticmethod
    def _another_part(first: Progress, progress: Progress) -> bool:
        return (progress.stage, progress.total) != (first.stage, first.total) or progress.done < first.done


class Listener(Protocol):
    """Who is told how a run goes."""

    def began(self, stage: str) -> None: ...

    def line(self, stage: str, line: str) -> None: ...

    def progressed(self, stage: str, progress: Progress, seconds_left: float | None) -> None: ...

    def ended(self, stage: str, summary: str) -> None: ...

    def failed(self, stage: str, error: str) -> None: ...

    def finished(self, rows: list[dict[str, str]], places: Mapping[str, str]) -> None: ...


class OutputLost(BaseException):
    """Nobody reads this program's output any more: the worker of the run is gone, or the terminal.

    No `Exception`: what catches those would go on with a run that nobody can stop.
    """

    def __init__(self) -> None:
        super().__init__("the worker, or the terminal, that this run belongs to is gone; the same run continues")


class Listeners:
    """Several as one."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = tuple(listeners)

    def began(self, stage: str) -> None:
        self._tell(lambda listener: listener.began(stage))

    def line(self, stage: str, line: str) -> None:
        self._tell(lambda listener: listener.line(stage, line))

    def progressed(self, stage: str, progress: Progress, seconds_left: float | None) -> None:
        self._tell(lambda listener: listener.progressed(stage, progress, seconds_left))

    def ended(self, stage: str, summary: str) -> None:
        self._tell(lambda listener: listener.ended(stage, summary))

    def failed(self, stage: str, error: str) -> None:
        self._tell(lambda listener: listener.failed(stage, error))

    def finished(self, rows: list[dict[str, str]], places: Mapping[str, str]) -> None:
        self._tell(lambda listener: listener.finished(rows, places))

    def _tell(self, word: Callable[[Listener], None]) -> None:
        """Raises OutputLost where rich, in our terminal or in Prefect's log, finds its pipe broken: it exits then."""
        for listener in self._listeners:
            try:
                word(listener)
            except SystemExit as error:
                # Prefect's log is to say what becomes of the run, and not to fail too.
                with open(os.devnull, "w") as nowhere:
                    for output in (1, 2):
                        os.dup2(nowhere.fileno(), output)
                raise OutputLost from error


class Terminal:
    """One line a stage; on a terminal the one of the running stage moves, elsewhere it is repeated now and then."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._began = 0.0
        self._printed = 0.0

    def began(self, stage: str) -> None:
        self._began = self._printed = time.monotonic()
        if self.console.is_terminal:
            self._live = Live(
                _Running(stage),
                console=self.console,
                transient=True,
                refresh_per_second=4,
                redirect_stderr=False,
            )
            self._live.start()
        else:
            self.console.print(f"{stage} ...", soft_wrap=True)

    def line(self, stage: str, line: str) -> None:
        """A stage's own words are in its log."""

    def progressed(self, stage: str, progress: Progress, seconds_left: float | None) -> None:
        if self._live is not None:
            self._live.update(_Running(stage, progress, seconds_left, self._began))
        elif progress.done == 0 or time.monotonic() - self._printed >= _PLAIN_SECONDS:  # 0: it says what it waits for
            self._printed = time.monotonic()
            self.console.print(describe(stage, progress, seconds_left), soft_wrap=True, markup=False)

    def ended(self, stage: str, summary: str) -> None:
        self._say("[green]✓[/green]", stage, summary)

    def failed(self, stage: str, error: str) -> None:
        self._say("[red]✗[/red]", stage, error)

    def finished(self, rows: list[dict[str, str]], places: Mapping[str, str]) -> None:
        """What came out, and where to look."""
        scores = (Column(name, no_wrap=True) for name in list(rows[-1])[1:])
        title, names = "success on held-out pages", Column("", overflow="fold")
        table = Table(names, *scores, title=title, title_justify="left", box=SIMPLE, caption=legend(rows))
        for row in rows:
            table.add_row(*row.values(), end_section=row is rows[-2:][0])
        self.console.print(table)
        for name, place in places.items():
            self.console.print(f"{name:<10} {place}", soft_wrap=True, markup=False)

    def compared(self, rows: list[dict[str, str]], report: Path | None = None) -> None:
        """One row a run, without the long URL of its archive, and where the report on all of them is."""
        shown = [{name: value for name, value in row.items() if name != "archive"} for row in rows]
        table = Table(*(Column(name, overflow="fold") for name in shown[0]), box=SIMPLE)
        for row in shown:
            table.add_row(*map(Text, row.values()))
        self.console.print(table)
        if report is not None:
            self.console.print(f"report     {report}", soft_wrap=True, markup=False)

    def close(self) -> None:
        """Gives the terminal back, also in the middle of a stage."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _say(self, mark: str, stage: str, words: str) -> None:
        self.close()
        took = duration(time.monotonic() - self._began)
        self.console.print(f"{mark} {stage:<20} {took:>12}  {escape(words)}", soft_wrap=True)


class _Running:
    """The moving line; it is drawn anew four times a second, so that the clock goes on."""

    def __init__(
        self,
        stage: str,
        progress: Progress | None = None,
        seconds_left: float | None = None,
        began: float | None = None,
    ) -> None:
        self._stage = stage
        self._progress = progress
        self._seconds_left = seconds_left
        self._drawn = time.monotonic()
        self._began = self._drawn if began is None else began

    def __rich__(self) -> Text:
        now = time.monotonic()
        took = duration(now - self._began)
        if self._progress is None:
            return Text(f"… {self._stage:<20} {took:>12}", no_wrap=True, overflow="ellipsis")
        left = None if self._seconds_left is None else max(0.0, self._seconds_left - (now - self._drawn))
        filled = round(self._progress.percent / 5)
        bar = "━" * filled + "╌" * (20 - filled)
        words = describe(self._stage, self._progress, left).removeprefix(self._stage).strip()
        return Text(f"… {self._stage:<20} {took:>12}  {bar} {words}", no_wrap=True, overflow="ellipsis")


def describe(stage: str, progress: Progress, seconds_left: float | None) -> str:
    """One line: how far, how well, how long still; which part, where a stage has several (`warm start: learning`)."""
    _, _, part = progress.stage.partition(": ")
    parts = [" ".join(filter(None, (stage, part, f"{progress.done}/{progress.total}")))]
    if progress.success is not None:
        parts.append(f"success {progress.success:.2f}")
    if seconds_left is not None:
        parts.append(f"{duration(seconds_left)} left")
    if progress.message:
        parts.append(progress.message)
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """7 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
