"""One episode, played so that a person can follow it: each action said as it happens, and what the policy saw.

A person may stop it, act instead, or let it go on (`person.Person`); what was done is kept as a demonstration.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from browser_control import leash, proxies
from browser_control.authoring.playing import generalised
from browser_control.environment import picture
from browser_control.environment.client import Observation
from browser_control.errors import ServiceFailed
from browser_control.language import actions, prompts
from browser_control.language.version import VERSION
from browser_control.solvers import own
from browser_control.use.person import LOOK, Person
from browser_control.web_tasks import registry
from browser_control.web_tasks.parameters import spelled

if TYPE_CHECKING:
    from browser_control.policy.policy import Policy

_SHOWN_LINES = 12  # of what the policy saw
_GRACE = 10.0  # seconds in which a service may end by itself


class Environments(Protocol):
    """What is played on: `environment.client.Environments`, or `environment.live.LiveEnvironments`."""

    def reset(self, session: int, web_task: str, seed: int, pictures: bool = False) -> "Future[Observation]": ...

    def step(self, session: int, action: str) -> "Future[Observation]": ...


@dataclass(frozen=True)
class Shown:
    """One turn: what was seen, what was said by whom, and what came of it.

    Attributes:
        before: the page as it was when the action was chosen.
        step: the action as a `solution` spells it; empty where what was said is no action.
        marked: where the elements that the action is about are in its picture: left, top, width, height.
        error: why it did nothing; empty where it did.
        by: policy or person.
    """

    before: Observation
    saw: str
    said: str
    step: str
    marked: Sequence[picture.Box]
    error: str
    by: str


@dataclass
class Played:
    """An episode, whole or stopped."""

    web_task: str
    seed: int
    goal: str = ""
    turns: list[Shown] = field(default_factory=list)
    last: Observation | None = None
    stopped: bool = False

    @property
    def outcome(self) -> str:
        last = self.last
        if self.stopped or last is None:
            return "stopped"
        if last.done and last.strict:
            return "won: the whole task done"
        if last.done and last.reward > 0:
            return "done in part: BrowserGym counts it"
        return "lost: the task ended otherwise" if last.done and not last.truncated else "lost: out of turns"

    def demonstration(self) -> dict[str, Any]:
        """What was played as one line of JSON: who said what to which page, and how it ended.

        `solution` is the episode as a `task.yaml` has it, with the names of parameters in place of their values.
        """
        task = registry.own(self.web_task)
        parameters = {name: spelled(value) for name, value in task.draw(self.seed).items()} if task else {}
        return {
            "web_task": self.web_task,
            "seed": self.seed,
            "language": VERSION,
            "goal": self.goal,
            "strict": bool(self.last and self.last.done and self.last.strict),
            "solution": generalised([each.step for each in self.turns if each.step and not each.error], parameters),
            "turns": [
                {
                    "page": each.before.text,
                    "viewport": each.before.viewport,
                    "reading": each.before.reading,
                    "saw": each.saw,
                    "said": each.said,
                    "by": each.by,
                    "error": each.error,
                }
                for each in self.turns
            ],
        }


def play(
    policy: "Policy",
    environments: Environments,
    web_task: str,
    seed: int,
    max_turns: int,
    *,
    pictures: bool = False,
    person: Person | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> Played:
    """Plays one episode in session 0, greedily.

    Args:
        pictures: each observation has a picture.
        person: who may act instead, or stop; None: the policy alone.
        say: is told, line by line, what happens.

    Raises:
        EnvironmentFailure: the episode cannot be judged.
    """
    from browser_control.policy.sampling import Request
    from browser_control.training.rollout import build_prompt

    person = person or Person(asks=False)
    played = Played(web_task, seed)
    memory = prompts.Memory()
    observation = environments.reset(0, web_task, seed, pictures).result()
    played.goal, played.last, error = observation.goal, observation, ""
    say(f"goal: {' '.join(observation.goal.split())}")
    while not observation.done and len(played.turns) < max_turns:
        prompt = build_prompt(policy, observation, memory, error)
        for line in short(prompt.text):
            say(f"  {line}")
        said = "" if person.acts else policy.act([Request(prompt)])[0].text
        chosen = person.chooses(said, prompt, policy.settings.action_format)
        if chosen is None:
            played.stopped = True
            break
        if chosen[0] == LOOK:
            observation = played.last = environments.step(0, "noop()").result()
            continue
        turn, sent = _turn(observation, prompt, memory, *chosen, policy.settings.action_format)
        say(f"{len(played.turns) + 1}> {turn.said}")
        observation = played.last = environments.step(0, sent).result()
        error = turn.error or observation.error
        if error:
            say(f"   it did nothing: {error}")
        played.turns.append(replace(turn, error=error))
    say(played.outcome)
    return played


def _turn(
    before: Observation, prompt: prompts.Prompt, memory: prompts.Memory, said: str, by: str, action_format: str
) -> tuple[Shown, str]:
    """What is about to be done, and how the environment is told."""
    from browser_control.training.rollout import read_action

    try:
        action = read_action(said, prompt, action_format)
    except actions.InvalidAction as failure:
        memory.fail(said[:80])
        return Shown(before, prompt.text, said, "", (), str(failure), by), "noop()"
    memory.act(action, prompt.elements, action_format)
    step = own.spell(action, prompt.elements)
    marked = picture.acted_on(action, before)
    return Shown(before, prompt.text, said, step, marked, "", by), action.to_browsergym()


def short(text: str) -> list[str]:
    """What the policy saw, in a few lines: the goal is said once, and a long page is cut."""
    lines = [line for line in text.splitlines() if not line.startswith("Goal: ")]
    if len(lines) <= _SHOWN_LINES:
        return lines
    return [*lines[: _SHOWN_LINES - 1], f"… {len(lines) - _SHOWN_LINES + 1} more lines"]


@contextlib.contextmanager
def service(max_turns: int, sessions: int = 1, folders: Sequence[Path] = ()) -> Iterator[str]:
    """The URL of an environment service of our own, ended with the block, and with this process however that ends.

    Args:
        folders: of web tasks of the user's own.

    Raises:
        ServiceFailed: it does not start.
    """
    command = [sys.executable, "-m", "browser_control.environment", "--port", "0", "--sessions", str(sessions)]
    command += ["--max-turns", str(max_turns), *(["--web-tasks", *map(str, folders)] if folders else [])]
    theirs, ours = os.pipe()
    with tempfile.TemporaryFile("w+") as errors, open(ours, "wb"):  # a pipe that nobody reads would fill
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", leash.__file__, str(theirs), str(_GRACE), *command],
            pass_fds=(theirs,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **proxies.spared(os.environ)},
            start_new_session=True,  # a Ctrl-C at the terminal is the person's
        )
        os.close(theirs)
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            if not greeting.startswith("environment ready on "):
                process.kill()
                process.wait()
                errors.seek(0)
                words = (errors.read().strip().splitlines() or ["it said nothing"])[-1]
                raise ServiceFailed(f"the environment does not start: {words}")
            yield greeting.split()[3].rstrip(",")
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
            process.communicate()
