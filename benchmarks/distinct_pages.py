"""Counts the distinct pages of web tasks: those with fewer than 50 belong into `web_tasks.miniwob.FEW_PAGES`.

    python benchmarks/distinct_pages.py --url http://127.0.0.1:8080 [--draws 600] [WEB_TASK ...]

A page is the hash of goal and text at its first turn (`language.page.page_of`). Draws 120 seeds of each web task, and
up to `--draws` of those that repeat themselves.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from browser_control.environment.client import Environments
from browser_control.language.page import page_of
from browser_control.web_tasks import registry

FEW = 50


def count(environments: Environments, session: int, web_task: str, draws: int) -> tuple[int, int]:
    """Distinct pages, and seeds drawn."""
    pages: set[str] = set()
    for seed in range(draws):
        observation = environments.reset(session, web_task, seed).result()
        pages.add(page_of(observation.goal, observation.text))
        if seed >= 119 and len(pages) >= 2 * FEW:
            return len(pages), seed + 1
    return len(pages), draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("web_tasks", nargs="*", metavar="WEB_TASK")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--draws", type=int, default=600)
    parser.add_argument("--sessions", type=int, default=4)
    options = parser.parse_args()
    free: SimpleQueue[int] = SimpleQueue()
    few = {}
    with Environments([options.url], options.sessions) as environments:
        for session in range(options.sessions):
            free.put(session)

        def work(web_task: str) -> tuple[str, int, int]:
            session = free.get()
            try:
                return web_task, *count(environments, session, web_task, options.draws)
            finally:
                free.put(session)

        with ThreadPoolExecutor(options.sessions) as pool:
            for web_task, pages, drawn in pool.map(work, options.web_tasks or registry.web_tasks()):
                print(f"{web_task:30} {pages:5} distinct of {drawn}", flush=True)
                if pages < FEW:
                    few[web_task] = pages
    print(f"FEW_PAGES: dict[str, int] = {few!r}")


if __name__ == "__main__":
    main()
