"""One episode, played so that a person can follow it: each action said as it happens, and what the policy saw.

A person may stop it, act instead, or let it go on (`--step`); what a person did is kept as a demonstration.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from browser_control.environment import picture
from browser_control.environment.client import Environments, Observation
from browser_control.errors import ServiceFailed
from browser_control.language import actions, prompts

if TYPE_CHECKING:
    from browser_control.policy.policy import Policy

_SHOWN_LINES = 12  # of what the policy saw


@dataclass(frozen=True)
class Shown:
    """One turn: what was seen, what was said by whom, and what came of it.

    Attributes:
        before: the page as it was when the action was chosen.
        marked: where the elements that the action is about are in its picture: left, top, width, height.
        error: why it did nothing; empty where it did.
        by: policy or person.
    """

    before: Observation
    saw: str
    said: str
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
        """What was played as one line of JSON: who said what to which page, and how it ended."""
        return {
            "web_task": self.web_task,
            "seed": self.seed,
            "goal": self.goal,
            "strict": bool(self.last and self.last.done and self.last.strict),
            "turns": [{"saw": turn.saw, "said": turn.said, "by": turn.by, "error": turn.error} for turn in self.turns],
        }


Ask = Callable[[str], str | None]  # given the policy's action: another, or None to stop


def play(
    policy: "Policy",
    environments: Environments,
    web_task: str,
    seed: int,
    max_turns: int,
    *,
    pictures: bool = False,
    ask: Ask = lambda said: said,
    say: Callable[[str], None] = lambda words: None,
) -> Played:
    """Plays one episode in session 0, greedily.

    Args:
        pictures: each observation has a picture.
        ask: is told what the policy would do, and answers what is done; None stops.
        say: is told, line by line, what happens.

    Raises:
        EnvironmentFailure: the episode cannot be judged.
    """
    from browser_control.policy.sampling import Request
    from browser_control.training.rollout import build_prompt, read_action

    played = Played(web_task, seed)
    memory = prompts.Memory()
    observation = environments.reset(0, web_task, seed, pictures).result()
    played.goal, played.last, error = observation.goal, observation, ""
    say(f"goal: {' '.join(observation.goal.split())}")
    while not observation.done and len(played.turns) < max_turns:
        prompt = build_prompt(policy, observation, memory, error)
        for line in short(prompt.text):
            say(f"  {line}")
        [completion] = policy.act([Request(prompt)])
        while True:
            said = ask(completion.text)
            if said is None:
                played.stopped = True
                return played
            by = "policy" if said == completion.text else "person"
            sent, trouble = "noop()", ""
            marked: Sequence[picture.Box] = ()
            try:
                action = read_action(said, prompt, policy.settings.action_format)
                sent, marked = action.to_browsergym(), picture.acted_on(action, observation)
                break
            except actions.InvalidAction as failure:
                trouble = str(failure)
                if by == "policy":
                    break
                say(f"no action of this page: {trouble}")
        say(f"{len(played.turns) + 1}> {said}")
        if trouble:
            memory.fail(said[:80])
        else:
            memory.act(action, prompt.elements, policy.settings.action_format)
        before, observation = observation, environments.step(0, sent).result()
        error = trouble or observation.error
        if error:
            say(f"   it did nothing: {error}")
        played.turns.append(Shown(before, prompt.text, said, marked, error, by))
        played.last = observation
    say(played.outcome)
    return played


def short(text: str) -> list[str]:
    """What the policy saw, in a few lines: the goal is said once, and a long page is cut."""
    lines = [line for line in text.splitlines() if not line.startswith("Goal: ")]
    if len(lines) <= _SHOWN_LINES:
        return lines
    return [*lines[: _SHOWN_LINES - 1], f"… {len(lines) - _SHOWN_LINES + 1} more lines"]


@contextlib.contextmanager
def service(max_turns: int, sessions: int = 1) -> Iterator[str]:
    """The URL of an environment service of our own, ended with the block.

    Raises:
        ServiceFailed: it does not start.
    """
    command = [sys.executable, "-m", "browser_control.environment", "--port", "0", "--sessions", str(sessions)]
    command += ["--max-turns", str(max_turns)]
    with tempfile.TemporaryFile("w+") as errors:  # a pipe that nobody reads would fill
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
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
