"""GGUF for llama.cpp, by llama.cpp's own converter.

The converter is the one on the PATH, that of `LLAMA_CPP` (a checkout of llama.cpp), or else the one in the source of
llama-cpp-python, which the package index has: downloaded once, and neither installed nor compiled.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from browser_control.errors import ConfigurationError, UserError
from browser_control.programs import model_cache

SOURCE = "llama-cpp-python==0.3.36"
SOURCE_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
SCRIPT = "convert_hf_to_gguf.py"
TYPES = ("f16", "f32", "bf16", "q8_0")
_COMMANDS = ("llama-convert-hf-to-gguf", "convert_hf_to_gguf.py", "convert_hf_to_gguf")
_NEEDED = (SCRIPT, "conversion/", "gguf-py/", "LICENSE")  # of llama.cpp


def convert(folder: Path, kind: str = "f16") -> Path:
    """Writes `folder`/model-KIND.gguf from the model in `folder`; returns it.

    Raises:
        UserError: there is no converter, or it does not take this model.
    """
    target = folder / f"model-{kind}.gguf"
    command = [*converter(), str(folder), "--outfile", str(target), "--outtype", kind]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0 or not target.is_file():
        words = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"llama.cpp's converter does not take this model: {words}")
    return target


def converter(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The command that converts.

    Raises:
        ConfigurationError: LLAMA_CPP names a folder without one.
        UserError: it cannot be downloaded.
    """
    if named := environ.get("LLAMA_CPP"):
        script = Path(named).expanduser() / SCRIPT
        if not script.is_file():
            raise ConfigurationError(f"LLAMA_CPP is {named}, where there is no {SCRIPT}")
        return [sys.executable, str(script)]
    for name in _COMMANDS:
        if found := shutil.which(name, path=environ.get("PATH")):
            return [found]
    return [sys.executable, str(_fetched() / SCRIPT)]


def _fetched() -> Path:
    """The converter's folder in the cache."""
    target = model_cache.converted().parent / f"llama.cpp-{SOURCE_SHA256[:12]}"
    if (target / SCRIPT).is_file():
        return target
    print(f"downloading {SOURCE} from the package index, for llama.cpp's converter", file=sys.stderr, flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".llama.cpp-") as temporary:
        source = _download(Path(temporary))
        unpacked = Path(temporary) / "unpacked"
        _unpack(source, unpacked)
        if not target.exists():  # another process may have been quicker
            os.replace(unpacked, target)
    return target


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command += ["--only-binary", "scikit-build-core,packaging,pathspec", "--dest", str(folder), SOURCE]
    result = subprocess.run(command, capture_output=True, text=True)
    found = next(folder.glob("*.tar.gz"), None)
    if result.returncode != 0 or found is None:
        words = (result.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise UserError(
            f"the source of {SOURCE}, which has llama.cpp's converter, cannot be had ({words}): set LLAMA_CPP to a"
            " checkout of llama.cpp"
        )
    with found.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SOURCE_SHA256:
        raise UserError(f"the source of {SOURCE} is not the one we know: its sha256 is {digest}")
    return found


def _unpack(source: Path, folder: Path) -> None:
    """The converter and what it imports, out of llama.cpp's folder in there."""
    with tarfile.open(source) as archive:
        for member in archive:
            _, inner, name = member.name.partition("/vendor/llama.cpp/")
            if inner and name.startswith(_NEEDED):
                member.name = name
                archive.extract(member, folder, filter="data")
