"""Ten nights on one registry, each disturbed at most twice at random: what is in use only gets better, nothing is left.

After the undisturbed run, for what Prefect logs goes to the output that there was at the first run of a process.
"""

import random

import pytest
from cells import PROGRAMS
from place import Place

from browser_control.records import archive
from browser_control.records.registry import Registry

NIGHTS = 10
DISTURBANCES = ("die-once", "die", "kill-environment-first", "kill-environment", "starve", "crash", "refuse")
WITHOUT_ENVIRONMENT = ("fetch_model", "health_gate")


@pytest.mark.faults
@pytest.mark.timeout(3000)
def test_ten_nights_each_disturbed_twice(undisturbed: Place, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    lot = random.Random(20261127)
    registry, promoted = Registry(place.folder / "models", "stand-in"), 0
    told: list[str] = []
    for night in range(NIGHTS):
        run_id, skill = f"night-{night}", lot.randint(2, 10)
        monkeypatch.setenv("STAND_IN_SKILL", str(skill))
        for _ in range(2):
            program, how = lot.choice(list(PROGRAMS.values())), lot.choice(DISTURBANCES)
            if program in WITHOUT_ENVIRONMENT and "environment" in how:
                how = "die"
            (place.folder / "died").unlink(missing_ok=True)
            (place.folder / "killed").unlink(missing_ok=True)
            code = place.here(f"{program}={how}", run_id=run_id, start_from="promoted")
            told.append(f"{run_id} {program}={how}: {code}")
            assert "Traceback" not in place.words or how == "crash", told
            assert place.leftovers() == [], told
            if code == 0:
                break
        else:
            assert place.here(run_id=run_id, start_from="promoted") == 0, (told, place.words)
        record = registry.read()
        assert record.promoted is not None or skill <= 3, told
        if record.promoted is not None:
            assert record.promoted.successes >= promoted, told
            promoted = record.promoted.successes
            archive.verify(record.promoted.archive)
        archive.verify(str(place.folder / "archives" / run_id))
        assert (record.lots, place.leftovers()) == (night + 1, []), told
    assert len({each.split("=")[1].split(":")[0] for each in told}) >= 4, told
