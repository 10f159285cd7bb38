"""Dealing: sessions stay with their web task, none rests, each piece is dealt once."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from browser_control.training.dealing import Dealing


@given(st.lists(st.sampled_from("abcd"), max_size=60), st.lists(st.integers(0, 7), min_size=60, max_size=80))
def test_each_piece_is_dealt_once_in_its_web_tasks_order(names: list[str], asking: list[int]) -> None:
    dealing = Dealing((name, (name, number)) for number, name in enumerate(names))
    dealt = [dealing.take(session) for session in asking]
    found = [each for each in dealt if each is not None]
    assert sorted(found, key=lambda each: each[1]) == list(zip(names, range(len(names)), strict=True))
    assert dealt[: len(names)] == found, "no session rests while there is work"
    for name in set(names):
        numbers = [number for each, number in found if each == name]
        assert numbers == sorted(numbers)


def test_sessions_stay_with_their_web_task_and_then_help_where_most_is_left() -> None:
    dealing = Dealing((name, name) for name in 6 * ["a"] + 3 * ["b"] + 3 * ["c"])
    turns = [[dealing.take(session) for session in range(3)] for _ in range(4)]
    assert turns == [["a", "b", "c"], ["a", "b", "c"], ["a", "b", "c"], ["a", "a", "a"]]
    assert [dealing.take(session) for session in range(3)] == [None, None, None]


def test_a_web_task_of_which_there_is_most_has_most_sessions() -> None:
    dealing = Dealing((name, name) for name in 30 * ["a"] + 10 * ["b"])
    assert Counter(dealing.take(session) for session in range(4)) == {"a": 3, "b": 1}


def test_nothing_is_dealt_once_it_is_stopped() -> None:
    dealing = Dealing([("a", 1), ("a", 2), ("b", 3)])
    assert dealing.take(0) == 1
    dealing.stop()
    assert dealing.take(0) is None and dealing.take(1) is None
