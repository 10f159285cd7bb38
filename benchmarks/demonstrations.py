"""How fast are demonstrations made? Solvers against a real environment, no model acts.

    python benchmarks/demonstrations.py --config smollm2_135m_miniwob.yaml --count 500 [--sessions N] [--profile FILE]

Prints episodes and turns a second, and how busy this process was: what is not the environment's. `--profile` keeps
cProfile's account of the thread that plays.
"""

import argparse
import cProfile
import json
import time
from pathlib import Path

from browser_control.environment.client import Environments
from browser_control.training.demonstrations import collect
from browser_control.use import adapter
from browser_control.use.playing import service


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="smollm2_135m_miniwob.yaml", metavar="NAME")
    parser.add_argument("--count", type=int, default=500, help="episodes (default: %(default)s)")
    parser.add_argument("--sessions", type=int, help="at a time (default: the configuration's)")
    parser.add_argument("--environment", nargs="+", metavar="URL", help="services that run (default: one of our own)")
    parser.add_argument("--profile", type=Path, metavar="FILE")
    options = parser.parse_args()
    found = adapter.find("base", options.config, "models", "")
    settings = found.settings
    sessions = options.sessions or settings.environment.sessions
    turns = settings.environment.max_turns
    policy = adapter.load(found, device="auto")
    with service(turns, sessions) as own, Environments(options.environment or [own], sessions, turns) as environments:
        profile = cProfile.Profile()
        began, busy = time.perf_counter(), time.thread_time()
        if options.profile:
            profile.enable()
        made = collect(policy, environments, settings.warm_start.web_tasks, options.count, turns)
        profile.disable()
        seconds, busy = time.perf_counter() - began, time.thread_time() - busy
    if options.profile:
        profile.dump_stats(options.profile)
    played = sum(len(each.completions) for each in made)
    figures = {
        "sessions": sessions,
        "episodes": options.count,
        "solved": len(made),
        "seconds": round(seconds, 1),
        "episodes_per_second": round(options.count / seconds, 1),
        "turns_per_second": round(played / seconds, 1),
        "main_thread_busy": round(busy / seconds, 2),
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
