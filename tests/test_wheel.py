"""The wheel, built and installed into an environment of its own, where nothing of a checkout is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`browser-control` of that environment."""
    uv = shutil.which("uv") or str(ROOT / ".cache" / "bootstrap" / "uv" / "bin" / "uv")
    folder = tmp_path_factory.mktemp("wheel")

    def run(*arguments: str) -> None:
        done = subprocess.run([uv, *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    run("build", "--quiet", "--wheel", "--out-dir", str(folder / "dist"))
    run("venv", "--quiet", "--python", sys.executable, str(folder / "venv"))
    [wheel] = (folder / "dist").glob("*.whl")
    run("pip", "install", "--quiet", "--python", str(folder / "venv" / "bin" / "python"), str(wheel))
    return folder / "venv" / "bin" / "browser-control"


def test_the_wheel_says_what_it_can_do_and_what_more_is_needed(command: Path, tmp_path: Path) -> None:
    here = tmp_path / "shop"
    here.mkdir()

    def say(*arguments: str) -> tuple[int, str]:
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run([command, *arguments], cwd=here, env=environ, capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    code, words = say("--help")
    assert code == 0 and "doctor" in words
    code, words = say("config", "smollm2_135m_local_lora.yaml")  # configurations are in the wheel
    assert code == 0 and "click-button" in words
    code, words = say("web-task", "new", "mine")
    assert code == 0, words
    assert (here / "mine" / "task.yaml").is_file()
    code, words = say("doctor")
    assert code == 2 and "install 'browser-control[flow,train,environment,use]'" in " ".join(words.split())
