"""Which Chromium is taken, and how it is started."""

from pathlib import Path

import pytest

from browser_control.environment.chromium import VISIBLE_VARIABLE, command_line, find_chromium


def test_a_browser_that_is_to_be_seen_has_windows_and_opens_none_that_nobody_plays_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("chromium-headless-shell", "chromium"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    environ = {"PATH": str(tmp_path), VISIBLE_VARIABLE: "1"}
    assert "headless" not in find_chromium(environ=environ).name
    monkeypatch.delenv(VISIBLE_VARIABLE, raising=False)
    hidden = command_line(tmp_path / "chromium", tmp_path, "")
    monkeypatch.setenv(VISIBLE_VARIABLE, "1")
    seen = command_line(tmp_path / "chromium", tmp_path, "")
    assert set(hidden) - set(seen) == {"--headless", "about:blank"}
    assert set(seen) - set(hidden) == {"--no-startup-window"}
