"""Every solver solves its web task in a real browser, on seeds that nobody looked at while writing it."""

from collections.abc import Callable

import pytest

from browser_control.environment.client import Environments
from browser_control.language.actions import Action
from browser_control.language.page import Page, parse_page
from browser_control.solvers import SOLVERS, View
from browser_control.solvers.coverage import PARTLY, UNSOLVABLE, UNWRITTEN
from browser_control.solvers.playing import is_offered, play
from browser_control.web_tasks.miniwob import WEB_TASKS

UNSEEN = (71_001, 71_002)


def test_every_reliable_solver_solves_unseen_seeds(environments: Environments) -> None:
    starts = [(web_task, seed) for web_task in SOLVERS if web_task not in PARTLY for seed in UNSEEN]
    results = list(play(environments, starts))
    assert sorted((result.web_task, result.seed) for result in results) == sorted(starts)
    assert [(each.web_task, each.seed, each.failure) for each in results if each.failure] == []


def test_every_web_task_has_a_solver_or_a_reason() -> None:
    assert sorted([*SOLVERS, *UNWRITTEN, *UNSOLVABLE]) == sorted(WEB_TASKS)
    assert set(PARTLY) <= set(SOLVERS)


def test_only_what_the_policy_can_choose_and_spell_is_offered() -> None:
    page = parse_page('textbox "Name" [1]\nbutton "Go" [2] disabled\nbutton "Stop" [3]')
    assert is_offered(Action("fill", "1", "Ada"), page)
    assert is_offered(Action("click", "3"), page)
    assert not is_offered(Action("click", "2"), page)
    assert not is_offered(Action("fill", "3", "Ada"), page)
    assert is_offered(Action("fill", "1", "Ada "), page)
    assert not is_offered(Action("fill", "1", "Ada\n"), page)


def _nth_click(role: str, name: str, index: int) -> Callable[[Page], Action]:
    return lambda page: Action(
        "click", [each.bid for each in page.elements if (each.role, each.name) == (role, name)][index]
    )


@pytest.mark.parametrize(
    ("web_task", "seed", "mischief"),
    [
        ("order-food", 71_003, _nth_click("item", "+", 11)),
        ("use-slider-2", 71_003, lambda page: Action("click-at", page.elements[0].bid, "70,5")),
        ("form-sequence", 71_003, _nth_click("checkbox", "", 1)),
        ("drag-shapes-2", 71_003, lambda page: Action("drag-by", page.elements[0].bid, "0,-20")),
        ("email-inbox-reply", 71_003, lambda page: Action("click", page.elements[4].bid)),
        ("number-checkboxes", 71_003, _nth_click("checkbox", "", 24)),
    ],
)
def test_solvers_mend_what_another_did_before(
    environments: Environments, web_task: str, seed: int, mischief: Callable[[Page], Action]
) -> None:
    observation = environments.reset(0, web_task, seed).result()
    taken: list[Action] = []
    while not observation.done:
        page = parse_page(observation.text)
        action = SOLVERS[web_task](View(observation.goal, page, tuple(taken))) if taken else mischief(page)
        assert action is not None
        taken.append(action)
        observation = environments.step(0, action.to_browsergym()).result()
    assert observation.strict, taken
