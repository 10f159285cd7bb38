"""Plain BrowserGym, recorded: the reference that the fast environment is compared with.

The recording uses `browsergym.core.env.BrowserEnv` itself, with its slow_mo, its waits and its action set. Only what
an episode cannot see is replaced: one Chromium serves all episodes (BrowserGym starts one each) and the chat window
is a list. `python tests/environment/plain_browsergym.py --help` records episodes of random valid actions.
"""

import argparse
import asyncio
import contextlib
import gzip
import json
import logging
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

INTERACTIVE_ROLES = {
    "button", "link", "checkbox", "radio", "tab", "menuitem", "menuitemcheckbox", "menuitemradio", "option",
    "textbox", "combobox", "listbox", "slider", "spinbutton", "switch", "treeitem", "searchbox",
}  # fmt: skip

# Every marked element: bid, tag, box, value, checked, own text. The same function looks at both environments' pages.
SNAPSHOT = """() => [...document.querySelectorAll('[bid]')].map(element => {
  const box = element.getBoundingClientRect();
  const words = [...element.childNodes].filter(node => node.nodeType === 3).map(node => node.data).join('');
  return [element.getAttribute('bid'), element.tagName.toLowerCase(), Math.round(box.x), Math.round(box.y),
          Math.round(box.width), Math.round(box.height), element.value === undefined ? null : String(element.value),
          element.checked === undefined ? null : element.checked,
          ['SCRIPT', 'STYLE'].includes(element.tagName) ? '' : words.replace(/\\s+/g, ' ').trim()];
})"""


@dataclass
class Seen:
    """What BrowserGym shows of a page, and how the episode stands."""

    elements: list[list[Any]]
    roles: dict[str, str]
    clickable: list[str]
    focused: str
    reward: float = 0.0
    done: bool = False
    error: str = ""


@dataclass
class Recording:
    web_task: str
    seed: int
    goal: str
    first: Seen
    steps: list[tuple[str, Seen]] = field(default_factory=list)


class _Chat:
    """BrowserGym's chat without its window."""

    def __init__(self, **_: Any) -> None:
        self.messages: list[dict[str, Any]] = []

    def add_message(self, role: str, msg: str) -> None:
        self.messages.append({"role": role, "timestamp": 0.0, "message": msg})

    def close(self) -> None: ...


