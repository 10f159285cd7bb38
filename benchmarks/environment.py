"""How fast is the environment? Ours, plain BrowserGym and OpenEnv's own, side by side in one run on one machine.

    python benchmarks/environment.py --openenv CLONE --output environment.json

An episode is a reset and one click. Times are seconds by the wall clock, as a client sees them through the protocol;
CPU is that of the service and its browser. The floors are what Chromium itself takes, over the same connection.

`--cores-as-sessions` gives N sessions N cores, to the service and its browsers alone, and the clients all others. Its
efficiency is to be read beside what N such cores do of N times one with nothing but a loop of Python: cores that are
threads of one core, or that share a clock, do less.
"""

import argparse
import asyncio
import collections
import concurrent.futures
import itertools
import json
import math
import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any, NamedTuple

WEB_TASKS = ["click-test", "click-button", "login-user", "click-checkboxes", "choose-list", "click-tab-2"]
READY = "environment ready on "
WARM_SECONDS = 2.0
SESSIONS_A_CLIENT = 4  # of one client process: 500 episodes/s are more than one can ask for

PLAIN = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import gymnasium, browsergym.miniwob
from browser_control.environment.stock import pages, playwright_browsers
import os
program, count = Path(sys.argv[1]), int(sys.argv[2])
with pages() as url, playwright_browsers(program) as browsers:
    os.environ |= {"MINIWOB_URL": url, "PLAYWRIGHT_BROWSERS_PATH": str(browsers)}
    env = gymnasium.make("browsergym/miniwob.click-test")
    for seed in range(count):
        begin = time.perf_counter(); env.reset(seed=seed)
        middle = time.perf_counter(); _, reward, *_ = env.step("click('13')")
        print(json.dumps([middle - begin, time.perf_counter() - middle, reward]), flush=True)
    env.close()
"""


@contextmanager
def service(
    *options: str, environ: dict[str, str] | None = None, cores: Sequence[int] = ()
) -> Iterator[tuple[str, int]]:
    """A running service, on `cores` alone if there are any: its URL and process id."""
    command = [sys.executable, "-W", "ignore", "-m", "browser_control.environment", "--port", "0", *options]
    if cores:
        command = ["taskset", "-c", ",".join(map(str, cores)), *command]
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
    children: dict[int, list[int]] = collections.defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended meanwhile
        children[parent].append(int(stat.parent.name))
    found = [service_pid]
    for process in found:
        found += children[process]
    return found


def cpu_by_kind(service_pids: Sequence[int]) -> dict[str, float]:
    """CPU seconds so far of the services and of Chromium's kinds of processes."""
    seconds: dict[str, float] = collections.Counter()
    for process in itertools.chain.from_iterable(map(processes_of, service_pids)):
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes()
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        kind = re.search(rb"--type=([\w-]+)", command)
        name = "service" if process in service_pids else kind[1].decode() if kind else "browser"
        seconds[name] += sum(int(field) for field in fields[11:13]) / os.sysconf("SC_CLK_TCK")
    return seconds


def memory(service_pid: int) -> float:
    """Proportional resident MB of a service and its browsers."""
    kilobytes = 0
    for process in processes_of(service_pid):
        try:
            kilobytes += int(Path(f"/proc/{process}/smaps_rollup").read_text().split("Pss:")[1].split()[0])
        except (OSError, IndexError):
            continue
    return kilobytes / 1024


class Played(NamedTuple):
    """What one client process played: seconds of each reset and step, bytes of each observation, its own CPU."""

    resets: list[float]
    steps: list[float]
    sizes: list[int]
    cpu: float


def play_sessions(urls: Sequence[str], numbers: range, seconds: float, ready: Barrier, cores: Sequence[int]) -> Played:
    """Sessions that play one-step episodes for some seconds; a process of its own, on `cores`."""
    os.sched_setaffinity(0, cores)
    from browser_control.environment.client import Environments
    from browser_control.language.page import parse_page

    played = Played([], [], [], 0.0)

    def play(session: int, begin: int, until: float) -> int:
        episode = begin
        while time.perf_counter() < until or episode < begin + len(WEB_TASKS):
            seed = numbers[session] * 100_000 + episode
            first = environments.reset(session, WEB_TASKS[episode % len(WEB_TASKS)], seed).result()
            target = parse_page(first.text).elements[-1]
            last = environments.step(session, f"click('{target.bid}')").result()
            played.resets.append(first.seconds)
            played.steps.append(last.seconds)
            played.sizes.append(len((first.text + first.goal).encode()))
            episode += 1
        return episode

    with (
        Environments(urls, len(numbers)) as environments,
        concurrent.futures.ThreadPoolExecutor(len(numbers)) as threads,
    ):

        def play_all(begins: list[int], length: float) -> list[int]:
            until = time.perf_counter() + length
            return list(threads.map(play, range(len(numbers)), begins, [until] * len(numbers)))

        begins = play_all([0] * len(numbers), WARM_SECONDS)
        for values in played[:3]:
            values.clear()
        ready.wait()
        cpu = time.process_time()
        play_all(begins, seconds)
        cpu = time.process_time() - cpu
        ready.wait()
    return played._replace(cpu=cpu)


