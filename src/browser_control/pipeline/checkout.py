"""Where a worker finds the flows: the pull step of `prefect.yaml`."""

import os
from pathlib import Path

from browser_control import configuration
from browser_control.errors import ConfigurationError

_FLOWS = "flows/train.py"


def enter() -> dict[str, str]:
    """Makes the worker's checkout the working directory, however the worker was started, and from wherever.

    It is the one that the worker's Python has installed, or that `BROWSER_CONTROL_HOME` names.

    Raises:
        ConfigurationError: no flows are there.
    """
    folder = Path(os.environ.get("BROWSER_CONTROL_HOME") or configuration.CONFIGS.parent)
    if not (folder / _FLOWS).is_file():
        raise ConfigurationError(
            f"{folder} is no checkout of browser-control: start the worker by `make worker` in one, or name it by"
            " BROWSER_CONTROL_HOME"
        )
    os.chdir(folder)
    return {"directory": str(folder)}
