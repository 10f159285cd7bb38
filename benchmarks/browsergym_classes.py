"""How fast is a BrowserGym class in its worker? Beside plain BrowserGym (`gymnasium.make`), in one run on one machine.

    python benchmarks/browsergym_classes.py --output classes.json

An episode is a reset and one click that ends it, of `browsergym.miniwob`'s classes as they are. Both in turn, so that
what else the machine does disturbs both. `--parts` says where a worker's reset goes, call by call.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "environment"))

PLAIN = """
import json, os, sys, time, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import gymnasium, browsergym.miniwob
from browser_control.environment.stock import pages, playwright_browsers
with pages() as url, playwright_browsers(Path(sys.argv[1])) as browsers:
    os.environ |= {"MINIWOB_URL": url, "PLAYWRIGHT_BROWSERS_PATH": str(browsers)}
    env = gymnasium.make("browsergym/miniwob.click-test")
    for line in sys.stdin:
        begin = time.perf_counter(); env.reset(seed=int(line))
        middle = time.perf_counter(); _, reward, done, *_ = env.step("click('13')")
        print(json.dumps([middle - begin, time.perf_counter() - middle, reward, done]), flush=True)
    env.close()
"""


def ours(environments: Any, seed: int) -> list[float]:
    """Seconds of a reset and of a step."""
    begin = time.perf_counter()
    environments.reset(0, "browsergym.miniwob.click-test", seed).result()
    middle = time.perf_counter()
    last = environments.step(0, "click('13')").result()
    assert last.done and last.strict
    return [middle - begin, time.perf_counter() - middle]


def plain(process: "subprocess.Popen[str]", seed: int) -> list[float]:
    assert process.stdin is not None and process.stdout is not None
    print(seed, file=process.stdin, flush=True)
    reset, step, reward, done = json.loads(process.stdout.readline())
    assert reward == 1 and done
    return [reset, step]


def row(measured: list[list[float]]) -> dict[str, float]:
    resets, steps = zip(*measured, strict=True)
    took = sum(resets) + sum(steps)
    return {
        "episodes": len(measured),
        "reset": round(statistics.median(resets), 4),
        "step": round(statistics.median(steps), 4),
        "episodes_per_second": round(len(measured) / took, 2),
    }


def parts(program: Path, count: int) -> dict[str, float]:
    """Median milliseconds of what a worker's episode consists of, with Playwright alone and the page as it is."""
    from browsergym.miniwob.all import ClickTestTask
    from playwright.sync_api import sync_playwright

    from browser_control.environment.stock import pages

    spent: dict[str, list[float]] = {}

    def timed(name: str, work: Any) -> Any:
        begin = time.perf_counter()
        found = work()
        spent.setdefault(name, []).append(1000 * (time.perf_counter() - begin))
        return found

    with pages() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), chromium_sandbox=False)
        for seed in range(count):
            context = timed("new context", lambda: browser.new_context(viewport={"width": 332, "height": 214}))
            page = timed("new page", context.new_page)
            task = ClickTestTask(seed, base_url=url)
            timed("the class's setup", lambda task=task, page=page: task.setup(page))
            timed("the class's validate", lambda task=task, page=page: task.validate(page, []))
            timed("one command to the page", lambda page=page: page.evaluate("1"))
            timed("close the context", context.close)
        browser.close()
    return {name: round(statistics.median(each), 1) for name, each in spent.items()}


def main() -> int:
    warnings.simplefilter("ignore")
    from service_process import start_service, stop_service

    from browser_control.environment.chromium import find_chromium
    from browser_control.environment.client import Environments

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="of one plain episode and several of ours")
    parser.add_argument("--several", type=int, default=10, help="episodes of ours a round")
    parser.add_argument("--parts", action="store_true", help="say where the time goes")
    parser.add_argument("--output", type=Path, help="where the figures go as JSON")
    options = parser.parse_args()
    program = find_chromium()
    report: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "load_before": os.getloadavg()[0]}
    command = [sys.executable, "-c", PLAIN, str(program)]
    stock = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    service = start_service("--sessions", "1", "--web-tasks", "browsergym.miniwob")
    try:
        with Environments([service.url], 1) as environments:
            ours(environments, 0), plain(stock, 0)  # what is only done once
            both: dict[str, list[list[float]]] = {"worker": [], "plain": []}
            for number in range(options.rounds):
                both["plain"].append(plain(stock, number))
                both["worker"] += [ours(environments, number * 100 + each) for each in range(options.several)]
    finally:
        stop_service(service)
        assert stock.stdin is not None
        stock.stdin.close()
        stock.wait()
    report |= {name: row(measured) for name, measured in both.items()}
    report["times"] = round(report["worker"]["episodes_per_second"] / report["plain"]["episodes_per_second"], 1)
    if options.parts:
        report["parts_ms"] = parts(program, 20)
    report["load_after"] = os.getloadavg()[0]
    print(json.dumps(report, indent=2))
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
