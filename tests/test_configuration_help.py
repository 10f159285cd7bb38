"""Help, schema and documents say what the configuration's models say."""

import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from browser_control import configuration, configuration_help
from browser_control.cli import main
from browser_control.configuration import CONFIGS
from browser_control.errors import ConfigurationError

ROOT = CONFIGS.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
KNOWN = {key.name for key in configuration_help.all_keys()}
SECTIONS = {name.partition(".")[0] for name in KNOWN if "." in name}


def test_the_schema_is_that_of_the_models() -> None:
    words = "run: browser-control config --schema > configs/schema.json"
    assert configuration_help.SCHEMA.read_text() == configuration_help.schema(), words


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_names_its_schema_and_holds_to_it(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named is not None and (path.parent / named[1]).resolve() == configuration_help.SCHEMA
    validator = jsonschema.Draft202012Validator(yaml.safe_load(configuration_help.SCHEMA.read_text()))
    values = yaml.safe_load(path.read_text())
    assert not list(validator.iter_errors(values))
    values["training"]["updats"] = 3
    values["model"]["dtype"] = "int8"
    assert len(list(validator.iter_errors(values))) == 2


def test_every_key_is_explained_and_its_default_is_what_a_run_has() -> None:
    needed = {"name": "small", "model": {"name": "m"}, "training": {"web_tasks": ["click-button"], "updates": 1}}
    loaded = configuration_help.flat(configuration.validate(needed, "here").model_dump(mode="json"))
    assert set(loaded) == KNOWN
    for key in configuration_help.all_keys():
        assert key.meaning and key.allowed, key.name
        if key.default != "required":
            assert yaml.safe_load(key.default) == loaded[key.name], key.name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_keys_that_there_are(path: Path) -> None:
    text = path.read_text()
    spans = re.findall(r"`([^`\n]+)`", text)
    keys = {found for span in spans for found in re.findall(r"^([a-z_]+\.[a-z_]+)(?:=|:|$)", span)}
    keys |= set(re.findall(r"--set ([a-z_.]+)=", text)) - {"section.key"}
    modules = {".".join(each.with_suffix("").parts[-2:]) for each in (ROOT / "src").rglob("*.py")}
    named = {key for key in keys if key.partition(".")[0] in SECTIONS and not key.endswith((".py", ".js", ".json"))}
    assert named - modules <= KNOWN


def test_a_key_is_explained_and_a_misspelled_one_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "training.reward"]) == 0
    assert "strict, browsergym" in capsys.readouterr().out
    assert main(["config", "trainin.reward"]) == 2
    assert "did you mean 'training.reward'?" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match=r"did you mean 'training'"):
        configuration_help.explain("trainin")


def test_a_section_is_explained_key_by_key() -> None:
    names = [key.name for key in configuration_help.explain("evaluation")]
    assert names == ["evaluation.web_tasks", "evaluation.episodes", "evaluation.greedy"]


def test_two_files_are_compared_by_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = configuration.load("smollm2_135m_local_lora")
    other = configuration.load("smollm2_135m_local_lora", ["seed=7", "training.clip=[0.1, 0.2]", "lora=null"])
    assert configuration_help.compare(one, one) == []
    found = {name: (left, right) for name, left, right in configuration_help.compare(one, other)}
    assert found["seed"] == ("0", "7")
    assert found["training.clip"] == ("[0.2, 0.28]", "[0.1, 0.2]")
    assert found["lora"] == ("", "null") and found["lora.rank"] == ("16", "")
    assert len(found) == 6  # lora, and its three keys
    configuration.write(other, tmp_path / "other.yaml")
    assert main(["config", "smollm2_135m_local_lora", str(tmp_path / "other.yaml")]) == 0
    assert "training.clip" in capsys.readouterr().out
    assert main(["config", "smollm2_135m_local_lora", "smollm2_135m_local_lora.yaml"]) == 0
    assert "they are the same" in capsys.readouterr().out


def test_one_file_is_shown_by_what_it_sets() -> None:
    found = {
        name: (default, value)
        for name, default, value in configuration_help.changed(configuration.load("smollm2_135m_local_lora"))
    }
    assert found["training.updates"] == ("required", "2")
    assert "training.clip" not in found


def test_bash_completes_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    ask = 'COMP_WORDS=(browser-control ver); COMP_CWORD=1; _shtab_browser_control; printf "%s\\n" "${COMPREPLY[@]}"'
    found = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["verify"]
