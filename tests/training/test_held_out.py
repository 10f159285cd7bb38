"""Pages that a policy is judged on are never trained on, whatever their seeds."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from tiny import PAGE, PaperEnvironments, make_configuration

from browser_control.configuration import DEMONSTRATION_SEEDS, EVALUATION_SEEDS, FINAL_SEEDS, LOT_SEEDS, TRAINING_SEEDS
from browser_control.environment.client import Observation
from browser_control.errors import ConfigurationError, EnvironmentFailure
from browser_control.language.page import page_of
from browser_control.policy import policy
from browser_control.policy.policy import Policy
from browser_control.preemption import Preemption
from browser_control.run_directory import RunDirectory
from browser_control.training.demonstrations import collect
from browser_control.training.evaluation import evaluate
from browser_control.training.held_out import REDRAWS, Draws, HeldOut, choose, is_exempt, purpose_of, redrawn
from browser_control.training.trainer import Trainer
from browser_control.web_tasks import registry

PAGES = 300  # that there are: many seeds give the same one
GOAL = "Choose yes"


def page(seed: int) -> str:
    return f'"Page {seed % PAGES}."\n{PAGE}'


class Seen(PaperEnvironments):
    """Remembers the pages on which somebody acted."""

    def __init__(self, sessions: int, page: Callable[[int], str] = page) -> None:
        super().__init__(sessions, lambda taken: float(taken[-1] == "click('11')"), page, GOAL)
        self.acted: set[str] = set()

    def step(self, session: int, action: str) -> "Future[Observation]":
        self.acted.add(page_of(GOAL, self._page(self._seeds[session])))
        return super().step(session, action)


class Failing(PaperEnvironments):
    """Begins no episode."""

    def reset(self, session: int, web_task: str, seed: int) -> "Future[Observation]":
        answer: Future[Observation] = Future()
        answer.set_exception(EnvironmentFailure("no browser"))
        return answer


def pages_of(chosen: list[HeldOut]) -> set[str]:
    return {name for each in chosen for _, name in each.pages}


def test_a_page_is_its_goal_and_text_and_has_one_purpose() -> None:
    assert page_of("goal", "text") == page_of("goal", "text") != page_of("goalt", "ext")
    shares = Counter(purpose_of(page_of("", str(number))) for number in range(16_000))
    assert shares["final"] == pytest.approx(1000, rel=0.15)
    assert shares["evaluation"] == pytest.approx(4000, rel=0.1)
    assert shares["training"] == pytest.approx(11_000, rel=0.05)


@pytest.mark.parametrize("sessions", [1, 7, 64])
def test_the_pages_chosen_are_distinct_and_the_same_whatever_the_sessions(sessions: int) -> None:
    chosen = choose(Seen(sessions), ["click-button", "click-link"], 40)
    assert chosen == choose(Seen(3), ["click-button", "click-link"], 40)
    assert [each.web_task for each in chosen] == ["click-button", "click-link"]
    for each in chosen:
        assert len({name for _, name in each.pages}) == len(each.pages) == 40
        assert all(
            purpose_of(name) == "evaluation" and seed in EVALUATION_SEEDS[:LOT_SEEDS] for seed, name in each.pages
        )


def test_lots_share_no_seed_and_the_final_set_shares_no_page() -> None:
    lots = [choose(Seen(8), ["click-button"], 10, lot=lot) for lot in (0, 1)]
    assert not {seed for seed, _ in lots[0][0].pages} & {seed for seed, _ in lots[1][0].pages}
    final = choose(Seen(8), ["click-button"], 10, "final")
    assert not pages_of(final) & pages_of(lots[0])
    assert all(purpose_of(name) == "final" and seed in FINAL_SEEDS for seed, name in final[0].pages)


def test_a_web_task_that_has_fewer_pages_gives_what_it_has() -> None:
    (chosen,) = choose(Seen(8), ["click-button"], 200)
    everything = {page_of(GOAL, page(seed)) for seed in range(PAGES)}
    assert pages_of([chosen]) == {name for name in everything if purpose_of(name) == "evaluation"}
    (few,) = choose(Seen(8, lambda seed: f'"Page {seed % 3}."\n{PAGE}'), ["focus-text-2"], 20)
    assert registry.few_pages("focus-text-2") == 3
    assert len(few.pages) == 3


def test_where_no_page_can_be_begun_there_is_nothing_to_judge() -> None:
    with pytest.raises(EnvironmentFailure, match="no page of click-button could be begun"):
        choose(Failing(4, lambda taken: None), ["click-button"], 5)


def test_training_and_demonstrations_keep_off_the_pages_that_are_judged(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """Seeds fold into few pages here, as MiniWoB's do into a million: all ranges meet."""
    settings = make_configuration(training={"updates": 6, "groups": 8, "checkpoint_every": 6})
    judged = pages_of(choose(Seen(8), ["click-button"], 200)) | pages_of(
        choose(Seen(8), ["click-button"], 200, "final")
    )
    drawn = {page_of(GOAL, page(seed)) for seed in range(TRAINING_SEEDS.start, TRAINING_SEEDS.start + 48)}
    assert drawn & judged  # without the rule, training would meet them
    seen = Seen(8)
    trained = Trainer(
        policy.load(settings, model_folder("llama")), seen, settings, RunDirectory(tmp_path), Preemption()
    )
    trained.train()
    assert seen.acted
    assert not seen.acted & judged


