"""Where base models are kept on this machine, so that each is fetched and converted once."""

import os
from collections.abc import Mapping
from pathlib import Path


def converted(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of converted models: `$BROWSER_CONTROL_CACHE/models`, by default in the user's cache folder."""
    if named := environ.get("BROWSER_CONTROL_CACHE"):
        return Path(named).expanduser() / "models"
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "browser-control" / "models"


def hub(environ: Mapping[str, str] = os.environ) -> Path:
    """The hub client's own folder (`HF_HOME`)."""
    if named := environ.get("HF_HOME"):
        return Path(named).expanduser()
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
