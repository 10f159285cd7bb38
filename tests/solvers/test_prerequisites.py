"""What a warm start cannot show is said before anything is played."""

from pathlib import Path

import pytest
from tiny import make_configuration

from browser_control import configuration
from browser_control.configuration import Configuration
from browser_control.errors import ConfigurationError
from browser_control.pipeline import run
from browser_control.pipeline.parameters import Parameters
from browser_control.solvers import prerequisites
from browser_control.web_tasks import registry

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
NAME = "shop.order-shirts"


def settings(max_turns: int, actions: list[str], web_tasks: list[str], **warm_start: int) -> Configuration:
    return registry.resolve(
        make_configuration(
            environment={"max_turns": max_turns, "web_tasks": [str(SHOP)]},
            policy={"actions": actions},
            warm_start={"web_tasks": web_tasks, **warm_start},
            training={"web_tasks": [NAME]},
        )
    )


SHORT = "environment.max_turns: the solution of 'shop.order-shirts' takes 4 turns, and an episode has 3"


@pytest.mark.parametrize(
    ("max_turns", "actions", "web_task", "words"),
    [
        (3, ["click", "fill", "select"], NAME, SHORT),
        (4, ["click"], NAME, "policy.actions: the solution of 'shop.order-shirts' says select, fill, which the policy"),
        (4, ["click"], "highlight-text", "warm_start.web_tasks: no solver plays 'highlight-text'"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(max_turns: int, actions: list[str], web_task: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        prerequisites.check(settings(max_turns, actions, [web_task], demonstrations=1))
    assert str(raised.value).startswith(words)


def test_what_fits_is_taken_and_so_is_what_nobody_is_to_show() -> None:
    prerequisites.check(settings(4, ["click", "fill", "select"], [NAME, "click-test"], demonstrations=1))
    prerequisites.check(settings(3, ["click"], [NAME]))


def test_a_run_that_trains_is_refused_before_it_leaves_anything(tmp_path: Path) -> None:
    configuration.write(settings(3, ["click", "fill", "select"], [NAME], demonstrations=1), tmp_path / "short.yaml")
    chosen = Parameters(config=str(tmp_path / "short.yaml"), runs=str(tmp_path / "runs"))
    with pytest.raises(ConfigurationError, match="takes 4 turns, and an episode has 3"):
        run.check(chosen, server=False, trains=True)
    run.check(chosen, server=False)  # one that judges asks for no demonstrations
    assert not (tmp_path / "runs").exists()