def test_demonstrations_keep_off_them_too(make_policy: Callable[..., Policy]) -> None:
    def form(seed: int) -> str:
        return f'"Form {seed % PAGES}"\ntextbox "" [10]\nbutton "Submit" [11]'

    goal = 'Enter "Ada" into the text field and press Submit.'
    forms = {page_of(goal, form(seed)) for seed in range(PAGES)}
    environments = PaperEnvironments(4, lambda taken: 1.0 if taken[-1] == "click('11')" else None, form, goal)
    shown = collect(make_policy(), environments, ["enter-text"], 40, 4)
    assert len(shown) == 40
    played = {page_of(goal, form(each.seed)) for each in shown}
    assert {purpose_of(name) for name in played} == {"training"}
    assert {purpose_of(name) for name in forms} > {"training"}
    assert all(each.seed in DEMONSTRATION_SEEDS for each in shown)


def test_exempt_web_tasks_are_trained_and_judged_on_the_same_pages_and_in_no_average(
    make_policy: Callable[..., Policy],
) -> None:
    assert is_exempt("click-test")
    environments = Seen(4, lambda seed: PAGE)
    assert Draws(environments, TRAINING_SEEDS).find([("click-test", TRAINING_SEEDS.start)]) == [
        ("click-test", TRAINING_SEEDS.start)
    ]
    pages = [*choose(environments, ["click-test"], 5), *choose(Seen(4), ["click-button"], 6)]
    scores = evaluate(make_policy(), Seen(4), make_configuration(), pages)
    assert scores["exempt"]["pages"] == scores["web_tasks"]["click-test"]["pages"] == 1
    assert scores["overall"]["pages"] == scores["web_tasks"]["click-button"]["pages"] == 6
    assert [scores["web_tasks"][name]["exempt"] for name in ("click-test", "click-button")] == [True, False]


def test_a_web_task_of_which_every_page_is_held_out_is_refused() -> None:
    held_out = next(number for number in range(100) if purpose_of(page_of(GOAL, page(number))) != "training")
    with pytest.raises(ConfigurationError, match="has too few pages to be trained on"):
        Draws(Seen(2, lambda seed: page(held_out)), TRAINING_SEEDS).find([("click-button", TRAINING_SEEDS.start)])


def test_an_evaluation_of_which_nothing_can_be_scored_is_an_error(make_policy: Callable[..., Policy]) -> None:
    pages = choose(Seen(4), ["click-button"], 6)
    with pytest.raises(EnvironmentFailure, match=r"none of 6 episodes could be scored \(6 times: no browser\)"):
        evaluate(make_policy(), Failing(4, lambda taken: None), make_configuration(), pages)


def test_an_evaluation_of_which_little_can_be_scored_is_an_error(make_policy: Callable[..., Policy]) -> None:
    class Dies(Seen):
        """The browser is gone after so many pages."""

        def __init__(self, lives: int) -> None:
            super().__init__(4)
            self._lives = lives

        def reset(self, session: int, web_task: str, seed: int) -> "Future[Observation]":
            self._lives -= 1
            if self._lives >= 0:
                return super().reset(session, web_task, seed)
            answer: Future[Observation] = Future()
            answer.set_exception(EnvironmentFailure("no browser"))
            return answer

    pages = choose(Seen(4), ["click-button"], 6)
    with pytest.raises(EnvironmentFailure, match=r"only 2 of 6 episodes could be scored \(4 times: no browser\)"):
        evaluate(make_policy(), Dies(2), make_configuration(), pages)
    assert evaluate(make_policy(), Dies(3), make_configuration(), pages)["overall"]["unscorable"] == 3


def test_an_evaluation_without_a_page_is_an_error(make_policy: Callable[..., Policy]) -> None:
    configuration = make_configuration()
    with pytest.raises(ConfigurationError, match="no page to judge on: click-button"):
        evaluate(make_policy(), Seen(2), configuration, [HeldOut("click-button", (), 1320)])


@pytest.mark.parametrize("seeds", [DEMONSTRATION_SEEDS, TRAINING_SEEDS])
def test_what_stands_in_for_a_seed_is_no_seed_that_is_drawn_soon(seeds: range) -> None:
    seed = seeds.start
    for _ in range(REDRAWS):
        seed = redrawn(seed, seeds)
        assert 10_000 < seed - seeds.start < len(seeds) - 10_000
