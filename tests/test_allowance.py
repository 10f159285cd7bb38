"""What control groups allow: memory and time of the processor, of either version."""

import os
from pathlib import Path

import pytest

from browser_control import allowance

GIB = 2**30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(allowance, "_CGROUP", tmp_path)
    monkeypatch.setattr(allowance, "_OURS", tmp_path / "ours")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    return tmp_path


def write(groups: Path, ours: str, files: dict[str, object]) -> None:
    (groups / "ours").write_text(ours)
    for name, value in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(f"{value}\n")


@pytest.mark.parametrize(
    ("ours", "limits"),
    [
        ("0::/job/step\n", {"job/memory.max": 16 * GIB, "job/step/memory.max": "max", "pids.max": 100_000}),
        ("4:pids:/job\n3:cpu,cpuacct:/\n2:memory:/docker/a\n", {"memory/memory.limit_in_bytes": 16 * GIB}),
        ("0::/\n", {"memory.max": 16 * GIB}),
    ],
    ids=["a job", "before v2, in a container", "a container"],
)
def test_the_least_memory_of_all_groups_counts(groups: Path, ours: str, limits: dict[str, object]) -> None:
    write(groups, ours, limits)
    assert allowance.limit("memory.max", 512 * GIB) == 16 * GIB
    assert allowance.limit("memory.max", 8 * GIB) == 8 * GIB


@pytest.mark.parametrize(
    ("ours", "limits", "cores"),
    [
        ("0::/job/step\n", {"job/cpu.max": "150000 100000", "job/step/cpu.max": "max 100000"}, 1.5),
        ("0::/job/step\n", {"job/cpu.max": "400000 100000", "job/step/cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "max 100000"}, 16),
        ("0::/\n", {"cpu.max": "3200000 100000"}, 16),
        ("0::/\n", {}, 16),
        ("3:cpu,cpuacct:/a\n", {"cpu/cpu.cfs_quota_us": 50_000, "cpu/cpu.cfs_period_us": 100_000}, 0.5),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": -1, "cpu/a/cpu.cfs_period_us": 100_000}, 16),
    ],
)
def test_the_least_time_of_the_processor_of_all_groups_counts(
    groups: Path, ours: str, limits: dict[str, object], cores: float
) -> None:
    write(groups, ours, limits)
    assert allowance.cores() == cores


def test_this_machine_says_what_it_has() -> None:
    assert 0 < allowance.cores() <= len(os.sched_getaffinity(0))
