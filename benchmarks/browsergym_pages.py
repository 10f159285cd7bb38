"""Writes down the pages that BrowserGym's benchmark begins with, which training keeps off (`web_tasks.benchmark`).

    python benchmarks/browsergym_pages.py --url http://127.0.0.1:8080

To be run again with every change of `language.version.VERSION`. Prints, for web tasks of few pages, how many of sixty
seeds show a page that is left for training.
"""

import argparse
import json
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from browser_control.configuration import TRAINING_SEEDS
from browser_control.environment.client import Environments
from browser_control.language.page import page_of
from browser_control.language.version import VERSION
from browser_control.run_directory import write_text
from browser_control.web_tasks import benchmark
from browser_control.web_tasks.miniwob import FEW_PAGES

TRIED = TRAINING_SEEDS[:60]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--sessions", type=int, default=3)
    options = parser.parse_args()
    free: SimpleQueue[int] = SimpleQueue()
    with Environments([options.url], options.sessions) as environments, ThreadPoolExecutor(options.sessions) as pool:
        for session in range(options.sessions):
            free.put(session)

        def look(drawn: tuple[str, int]) -> str:
            session = free.get()
            try:
                observation = environments.reset(session, *drawn).result()
                return page_of(observation.goal, observation.text)
            finally:
                free.put(session)

        starts = list(dict.fromkeys(benchmark.episodes()))
        pages: defaultdict[str, set[str]] = defaultdict(set)
        for (web_task, _), page in zip(starts, pool.map(look, starts), strict=True):
            pages[web_task].add(page)
        lines = ",\n".join(f"  {json.dumps(web_task)}: {json.dumps(sorted(pages[web_task]))}" for web_task in pages)
        write_text(benchmark.PAGES, f'{{\n"language": {VERSION},\n"pages": {{\n{lines}\n}}\n}}\n')
        print(f"{len(starts)} starts, {sum(map(len, pages.values()))} pages")
        for web_task in FEW_PAGES:
            seen = list(pool.map(look, [(web_task, seed) for seed in TRIED]))
            left = sum(page not in pages[web_task] for page in seen)
            print(f"{web_task:24} {FEW_PAGES[web_task]:3} pages, {len(pages[web_task])} of the benchmark; {left} of 60")


if __name__ == "__main__":
    main()
