"""The table of docs/reliability.md, between its two marks: what `make faults` found, and on which commit."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from cells import CELLS

BEGIN, END = "<!-- cells: written by make faults -->", "<!-- end of cells -->"
NOT_CODE = ("docs", "benchmarks", "examples", "*.md")
_OUTCOME = re.compile(r"^\| (\S+ \| [^|]+ \| [^|]+) \|.*\| ((?:passed|failed) [^|]+) \|$", re.MULTILINE)


def commit(root: Path) -> str:
    """The last commit that changed code, with `+changes` where files differ from it."""

    def git(*arguments: str) -> str:
        others = [f":!{each}" for each in NOT_CODE]
        command = ["git", "-C", str(root), *arguments, "--", ".", *others]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return git("log", "-1", "--format=%h") + ("+changes" if git("status", "--porcelain") else "")


def results(path: Path) -> list[dict[str, Any]]:
    """All that was ever run, the latest last: `test`, `cell`, `outcome`, `commit`, `date`, `seconds`."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write(path: Path, found: Path) -> None:
    """Replaces the table; a cell that is not among the results keeps its last outcome."""
    before, _, rest = path.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    last = {key: outcome for key, outcome in _OUTCOME.findall(old)}
    latest = {each["cell"]: "{outcome} {date} at {commit}".format(**each) for each in results(found) if each["cell"]}
    outcomes = {
        key: latest.get(cell.name) or last.get(key, "not run")
        for cell in CELLS
        for key in [f"{cell.runtime} | {cell.what} | {cell.fault}"]
    }
    path.write_text(f"{before}{BEGIN}\n{table(outcomes)}{END}{after}")


def table(found: dict[str, str]) -> str:
    passed = [outcome for outcome in found.values() if outcome.startswith("passed")]
    commits = Counter(outcome.partition(" at ")[2] for outcome in passed).most_common()
    where = ", ".join(f"{count} at `{name}`" for name, count in commits if name)
    lines = [
        f"{len(passed)} of {len(found)} cells passed when they were last run: {where}.",
        "",
        "| runtime | task or file | fault | ends with | the user reads | outcome |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cell, (key, outcome) in zip(CELLS, found.items(), strict=True):
        words = f"`{cell.words.replace('|', '/')}`" if cell.words else ""
        lines.append(f"| {key} | {cell.code} | {words} | {outcome} |")
    return "\n".join(lines) + "\n"
