"""What a client may ask for at a reset, beside the web task and its seed."""

from collections.abc import Sequence
from dataclasses import dataclass

from browser_control.environment.actions import Call, parse_action, parse_calls


@dataclass(frozen=True)
class Asked:
    """What holds for one episode.

    Attributes:
        screenshot: whether each observation has a picture of the page.
        shows: what is listed beside a page of one's own (`language.actions.shows`).
        axtree: whether `axtree_txt` is filled.
        pruned_html: whether `pruned_html` is filled.
        loose: whether all calls are taken that are in an action's text, as BrowserGym does, and not exactly one.
    """

    screenshot: bool = False
    shows: frozenset[str] = frozenset()
    axtree: bool = True
    pruned_html: bool = False
    loose: bool = False

    @classmethod
    def read(
        cls, screenshot: object, shows: Sequence[str], axtree: object, pruned_html: object, loose: object
    ) -> "Asked":
        """What arrived over the wire, whatever its types."""
        return cls(bool(screenshot), frozenset(map(str, shows)), bool(axtree), bool(pruned_html), bool(loose))

    def calls(self, text: str) -> list[Call]:
        """What an action's text asks for; raises ActionRefused."""
        return parse_calls(text) if self.loose else [parse_action(text)]


def prune(html: str) -> str:
    """HTML as BrowserGym prunes it: without scripts, styles, comments, and elements that only hold others."""
    from browsergym.utils.obs import prune_html  # brings NumPy, Pillow and Playwright along

    return str(prune_html(html)) if html else ""
