"""How fast is the environment over many web tasks, and what does it take of the processor?

    python benchmarks/many_web_tasks.py --parallel 16 32 128 [--sessions 128] [--turns 3] [-- SERVICE OPTIONS]

Episodes of all web tasks that a solver plays, drawn at random: a reset, then `--turns` actions that change nothing.
With `--group` so many in a row begin on the same page, as the members of a group do; `--web-tasks` takes fewer.
`--parallel` bounds how many requests are under way at a time. Prints for each of them a line of JSON: episodes and
requests a second, and the processor's milliseconds a request, by kind of process, split into the program's own and the
kernel's.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import queue
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browser_control.environment.client import Environments, Observation
from browser_control.solvers import SOLVERS

TICK = os.sysconf("SC_CLK_TCK")


@contextmanager
def service(sessions: int, turns: int, options: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service of our own, and its URL."""
    command = [sys.executable, "-m", "browser_control.environment", "--port", "0", "--sessions", str(sessions)]
    command += ["--max-turns", str(turns + 1), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split(" on ")[1].split(",")[0]
        finally:
            process.terminate()


def busy(root: int) -> dict[str, tuple[float, float]]:
    """Seconds of the processor, own and the kernel's, of a process and all below it, by kind."""
    parents: dict[int, list[int]] = collections.defaultdict(list)
    found: dict[int, tuple[str, float, float]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            line = (entry / "cmdline").read_text()
        except OSError:
            continue
        kind = next((word for word in ("renderer", "gpu-process", "utility", "zygote") if f"--type={word}" in line), "")
        kind = kind or ("browser" if "--remote-debugging-pipe" in line else "service")
        parents[int(stat[1])].append(int(entry.name))
        found[int(entry.name)] = kind, int(stat[11]) / TICK, int(stat[12]) / TICK
    total: dict[str, tuple[float, float]] = {}
    waiting = [root]
    while waiting:
        number = waiting.pop()
        waiting += parents[number]
        if number in found:
            kind, own, kernel = found[number]
            before = total.get(kind, (0.0, 0.0))
            total[kind] = before[0] + own, before[1] + kernel
    return total


class Load:
    """Sessions that play, a bounded number of them at a time."""

    def __init__(self, environments: Environments, turns: int, group: int, web_tasks: int) -> None:
        self._environments = environments
        self._turns = turns
        self._group = group
        self._random = random.Random(0)
        self._web_tasks = sorted(self._random.sample(sorted(SOLVERS), web_tasks or len(SOLVERS)))
        self._web_task = ""
        self._left = [0] * len(environments)
        self.idle = collections.deque(range(len(environments)))
        self._begun = 0

    def _begin(self, session: int) -> "concurrent.futures.Future[Observation]":
        if self._left[session]:
            self._left[session] -= 1
            return self._environments.step(session, "noop(0)")
        self._left[session] = self._turns
        if self._begun % self._group == 0:
            self._web_task = self._random.choice(self._web_tasks)
        self._begun += 1
        return self._environments.reset(session, self._web_task, self._begun // self._group)

    def run(self, seconds: float, parallel: int) -> tuple[int, int, list[float]]:
        """Resets and steps that were answered, and what resets took in seconds."""
        answers: queue.SimpleQueue[tuple[int, bool, float]] = queue.SimpleQueue()
        counts, took = [0, 0], []
        until = time.perf_counter() + seconds
        under_way = 0
        while under_way or time.perf_counter() < until:
            while under_way < parallel and self.idle and time.perf_counter() < until:
                session, began = self.idle.popleft(), time.perf_counter()
                is_step = bool(self._left[session])
                self._begin(session).add_done_callback(
                    lambda answer, session=session, is_step=is_step, began=began: answers.put(
                        (session, is_step, time.perf_counter() - began)
                    )
                )
                under_way += 1
            session, is_step, waited = answers.get()
            under_way -= 1
            self.idle.append(session)
            counts[is_step] += 1
            if not is_step:
                took.append(waited)
        return counts[0], counts[1], took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=128)
    parser.add_argument("--parallel", type=int, nargs="+", default=[128], metavar="N")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--group", type=int, default=1, metavar="N")
    parser.add_argument("--web-tasks", type=int, default=0, metavar="N", help="(default: all)")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("options", nargs="*", metavar="SERVICE OPTION", help="after --")
    options = parser.parse_args()
    with (
        service(options.sessions, options.turns, options.options) as (process, url),
        Environments([url], options.sessions, options.turns) as environments,
    ):
        load = Load(environments, options.turns, options.group, options.web_tasks)
        load.run(options.seconds, options.sessions)  # pages open
        for parallel in options.parallel:
            before, began = busy(process.pid), time.perf_counter()
            resets, steps, took = load.run(options.seconds, parallel)
            seconds, after = time.perf_counter() - began, busy(process.pid)
            requests = resets + steps
            cost = {
                kind: [
                    round(1000 * (now - then) / requests, 1)
                    for now, then in zip(after[kind], before.get(kind, (0.0, 0.0)), strict=True)
                ]
                for kind in after
            }
            cores = sum(map(sum, after.values())) - sum(map(sum, before.values()))
            figures = {
                "options": " ".join(options.options),
                "parallel": parallel,
                "episodes_per_second": round(resets / seconds, 1),
                "requests_per_second": round(requests / seconds, 1),
                "reset_median_ms": round(1000 * statistics.median(took)),
                "cores_busy": round(cores / seconds, 1),
                "ms_per_request": cost,
            }
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
