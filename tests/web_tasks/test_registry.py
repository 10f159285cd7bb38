"""Which web tasks there are is asked when a program starts, and by one name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from browser_control import configuration
from browser_control.errors import ConfigurationError
from browser_control.web_tasks import registry

DEFAULT = "smollm2_135m_local_lora.yaml"


@pytest.mark.parametrize("name", ["click-test", "miniwob.click-test", "browsergym/miniwob.click-test"])
def test_a_web_task_has_one_name_however_it_is_spelled(name: str) -> None:
    assert registry.find(name) == "click-test"
    settings = registry.resolve(configuration.load(DEFAULT, [f"training.web_tasks=[{name}]"]))
    assert settings.training.web_tasks == ("click-test",)


@pytest.mark.parametrize("section", registry.SECTIONS)
def test_a_web_task_that_there_is_not_is_named_with_the_nearest(section: str) -> None:
    settings = configuration.load(DEFAULT, [f"{section}.web_tasks=[click-test, clik-button]"])
    with pytest.raises(ConfigurationError) as raised:
        registry.resolve(settings)
    assert (
        str(raised.value) == f"{section}.web_tasks: there is no web task 'clik-button' (did you mean 'click-button'?)"
    )


def test_a_web_task_that_is_named_twice_is_judged_once() -> None:
    twice = ["training.web_tasks=[click-option, enter-text, miniwob.click-option]"]
    settings = registry.resolve(configuration.load("smollm2_135m_local_lora.yaml", twice))
    assert settings.judged_web_tasks == ("click-option", "enter-text")


def test_the_configuration_and_the_parts_below_hold_no_list_of_names() -> None:
    code = "import sys, browser_control.configuration, browser_control.environment.client;"
    code += "print([name for name in sys.modules if 'web_tasks' in name])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize(
    "command", [["-m", "browser_control.fine_tune_local"], ["-m", "browser_control.programs.evaluate", "--output", "x"]]
)
def test_a_program_is_refused_before_it_does_anything(command: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, *command, "--run-directory", str(run), "--config-file-name", DEFAULT]
    command += ["--set", "training.web_tasks=[clik-button]"]
    refused = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, timeout=100)
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: training.web_tasks: there is no web task 'clik-button' (did you mean 'click-button'?)\n"
    )
    assert not run.exists()
