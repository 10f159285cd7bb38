"""Which package index pip's files of this machine name, for programs in a container, which has none of these files."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping

_VARIABLES = {
    "index-url": "PIP_INDEX_URL",
    "extra-index-url": "PIP_EXTRA_INDEX_URL",
    "trusted-host": "PIP_TRUSTED_HOST",
}
_SECTIONS = ("global", "download", ":env:")  # the later before the earlier, as pip has them
_LINE = re.compile(r"^([\w:-]+)\.([\w-]+)=(.*)$", re.MULTILINE)


def settings(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """As variables; empty where pip has none, or is not there. Folders of this machine are left out."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(
        command, env=dict(os.environ if environ is None else environ), capture_output=True, text=True, timeout=60
    )
    found: dict[str, str] = {}
    for section in _SECTIONS:
        for where, key, value in _LINE.findall(done.stdout if done.returncode == 0 else ""):
            if where.lstrip(".") == section and key in _VARIABLES:
                known = [word for word in str(ast.literal_eval(value)).split() if not word.startswith("file:")]
                found.update({_VARIABLES[key]: " ".join(known)} if known else {})
    return found