class _KeptBrowser:
    """A browser that stays open when an episode closes it."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    def new_context(self, **options: Any) -> Any:
        return self._browser.new_context(**options)

    def close(self) -> None: ...


class _KeptPlaywright:
    def __init__(self, playwright: Any, program: Path) -> None:
        self.selectors = playwright.selectors
        self.chromium = self
        self._playwright, self._program = playwright, program
        self._browser: _KeptBrowser | None = None

    def launch(self, **options: Any) -> _KeptBrowser:
        if self._browser is None:
            self._browser = _KeptBrowser(
                self._playwright.chromium.launch(executable_path=str(self._program), chromium_sandbox=False, **options)
            )
        return self._browser


class PlainBrowserGym:
    """BrowserGym's MiniWoB environment; `url` serves MiniWoB's html/miniwob folder."""

    def __init__(self, program: Path, url: str) -> None:
        logging.getLogger("browsergym").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import browsergym.core.env as env_module
            import browsergym.miniwob.all as tasks
            import playwright.sync_api

        self._playwright = playwright.sync_api.sync_playwright().start()
        kept = _KeptPlaywright(self._playwright, program)
        env_module._get_global_playwright = lambda: kept  # type: ignore[assignment]
        env_module.Chat = _Chat  # type: ignore[assignment,misc]
        self._env_class = env_module.BrowserEnv
        self._tasks = {task.subdomain: task for task in vars(tasks).values() if hasattr(task, "subdomain")}
        self._url = url
        self._env: Any = None
        self.observation: dict[str, Any] = {}  # the last one, whole

    def close(self) -> None:
        if self._env is not None:
            self._env.context.close()
        self._playwright.stop()

    def reset(self, web_task: str, seed: int) -> tuple[str, Seen]:
        if self._env is not None:
            self._env.context.close()
        self._env = self._env_class(self._tasks[web_task], {"base_url": self._url})
        observation, _ = self._env.reset(seed=seed)
        return observation["goal"], self._seen(observation)

    def step(self, action: str) -> Seen:
        observation, reward, terminated, _, _ = self._env.step(action)
        seen = self._seen(observation)
        seen.reward, seen.done = float(reward), bool(terminated)
        seen.error = observation["last_action_error"]
        return seen

    def _seen(self, observation: dict[str, Any]) -> Seen:
        self.observation = observation
        nodes = observation["axtree_object"]["nodes"]
        extra = observation["extra_element_properties"]
        return Seen(
            elements=self._env.page.evaluate(SNAPSHOT),
            roles={
                node["browsergym_id"]: node["role"]["value"]
                for node in nodes
                if "browsergym_id" in node and node["role"]["value"] in INTERACTIVE_ROLES
            },
            clickable=[bid for bid, properties in extra.items() if properties["clickable"]],
            focused=observation["focused_element_bid"],
        )


def random_action(seen: Seen, chance: random.Random) -> str:
    """An action that the page allows, mostly; sometimes one that it does not."""
    visible = {bid: tag for bid, tag, _, _, width, height, *_ in seen.elements if width and height}
    roles = {bid: role for bid, role in seen.roles.items() if bid in visible and role != "option"}
    targets = sorted(
        {*roles, *(bid for bid in seen.clickable if visible.get(bid) not in (None, "html", "body"))}, key=int
    )
    fields = [bid for bid in roles if roles[bid] in ("textbox", "searchbox", "spinbutton")]
    selects = [bid for bid in roles if visible[bid] == "select"]
    kind = chance.random()
    if fields and kind < 0.3:
        return f"fill({chance.choice(fields)!r}, {chance.choice(['Ada', '7', 'comedy', '10/02/2016'])!r})"
    if selects and kind < 0.45:
        return f"select_option({chance.choice(selects)!r}, {_option(seen, chance)!r})"
    if targets and kind < 0.8:
        return f"click({chance.choice(targets)!r})"
    target = chance.choice(targets or sorted(visible))
    return chance.choice(
        [
            f"hover({target!r})",
            f"press({target!r}, {chance.choice(['Enter', 'Tab', 'a', 'ArrowDown', 'Control+a', 'Backspace'])!r})",
            f"dblclick({target!r})",
            f"focus({target!r})",
            f"click({chance.choice(sorted(bid for bid, *_ in seen.elements))!r})",
            f"fill({target!r}, 'x')",
            f"drag_and_drop({target!r}, {chance.choice(targets or sorted(visible))!r})",
            "scroll(0, 120)",
            "click('99999')",
            "noop(300)",
        ]
    )


def _option(seen: Seen, chance: random.Random) -> str:
    options = [text for _, tag, *_, text in seen.elements if tag == "option"]
    return chance.choice([*options, "no such option"])


def record(gym: PlainBrowserGym, web_task: str, seed: int, steps: int) -> Recording:
    """Plays one episode of random actions; the same task and seed choose the same actions."""
    goal, seen = gym.reset(web_task, seed)
    recording = Recording(web_task, seed, goal, seen)
    chance = random.Random(f"{web_task} {seed}")
    while len(recording.steps) < steps and not seen.done:
        action = random_action(seen, chance)
        seen = gym.step(action)
        recording.steps.append((action, seen))
    return recording


@contextlib.contextmanager
def served_pages() -> Iterator[str]:
    """MiniWoB's pages over HTTP, as UTF-8 in which they are written, from a thread."""
    from browser_control.environment.page_server import PageServer, bundle_folder

    loop = asyncio.new_event_loop()
    server = PageServer(bundle_folder())
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}/miniwob/"
    finally:
        loop.call_soon_threadsafe(server.stop)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(asyncio.sleep(0))  # lets the aborted connections close
        loop.close()


def read_recordings(file: Path) -> Iterator[Recording]:
    text = gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
    for line in text.splitlines():
        data = json.loads(line)
        data["first"] = Seen(**data["first"])
        data["steps"] = [(action, Seen(**seen)) for action, seen in data["steps"]]
        yield Recording(**data)


def main() -> int:
    from browser_control.environment.chromium import find_chromium
    from browser_control.web_tasks.miniwob import WEB_TASKS

    parser = argparse.ArgumentParser(description="Records episodes of plain BrowserGym, one JSON object a line.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tasks", nargs="*", default=list(WEB_TASKS))
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(5)))
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    done = set()
    if options.output.exists():
        done = {(recording.web_task, recording.seed) for recording in read_recordings(options.output)}
    with served_pages() as url, options.output.open("a") as output:
        gym = PlainBrowserGym(find_chromium(), url)
        for seed in options.seeds:
            for web_task in options.tasks:
                if (web_task, seed) in done:
                    continue
                recording = record(gym, web_task, seed, options.steps)
                output.write(json.dumps(asdict(recording)) + "\n")
                output.flush()
                print(
                    web_task,
                    seed,
                    [(action, seen.reward, seen.done, seen.error[:60]) for action, seen in recording.steps],
                )
        gym.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
