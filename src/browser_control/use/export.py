"""An archived adapter as a model that needs nothing of this project: merged into its base, in Hugging Face's layout.

    browser-control export archives/RUN FOLDER --gguf --push OWNER/NAME

The folder holds config, weights as safetensors, tokenizer with a chat template that asks as training did, generation
config, the base's own licence file where it has one, and a model card.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from browser_control.errors import UserError
from browser_control.language import prompts
from browser_control.use import adapter as adapters
from browser_control.use import chat_template, model_card
from browser_control.use.adapter import Adapter

if TYPE_CHECKING:
    from browser_control.policy.policy import Policy

Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")
_LICENCES = "LICEN[CS]E*"


def export(adapter: Adapter, folder: Path, dtype: Dtype = "float32") -> None:
    """Writes the model to `folder`, whole or not at all.

    Args:
        dtype: of the weights; they are merged in float32 whatever it is.

    Raises:
        UserError: there is something in the folder, or there is no adapter.
        ModelUnavailable, CheckpointMismatch: see `adapter.load`.
    """
    if adapter.folder is not None:
        raise UserError(f"{adapter.folder} is in no archive, of which a model card tells: name an archive, or promoted")
    if adapter.candidate is None:
        raise UserError("the base model is a folder already: name an archive, or promoted")
    refuse_full(folder)
    policy = adapters.load(adapter, device="cpu", dtype="float32")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        base = _base_folder(adapter)
        _save_weights(policy, temporary, dtype)
        differs = _save_tokenizer(policy, base, temporary)
        for path in base.glob(_LICENCES):
            shutil.copyfile(path, temporary / path.name)
        licence = model_card.licence_of(policy.base)
        card = model_card.render(adapter.candidate, policy.base, licence, differs)
        (temporary / "README.md").write_text(card)
        for path in temporary.iterdir():
            os.chmod(path, 0o644)
        os.chmod(temporary, 0o755)
        if folder.exists():
            folder.rmdir()
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def refuse_full(folder: Path) -> None:
    """Raises UserError unless a model can be written to `folder`."""
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: name another folder, or empty it")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is no folder")


def _base_folder(adapter: Adapter) -> Path:
    from browser_control.programs.base_model import fetch

    return fetch(adapter.settings.model)


def _save_weights(policy: "Policy", folder: Path, dtype: Dtype) -> None:
    import torch

    model: Any = policy.model
    if hasattr(model, "peft_config"):
        _untie(model)
        model = model.merge_and_unload()
    model.to(getattr(torch, dtype)).save_pretrained(folder)


def _untie(model: Any) -> None:
    """Gives an adapted head weights of its own, where it shares those of the embeddings, which are not adapted."""
    import torch

    causal = model.get_base_model()
    head = causal.get_output_embeddings()
    shared = causal.get_input_embeddings().weight
    if hasattr(head, "base_layer") and head.base_layer.weight is shared:
        head.base_layer.weight = torch.nn.Parameter(shared.detach().clone())
        causal.config.tie_word_embeddings = False
        causal.config.get_text_config().tie_word_embeddings = False


def _save_tokenizer(policy: "Policy", base: Path, folder: Path) -> bool:
    """Saves the base's tokenizer with our chat template; whether that reads a prompt otherwise than training did."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(base)  # the policy's was changed where it puts spaces before words
    tokenizer.chat_template = chat_template.exported(tokenizer)
    tokenizer.save_pretrained(folder)
    text = prompts.build(model_card.EXAMPLE, model_card.GOAL).text
    asked = tokenizer.apply_chat_template(
        chat_template.messages(text), add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return tuple(asked["input_ids"]) != policy.prompt_ids(text)
