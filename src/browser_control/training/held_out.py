"""Held-out pages: which pages a policy is judged on, and how training keeps off them.

A page is known by the hash of goal and text at its first turn. The hash alone says what the page is for: of sixteen
pages one is of the *final* set, four are for evaluation, eleven for training and demonstrations. So the sets are fixed
before any run begins, and a page that is judged on in one run is trained on in no other, whatever its seed. Training
that draws a held-out page draws again.

Web tasks with few pages (`web_tasks.registry.few_pages`) cannot spare any. They are exempt: all their pages are for
everything, and they are in no average of held-out pages.

Beside that, nothing is trained on the pages with which BrowserGym's benchmark begins (`web_tasks.benchmark.kept_off`),
and no evaluation chooses them, but in exempt web tasks.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from browser_control.configuration import EVALUATION_SEEDS, FINAL_SEEDS, LOT_SEEDS
from browser_control.environment.client import Observation
from browser_control.errors import ConfigurationError, EnvironmentFailure
from browser_control.language.page import page_of
from browser_control.training.dealing import Dealing
from browser_control.web_tasks import benchmark, registry

Purpose = Literal["training", "evaluation", "final"]
_Work = TypeVar("_Work")
_Found = TypeVar("_Found")

REDRAWS = 32  # held-out pages in a row that training may draw: by chance 1 in 10^16
_REDRAW_STRIDE = 100_381_961  # between the seeds that stand in for each other: far apart in either range
_CHUNK = 16  # seeds that one session looks at, one after the other: an episode begins fastest in a page of its web task
_PATIENCE = 40  # draws for each page that is wanted, at most, and as many to begin with


class Resets(Protocol):
    """What is needed of `environment.client.Environments`."""

    def __len__(self) -> int: ...

    def reset(self, session: int, web_task: str, seed: int) -> "Future[Observation]": ...


def purpose_of(page: str) -> Purpose:
    """What the page of that name is for."""
    share = int(page[0], 16)
    return "final" if share == 0 else "evaluation" if share <= 4 else "training"


def is_exempt(web_task: str) -> bool:
    """Whether the web task has too few pages to hold any out."""
    return registry.few_pages(web_task) is not None


def may_be_trained(web_task: str, page: str) -> bool:
    return page not in benchmark.kept_off(web_task) and (is_exempt(web_task) or purpose_of(page) == "training")


def redrawn(seed: int, seeds: range) -> int:
    """The seed of `seeds` that stands in for one whose page is held out."""
    return seeds[(seed - seeds.start + _REDRAW_STRIDE) % len(seeds)]


def too_few_pages(web_task: str) -> ConfigurationError:
    """What to raise where `REDRAWS` pages in a row were held out."""
    return ConfigurationError(
        f"{web_task}: {REDRAWS} pages in a row are held out for evaluation: it has too few pages to be trained on"
    )


# ---------------------------------------------------------------- keeping off them


@dataclass
class Draws:
    """Finds pages that may be trained on.

    Args:
        environments: whose sessions are looked into; none of them may be playing.
        seeds: that pages are drawn from.
    """

    environments: Resets
    seeds: range
    _known: dict[tuple[str, int], int] = field(default_factory=dict)

    def find(self, drawn: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Each web task and seed; another seed where the page of that one is held out.

        Raises:
            ConfigurationError: a web task shows nothing but held-out pages.
        """
        missing = [each for each in dict.fromkeys(drawn) if each not in self._known]
        work = [(web_task, (web_task, seed)) for web_task, seed in missing]
        self._known |= dict(zip(missing, _spread(self.environments, work, self._look), strict=True))
        return [(web_task, self._known[web_task, seed]) for web_task, seed in drawn]

    def forget(self) -> None:
        """Lets go of what was found."""
        self._known.clear()

    def _look(self, session: int, drawn: tuple[str, int]) -> int:
        web_task, seed = drawn
        if is_exempt(web_task) and not benchmark.kept_off(web_task):
            return seed
        for _ in range(REDRAWS):
            try:
                page = _first_page(self.environments, session, web_task, seed)
            except EnvironmentFailure:  # is for the episodes to report
                return seed
            if may_be_trained(web_task, page):
                return seed
            seed = redrawn(seed, self.seeds)
        raise too_few_pages(web_task)


# ---------------------------------------------------------------- choosing them


@dataclass(frozen=True)
class HeldOut:
    """The pages of one web task that a policy is judged on.

    Attributes:
        web_task: its name.
        pages: seed and page, each page once.
        drawn: seeds that were looked at.
    """

    web_task: str
    pages: tuple[tuple[int, str], ...]
    drawn: int


