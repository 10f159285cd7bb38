"""A benchmark's scores as tables, to be read or pasted; light, so that flows can show them."""

from pathlib import Path
from typing import Any

from browser_control.run_directory import write_json, write_text

HEADS = ("", "web tasks", "episodes", "strict", "95%", "BrowserGym", "95%", "turns")


def write(scores: dict[str, Any], folder: Path) -> None:
    """Writes `benchmark.json` and `benchmark.md`."""
    write_json(folder / "benchmark.json", scores)
    write_text(folder / "benchmark.md", markdown(scores))


def summary(scores: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a subset, under `HEADS`."""
    return [_row(title, score) for title, score in scores["subsets"].items()]


def sentence(scores: dict[str, Any]) -> str:
    """Strict success in each subset, with its 95% interval."""
    parts = []
    for title, score in scores["subsets"].items():
        kind = score["strict"]
        parts.append(f"{title} ({score['count']}) {kind['rate']:.2f} [{kind['low']:.2f}, {kind['high']:.2f}]")
    return "; ".join(parts)


def validity(scores: dict[str, Any]) -> str:
    """How many answers were actions, in words."""
    return f"{scores['valid_actions'] or 0:.1%} of the answers were actions of their page"


def families(scores: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a family of several web tasks; the others are rows of `web_tasks`."""
    return [
        _row(f"{first} and {len(score['members']) - 1} more", score)
        for first, score in scores["families"].items()
        if len(score["members"]) > 1
    ]


def web_tasks(scores: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a web task."""
    return [_row(name, score) for name, score in scores["web_tasks"].items()]


def _row(title: str, score: dict[str, Any]) -> tuple[str, ...]:
    kinds = [
        words
        for kind in (score["strict"], score["success"])
        for words in (f"{kind['rate']:.3f}", f"{kind['low']:.2f}-{kind['high']:.2f}")
    ]
    turns = "" if score["mean_turns"] is None else f"{score['mean_turns']:.1f}"
    return (title, str(score["count"]), str(score["episodes"]), *kinds, turns)


def markdown(scores: dict[str, Any]) -> str:
    """All tables, to be read or pasted."""
    parts = [f"# {scores['judged']} by BrowserGym's protocol for MiniWoB, {scores['at']}"]
    for rows in (summary(scores), families(scores), web_tasks(scores)):
        if rows:
            lines = [HEADS, ("---", *["---:"] * (len(HEADS) - 1)), *rows]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"
