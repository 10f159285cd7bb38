"""Which machine this is, by what survives another host name, as DHCP or a cloud image gives one."""

import hashlib
import socket
from collections.abc import Sequence
from pathlib import Path

_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))  # machine-id(5)


def identity(alone: bool = True, files: Sequence[Path] = _FILES) -> str:
    """Of this machine; its host name where nothing else tells machines apart.

    The machine id is confidential, and so is hashed (machine-id(5)). Clones of a virtual machine share it.

    Args:
        alone: whether no other machine is told apart by it; else the host name is part of it.
    """
    name = socket.gethostname()
    for file in files:
        try:
            known = file.read_text().strip()
        except OSError:
            continue
        if known and known != "uninitialized":
            hashed = hashlib.sha256(f"browser-control {known}".encode()).hexdigest()[:16]
            return hashed if alone else f"{hashed}-{name}"
    return name
