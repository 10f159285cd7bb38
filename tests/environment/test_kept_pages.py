"""How many pages are kept open by default."""

import pytest

from browser_control.environment import kept_pages

GIB = 2**30


@pytest.mark.parametrize(
    ("sessions", "memory", "threads", "pages"),
    [
        (8, 24 * GIB, 100_000, 64),  # eight a session
        (128, 128 * GIB, 1_000_000, 436),  # a tenth of the memory
        (16, 16 * GIB, 100_000, 54),
        (16, 2 * GIB, 100_000, 32),  # never fewer than before there was more memory to use
        (16, 24 * GIB, 4096, 51),  # a container
        (128, 128 * GIB, 4096, 200),
        (1, 24 * GIB, 100_000, 9),
    ],
)
def test_as_many_pages_as_groups_want_and_the_machine_has_room_for(
    sessions: int, memory: int, threads: int, pages: int
) -> None:
    assert kept_pages.kept_pages(sessions, memory, threads) == pages


@pytest.mark.parametrize(("services", "pages"), [(1, 436), (2, 218), (4, 200)])
def test_services_on_one_machine_share_the_room(services: int, pages: int) -> None:
    """Down to the least that a service with 128 sessions works with."""
    assert kept_pages.kept_pages(128, 128 * GIB, 1_000_000, services) == pages


def test_the_machine_itself_says_what_it_has() -> None:
    assert 23 <= kept_pages.kept_pages(10) <= 80
