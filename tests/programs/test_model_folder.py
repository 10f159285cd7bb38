"""A model folder that is no whole model ends `fetch-model` with one sentence and 2, not training with a traceback."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_configuration

from browser_control.errors import ConfigurationError, ModelUnavailable
from browser_control.policy import policy
from browser_control.programs import fetch_model
from browser_control.programs.model_folder import check


@pytest.fixture
def folder(model_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder("llama"), tmp_path / "model"))


def fetch(name: Path, tmp_path: Path) -> int:
    arguments = ["--config-file-name", "smollm2_135m_local_lora.yaml", "--run-directory", str(tmp_path / "run")]
    return fetch_model.main([*arguments, "--set", f"model.name={name}"])


def without(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def cut(name: str, of: float = 0.5) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(of * len(whole))])

    return change


def without_a_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


def with_more_tokens(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 300}))


class Malicious:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self._proof = proof

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self._proof,))


def with_pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"x": Malicious(folder / "proof")}, folder / "pytorch_model.bin")


def with_code_of_its_own(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    mapped = {"auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}, "model_type": "of-its-own"}
    (folder / "config.json").write_text(json.dumps({**config, **mapped}))
    (folder / "mine.py").write_text(f"open({str(folder / 'proof')!r}, 'w')\n")


DAMAGED = {
    "config.json is missing": without("config.json"),
    "config.json is no JSON": cut("config.json"),
    "holds no weights": without("model.safetensors"),
    "model-00002-of-00002.safetensors is missing": without_a_shard,
    "damaged or cut short": cut("model.safetensors", 0.9),
    "are damaged or cut short": cut("model.safetensors", 0),
    "holds no tokenizer": without("tokenizer.json", "tokenizer_config.json"),
    "the tokenizer in": cut("tokenizer.json"),
    "is larger than the model: its last token is number 305, and the model has embeddings for 300": with_more_tokens,
}


@pytest.mark.parametrize("words", DAMAGED)
def test_a_damaged_folder_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    DAMAGED[words](folder)
    assert fetch(folder, tmp_path) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_whole_folder_is_found(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch(folder, tmp_path) == 0
    assert capsys.readouterr().out == f"{folder}\n"


def test_weights_that_are_a_pickle_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_pickled_weights(folder)
    assert fetch(folder, tmp_path) == 2
    assert "pickles are never loaded" in capsys.readouterr().err
    with pytest.raises(ModelUnavailable):
        policy.load(make_configuration(model={"name": str(folder), "device": "cpu"}), folder)
    assert not (folder / "proof").exists()


def test_code_that_a_model_brings_is_not_run(folder: Path) -> None:
    with_code_of_its_own(folder)
    with pytest.raises((ValueError, ConfigurationError, ModelUnavailable)):
        policy.load(make_configuration(model={"name": str(folder), "device": "cpu"}), folder)
    assert not (folder / "proof").exists()


@pytest.mark.parametrize("content", [b"", b"no GGUF at all", b"GGUF\x03\x00\x00\x00" + 16 * b"\x01"])
def test_a_damaged_gguf_file_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    monkeypatch.setenv("BROWSER_CONTROL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model.gguf").write_bytes(content)
    assert fetch(tmp_path / "model.gguf", tmp_path) == 2
    error = capsys.readouterr().err
    assert "model.gguf cannot be converted: " in error
    assert error.count("\n") == 1
    assert not [path for path in (tmp_path / "cache" / "models").iterdir() if path.suffix == ".part"]


def test_a_weight_that_no_file_has_is_not_drawn_at_random(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    check(folder)
    with pytest.raises(ModelUnavailable, match=r"no file has the weight model\.layers\.1\.mlp\.up_proj\.weight$"):
        policy.load(make_configuration(), folder)


def test_weights_of_another_shape_are_one_sentence(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "model.norm.weight": torch.ones(31)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelUnavailable, match="cannot be loaded") as raised:
        policy.load(make_configuration(), folder)
    assert "\n" not in str(raised.value)


def test_a_kind_of_model_that_is_no_causal_language_model_is_one_sentence(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "vit", "architectures": ["ViTModel"]}))
    with pytest.raises(ModelUnavailable, match="cannot be loaded") as raised:
        policy.load(make_configuration(), folder)
    assert "\n" not in str(raised.value)
