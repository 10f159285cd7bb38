"""How long it takes to build the actions of what a prompt shows, over all web tasks with all verbs.

    python benchmarks/action_tree.py --url http://127.0.0.1:8080 --tokenizer FOLDER

Prints medians and maxima in ms: of trees whose spelled parts are known or not, of a flat grammar (`tests/language`) on
the same pages, and of pages made to be large.
"""

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

from transformers import AutoTokenizer

from browser_control.environment.client import Environments
from browser_control.language import prompts
from browser_control.language.action_tree import ActionTrees
from browser_control.language.actions import VERBS, Action
from browser_control.language.page import Element
from browser_control.web_tasks import registry

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "language"))
from flat_grammar import Grammar

BUDGET = 1024  # tokens of a page


def milliseconds(work: object, *arguments: object) -> float:
    began = time.perf_counter()
    work(*arguments)  # type: ignore[operator]
    return (time.perf_counter() - began) * 1000


def choose(trees: ActionTrees, page: tuple[Element, ...]) -> None:
    """Goes to the options of the first element, and chooses the last of them."""
    matcher = trees.matcher(page)
    for token in trees.encode(Action("select", page[0].bid, page[0].options[-1]), page):
        matcher.consume(token)


def line(name: str, values: list[float]) -> str:
    return f"{name:44} {statistics.median(values):8.2f} {max(values):8.2f}   {len(values)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    count = lambda text: len(tokenizer.encode(text, add_special_tokens=False))  # noqa: E731
    pages = []
    with Environments([options.url], sessions=1) as environments:
        for web_task in registry.web_tasks():
            for seed in range(options.seeds):
                seen = environments.reset(0, web_task, seed).result()
                pages.append(prompts.build(seen.text, seen.goal, tokens=count, budget=BUDGET).elements)
    trees = ActionTrees(tokenizer, len(tokenizer), VERBS, "label", 60)
    cold = [milliseconds(trees._build, page) for page in pages]
    warm = [milliseconds(trees._build, page) for page in pages]
    print(f"{'':44} {'median':>8} {'max':>8}   pages")
    print(line("tree, parts spelled for the first time", cold))
    print(line("tree, parts known", warm))
    flat = Grammar(tokenizer, len(tokenizer), VERBS, "label", 60)
    times, failed = [], 0
    for page in pages:
        try:
            times.append(milliseconds(flat._compile, page))
        except ValueError:
            failed += 1
    print(line(f"flat grammar ({failed} do not compile)", times))
    cities = tuple(f"city {n}" for n in range(6000))
    large = {
        "50 items that can be dragged": tuple(Element("item", f"thing {n}", str(n)) for n in range(50)),
        "a list of 6,000 options": (Element("combobox", "Which", "1", "", (), cities),),
        "1,000 elements": tuple(Element("button", f"thing {n}", str(n)) for n in range(1000)),
    }
    for name, page in large.items():
        fresh = [ActionTrees(tokenizer, len(tokenizer), VERBS, "label", 60) for _ in range(5)]
        print(line(f"{name}, for the first time", [milliseconds(each.tree, page) for each in fresh]))
        if page[0].options:
            print(
                line("  and an action that gets to its options", [milliseconds(choose, each, page) for each in fresh])
            )
            fewer = (replace(page[0], options=page[0].options[1:]),)
            times = [milliseconds(each.tree, fewer) + milliseconds(choose, each, fewer) for each in fresh]
            print(line("  the same list without one of them", times))


if __name__ == "__main__":
    main()
