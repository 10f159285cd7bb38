"""Proxies of the shell and of Docker: what goes round them.

`HTTP_PROXY` and its kin are for the internet. Loopback and the services of a run are never asked for through one,
whether or not somebody set `NO_PROXY`. Python's urllib, httpx, requests and websockets read the same variables, the
lower-case spelling first, so that both spellings are set.
"""

import ipaddress
import os
from collections.abc import Iterable, Mapping, MutableMapping
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")
NONE_AT_ALL = {"NO_PROXY": "*", "no_proxy": "*"}  # where there is no way out; it beats what an image's ENV says


def chosen(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The proxies that variables name, by the lower-case name of the variable; an empty one is none."""
    found = {name: environ.get(name) or environ.get(name.upper(), "") for name in PROXIES}
    return {name: value for name, value in found.items() if value}


def spared(environ: Mapping[str, str], hosts: Iterable[str] = ()) -> dict[str, str]:
    """NO_PROXY in both spellings: what either says, loopback, and `hosts`; nothing where there is no proxy."""
    if not chosen(environ):
        return {}
    said = ",".join(environ.get(name, "") for name in ("no_proxy", "NO_PROXY")).split(",")
    names = list(dict.fromkeys(name for name in (*map(str.strip, said), *LOOPBACK, *hosts) if name))
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(names))


def spare_loopback(environ: MutableMapping[str, str] = os.environ) -> None:
    """For this process and all that it starts."""
    environ.update(spared(environ))


def is_loopback(url: str) -> bool:
    """Whether a URL, or HOST:PORT, leads to this machine."""
    host = urlsplit(url if "//" in url else f"//{url}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


def of_container(
    internet: bool, configured: Mapping[str, str], environ: Mapping[str, str], services: Iterable[str] = ()
) -> dict[str, str]:
    """Variables of a container.

    Args:
        internet: whether it has a way out; one without gets no proxy at all.
        configured: those of Docker's config.json, which come first.
        environ: of the caller. A proxy on its loopback is out of a container's reach and left out.
        services: names of the run's services, which are neighbours.
    """
    if not internet:
        return dict(NONE_AT_ALL)
    ours = {name: value for name, value in chosen(environ).items() if not is_loopback(value)}
    said = {name: value for name, value in environ.items() if name.lower() == "no_proxy"}
    variables = dict(configured) if chosen(configured) else {**ours, **said}
    if not chosen(variables):
        return {}
    both = {spelled: value for name, value in chosen(variables).items() for spelled in (name, name.upper())}
    return both | spared(variables, (*services, "host.docker.internal"))
