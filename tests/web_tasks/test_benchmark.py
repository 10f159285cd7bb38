"""BrowserGym's benchmark: the episodes that it plays, and subsets."""

from browser_control import configuration
from browser_control.configuration import DEMONSTRATION_SEEDS
from browser_control.solvers import SOLVERS
from browser_control.web_tasks.benchmark import (
    FAMILIES,
    PIPELINERL_HELD_OUT,
    REPEATS,
    SEEDS,
    SUBSET_56,
    episodes,
    siblings,
)
from browser_control.web_tasks.miniwob import WEB_TASKS


def test_each_web_task_is_played_five_times_with_browsergyms_seeds() -> None:
    drawn = episodes()
    assert len(drawn) == 125 * REPEATS
    assert [web_task for web_task, _ in drawn[::REPEATS]] == list(WEB_TASKS)
    assert all(seed in SEEDS for _, seed in drawn)
    assert SEEDS.stop <= DEMONSTRATION_SEEDS.start
    assert drawn[:5] == [("ascending-numbers", seed) for seed in [28, 14, 7, 20, 18]]


def test_subsets_name_web_tasks_and_have_the_size_that_their_papers_say() -> None:
    assert len(set(SUBSET_56)) == 56
    assert len(set(PIPELINERL_HELD_OUT)) == 23
    assert {*SUBSET_56, *PIPELINERL_HELD_OUT} <= set(WEB_TASKS)


def test_variants_of_a_web_task_are_one_family() -> None:
    assert FAMILIES["click-pie"] == FAMILIES["click-pie-nodelay"]
    assert siblings(("click-pie",)) >= {"click-pie", "click-pie-nodelay"}
    assert siblings(tuple(WEB_TASKS)) == set(WEB_TASKS)


def test_the_configuration_of_the_benchmark_trains_all_that_solvers_play() -> None:
    settings = configuration.load("smollm2_135m_miniwob.yaml")
    played = tuple(web_task for web_task in WEB_TASKS if web_task in SOLVERS)
    assert settings.warm_start.web_tasks == settings.training.web_tasks == settings.judged_web_tasks == played
