"""Pictures of a few episodes of an evaluation, for the report.

What was done in them is done again on the same pages, after the evaluation: that takes no picture, so that neither its
numbers nor its time depend on them. An episode that goes otherwise the second time has no pictures.
"""

import io
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from queue import SimpleQueue

from PIL import Image

from browser_control import allowance
from browser_control.environment import picture
from browser_control.environment.client import Environments, Observation
from browser_control.errors import EnvironmentFailure, EnvironmentLost
from browser_control.language import prompts
from browser_control.language.actions import Action
from browser_control.training import transcripts
from browser_control.training.rollout import Episode, Turn, read_action

SECONDS = 7.5  # in which a run takes up episodes for its pictures
BYTES = 1_600_000  # of all pictures
TURNS = 5  # of an episode that have one; the end has one too
_PATIENCE = 1.0  # seconds that the last episodes may go on after that
_PER_CORE = 2  # episodes at once: a picture waits longer for the browser's next frame than it computes
_WIDEST = (320, 240)  # pixels of a picture
_LEAST = (160, 120)
_QUALITY = 55


def take(
    played: Sequence[Episode],
    environments: Environments,
    action_format: str,
    *,
    seconds: float = SECONDS,
    asked: Callable[[], bool] = lambda: False,
) -> dict[str, bytes]:
    """WebP pictures by `name`: of each web task one episode, a lost one if there is any, before any has a second.

    Args:
        seconds: after which no further episode is taken up.
        asked: whether to end; what is there by then is returned.
    """
    chosen = _in_turn(played)
    count = min(len(environments), max(1, int(_PER_CORE * allowance.cores())))
    sessions: SimpleQueue[int] = SimpleQueue()
    for session in range(count):
        sessions.put(session)
    last = time.monotonic() + seconds
    taken: dict[str, bytes] = {}

    def work(episode: Episode) -> dict[str, bytes]:
        if asked() or time.monotonic() > last:
            return {}
        session = sessions.get()
        try:
            return dict(_strip(episode, environments, session, action_format, last + _PATIENCE))
        except (EnvironmentFailure, EnvironmentLost, TimeoutError):
            return {}
        finally:
            sessions.put(session)

    with ThreadPoolExecutor(count, thread_name_prefix="pictures") as pool:
        for strip in pool.map(work, chosen):
            if sum(map(len, (*taken.values(), *strip.values()))) <= BYTES:
                taken |= strip
    return taken


def name(web_task: str, seed: int, turn: int) -> str:
    """Of the picture of a page before that turn, counted from 0; of the page at the end, the number of turns."""
    return f"{web_task}/{seed}/{turn}.webp"


def write(taken: Mapping[str, bytes], path: Path) -> None:
    """Writes a ZIP archive, whole or not at all."""
    beside = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(beside, "w") as file:
        for each, content in sorted(taken.items()):
            file.writestr(zipfile.ZipInfo(each), content)
    beside.replace(path)


def _in_turn(played: Sequence[Episode]) -> list[Episode]:
    """The episodes of which it is kept what the policy saw: the first of each web task, then the second of each."""
    of: dict[str, list[tuple[int, bool, Episode]]] = {}
    for episode, rank in transcripts.ranked(played):
        if rank < transcripts.PAGES_KEPT and episode.turns:
            of.setdefault(episode.start.web_task, []).append((rank, episode.strict, episode))
    each_in_order = [sorted(kept, key=lambda each: each[:2]) for kept in of.values()]
    return [each[2] for row in zip_longest(*each_in_order) for each in row if each is not None]


def _strip(
    episode: Episode, environments: Environments, session: int, action_format: str, last: float
) -> Iterator[tuple[str, bytes]]:
    """The pictures of one episode, played again; none where it goes otherwise, or the server gives none.

    Raises:
        TimeoutError: a page has not answered by `last`, of the monotonic clock.
    """
    start = episode.start

    def awaited(answer: "Future[Observation]") -> Observation:
        return answer.result(max(0.0, last - time.monotonic()))

    observation = awaited(environments.reset(session, start.web_task, start.seed, pictures=True))
    seen: list[tuple[int, Observation, list[picture.Box]]] = []
    for number, turn in enumerate(episode.turns):
        if not observation.picture or observation.done or not _is_the_same(turn, observation):
            return
        action = _action(turn, action_format)
        if number < TURNS:
            seen.append((number, observation, picture.acted_on(action, observation) if action else []))
        sent = action.to_browsergym() if action else "noop()"
        observation = awaited(environments.step(session, sent))
    strict, truncated = observation.done and observation.strict, observation.truncated or not observation.done
    if not observation.picture or (bool(strict), truncated) != (episode.strict, episode.truncated):
        return
    seen.append((len(episode.turns), observation, []))
    pages = [picture.opened(each.picture) for _, each, _ in seen]
    right, bottom = picture.extent(pages, _LEAST)
    for (number, _, boxes), page in zip(seen, pages, strict=True):
        shown = page.crop((0, 0, right, bottom))
        picture.mark(shown, boxes)
        shown.thumbnail(_WIDEST, Image.Resampling.LANCZOS)
        file = io.BytesIO()
        shown.save(file, "WEBP", quality=_QUALITY)
        yield name(start.web_task, start.seed, number), file.getvalue()


def _is_the_same(turn: Turn, observation: Observation) -> bool:
    """Whether the page has what the policy saw on it."""
    return set(turn.prompt.elements) <= set(prompts.elements(observation.text))


def _action(turn: Turn, action_format: str) -> Action | None:
    return read_action(turn.completion.text, turn.prompt, action_format) if turn.valid else None