def ours(sessions: int, seconds: float, options: list[str], services: int, cores: Sequence[int]) -> dict[str, Any]:
    """Our service under `sessions` sessions, which several client processes play so that none is the bottleneck.

    Args:
        services: that share the sessions.
        cores: those of the services, the clients having the others; none leaves all to all.
    """
    options = ["--sessions", str(-(-sessions // services)), *options]
    clients = services * -(-sessions // (services * SESSIONS_A_CLIENT))
    shares = [range(sessions)[client::clients] for client in range(clients)]
    others = sorted(os.sched_getaffinity(0) - set(cores))
    spawn = multiprocessing.get_context("spawn")
    with (
        ExitStack() as stack,
        spawn.Manager() as manager,
        concurrent.futures.ProcessPoolExecutor(clients, mp_context=spawn) as processes,
    ):
        ready = manager.Barrier(clients + 1)
        running = [stack.enter_context(service(*options, cores=cores)) for _ in range(services)]
        urls, pids = [url for url, _ in running], [pid for _, pid in running]
        futures = [
            processes.submit(play_sessions, [urls[number % services]], share, seconds, ready, others)
            for number, share in enumerate(shares)
        ]
        ready.wait()  # every page has been seen once
        before, begin = cpu_by_kind(pids), time.perf_counter()
        ready.wait()
        took, after = time.perf_counter() - begin, cpu_by_kind(pids)
        held = sum(map(memory, pids))
        played = [future.result() for future in futures]
    resets, steps, sizes = (list(itertools.chain.from_iterable(each[field] for each in played)) for field in range(3))
    episodes = len(resets)
    cpu = {kind: after[kind] - before.get(kind, 0.0) for kind in after}
    return {
        "sessions": sessions,
        "services": services,
        "cores": len(cores) or len(others),
        "episodes": episodes,
        "reset": quantiles(resets),
        "step": quantiles(steps),
        "observation_bytes": sorted(sizes)[len(sizes) // 2],
        "episodes_per_second": round(episodes / took, 1),
        "cpu_seconds_per_episode": round(sum(cpu.values()) / episodes, 4),
        "cpu_ms_per_episode": {kind: round(1000 * spent / episodes, 2) for kind, spent in sorted(cpu.items())},
        "cores_busy": round(sum(cpu.values()) / took, 2),
        "client_processes": clients,
        "client_cores_busy": round(sum(each.cpu for each in played) / took, 2),
        "memory_mb": round(held),
    }


def with_efficiency(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with their episodes/s over those of as many sessions of the first row's kind, each alone."""
    alone = rows[0]["episodes_per_second"] / rows[0]["sessions"]
    return [{**row, "efficiency": round(row["episodes_per_second"] / row["sessions"] / alone, 2)} for row in rows]


def loops(core: int, ready: Barrier) -> int:
    """How often a loop of Python goes round on a core, in as much time as everybody has."""
    os.sched_setaffinity(0, [core])
    ready.wait()
    count, until = 0, time.perf_counter() + 1.0
    while time.perf_counter() < until:
        count += 1
    return count


def machine(cores: Sequence[int]) -> float:
    """What the cores do together over what as many times one of them does alone."""
    spawn = multiprocessing.get_context("spawn")
    with (
        spawn.Manager() as manager,
        concurrent.futures.ProcessPoolExecutor(len(cores), mp_context=spawn) as processes,
    ):
        barriers = manager.Barrier(1), manager.Barrier(len(cores))
        alone = processes.submit(loops, cores[0], barriers[0]).result()
        together = sum(processes.map(loops, cores, [barriers[1]] * len(cores)))
    return round(together / len(cores) / alone, 2)


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
    done = subprocess.run([sys.executable, "-c", PLAIN, str(program), str(episodes)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"plain BrowserGym failed: {done.stderr}")
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
    columns = ["episodes/s", "efficiency", "machine's", "CPU s/episode", "cores busy", "client's", "MB"]
    keys = [
        "episodes_per_second",
        "efficiency",
        "machine",
        "cpu_seconds_per_episode",
        "cores_busy",
        "client_cores_busy",
    ]
    heads = ["", "reset p50 / p95 / p99 (ms)", "step p50 / p95 / p99 (ms)", *columns]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]

    def row(name: str, measured: dict[str, Any]) -> str:
        cells = [" / ".join(f"{1000 * value:.1f}" for value in measured[key].values()) for key in ("reset", "step")]
        return "| " + " | ".join([name, *cells, *(str(measured.get(key, "")) for key in [*keys, "memory_mb"])]) + " |"

    lines += [row(f"ours, sessions: {measured['sessions']}", measured) for measured in report["ours"]]
    lines += [row(name, report[name]) for name in ("plain", "openenv") if name in report]
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], cores: str) -> str:
    """Episodes a second over sessions as SVG, and what as many sessions would play at the speed of one alone."""
    width, height, left, bottom, top = 640, 400, 60, 50, 20
    most = max(row["episodes_per_second"] for row in rows) * 1.15
    steps = max(1.0, math.log2(rows[-1]["sessions"] / rows[0]["sessions"]))

    def x(sessions: float) -> float:
        return left + 20 + (width - left - 60) * math.log2(sessions / rows[0]["sessions"]) / steps

    def y(rate: float) -> float:
        return height - bottom - (height - bottom - top) * rate / most

    alone = rows[0]["episodes_per_second"] / rows[0]["sessions"]
    far = min(rows[-1]["sessions"], most / alone)
    linear = [(sessions, alone * sessions) for sessions in (*(row["sessions"] for row in rows), far) if sessions <= far]
    measured = [(row["sessions"], row["episodes_per_second"]) for row in rows]

    def line(points: list[tuple[float, float]], style: str) -> str:
        spelled = " ".join(f"{x(sessions):.1f},{y(rate):.1f}" for sessions, rate in points)
        return f'<polyline points="{spelled}" fill="none" {style}/>'

    def text(at: tuple[float, float], words: str, anchor: str = "middle") -> str:
        return f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}">{words}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<path d="M{left},{top} V{height - bottom} H{width - 20}" fill="none" stroke="black"/>',
        line(linear, 'stroke="gray" stroke-dasharray="4"'),
        line(measured, 'stroke="#1f77b4" stroke-width="2"'),
        text((width / 2, height - 10), f"sessions ({cores}; dashed: each as fast as one alone)"),
        text((left, top - 6), "one-step episodes/s", "start"),
    ]
    for sessions, rate in measured:
        parts += [
            f'<circle cx="{x(sessions):.1f}" cy="{y(rate):.1f}" r="4" fill="#1f77b4"/>',
            text((x(sessions), y(rate) - 9), f"{rate:.0f}"),
            text((x(sessions), height - bottom + 18), str(sessions)),
        ]
    return "\n".join([*parts, "</svg>\n"])


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
    parser.add_argument("--without-plain", action="store_true", help="leave out plain BrowserGym")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--services", type=int, default=1, help="that share the sessions (default: %(default)s)")
    parser.add_argument("--cores-as-sessions", action="store_true", help="give N sessions N cores")
    parser.add_argument("--service", default="", help='of our service: --service="--browsers 4 --no-in-page"')
    parser.add_argument("--seconds", type=float, default=8.0, help="for each number of sessions")
    parser.add_argument("--episodes", type=int, default=3, help="of plain BrowserGym and of OpenEnv")
    parser.add_argument("--output", type=Path, help="where the figures go as JSON")
    parser.add_argument("--plot", type=Path, help="where episodes/s over sessions go as SVG")
    options = parser.parse_args()
    program = find_chromium()
    cores = len(os.sched_getaffinity(0))
    report: dict[str, Any] = {"cores": cores, "load_before": os.getloadavg()[0]}
    rows = []
    for sessions in options.sessions:
        given = sorted(os.sched_getaffinity(0))[:sessions] if options.cores_as_sessions else []
        rows.append(ours(sessions, options.seconds, options.service.split(), options.services, given))
        if given:
            rows[-1]["machine"] = machine(given)
    report["ours"] = with_efficiency(rows)
    report["floors"] = asyncio.run(floors(program, 50))
    if not options.without_plain:
        report["plain"] = plain(program, options.episodes)
    if options.openenv:
        report["openenv"] = openenv(options.openenv.resolve(), options.episodes)
    report["times_ours"] = ratios(report)
    report["load_after"] = os.getloadavg()[0]
    print(table(report))
    print("CPU ms an episode:", *(f"{row['sessions']}: {row['cpu_ms_per_episode']}" for row in rows), sep="\n  ")
    print(json.dumps({key: report[key] for key in report if key not in ("ours", "plain", "openenv")}))
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n")
    if options.plot:
        options.plot.write_text(plot(rows, "a core for each" if options.cores_as_sessions else f"{cores} cores"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
