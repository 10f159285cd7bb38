"""How fast is the environment? Ours, plain BrowserGym and OpenEnv's own, side by side in one run on one machine.

    python benchmarks/environment.py --openenv CLONE --output environment.json

An episode is a reset and one click. Times are seconds by the wall clock, as a client sees them through the protocol;
CPU is that of the service and its browser. The floors are what Chromium itself takes, over the same connection.
"""

import argparse
import asyncio
import concurrent.futures
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WEB_TASKS = ["click-test", "click-button", "login-user", "click-checkboxes", "choose-list", "click-tab-2"]
READY = "environment ready on "

PLAIN = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import gymnasium, browsergym.miniwob
from browser_control.environment.stock import _pages, _playwright_browsers
import os
program, count = Path(sys.argv[1]), int(sys.argv[2])
with _pages() as url, _playwright_browsers(program) as browsers:
    os.environ |= {"MINIWOB_URL": url, "PLAYWRIGHT_BROWSERS_PATH": str(browsers)}
    env = gymnasium.make("browsergym/miniwob.click-test")
    for seed in range(count):
        begin = time.perf_counter(); env.reset(seed=seed)
        middle = time.perf_counter(); _, reward, *_ = env.step("click('13')")
        print(json.dumps([middle - begin, time.perf_counter() - middle, reward]), flush=True)
    env.close()
"""


@contextmanager
def service(*options: str, environ: dict[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """A running service: its URL and process id."""
    command = [sys.executable, "-W", "ignore", "-m", "browser_control.environment", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environ or {})})
    try:
        assert process.stdout is not None
        greeting = process.stdout.readline()
        if not greeting.startswith(READY):
            raise SystemExit(f"the service did not start: {' '.join(command)}")
        yield greeting.split()[3].rstrip(","), process.pid
    finally:
        process.terminate()
        process.wait()


def quantiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 4)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }


def processes_of(service_pid: int) -> list[int]:
    """The service and everything below it."""
    found, parents = [service_pid], [service_pid]
    while parents:
        parent = parents.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            children = [int(child) for child in task.read_text().split()]
            found += children
            parents += children
    return found


def cpu_and_memory(service_pid: int) -> tuple[float, float]:
    """CPU seconds so far and proportional resident MB of a service and its browser."""
    ticks, kilobytes = 0, 0
    for process in processes_of(service_pid):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text().split("Pss:")[1]
            kilobytes += int(rollup.split()[0])
        except (OSError, IndexError):
            continue
    return ticks / os.sysconf("SC_CLK_TCK"), kilobytes / 1024


def ours(sessions: int, seconds: float) -> dict[str, Any]:
    """Sessions that play one-step episodes for some seconds."""
    from browser_control.environment_client import Environments
    from browser_control.page import parse_page

    resets: list[float] = []
    steps: list[float] = []
    sizes: list[int] = []
    with service("--sessions", str(sessions)) as (url, pid), Environments([url], sessions) as environments:

        def play(session: int, until: float) -> int:
            played = 0
            while time.perf_counter() < until or played < len(WEB_TASKS):
                seed = session * 100_000 + played
                first = environments.reset(session, WEB_TASKS[played % len(WEB_TASKS)], seed).result()
                target = parse_page(first.text).elements[-1]
                last = environments.step(session, f"click('{target.bid}')").result()
                resets.append(first.seconds)
                steps.append(last.seconds)
                sizes.append(len(first.text) + len(first.goal))
                played += 1
            return played

        def play_all(length: float) -> tuple[int, float]:
            begin = time.perf_counter()
            with concurrent.futures.ThreadPoolExecutor(sessions) as threads:
                played = sum(threads.map(play, range(sessions), [begin + length] * sessions))
            return played, time.perf_counter() - begin

        play_all(1.0)  # every page has been seen once
        resets.clear()
        steps.clear()
        cpu_before, _ = cpu_and_memory(pid)
        played, took = play_all(seconds)
        cpu_after, memory = cpu_and_memory(pid)
    return {
        "sessions": sessions,
        "episodes": played,
        "reset": quantiles(resets),
        "step": quantiles(steps),
        "observation_bytes": sorted(sizes)[len(sizes) // 2],
        "episodes_per_second": round(played / took, 1),
        "cpu_seconds_per_episode": round((cpu_after - cpu_before) / played, 4),
        "memory_mb": round(memory),
    }


def openenv(clone: Path, episodes: int) -> dict[str, Any]:
    """OpenEnv's own server from a clone, asked over its own protocol."""
    from websockets.sync.client import connect

    resets, steps, sizes = [], [], []
    environ = {
        "PYTHONPATH": os.pathsep.join([str(clone / "src"), str(clone / "envs"), os.environ.get("PYTHONPATH", "")])
    }
    with service("--engine", "stock", "--sessions", "1", environ=environ) as (url, _):
        address = url.replace("http", "ws") + "/ws"
        with connect(address, max_size=None, ping_interval=None, open_timeout=60) as socket:
            for seed in range(episodes):
                for message, taken in (
                    ({"type": "reset", "data": {"seed": seed}}, resets),
                    ({"type": "step", "data": {"action_str": "click('13')"}}, steps),
                ):
                    begin = time.perf_counter()
                    socket.send(json.dumps(message))
                    answer = socket.recv()
                    taken.append(time.perf_counter() - begin)
                    sizes.append(len(answer))
    return {"episodes": episodes, "reset": quantiles(resets), "step": quantiles(steps), "observation_bytes": sizes[0]}


