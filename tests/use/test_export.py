"""Export: a folder that plain transformers loads, which does what base and adapter did; and the way to the hub."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from decisions import decide
from hub_stand_in import Hub
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import make_configuration, save_tokenizer
from transformers import AutoTokenizer

from browser_control.cli import main
from browser_control.errors import ConfigurationError, UserError
from browser_control.language import prompts
from browser_control.policy import chat
from browser_control.policy.policy import Policy
from browser_control.use import chat_template, gguf, model_card

Train = Callable[..., tuple[str, Policy]]
PLAIN = Path(__file__).with_name("plain_transformers.py")
CHATML = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
THINKING = "{{ strftime_now('%d %b %Y') }}\n" + CHATML + "{% if enable_thinking is not defined %}<think>{% endif %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + CHATML


def templated(template: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)

    return change


def tied(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def pages(count: int) -> list[prompts.Prompt]:
    return [
        prompts.build(
            f'"Page {number}."\nbutton "{name}" [11]\nbutton "no" [12]\ntextbox "Name" [13]', f"Choose {name}"
        )
        for number, name in zip(range(count), ("yes", "Ada", "left", "Goal: stop", "é", "7") * count, strict=False)
    ]


def plain(folder: Path, made: Policy, tmp_path: Path, count: int = 40) -> dict[str, int]:
    """How many pages get the same answer from plain transformers."""
    given = tmp_path / "decisions.json"
    given.write_text(json.dumps(decide(made, pages(count))))
    command = [sys.executable, "-W", "ignore", str(PLAIN), str(folder), str(given)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(answer.stdout)
    return found


HEAD = {"rank": 4, "alpha": 8, "targets": ["q_proj", "lm_head"]}


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize(
    ("architecture", "change", "sections"),
    [
        ("llama", templated(CHATML), {}),
        ("llama", tied, {"lora": HEAD}),
        ("lfm2", templated(THINKING), {}),
        ("llama", templated(NO_SYSTEM), {"lora": None}),
    ],
    ids=["adapter", "adapted head that was tied", "convolutions, date and thinking", "all weights, no system turn"],
)
def test_plain_transformers_does_what_base_and_adapter_did(
    trained: Train, tmp_path: Path, architecture: str, change: Callable[[Path], None], sections: dict[str, object]
) -> None:
    url, made = trained(architecture, change, **sections)
    folder = tmp_path / "out"
    assert main(["export", url, str(folder)]) == 0
    found = plain(folder, made, tmp_path)
    assert found["same"] == found["pages"] == 40
    assert found["prompts"] == 40


@pytest.mark.parametrize("template", [CHATML, THINKING, NO_SYSTEM, ""])
def test_the_exported_template_asks_as_training_did(tmp_path: Path, template: str) -> None:
    save_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.chat_template = template or None
    around = chat.pieces(tokenizer)
    exported = chat_template.exported(tokenizer)
    said = tokenizer.apply_chat_template(
        chat_template.messages("the page"), chat_template=exported, tokenize=False, add_generation_prompt=True
    )
    assert said == f"{around.before}the page{around.after}"
    assert (exported == template) is (template == CHATML)


def test_the_card_says_whose_pages_they_were() -> None:
    named = {
        "training": {"web_tasks": ["click-test"]},
        "evaluation": {"web_tasks": ["click-test", "shop.order-shirts"]},
    }
    assert model_card.sources(make_configuration(**named)) == ["MiniWoB++", "`shop`"]
    package = {"training": {"web_tasks": ["browsergym.miniwob.click-button"]}}
    assert model_card.sources(make_configuration(**package)) == ["`browsergym.miniwob`"]


def test_the_card_says_what_the_archive_holds(trained: Train, tmp_path: Path) -> None:
    url, _ = trained()
    assert main(["export", url, str(tmp_path / "out"), "--dtype", "bfloat16"]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "transformers" and "license" not in front  # of a folder nobody knows it
    for words in ("0.15 [0.05, 0.36]", "0.75 [0.53, 0.89]", "commit `c0ffee`", "click-button", "is not known here"):
        assert words in card
    assert str(tmp_path) not in card
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118


def test_nothing_is_written_over_and_what_is_asked_wrongly_is_one_sentence(
    trained: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, _ = trained()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    for arguments, words in (
        ([url, str(tmp_path / "full")], "is not empty"),
        ([url, str(tmp_path / "out"), "--push", "nowhere"], "OWNER/NAME"),
        (["base", str(tmp_path / "out")], "is a folder already"),
        ([url, str(tmp_path / "out"), "--base", str(tmp_path / "none")], "model.name"),
    ):
        assert main(["export", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("*out*"))


def test_a_push_makes_a_private_repository_and_one_commit(trained: Train, tmp_path: Path) -> None:
    url, _ = trained()
    with Hub() as there:
        command = [sys.executable, "-W", "ignore", "-m", "browser_control.cli"]
        command += ["export", url, str(tmp_path / "out"), "--push", "ada/tiny"]
        environ = {**os.environ, "HF_ENDPOINT": there.url, "HF_TOKEN": "hf_x", "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert there.made == [{"name": "tiny", "organization": "ada", "visibility": "private"}]
    assert there.files == {path.name for path in (tmp_path / "out").iterdir()}
    assert there.tokens == {"Bearer hf_x"}
    assert there.stored["model.safetensors"] == (tmp_path / "out" / "model.safetensors").read_bytes()


def test_a_converter_is_found_where_it_is_named(tmp_path: Path) -> None:
    script = tmp_path / gguf.SCRIPT
    with pytest.raises(ConfigurationError, match="LLAMA_CPP"):
        gguf.converter({"LLAMA_CPP": str(tmp_path)})
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert gguf.converter({"LLAMA_CPP": str(tmp_path)})[-1] == str(script)
    assert gguf.converter({"PATH": str(tmp_path)}) == [str(script)]


def test_what_a_converter_refuses_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / gguf.SCRIPT).write_text("raise SystemExit('Model LfmForSight is not supported')")
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    with pytest.raises(UserError, match="does not take this model: Model LfmForSight is not supported"):
        gguf.convert(tmp_path)
