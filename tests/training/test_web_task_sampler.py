"""Web tasks are drawn by the difference within their groups."""

import random
from collections import Counter

from browser_control.training.web_task_sampler import WebTaskSampler

ALL = [1.0] * 8
NONE = [0.0] * 8
HALF = [1.0, 0.0] * 4


def share(sampler: WebTaskSampler, web_task: str) -> float:
    return Counter(name for name, _ in sampler.draw(4000))[web_task] / 4000


def test_pages_that_are_always_or_never_solved_teach_nothing_whatever_the_success_of_their_web_task() -> None:
    sampler = WebTaskSampler(["pages", "chance"], 0)
    for number in range(40):
        sampler.learn("pages", ALL if number % 2 else NONE, 1)
        sampler.learn("chance", HALF, 1)
    assert 0.3 < sampler.success["pages"] < 0.7
    assert share(sampler, "pages") < 0.1
    assert share(sampler, "chance") > 0.9


def test_a_web_task_gone_silent_is_still_drawn_now_and_then() -> None:
    sampler = WebTaskSampler(["silent", "chance"], 0)
    for _ in range(40):
        sampler.learn("silent", NONE, 1)
        sampler.learn("chance", HALF, 1)
    assert 0.01 < share(sampler, "silent") < 0.1


def test_more_groups_differ_than_if_success_were_the_weight() -> None:
    """Twenty web tasks: half have pages that are solved or not by themselves, half differ by chance."""
    pages = {f"page-{number}": random.Random(number) for number in range(10)}
    chance = {f"chance-{number}": random.Random(number) for number in range(10)}
    sampler, differing = WebTaskSampler([*pages, *chance], 0), 0
    for name, _ in (group for _ in range(60) for group in sampler.draw(8)):
        if name in pages:
            rewards = [float(pages[name].random() < 0.5)] * 8
        else:
            rewards = [float(chance[name].random() < 0.5) for _ in range(8)]
        differing += len(set(rewards)) > 1
        sampler.learn(name, rewards, 1)
    assert differing > 0.75 * 480  # by success it is half of them


def test_looking_ahead_draws_nothing() -> None:
    sampler = WebTaskSampler(["one", "two"], 3)
    ahead = sampler.peek(6)
    assert sampler.draw(6) == ahead
    assert sampler.draw(6) != ahead


def test_web_tasks_of_many_turns_come_first_so_that_none_of_their_episodes_is_played_alone_at_the_end() -> None:
    sampler = WebTaskSampler(["short", "long", "new"], 0)
    sampler.learn("short", HALF, 1)
    sampler.learn("long", HALF, 14)
    names = [web_task for web_task, _ in sampler.draw(60)]
    assert set(names) == {"short", "long", "new"}
    assert names == sorted(names, key=["long", "new", "short"].index)


def test_a_restored_sampler_goes_on_as_the_one_before() -> None:
    sampler, other = (WebTaskSampler(["one", "two"], 3) for _ in range(2))
    sampler.draw(5)
    sampler.learn("one", HALF, 5)
    other.restore(sampler.state())
    assert other.draw(50) == sampler.draw(50)
