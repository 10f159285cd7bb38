"""Episodes of web tasks with an application: how many can be scored, how fast, and what is left behind.

`python benchmarks/applications.py EPISODES SESSIONS FOLDER`
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "environment"))
from service_process import start_service, stop_service

from browser_control import leash
from browser_control.environment.client import Environments
from browser_control.solvers.playing import play
from browser_control.web_tasks import registry


def main() -> None:
    episodes, sessions, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    registry.use([folder])
    names = [each.name for each in registry.all_own()]
    service = start_service("--sessions", str(sessions), "--web-tasks", folder)
    begin = time.monotonic()
    with Environments([service.url], sessions) as environments:
        asked = [(names[number % len(names)], number // len(names)) for number in range(episodes)]
        results = list(play(environments, asked))
    seconds = time.monotonic() - begin
    failed = [f"{each.web_task} {each.seed}: {each.failure}" for each in results if each.failure]
    turns = sum(len(each.taken) for each in results)
    print(f"{len(results)} episodes, {turns} turns in {seconds:.0f} s; {len(failed)} failed", *failed, sep="\n")
    below = leash.descendants(service.process.pid)
    stop_service(service)
    time.sleep(3)
    left = [pid for pid in below if Path(f"/proc/{pid}").exists()]
    folders = list(Path(tempfile.gettempdir()).glob(f"browser-control-{service.process.pid}-*"))
    print(f"left behind: processes {left}, folders {folders}")


if __name__ == "__main__":
    main()
