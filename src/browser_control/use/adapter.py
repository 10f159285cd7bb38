"""An adapter out of an archive, at work again: what it is, and the policy that it makes of its base model."""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from browser_control import configuration
from browser_control.configuration import Configuration
from browser_control.errors import ConfigurationError, ModelUnavailable, UserError
from browser_control.records import archive
from browser_control.records.registry import Candidate, Registry, misfit, read_candidate
from browser_control.run_directory import RunDirectory, read_json

if TYPE_CHECKING:
    from browser_control.policy.policy import Policy


@dataclass(frozen=True)
class Adapter:
    """What was asked for.

    Attributes:
        settings: that it was trained with, or those of the base model.
        candidate: what its archive says; None where it is out of none.
        folder: the checkpoint of a run that is not archived; None and no candidate is the base model, untrained.
    """

    settings: Configuration
    candidate: Candidate | None
    folder: Path | None = None

    @property
    def untrained(self) -> bool:
        return self.candidate is None and self.folder is None

    @property
    def name(self) -> str:
        if self.folder is not None:
            return f"{self.folder.parent.parent.name}/{self.folder.name}"
        return "base" if self.candidate is None else str(self.candidate.manifest["run_id"])


def find(adapter: str, config: str, models: Path | str = "models", base: str = "") -> Adapter:
    """The adapter of an archive, of the name that is in use (`promoted`), of a checkpoint, or none (`base`).

    Args:
        adapter: an archive's URL, the folder of a checkpoint or of a run, `promoted` or `base`.
        config: configuration that says which `promoted` and `base` are meant.
        models: where promotion is kept.
        base: another place of the base model; empty: where the configuration says.

    Raises:
        UserError: nothing is promoted, the run trained nothing, or it is not there.
        ArchiveInvalid: the archive is not whole.
    """
    if adapter == "base":
        return Adapter(_with_model(configuration.load(config), name=base), None)
    if adapter == "promoted":
        settings = configuration.load(config)
        promoted = Registry(models, settings.name).read().promoted
        if promoted is None:
            raise UserError(
                f"no adapter of {settings.name!r} was promoted yet (in {models}): name an archive, or with --config the"
                " configuration of another one"
            )
        if words := misfit(promoted, settings):
            raise UserError(words)
        adapter = promoted.archive
    if (folder := _checkpoint(Path(adapter))) is not None:
        try:
            settings = configuration.validate(read_json(folder / "state.json")["configuration"], str(folder))
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(f"{folder} is damaged: its state.json cannot be read") from error
        return Adapter(_with_model(settings, name=base), None, folder.absolute())
    candidate = read_candidate(adapter)
    if candidate.checkpoint == "checkpoints/base":
        raise UserError(f"the run of {adapter} trained no adapter")
    return Adapter(_with_model(candidate.settings, name=base), candidate)


def stamp(adapter: str, config: str, models: Path | str = "models", base: str = "") -> str:
    """Another one where what `find` would find has changed since; far quicker than to find it.

    Of a folder of this machine name, size and time of each file count, of any other archive its manifest. The base
    model counts for `base` alone: an adapter is refused on another one.

    Raises:
        UserError, ArchiveInvalid: as `find`; what is not there at all is left for it to say.
    """
    parts: list[object] = []
    place = adapter
    if adapter in ("base", "promoted"):
        settings = configuration.load(config)
        parts.append(settings.model_dump_json())
        place = base or settings.model.name
        if adapter == "promoted":
            promoted = Registry(models, settings.name).read().promoted
            place = promoted.archive if promoted else ""
    if "://" in place:
        parts.append(json.dumps(archive.read_manifest(place), sort_keys=True))
    elif place:
        folder = _checkpoint(Path(place)) or Path(place).expanduser()  # all else of a run changes while it goes on
        for path in sorted([folder, *folder.rglob("*")]):
            with contextlib.suppress(FileNotFoundError):
                facts = path.stat()
                parts.append((str(path), facts.st_size, facts.st_mtime_ns))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a folder is, or the newest of the run whose folder it is; None where it is neither."""
    if (folder / "state.json").is_file():
        return folder
    run = RunDirectory(folder)
    if not run.config.is_file() or (folder / "manifest.json").exists():
        return None
    if steps := run.steps():
        return steps[-1]
    if run.warm_start.exists():
        return run.warm_start
    raise UserError(f"the run in {folder} has no checkpoint yet")


def load(adapter: Adapter, **model: str) -> "Policy":
    """The policy: base model and adapter; on a CPU in float32, whatever it was trained in.

    Args:
        model: settings of `model` that are to be others than in training, such as `device` and `dtype`.

    Raises:
        ModelUnavailable: the base model cannot be had.
        CheckpointMismatch: it is another base model, or the pages are another version's.
    """
    import torch
    from transformers.utils import logging

    from browser_control.policy import policy
    from browser_control.programs.base_model import fetch
    from browser_control.training import checkpoint

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    settings = _with_model(adapter.settings, **model)
    if settings.model.device == "cpu" or not torch.cuda.is_available():
        settings = _with_model(settings, dtype=model.get("dtype", "float32"))  # many CPUs compute bfloat16 slowly
    try:
        base = fetch(settings.model)
    except ModelUnavailable as error:
        if not Path(settings.model.name).expanduser().is_absolute():
            raise
        raise ModelUnavailable(f"{error}: where it is on this machine, --base says") from error
    made = policy.load(settings, base)
    with _copy(adapter) as folder:
        if folder is not None:
            checkpoint.load(folder, made, settings, may_differ=checkpoint.ANOTHER_RUN)
    return made


@contextlib.contextmanager
def _copy(adapter: Adapter) -> Iterator[Path | None]:
    """The folder of its checkpoint; None for the base model."""
    if adapter.candidate is None:
        yield adapter.folder
        return
    with tempfile.TemporaryDirectory(prefix="browser-control-") as folder:
        copy = Path(folder) / "adapter"
        archive.fetch(adapter.candidate.url, adapter.candidate.checkpoint, copy)
        yield copy


def _with_model(settings: Configuration, **changes: Any) -> Configuration:
    """The settings with a few of `model` replaced; empty ones stay as they are."""
    kept = {key: value for key, value in changes.items() if value}
    return settings.model_copy(update={"model": settings.model.model_copy(update=kept)}) if kept else settings