def plain(program: Path, episodes: int) -> dict[str, Any]:
    """`gym.make` and nothing else, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(program), str(episodes)], capture_output=True, text=True, check=True
    )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {
        "episodes": len(rows),
        "reset": quantiles([row[0] for row in rows]),
        "step": quantiles([row[1] for row in rows]),
    }


async def floors(program: Path, count: int) -> dict[str, Any]:
    """A bare page load and a bare click in an open page, over the same pipe, with nothing of ours in the page."""
    from browser_control.environment.devtools import Browser
    from browser_control.environment.page_server import HOST, PageServer, bundle_folder, page_url

    pages = PageServer(bundle_folder())
    await pages.start()
    browser = await Browser.launch(program, f"MAP {HOST} 127.0.0.1:{pages.port}")
    try:
        send = browser.connection.send
        target = (await send("Target.createTarget", {"url": "about:blank"}))["targetId"]
        session = (await send("Target.attachToTarget", {"targetId": target, "flatten": True}))["sessionId"]
        loaded = "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))"
        loads, clicks = [], []
        for _ in range(count):
            begin = time.perf_counter()
            await send("Page.navigate", {"url": page_url("click-test")}, session)
            await send("Runtime.evaluate", {"expression": loaded, "awaitPromise": True}, session)
            loads.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            mouse = {"x": 80, "y": 100, "button": "left", "clickCount": 1}
            await asyncio.gather(
                *(
                    send("Input.dispatchMouseEvent", {"type": kind, **mouse}, session)
                    for kind in ("mousePressed", "mouseReleased")
                )
            )
            clicks.append(time.perf_counter() - begin)
        return {"page_load": quantiles(loads), "click": quantiles(clicks)}
    finally:
        browser.kill()
        pages.stop()


def table(report: dict[str, Any]) -> str:
    lines = [
        "| | reset p50 / p95 / p99 (ms) | step p50 / p95 / p99 (ms) | episodes/s | CPU s/episode | MB |",
        "|---|---|---|---|---|---|",
    ]

    def row(name: str, measured: dict[str, Any]) -> str:
        cells = [" / ".join(f"{1000 * value:.1f}" for value in measured[key].values()) for key in ("reset", "step")]
        rest = [str(measured.get(key, "")) for key in ("episodes_per_second", "cpu_seconds_per_episode", "memory_mb")]
        return "| " + " | ".join([name, *cells, *rest]) + " |"

    lines += [row(f"ours, sessions: {measured['sessions']}", measured) for measured in report["ours"]]
    lines += [row(name, report[name]) for name in ("plain", "openenv") if name in report]
    return "\n".join(lines)


def ratios(report: dict[str, Any]) -> dict[str, float]:
    """How many times as long an episode (median reset and median step) takes elsewhere as in ours."""

    def episode(measured: dict[str, Any]) -> float:
        return float(measured["reset"]["p50"] + measured["step"]["p50"])

    base = episode(report["ours"][0])
    return {name: round(episode(report[name]) / base) for name in ("plain", "openenv") if name in report}


def main() -> int:
    from browser_control.environment.chromium import find_chromium

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openenv", type=Path, metavar="CLONE", help="clone of OpenEnv; left out without one")
    parser.add_argument("--sessions", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=8.0, help="for each number of sessions")
    parser.add_argument("--episodes", type=int, default=3, help="of plain BrowserGym and of OpenEnv")
    parser.add_argument("--output", type=Path, help="where the figures go as JSON")
    options = parser.parse_args()
    program = find_chromium()
    report: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "load_before": os.getloadavg()[0]}
    report["ours"] = [ours(sessions, options.seconds) for sessions in options.sessions]
    report["floors"] = asyncio.run(floors(program, 50))
    report["plain"] = plain(program, options.episodes)
    if options.openenv:
        report["openenv"] = openenv(options.openenv.resolve(), options.episodes)
    report["times_ours"] = ratios(report)
    report["load_after"] = os.getloadavg()[0]
    print(table(report))
    print(json.dumps({key: report[key] for key in report if key not in ("ours", "plain", "openenv")}))
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
