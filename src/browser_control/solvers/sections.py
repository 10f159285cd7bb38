"""Web tasks in which what is looked for lies behind tabs, sections, menus or folders."""

import re

from browser_control.language.actions import Action
from browser_control.solvers.forms import submit
from browser_control.solvers.goals import first_quoted
from browser_control.solvers.view import View, click


def click_tab(view: View) -> Action | None:
    """click-tab: `Click on Tab #2.`"""
    wanted = re.search(r"Tab #\d+", view.goal)
    return click(view.called(wanted[0], "tab")) if wanted else None


def expand_and_submit(view: View) -> Action | None:
    """click-collapsible: `Expand the section below and click submit.`"""
    tabs = view.of_role("tab")
    return submit(view, click(tabs[0])) if tabs else None


def find_link(view: View) -> Action | None:
    """click-tab-2, click-collapsible-2 and their kin: `… to find and click on the link "sed".`

    Where the link is not in sight, the next tab or section that was not looked into is opened.
    """
    wanted = first_quoted(view.goal)
    for link in view.of_role("item", "link"):
        if link.name == wanted:
            return click(link)
    unseen = (click(tab) for tab in view.of_role("tab") if "selected" not in tab.states)
    return next((action for action in unseen if action is not None and not view.has_taken(action)), None)


SOLVERS = {
    "click-tab": click_tab,
    "click-tab-2": find_link,
    "click-tab-2-easy": find_link,
    "click-tab-2-medium": find_link,
    "click-tab-2-hard": find_link,
    "click-collapsible": expand_and_submit,
    "click-collapsible-nodelay": expand_and_submit,
    "click-collapsible-2": find_link,
    "click-collapsible-2-nodelay": find_link,
}
