"""What applications need of Python: said in `server`, looked for before anything starts, and named with its cure."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from browser_control.errors import ConfigurationError
from browser_control.pipeline import run
from browser_control.pipeline.parameters import Parameters
from browser_control.web_tasks import registry, requirements, task_file


def written(folder: Path, **server: Any) -> Path:
    folder.mkdir(parents=True)
    server = {"command": ["python", "app.py", "{port}"], **server}
    task = {"start": "/", "server": server, "goal": "Go.", "state": {"get": "/state", "where": {"gone": True}}}
    (folder / "task.yaml").write_text(yaml.safe_dump(task))
    return folder


@pytest.mark.parametrize(
    ("given", "lacking"),
    [
        (["pyyaml>=6"], ""),
        (["pyyaml>=6", "no-such-package-here"], "no-such-package-here"),
        (["pyyaml<1", "packaging"], "'pyyaml<1'"),
        (["no-such-package-here; python_version < '3'"], ""),
        (["No_such.Package_here>=2", "pyyaml<1"], "'No_such.Package_here>=2' 'pyyaml<1'"),
    ],
)
def test_what_is_not_there_is_one_sentence_with_the_command_that_installs_it(
    tmp_path: Path, given: list[str], lacking: str
) -> None:
    application = task_file.read(written(tmp_path / "shop" / "order", requirements=given)).application
    assert application is not None
    words = requirements.trouble(application)
    if lacking:
        assert words.startswith("the server of order.shop needs ")
        assert words.endswith(f"`{sys.executable} -m pip install {lacking}`")
    else:
        assert words == ""


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ({"requirements": ["flask >> 3"]}, "the requirement 'flask >> 3' is none, such as django>=5.2,<6"),
        ({"requirements": ["--index-url=http://x"]}, "the requirement '--index-url=http://x' is none"),
        ({"requirements": ["flask\n--pre"]}, "the requirement 'flask\\n--pre' is none"),
        ({"requirements": ["flask @ https://x/y.whl"]}, "names an address: give a package and its versions"),
        ({"requirements": ["flask"], "command": ["node", "{port}"]}, "the command begins with 'node'"),
        ({"requirements": ["flask"], "command": [], "url": "http://a:1"}, "has no environment or requirements of ours"),
    ],
)
def test_a_requirement_is_a_package_of_an_index_for_python(tmp_path: Path, server: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        task_file.read(written(tmp_path / "shop" / "order", **server))
    assert words in str(raised.value)


def test_a_run_is_refused_as_processes_and_hands_them_to_the_image_in_docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_own", {})
    written(tmp_path / "shop" / "order", requirements=["no-such-package-here", "flask"])
    written(tmp_path / "shop" / "return", requirements=["flask", "another-one"])
    web_tasks = ["environment.web_tasks=[" + str(tmp_path / "shop") + "]", "training.web_tasks=[shop.order]"]
    quiet = ["warm_start.demonstrations=0", "warm_start.web_tasks=[]", "evaluation.web_tasks=[]", "model.device=cpu"]
    folders = {name: str(tmp_path / name) for name in ("runs", "archives", "models")}
    chosen = Parameters(
        config="smollm2_135m_local_lora.yaml", runtime="process", overrides=web_tasks + quiet, **folders
    )
    with pytest.raises(ConfigurationError, match=r"the server of order\.shop needs no-such-package-here, which"):
        run.check(chosen)
    assert requirements.wanted(["shop.order", "shop.return", "click-test"]) == (
        "another-one",
        "flask",
        "no-such-package-here",
    )
