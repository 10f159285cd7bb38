"""The Docker Engine: how it is reached, and what it says when it cannot be."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException

from browser_control.errors import EngineUnavailable

NO_GPU = (
    "a GPU is asked for, but the Docker Engine can give none: install the NVIDIA Container Toolkit on its host, or"
    " choose --gpus none"
)

Client = Any  # docker.DockerClient; the SDK carries no types


def connect(host_block: str = "", registry_block: str = "") -> Client:
    """A client of the engine that DOCKER_HOST names, or that a block of prefect-docker's describes.

    Args:
        host_block: name of a `DockerHost` block.
        registry_block: name of a `DockerRegistryCredentials` block; base images are then pulled as it says.

    Raises:
        EngineUnavailable: none answers, or we may not use it.
    """
    with answering():
        client = _from_block(host_block) if host_block else docker.from_env()
        client.ping()
        if registry_block:
            from prefect_docker.credentials import DockerRegistryCredentials

            block = _block(DockerRegistryCredentials, registry_block)
            password = block.password.get_secret_value()  # the block's own login is a coroutine
            client.login(username=block.username, password=password, registry=block.registry_url, reauth=block.reauth)
        return client


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Turns what the SDK raises where there is no engine into one sentence."""
    try:
        yield
    except (DockerException, requests.RequestException, OSError) as error:
        words = str(error)
        if isinstance(error, APIError):
            raise EngineUnavailable(f"the Docker Engine refused: {error.explanation}") from error
        if "Permission denied" in words or "PermissionError" in words:
            raise EngineUnavailable(
                "the Docker Engine may not be used by this user: join the group docker (as root `usermod -aG docker"
                " NAME`, then log in again), or choose --runtime process"
            ) from error
        raise EngineUnavailable(
            "no Docker Engine answers: install and start one (as root `apt-get install docker.io`), name another in"
            " DOCKER_HOST, or choose --runtime process"
        ) from error


def has_gpu(client: Client) -> bool:
    """Whether a container can be given a GPU, as far as the engine tells before one is started."""
    info = client.info()
    if "nvidia" in info.get("Runtimes", {}):
        return True
    if any("nvidia" in str(device) for device in info.get("DiscoveredDevices") or []):
        return True
    local = client.api.base_url.startswith("http+docker://")  # the hook is looked for by an engine of this machine
    return local and shutil.which("nvidia-container-runtime-hook") is not None


def _from_block(name: str) -> Client:
    from prefect_docker.host import DockerHost

    return _block(DockerHost, name).get_client()


def _block(kind: Any, name: str) -> Any:
    try:
        return kind.load(name)
    except ValueError as error:
        raise EngineUnavailable(
            f"the Prefect server has no {kind.__name__} block {name!r}: register one with"
            " `prefect block register -m prefect_docker`, then make it in the UI"
        ) from error
