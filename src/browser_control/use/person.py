"""A person at the terminal who watches an episode: they may stop it, correct an action, or take over."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from browser_control.authoring.playing import understand
from browser_control.language.actions import InvalidAction, spell
from browser_control.language.prompts import Prompt

HELP = """Enter: do it · an action, such as click 13 or fill 12 "Ada": do that instead · me: you act from now on ·
go: the policy acts from now on · look: you did something in the window, see what it shows now · q: stop"""
LOOK = "look"  # what a person did by hand is seen, and nothing else is done

Turn = tuple[str, str]  # what is done, and by whom: policy or person


class Person:
    """Asked before each action, from the beginning or since Ctrl-C was pressed.

    Args:
        asks: whether each action is asked for from the beginning.
        read: a line that the person types, given what to say before it.
        say: tells the person something.
    """

    def __init__(self, asks: bool, read: Callable[[str], str] = input, say: Callable[[str], None] = print) -> None:
        self._asks = asks
        self._acts = False
        self._explained = False
        self._read = read
        self._say = say

    @property
    def acts(self) -> bool:
        """Whether the person acts, and the policy need not be asked."""
        return self._acts

    def chooses(self, said: str, prompt: Prompt, action_format: str) -> Turn | None:
        """What is done where the policy would do `said`; None where the person stops, `LOOK` where they did it."""
        while self._asks:
            if not self._explained:
                self._say(HELP)
                self._explained = True
            try:
                line = self._read("you> " if self._acts else f"{said} ? ").strip()
            except (EOFError, KeyboardInterrupt):
                return None
            match line:
                case "q":
                    return None
                case "me":
                    self._acts = True
                case "go":
                    self._asks = self._acts = False
                case "look":
                    return LOOK, "person"
                case "" if not self._acts:
                    return said, "policy"
                case "":
                    self._say(HELP)
                case _:
                    try:
                        return spell(understand(line, prompt.elements), prompt.elements, action_format), "person"
                    except InvalidAction as error:
                        self._say(f"no action of this page: {error}")
        return said, "policy"

    @contextlib.contextmanager
    def at_the_keyboard(self) -> Iterator[None]:
        """Ctrl-C has the person asked before the next action; pressed while they are asked, it stops."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self._asks:
                raise KeyboardInterrupt
            self._asks = True

        before = signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
