"""The table of docs/reliability.md, between its two marks: what `make faults` found."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cells import CELLS

BEGIN, END = "<!-- cells: written by make faults -->", "<!-- end of cells -->"


def write(path: Path, outcomes: Mapping[str, str]) -> None:
    """Replaces the table; cells that were not run this time are said to be so."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{table(outcomes)}{END}{after}")


def table(outcomes: Mapping[str, str]) -> str:
    found = [outcomes.get(cell.name, "not run") for cell in CELLS]
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}: {found.count('passed')} of {len(CELLS)} cells passed, {found.count('failed')}"
        f" failed, {found.count('not run')} were not run.",
        "",
        "| runtime | task or file | fault | ends with | the user reads | outcome |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cell, outcome in zip(CELLS, found, strict=True):
        words = f"`{cell.words.replace('|', chr(92) + '|')}`" if cell.words else ""
        lines.append(f"| {cell.runtime} | {cell.what} | {cell.fault} | {cell.code} | {words} | {outcome} |")
    return "\n".join(lines) + "\n"
