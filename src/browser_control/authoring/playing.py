"""Showing a web task as the policy sees it, and playing it at the terminal."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import yaml

from browser_control.authoring.checking import begin
from browser_control.environment.client import Environments, Observation
from browser_control.errors import ConfigurationError
from browser_control.language.actions import VERBS, Action, InvalidAction, check, has_dialog, is_offered, parse_label
from browser_control.language.page import Element, parse_page, quote
from browser_control.run_directory import write_text
from browser_control.solvers import own
from browser_control.web_tasks.parameters import spelled
from browser_control.web_tasks.steps import step
from browser_control.web_tasks.task_file import FILE, WebTask

HELP = """Say what the policy would: click button "Order", or click 13. Others: fill 12 "Ada", select 7 "Lima",
press "Enter" in 12. An empty line ends the episode."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_WORDS = {"fill": "with", "select": "option", "toggle": "option"}  # that a person may leave out


def view(observation: Observation) -> str:
    """Goal and page, as the policy's prompt has them."""
    return f"{observation.text}\n\nGoal: {observation.goal}"


def offers(observation: Observation) -> list[str]:
    """The verbs that the page offers, each with the first element that takes it."""
    elements = parse_page(observation.text).elements
    found = []
    for name, verb in VERBS.items():
        fitting = [each for each in elements if verb.takes(each)] if "{element}" in verb.kinds else []
        if has_dialog(elements) and verb.fits(elements):
            found.append(name)
        if fitting:
            count = f", and {len(fitting) - 1} more" if len(fitting) > 1 else ""
            found.append(f"{name}: {fitting[0].label}{count}")
    return found


def understand(line: str, elements: Sequence[Element]) -> Action:
    """What a person typed: the policy's spelling, with or without bids, or a bid in an element's place.

    Raises:
        InvalidAction: it is none, or not on this page.
    """
    by_bid = {each.bid: each for each in elements}
    named = re.match(r"([\w-]+) ([a-z]*\d+)(?= |$)", line)
    if named and named[1] in VERBS and named[2] not in by_bid:
        raise InvalidAction(f"there is no element [{named[2]}] on the page")
    line = re.sub(
        r"^(\w[\w-]*) (\w+)(?= |$)",
        lambda found: f"{found[1]} {by_bid[found[2]].label}" if found[2] in by_bid else found[0],
        line,
    )
    line = re.sub(r"(?<= in )(\w+)$", lambda found: by_bid[found[1]].label if found[1] in by_bid else found[0], line)
    word = _WORDS.get(line.partition(" ")[0])
    if word and f' {word} "' not in line:
        line = re.sub(r' ("(?:[^"\\]|\\.)*")$', rf" {word} \1", line)
    try:
        action = parse_label(line)
    except InvalidAction:
        try:
            found = step(line).on(elements, {})
        except ConfigurationError as error:
            raise InvalidAction(str(error)) from None
        if found is None:
            raise InvalidAction("there is no such element on the page") from None
        action = found
    check(action, elements)
    if action.verb == "fill" and not action.argument:
        name = by_bid[action.bid].label.rpartition(" ")[0]
        raise InvalidAction(f"the page does not offer an empty text: `clear {name}` empties a field that has one")
    if not is_offered(action, elements, VERBS):
        raise InvalidAction("the page does not offer that")
    return action


def play(
    web_task: WebTask,
    environments: Environments,
    seed: int,
    ask: Callable[[], str],
    say: Callable[[str], None],
) -> tuple[list[str], bool]:
    """Lets a person play an episode; what was done, as a solution has it, and whether the goal was reached."""
    observation = begin(environments, web_task, seed)
    parameters = {name: spelled(value) for name, value in web_task.draw(seed).items()}
    done: list[str] = []
    say(HELP)
    while not observation.done:
        say("\n" + view(observation))
        line = ask().strip()
        if not line:
            break
        elements = parse_page(observation.text).elements
        try:
            action = understand(line, elements)
        except InvalidAction as error:
            say(f"{error}")
            continue
        observation = environments.step(0, action.to_browsergym()).result()
        if observation.error:
            say(observation.error)
            continue
        done.append(own.spell(action, elements))
    say("the goal is reached" if observation.strict else "the goal is not reached")
    return generalised(done, parameters), bool(observation.strict)


def generalised(steps: Sequence[str], parameters: Mapping[str, str]) -> list[str]:
    """Steps with the names of parameters in place of their values.

    A value stands for its parameter where it is a whole string of a step. Where it is none of any step, it does so too
    as a word of a longer string, such as the day of a date.
    """
    found = list(steps)
    for name, value in sorted(parameters.items(), key=lambda each: -len(each[1])):
        whole, place = quote(value), f"{{{name}}}"
        if any(whole in each for each in found):
            found = [each.replace(whole, f'"{place}"') for each in found]
        else:
            found = [_STRING.sub(partial(_place, whole[1:-1], place), each) for each in found]
    return found


def _place(word: str, place: str, string: re.Match[str]) -> str:
    return re.sub(rf"(?<![\w{{]){re.escape(word)}(?![\w}}])", place, string[0]) if word else string[0]


def record(folder: Path, steps: Sequence[str]) -> None:
    """Writes the solution into task.yaml, in place of the one that is there; the rest stays as it is."""
    path = folder / FILE
    text = re.sub(r"(?m)^solution:.*\n(?:(?:[ \t]+|- |#).*\n?|\n)*", "", path.read_text()).rstrip("\n")
    written = yaml.safe_dump({"solution": list(steps)}, sort_keys=False, allow_unicode=True, width=1000)
    write_text(path, f"{text}\n{written}")
