"""How many pages are kept open by default."""

from pathlib import Path

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


@pytest.mark.parametrize(
    ("groups", "limits"),
    [
        ("0::/job/step\n", {"job/memory.max": 16 * GIB, "job/step/memory.max": "max", "pids.max": 100_000}),
        ("4:pids:/job\n3:cpu,cpuacct:/\n2:memory:/docker/a\n", {"memory/memory.limit_in_bytes": 16 * GIB}),
        ("0::/\n", {"memory.max": 16 * GIB}),
    ],
    ids=["a job", "before v2, in a container", "a container"],
)
def test_what_a_control_group_allows_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, limits: dict[str, object]
) -> None:
    (tmp_path / "ours").write_text(groups)
    for name, value in limits.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    monkeypatch.setattr(kept_pages, "_CGROUP", tmp_path)
    monkeypatch.setattr(kept_pages, "_OURS", tmp_path / "ours")
    assert kept_pages._limit("memory.max", 512 * GIB) == 16 * GIB
    assert kept_pages._limit("memory.max", 8 * GIB) == 8 * GIB


def test_the_machine_itself_says_what_it_has() -> None:
    assert 23 <= kept_pages.kept_pages(10) <= 80
