"""Checkpoints: everything that continuing needs, in a folder that is there whole or not at all.

A checkpoint holds the adapter in PEFT's format (or all weights, where no adapter is trained), the optimizer's state,
and the trainer's: counters, seeds used, the web task sampler. `digests.json` is written last and lists every file.
There is no random state to keep: every draw is keyed by seed, update, episode and turn.
"""

import io
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from safetensors.torch import save as serialized  # to bytes: a full disk is then an OSError as it is elsewhere

from browser_control.configuration import OFF, OFF_POLICY, OFF_WARM_START, Configuration
from browser_control.errors import CheckpointDamaged, CheckpointMismatch, ConfigurationError
from browser_control.integrity import verify_folder, write_digests
from browser_control.language.version import VERSION
from browser_control.policy.identity import Base
from browser_control.policy.policy import Policy
from browser_control.run_directory import RunDirectory, read_json, sync, write_json

_WEIGHTS = "adapter_model.safetensors"
_ALL_WEIGHTS = "model.safetensors"
# settings that may differ between the run that wrote a checkpoint and the one that continues from it
MAY_DIFFER = (
    "environment.urls",
    "environment.sessions",
    "evaluation",
    "training.updates",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.processes",
    "promotion",
)
# all but the base model and the shape of the adapter: what another run's adapter need not share with this one
ANOTHER_RUN = (
    "name",
    "seed",
    "model.dtype",
    "model.device",
    "environment",
    "policy",
    "warm_start",
    "training",
    "evaluation",
    "promotion",
)


