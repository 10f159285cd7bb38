"""What was said in the episodes of an evaluation, one JSON object a line."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from browser_control.run_directory import write_text
from browser_control.training.rollout import Episode

PAGES_KEPT = 2  # of a web task, and as many of those that were not won: what the policy saw is most of the bytes


def write_episodes(played: Sequence[Episode], path: Path) -> None:
    """Writes `path`, by web task and seed: in the same order, whichever episode ended first."""
    write_text(path, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in transcripts(played)))


def transcripts(played: Sequence[Episode]) -> Iterator[dict[str, Any]]:
    """All episodes: what was said at each turn (`said`), and why it did nothing (`error`), where it did.

    `saw`, the prompt, is kept of `PAGES_KEPT` episodes of each web task that were won, and of as many that were not.
    """
    for episode, rank in ranked(played):
        yield {
            "web_task": episode.start.web_task,
            "seed": episode.start.seed,
            "strict": None if episode.reward is None else episode.strict,
            "success": None if episode.reward is None else episode.success,
            "truncated": episode.truncated,
            "unscorable": episode.failure,
            "turns": [
                {
                    **({"saw": turn.prompt.text} if rank < PAGES_KEPT else {}),
                    "said": turn.completion.text,
                    **({"error": turn.error} if turn.error else {}),
                }
                for turn in episode.turns
            ],
        }


def ranked(played: Sequence[Episode]) -> Iterator[tuple[Episode, int]]:
    """The episodes by web task and seed, and the how-manieth each is of those that were won, or were not, from 0."""
    seen: Counter[tuple[str, bool]] = Counter()
    for episode in sorted(played, key=lambda each: (each.start.web_task, each.start.seed)):
        kind = (episode.start.web_task, episode.strict)
        yield episode, seen[kind]
        seen[kind] += 1
