"""A grid of configurations: its combinations, the runs that try them, and the table that compares them."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browser_control.errors import ConfigurationError
from browser_control.records import archive, summary
from browser_control.run_directory import write_text


@dataclass(frozen=True)
class Combination:
    """One value for each key of the grid, as `section.key=value`, and the run that tries them."""

    overrides: tuple[str, ...]
    run_id: str

    def __str__(self) -> str:
        return ", ".join(self.overrides)


def combinations(grid: Mapping[str, Sequence[Any]], name: str) -> list[Combination]:
    """Every combination, the last key varying fastest; raises ConfigurationError where a key has no value."""
    if not grid or not all(grid.values()):
        raise ConfigurationError("grid must name keys of the configuration, and values to try for each")
    made = []
    for values in itertools.product(*grid.values()):
        overrides = tuple(f"{key}={json.dumps(value)}" for key, value in zip(grid, values, strict=True))
        digest = hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:8]
        made.append(Combination(overrides, f"{name}-{digest}"))
    return made


def rows(results: Mapping[Combination, str]) -> list[dict[str, str]]:
    """One row a combination, the best first.

    Args:
        results: the archive of each, or in words why there is none.
    """
    found = []
    for combination, result in results.items():
        values = dict(override.split("=", 1) for override in combination.overrides)
        if archive.exists(result):
            score = summary.total(summary.read_scores(archive.read_json(result, "evaluation/after.json")))
            found.append((score.rate, {**values, "success": str(score), "run": combination.run_id, "archive": result}))
        else:
            found.append((-1.0, {**values, "success": result, "run": combination.run_id, "archive": ""}))
    return [row for _, row in sorted(found, key=lambda each: -each[0])]


def write_comparison(name: str, table: Sequence[Mapping[str, str]], runs: str) -> Path | None:
    """The report that compares the runs of a table, in the folder of runs; None where none came to an archive."""
    from browser_control.records import report, report_page

    reports = [report.read(row["archive"]) for row in table if row["archive"]]
    if not reports:
        return None
    path = Path(runs) / f"{name}-report.html"
    write_text(path, report_page.render_comparison(reports, name))
    return path
