"""How often the solution of a web task of one's own still does the whole task after a wrong beginning.

    .venv/bin/python benchmarks/wrong_beginnings.py examples/library flight --seeds 20 --sessions 4

The first one to three actions are the solution's, but each is replaced, seven times in ten, by another of its verb that
the page offers. Of the episodes in which one was replaced, and that are not over by then, it is counted how many are
solved: by the step that is next in number (`counted`), and by that which the page shows to be next (`resumed`).
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from browser_control.environment.client import Environments
from browser_control.errors import EnvironmentFailure
from browser_control.language.actions import Action
from browser_control.language.page import Element, parse_page
from browser_control.solvers import Solution, View
from browser_control.use.playing import service
from browser_control.web_tasks import registry

REPLACED = 0.7


def other(action: Action, elements: tuple[Element, ...], generator: random.Random) -> Action:
    """Another action of its verb; itself where the page offers none."""
    if action.verb == "click":
        bids = [each.bid for each in elements if each.role in ("link", "button", "tab", "textbox", "checkbox", "item")]
        return Action("click", generator.choice(bids)) if bids else action
    chosen = next(each for each in elements if each.bid == action.bid)
    if action.verb == "select" and len(chosen.options) > 1:
        return Action("select", action.bid, generator.choice(chosen.options))
    fields = [each.bid for each in elements if each.role == chosen.role]
    return Action(action.verb, generator.choice(fields), action.argument)


def play(environments: Environments, session: int, name: str, seed: int, resumes: bool) -> Iterator[bool | None]:
    """Yields while the page is asked, and last whether the episode was solved; None if it does not count."""
    web_task = registry.own(name)
    assert web_task is not None
    generator = random.Random(f"{name} {seed}")
    solution, wrong, taken = Solution(web_task), False, list[Action]()
    touched: list[Element] = []
    waiting = environments.reset(session, name, seed)
    beginning = generator.randint(1, min(3, len(web_task.file.solution) - 1))
    while True:
        yield None
        try:
            observation = waiting.result()
        except EnvironmentFailure:
            yield None
            return
        if observation.done or len(taken) >= web_task.file.max_turns:
            yield (observation.done and bool(observation.strict)) if wrong and len(taken) > beginning else None
            return
        page = parse_page(observation.text)
        view = View(observation.goal, page, tuple(taken), observation.error, touched=tuple(touched))
        led = len(taken) < beginning
        action = solution(view) if led or not resumes else solution.resume(view)
        if led and action is not None and generator.random() < REPLACED:
            replaced = other(action, page.elements, generator)
            wrong, action = wrong or replaced != action, replaced
        if action is None:
            yield False if wrong and not led else None
            return
        taken.append(action)
        touched += [each for each in page.elements if each.bid == action.bid]
        waiting = environments.step(session, action.to_browsergym())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first-seed", type=int, default=0, metavar="N")
    parser.add_argument("--sessions", type=int, default=4)
    options = parser.parse_args()
    registry.use(options.sources)
    names = [each.name for each in registry.all_own() if len(each.file.solution) > 1]
    played: Counter[tuple[str, bool]] = Counter()
    solved: Counter[tuple[str, bool]] = Counter()
    with (
        service(20, options.sessions, [Path(each) for each in options.sources]) as url,
        Environments([url], options.sessions) as environments,
    ):
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        work = [(name, seed, way) for name in names for seed in seeds for way in (False, True)]
        running: dict[int, tuple[tuple[str, bool], Iterator[bool | None], bool | None]] = {}
        while work or running:
            for session in range(options.sessions):
                if session not in running and work:
                    name, seed, way = work.pop(0)
                    running[session] = ((name, way), play(environments, session, name, seed, way), None)
                if session not in running:
                    continue
                key, episode, last = running[session]
                try:
                    running[session] = (key, episode, next(episode))
                except StopIteration:
                    del running[session]
                    if last is not None:
                        played[key] += 1
                        solved[key] += last
    print("| web task | counted | resumed |\n| --- | ---: | ---: |")
    for name in names:
        print(
            f"| {name} | " + " | ".join(f"{solved[name, way]} of {played[name, way]}" for way in (False, True)) + " |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
