"""What a report of all 125 web tasks costs: its pictures, its page, and how long a browser takes to open it.

    .venv/bin/python benchmarks/report.py FOLDER [SECONDS] [SESSIONS]

Solvers play four episodes of each web task, every second with a wrong turn first; where there is no solver, a clickable
element is clicked. FOLDER is then a run directory with an evaluation of those, and its report.html. SECONDS
is what the pictures may take (default: as in a run), SESSIONS how many the service has (default: 16).
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

from browser_control import configuration
from browser_control.configuration import Configuration
from browser_control.environment.chromium import find_chromium
from browser_control.environment.client import Environments, Observation
from browser_control.errors import EnvironmentFailure
from browser_control.language import prompts
from browser_control.language.actions import LABEL_FORMAT, VERBS, Action, is_offered
from browser_control.language.page import page_of, parse_page
from browser_control.policy.sampling import Completion
from browser_control.records import report, report_page
from browser_control.run_directory import RunDirectory, write_json, write_text
from browser_control.solvers import View, solver
from browser_control.training import pictures
from browser_control.training.evaluation import score
from browser_control.training.held_out import is_exempt
from browser_control.training.rollout import Episode, Start, Turn
from browser_control.training.transcripts import write_episodes
from browser_control.use.playing import service
from browser_control.web_tasks import registry

SEEDS = range(4)
SESSIONS = 16
MAX_TURNS = 8


def main(folder: Path, seconds: float = pictures.SECONDS, sessions: int = SESSIONS) -> None:
    starts = [Start(web_task, seed) for web_task in registry.web_tasks() for seed in SEEDS]
    with service(MAX_TURNS, sessions) as url, Environments([url], sessions, MAX_TURNS) as environments:
        with ThreadPoolExecutor(sessions) as pool:
            shares = [starts[session::sessions] for session in range(sessions)]
            played = [
                episode
                for share in pool.map(lambda each: list(episodes(environments, *each)), enumerate(shares))
                for episode in share
            ]
        began, computed = time.perf_counter(), cpu_seconds()
        taken = pictures.take(played, environments, LABEL_FORMAT, seconds=seconds)
        took, computed = time.perf_counter() - began, cpu_seconds() - computed
        size = sum(map(len, taken.values())) / 1e6
        print(f"pictures: {len(taken)}, {size:.2f} MB in {took:.1f} s, {computed:.1f} s of CPU")
    pictured = {each.rsplit("/", 1)[0] for each in taken}
    of = {each.split("/")[0] for each in pictured}
    print(f"episodes: {len(played)}, {len(pictured)} with pictures, of {len(of)} web tasks")
    run = RunDirectory(folder)
    write_run(run, played)
    pictures.write(taken, run.evaluation("after").with_suffix(".pictures.zip"))
    began = time.perf_counter()
    page = report_page.render(report.of_run(run.root, str(folder), {}))
    print(f"report: {len(page.encode()) / 1e6:.2f} MB in {time.perf_counter() - began:.2f} s")
    write_text(run.report, page)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_chromium()), chromium_sandbox=False)
        tab = browser.new_page()
        began = time.perf_counter()
        tab.goto(run.report.absolute().as_uri(), wait_until="load")
        print(f"opened in {time.perf_counter() - began:.2f} s, {tab.locator('img').count()} pictures")
        browser.close()


def cpu_seconds() -> float:
    """Of this program and all that it started and that still runs: service and browsers."""
    me = psutil.Process()
    spent = 0.0
    for each in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            spent += times.user + times.system
    return spent


def episodes(environments: Environments, session: int, starts: list[Start]) -> Iterator[Episode]:
    for start in starts:
        try:
            yield play(environments, session, start)
        except EnvironmentFailure as failure:  # a page that did not answer on a busy machine
            print(f"{start.web_task} {start.seed}: {failure}")


def play(environments: Environments, session: int, start: Start) -> Episode:
    """One episode of a solver, which does something else first where the seed is odd."""
    observation = environments.reset(session, start.web_task, start.seed).result()
    episode = Episode(start, page=page_of(observation.goal, observation.text))
    memory, taken = prompts.Memory(), list[Action]()
    while not observation.done and len(episode.turns) < MAX_TURNS:
        memory.see(observation.text)
        prompt = prompts.build(observation.text, observation.goal, memory, observation.error)
        action = chosen(start, observation, memory, taken)
        if action is None:
            break
        said = Completion((), (), (), (), (), action.spell(prompt.elements))
        memory.act(action, prompt.elements, LABEL_FORMAT)
        taken.append(action)
        observation = environments.step(session, action.to_browsergym()).result()
        episode.turns.append(Turn(prompt, said, True, observation.error))
    episode.strict = observation.done and bool(observation.strict)
    episode.success = observation.done and observation.reward > 0
    episode.reward = float(episode.strict)
    episode.truncated = observation.truncated or not observation.done
    return episode


def chosen(start: Start, observation: Observation, memory: prompts.Memory, taken: list[Action]) -> Action | None:
    page = parse_page(observation.text)
    solve = solver(start.web_task)
    if solve is not None and (taken or start.seed % 2 == 0):
        action = solve(View(observation.goal, page, tuple(taken), observation.error, memory.spent))
        if action is not None and is_offered(action, page.elements, VERBS):
            return action
    clicks = [Action("click", each.bid) for each in page.elements if VERBS["click"].takes(each)]
    return next((each for each in clicks[::-1] if each not in memory.spent), None)


def write_run(run: RunDirectory, played: list[Episode]) -> None:
    """The files of a run that a report reads."""
    names = list(registry.web_tasks())
    settings = Configuration.model_validate(
        {"name": "all-web-tasks", "model": {"name": "/nowhere"}, "training": {"web_tasks": names, "updates": 0}}
    )
    configuration.write(settings, run.config)
    of = {name: [each for each in played if each.start.web_task == name] for name in names}
    evaluation = {
        "overall": score([each for each in played if not is_exempt(each.start.web_task)]),
        "web_tasks": {name: {**score(each), "exempt": is_exempt(name)} for name, each in of.items()},
        "seconds": 0,
        "episodes": [
            {"web_task": each.start.web_task, "page": each.page, "strict": each.strict, "success": each.success}
            for each in played
        ],
    }
    for name in ("base", "after"):
        write_json(run.evaluation(name), evaluation)
        write_episodes(played, run.evaluation(name).with_suffix(".episodes.jsonl"))
    write_text(run.metrics, "".join(json.dumps({"update": number, "strict/all": 0.5}) + "\n" for number in range(40)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(float, sys.argv[2:3]), *map(int, sys.argv[3:4]))
