"""Does the environment service hold on? Many episodes in a row, then clients that are killed in mid-episode.

    python benchmarks/endurance.py --episodes 20000 --sessions 16 --kills 200

Memory is the proportional set size of the service and all its browsers. An episode that takes more than five seconds
is printed with what it waited for. A slot counts as back when a new session, on a service that has no other free, gets
its first page. Exits with 1 where memory, processes, descriptors or slots do not keep what docs/environment.md says.
"""

import argparse
import concurrent.futures
import itertools
import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from environment import WEB_TASKS, memory, processes_of, service

from browser_control.environment.client import Environments
from browser_control.errors import EnvironmentFailure
from browser_control.language.page import parse_page
from browser_control.web_tasks.miniwob import WEB_TASKS as ALL_WEB_TASKS

SLOW = 5.0  # seconds
GROWTH = 1.10
SLOT_SECONDS = 1.0

CLIENT = """
import sys, time
from browser_control.environment.client import Environments
with Environments([sys.argv[1]], sessions=1) as environments:
    environments.reset(0, "click-test", seed=1).result()
    print("playing", flush=True)
    time.sleep(600)
"""

Row = dict[str, float]


def held(pid: int) -> Row:
    """What the service and its browsers hold."""
    below = processes_of(pid)
    descriptors = [link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    renderers = sum(b"--type=renderer" in Path(f"/proc/{process}/cmdline").read_bytes() for process in below)
    return {
        "memory_mb": round(memory(pid)),
        "processes": len(below),
        "renderers": renderers,
        "descriptors": len(descriptors),
        "sockets": sum(name.startswith("socket:") for name in descriptors),
    }


def endure(url: str, pid: int, episodes: int, sessions: int, web_tasks: list[str]) -> tuple[list[Row], int]:
    """Plays `episodes` one-step episodes: what the service held after each thousand, and how many were unscorable."""
    numbers = iter(range(episodes))
    lock = threading.Lock()
    rows: list[Row] = []
    begin = time.perf_counter()

    def next_number() -> int | None:
        with lock:
            number = next(numbers, None)
            if number and number % 1000 == 0:
                rows.append({"episodes": number, "seconds": round(time.perf_counter() - begin, 1), **held(pid)})
                print(json.dumps(rows[-1]), flush=True)
            return number

    def play(session: int) -> int:
        unscorable = 0
        while (number := next_number()) is not None:
            web_task, action, times = web_tasks[number % len(web_tasks)], "", [time.perf_counter()]
            trouble = ""
            try:
                page = environments.reset(session, web_task, seed=number).result()
                times.append(time.perf_counter())
                elements = parse_page(page.text).elements
                action = f"click('{random.choice(elements).bid}')" if elements else "noop()"
                environments.step(session, action).result()
            except EnvironmentFailure as failure:
                unscorable += 1
                trouble = str(failure)[:200]
            times.append(time.perf_counter())
            if trouble or times[-1] - times[0] > SLOW:
                seconds = [round(end - start, 2) for start, end in itertools.pairwise(times)]
                at = round(times[0] - begin, 1)
                print(json.dumps([at, session, web_task, number, action, seconds, trouble]), flush=True)
        return unscorable

    with (
        Environments([url], sessions) as environments,
        concurrent.futures.ThreadPoolExecutor(sessions) as threads,
    ):
        failed = sum(threads.map(play, range(sessions)))
    print(json.dumps({"episodes": episodes, "unscorable": failed}), flush=True)
    return rows, failed


def kill_clients(url: str, kills: int) -> list[float]:
    """Seconds from the death of a client in mid-episode until its slot serves another; the service has one slot."""
    taken = []
    for _ in range(kills):
        client = subprocess.Popen([sys.executable, "-c", CLIENT, url], stdout=subprocess.PIPE, text=True)
        assert client.stdout is not None
        client.stdout.readline()
        client.kill()
        client.wait()
        begin = time.perf_counter()
        with Environments([url], 1) as environments:
            environments.reset(0, "click-test", seed=2).result()
        taken.append(time.perf_counter() - begin)
    return sorted(taken)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=20_000)
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--all-web-tasks", action="store_true", help=f"all 125, not only {', '.join(WEB_TASKS)}")
    options = parser.parse_args()
    broken = []
    if options.episodes:
        web_tasks = list(ALL_WEB_TASKS) if options.all_web_tasks else WEB_TASKS
        with service("--sessions", str(options.sessions), "--max-turns", "10") as (url, pid):
            rows, failed = endure(url, pid, options.episodes, options.sessions, web_tasks)
            time.sleep(2.0)
            after = held(pid)
            print(json.dumps({"after": "all clients left", **after}), flush=True)
        first, later = rows[0], rows[1:]
        growth = max((row["memory_mb"] for row in later), default=first["memory_mb"]) / first["memory_mb"]
        print(json.dumps({"memory_growth": round(growth, 3)}), flush=True)
        broken += [f"memory grew {growth:.2f} times"] if growth > GROWTH else []
        broken += [f"{failed} episodes were unscorable"] if failed else []
        half = rows[len(rows) // 2]  # all pages that are kept are open by then
        broken += ["processes were left"] if after["processes"] > half["processes"] else []
        broken += (
            ["sockets were left"] if after["sockets"] > max(row["sockets"] for row in rows) - options.sessions else []
        )
    if options.kills:
        with service("--sessions", "1") as (url, pid):
            before = held(pid)
            taken = kill_clients(url, options.kills)
            print(json.dumps({"kills": len(taken), "p50": taken[len(taken) // 2], "longest": taken[-1]}), flush=True)
            time.sleep(2.0)
            print(json.dumps({"before": before, "after": held(pid)}), flush=True)
        broken += [f"a slot took {taken[-1]:.2f} s"] if taken[-1] > SLOT_SECONDS else []
    print(json.dumps({"broken": broken}), flush=True)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