def save(
    folder: Path,
    policy: Policy,
    configuration: Configuration,
    state: dict[str, Any],
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Writes a checkpoint to `folder`, replacing one that is there.

    Raises:
        OSError: the disk is full, or not writable; nothing is left half-written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _save_weights(policy, temporary)
        if optimizer is not None:
            state_dict = io.BytesIO()
            torch.save(optimizer.state_dict(), state_dict)
            (temporary / "optimizer.pt").write_bytes(state_dict.getbuffer())
        write_json(
            temporary / "state.json",
            {
                **state,
                "language": VERSION,
                "base": asdict(policy.base),
                "configuration": configuration.model_dump(mode="json"),
            },
        )
        write_digests(temporary)
        os.chmod(temporary, 0o755)
        for path in (*temporary.iterdir(), temporary):
            sync(path)
        _replace(temporary, folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def load(
    folder: Path,
    policy: Policy,
    configuration: Configuration | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    may_differ: tuple[str, ...] = MAY_DIFFER,
    any_language: bool = False,
) -> dict[str, Any]:
    """Reads a checkpoint into `policy` (and `optimizer`) and returns the state it was saved with.

    Args:
        may_differ: settings, and sections of them, that need not be those of `configuration`.
        any_language: also read one that was trained to read pages as another version wrote them.

    Raises:
        CheckpointDamaged: a file is missing or not what was written, or holds other weights than the model has.
        CheckpointMismatch: it was written under a configuration that differs where it matters, for another base
            model, or under another version of listing, prompt and actions.
    """
    verify_folder(folder)
    state: dict[str, Any] = read_json(folder / "state.json")
    written = state.get("language", 1)
    if written != VERSION and not any_language:
        raise CheckpointMismatch(
            f"{folder} was trained to read pages and to spell actions as version {written} does, and this is version"
            f" {VERSION}: train anew, or use the release that wrote it"
        )
    if "base" in state:
        _compare_base(folder, Base(**state["base"]), policy.base)
        may_differ = (*may_differ, "model.name", "model.revision")  # where it is and how that is spelled says nothing
    if configuration is not None:
        _compare(folder, state["configuration"], configuration, may_differ)
    _load_weights(policy, folder)
    if optimizer is not None and (folder / "optimizer.pt").exists():
        saved = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
        for own, group in zip(optimizer.param_groups, saved["param_groups"], strict=True):
            group["fused"] = own["fused"]  # of the device that goes on, not of the one that began
        optimizer.load_state_dict(saved)
    return state


def newest(run: RunDirectory) -> Path | None:
    """The newest checkpoint of training that is whole; damaged ones are named on stderr and passed over.

    Raises:
        ConfigurationError: there are checkpoints, and none is whole: what was trained is not thrown away unasked.
    """
    steps = run.steps()
    for folder in reversed(steps):
        try:
            verify_folder(folder)
        except CheckpointDamaged as error:
            print(f"{error}; using the one before", file=sys.stderr, flush=True)
        else:
            return folder
    if steps:
        raise ConfigurationError(
            f"no checkpoint in {run.checkpoints} is whole; bring one back, or remove its step-* folders to begin again"
        )
    return None


def discard_after(run: RunDirectory, folder: Path) -> None:
    """Deletes checkpoints newer than `folder`: they are damaged, and must not outlive whole ones when pruning."""
    for later in (each for each in run.steps() if each.name > folder.name):
        shutil.rmtree(later)


def prune(run: RunDirectory, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints of training, and what a killed writer left."""
    for folder in run.steps()[:-keep]:
        shutil.rmtree(folder)
    for left in run.checkpoints.glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)


def _save_weights(policy: Policy, folder: Path) -> None:
    model: Any = policy.model
    if hasattr(model, "peft_config"):
        tensors = {name: tensor.contiguous().cpu() for name, tensor in _adapter(model).items()}
        (folder / _WEIGHTS).write_bytes(serialized(tensors))
        named = replace(
            model.peft_config["default"], base_model_name_or_path=policy.base.name, revision=policy.base.revision
        )
        named.save_pretrained(folder)
    else:
        tensors = {name: parameter.detach().contiguous().cpu() for name, parameter in model.named_parameters()}
        (folder / _ALL_WEIGHTS).write_bytes(serialized(tensors))
        model.config.save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)


def _load_weights(policy: Policy, folder: Path) -> None:
    model: Any = policy.model
    if hasattr(model, "peft_config"):
        tensors, expected = load_file(folder / _WEIGHTS), set(_adapter(model))
        _compare_names(folder / _WEIGHTS, set(tensors), expected)
        set_peft_model_state_dict(model, tensors)
    else:
        tensors, expected = load_file(folder / _ALL_WEIGHTS), {name for name, _ in model.named_parameters()}
        _compare_names(folder / _ALL_WEIGHTS, set(tensors), expected)
        model.load_state_dict(tensors, strict=False)  # buffers are computed, and not saved


def _adapter(model: Any) -> dict[str, torch.Tensor]:
    # else PEFT asks the hub on each call whether the vocabulary of the base has grown
    tensors: dict[str, torch.Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return tensors


def _compare_base(folder: Path, then: Base, now: Base) -> None:
    if then.digest != now.digest:
        raise CheckpointMismatch(
            f"{folder} was trained on another base model: {then.name} with the digest {then.digest[:12]}, and this is"
            f" {now.name} with {now.digest[:12]} (weights, vocabulary and chat template)"
        )


def _compare_names(path: Path, found: set[str], expected: set[str]) -> None:
    """Raises CheckpointDamaged unless the file holds exactly the weights that the model has."""
    for names, words in ((expected - found, "lacks"), (found - expected, "holds, and the model has no,")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointDamaged(f"{path} {words} {min(names)}{more}")


def _compare(folder: Path, written: dict[str, Any], configuration: Configuration, may_differ: tuple[str, ...]) -> None:
    off = {"training": dict(OFF), "warm_start": {**OFF_WARM_START, "kept": []}, "policy": dict(OFF_POLICY)}
    then, now = _flat(off) | _flat(written), _flat(configuration.model_dump(mode="json"))
    for key in sorted(then.keys() | now.keys()):
        if key.startswith(may_differ) or then.get(key) == now.get(key):
            continue
        raise CheckpointMismatch(
            f"{folder} was written with {key}={then.get(key)!r}, and this run has {now.get(key)!r}; "
            "choose another run directory, or the configuration it was started with"
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _replace(temporary: Path, folder: Path) -> None:
    """Renames a complete folder into place; the old one, if any, goes aside first and is deleted last."""
    if not folder.exists():
        os.replace(temporary, folder)
        return
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    os.replace(folder, aside / "old")
    os.replace(temporary, folder)
    shutil.rmtree(aside)
