"""How many pages are kept open by default."""

import pytest

from browser_control.environment.kept_pages import kept_pages

GIB = 2**30


@pytest.mark.parametrize(
    ("sessions", "memory", "threads", "pages"),
    [
        (16, 24 * GIB, 100_000, 128),  # eight a session
        (128, 128 * GIB, 1_000_000, 873),  # a fifth of the memory
        (16, 8 * GIB, 100_000, 54),
        (16, 2 * GIB, 100_000, 32),  # never fewer than before there was more memory to use
        (16, 24 * GIB, 4096, 102),  # a container
        (128, 128 * GIB, 4096, 200),
        (1, 24 * GIB, 100_000, 9),
    ],
)
def test_as_many_pages_as_groups_want_and_the_machine_has_room_for(
    sessions: int, memory: int, threads: int, pages: int
) -> None:
    assert kept_pages(sessions, memory, threads) == pages


def test_the_machine_itself_says_what_it_has() -> None:
    assert 24 <= kept_pages(10) <= 80
