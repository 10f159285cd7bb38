"""Does the environment service hold on? Many episodes in a row, then clients that are killed in mid-episode.

    python benchmarks/endurance.py --episodes 20000 --sessions 16 --kills 200

Memory is the proportional set size of the service and all its browsers. A slot counts as back when a new session, on a
service that has no other free, gets its first page.
"""

import argparse
import concurrent.futures
import json
import random
import subprocess
import sys
import threading
import time

from environment import WEB_TASKS, cpu_and_memory, processes_of, service

from browser_control.environment_client import Environments
from browser_control.page import Element, parse_page

CLIENT = """
import sys, time
from browser_control.environment_client import Environments
with Environments([sys.argv[1]], sessions=1) as environments:
    environments.reset(0, "click-test", seed=1).result()
    print("playing", flush=True)
    time.sleep(600)
"""


def sockets(pid: int) -> int:
    from pathlib import Path

    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += link.readlink().name.startswith("socket:")
        except OSError:
            continue
    return found


def endure(url: str, pid: int, episodes: int, sessions: int) -> list[dict[str, float]]:
    """Plays `episodes` one-step episodes; what the service held after each thousand."""
    numbers = iter(range(episodes))
    lock = threading.Lock()
    rows: list[dict[str, float]] = []
    begin = time.perf_counter()

    def play(session: int) -> int:
        failed = 0
        while True:
            with lock:
                number = next(numbers, None)
                if number is not None and number and number % 1000 == 0:
                    _, memory = cpu_and_memory(pid)
                    rows.append(
                        {
                            "episodes": number,
                            "seconds": round(time.perf_counter() - begin, 1),
                            "memory_mb": round(memory),
                            "processes": len(processes_of(pid)),
                            "sockets": sockets(pid),
                        }
                    )
                    print(json.dumps(rows[-1]), flush=True)
            if number is None:
                return failed
            try:
                page = environments.reset(session, WEB_TASKS[number % len(WEB_TASKS)], seed=number).result()
                elements = [element for element in parse_page(page.text) if isinstance(element, Element)]
                environments.step(session, f"click('{random.choice(elements).bid}')").result()
            except Exception as error:
                failed += 1
                if failed < 4:
                    print(f"{type(error).__name__}: {error}"[:200], flush=True)

    with (
        Environments([url], sessions) as environments,
        concurrent.futures.ThreadPoolExecutor(sessions) as threads,
    ):
        failed = sum(threads.map(play, range(sessions)))
    print(json.dumps({"episodes": episodes, "failed": failed}), flush=True)
    return rows


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=20_000)
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    with service("--sessions", str(options.sessions), "--max-turns", "10") as (url, pid):
        endure(url, pid, options.episodes, options.sessions)
        time.sleep(2.0)
        print(json.dumps({"after": "all clients left", "memory_mb": round(cpu_and_memory(pid)[1])}), flush=True)
    with service("--sessions", "1") as (url, pid):
        taken = kill_clients(url, options.kills)
        print(json.dumps({"kills": len(taken), "p50": taken[len(taken) // 2], "longest": taken[-1]}), flush=True)


if __name__ == "__main__":
    main()