def choose(
    environments: Resets,
    web_tasks: Sequence[str],
    wanted: int,
    purpose: Literal["evaluation", "final"] = "evaluation",
    lot: int = 0,
    on_page: Callable[[], None] = lambda: None,
) -> list[HeldOut]:
    """Distinct pages to judge on, for each web task; the same whatever the sessions are.

    Args:
        wanted: pages a web task; one that has fewer gives those that it has.
        purpose: of the pages; exempt web tasks give any.
        lot: lots share no seed; the final set is one lot.
        on_page: called for each page that was looked at.

    Raises:
        EnvironmentFailure: no page of a web task could be begun.
    """
    searches = [_Search(web_task, wanted, purpose, lot) for web_task in web_tasks]

    def look(session: int, chunk: tuple[_Search, range]) -> list[str | EnvironmentFailure]:
        search, numbers = chunk
        pages: list[str | EnvironmentFailure] = []
        for number in numbers:
            try:
                pages.append(_first_page(environments, session, search.web_task, search.seeds[number]))
            except EnvironmentFailure as failure:
                pages.append(failure)
            on_page()
        return pages

    while chunks := [(search.web_task, (search, numbers)) for search in searches for numbers in search.next()]:
        for (_, (search, numbers)), pages in zip(chunks, _spread(environments, chunks, look), strict=True):
            search.take(numbers, pages)
    return [search.result() for search in searches]


class _Search:
    """Looks for the held-out pages of one web task, in the order of its seeds."""

    def __init__(self, web_task: str, wanted: int, purpose: Purpose, lot: int) -> None:
        few = registry.few_pages(web_task)
        self.web_task = web_task
        self.seeds = FINAL_SEEDS[:LOT_SEEDS] if purpose == "final" else EVALUATION_SEEDS[lot * LOT_SEEDS :][:LOT_SEEDS]
        self._any = few is not None
        self._wanted = wanted if few is None else min(wanted, few)
        self._purpose = purpose
        self._limit = min(len(self.seeds), _PATIENCE * (wanted + 1))
        self._found: dict[str, int] = {}
        self._drawn = 0
        self._failures: list[EnvironmentFailure] = []

    def next(self) -> list[range]:
        """The numbers of the seeds to look at next, in chunks; none where the search is over."""
        missing = self._wanted - len(self._found)
        if missing <= 0 or self._drawn >= self._limit:
            return []
        ahead = missing if self._any else missing * 4
        end = min(self._limit, self._drawn + ahead)
        return [range(first, min(first + _CHUNK, end)) for first in range(self._drawn, end, _CHUNK)]

    def take(self, numbers: range, pages: Sequence[str | EnvironmentFailure]) -> None:
        self._drawn = numbers.stop
        for number, page in zip(numbers, pages, strict=True):
            if isinstance(page, EnvironmentFailure):
                self._failures.append(page)
            elif self._fits(page) and len(self._found) < self._wanted:
                self._found.setdefault(page, self.seeds[number])

    def _fits(self, page: str) -> bool:
        return self._any or (purpose_of(page) == self._purpose and page not in benchmark.kept_off(self.web_task))

    def result(self) -> HeldOut:
        if len(self._failures) == self._drawn:
            raise EnvironmentFailure(
                f"no page of {self.web_task} could be begun, in {self._drawn} tries: {self._failures[-1]}"
            )
        return HeldOut(self.web_task, tuple((seed, page) for page, seed in self._found.items()), self._drawn)


def _first_page(environments: Resets, session: int, web_task: str, seed: int) -> str:
    """The page that an episode begins with; raises EnvironmentFailure."""
    observation = environments.reset(session, web_task, seed).result()
    return page_of(observation.goal, observation.text)


def _spread(
    environments: Resets, work: Sequence[tuple[str, _Work]], look: Callable[[int, _Work], _Found]
) -> list[_Found]:
    """Shares out the work of each web task among the sessions, which do one piece at a time; the answers, in order.

    The first that fails ends all.
    """
    dealing = Dealing((web_task, (number, piece)) for number, (web_task, piece) in enumerate(work))
    taking = threading.Lock()
    found: dict[int, _Found] = {}

    def serve(session: int) -> None:
        while True:
            with taking:
                dealt = dealing.take(session)
            if dealt is None:
                return
            number, piece = dealt
            try:
                found[number] = look(session, piece)
            except BaseException:
                with taking:
                    dealing.stop()
                raise

    sessions = range(min(len(environments), len(work)))
    with ThreadPoolExecutor(max(1, len(sessions)), "pages") as pool:
        for served in [pool.submit(serve, session) for session in sessions]:
            served.result()
    return [found[number] for number in range(len(work))]
