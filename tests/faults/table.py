"""The table of docs/reliability.md, between its two marks: what `make faults` found."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cells import CELLS

BEGIN, END = "<!-- cells: written by make faults -->", "<!-- end of cells -->"
_OUTCOME = re.compile(r"^\| (\S+ \| [^|]+ \| [^|]+) \|.*\| (\w+ [\d-]+) \|$", re.MULTILINE)


def write(path: Path, outcomes: Mapping[str, str]) -> None:
    """Replaces the table; a cell that was not run this time keeps its last outcome, with its date."""
    before, _, rest = path.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    last = {key: outcome for key, outcome in _OUTCOME.findall(old)}
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    found = {
        key: f"{outcomes[cell.name]} {today}" if cell.name in outcomes else last.get(key, "not run")
        for cell in CELLS
        for key in [f"{cell.runtime} | {cell.what} | {cell.fault}"]
    }
    path.write_text(f"{before}{BEGIN}\n{table(found)}{END}{after}")


def table(found: Mapping[str, str]) -> str:
    passed = sum(outcome.startswith("passed") for outcome in found.values())
    lines = [
        f"{passed} of {len(found)} cells passed when they were last run.",
        "",
        "| runtime | task or file | fault | ends with | the user reads | outcome |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cell, (key, outcome) in zip(CELLS, found.items(), strict=True):
        words = f"`{cell.words.replace('|', '/')}`" if cell.words else ""
        lines.append(f"| {key} | {cell.code} | {words} | {outcome} |")
    return "\n".join(lines) + "\n"
