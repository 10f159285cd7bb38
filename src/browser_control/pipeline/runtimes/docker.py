"""Programs as containers of a Docker Engine.

Each run has a network of its own without a way out, on which services are found by name; a stage that needs the
internet is on a second one as well. A container runs as the caller, without capabilities, on a root file system that it
cannot write to; what it may write are the folders that its stage names, at the same place as on this machine.

Everything carries labels that say whose it is, so that what a dead run left is found and removed (`reap`).
"""

import contextlib
import fcntl
import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from docker.errors import NotFound
from docker.types import DeviceRequest, EndpointConfig
from pydantic import BaseModel, ConfigDict, field_validator

from browser_control import drivers, gpus, proxies
from browser_control.errors import EngineUnavailable
from browser_control.pipeline import engine
from browser_control.pipeline.engine import Client, answering
from browser_control.pipeline.images import BuiltImages, Image
from browser_control.pipeline.runtimes import container as containers
from browser_control.pipeline.runtimes import host
from browser_control.pipeline.runtimes.base import (
    Listening,
    OnLine,
    Runtime,
    Served,
    Service,
    Stage,
    StageError,
    reason_of,
)
from browser_control.pipeline.runtimes.container import Container
from browser_control.pipeline.runtimes.ownership import UNPRIVILEGED, Loan, give, lent, reclaim

RUN_LABEL = "browser-control.run"
HOST_LABEL = "browser-control.host"
FOLDER_LABEL = "browser-control.run-directory"

_logger = logging.getLogger(__name__)

Kind = Literal["inside", "published", "outside"]

_NETWORKS: dict[Kind, dict[str, Any]] = {
    "inside": {"internal": True},
    # An internal network publishes no port. Without masquerading, nothing that leaves this one finds its way back.
    "published": {"options": {"com.docker.network.bridge.enable_ip_masquerade": "false"}},
    "outside": {},
}
_SERVICE_GRACE = 2.0  # a service has nothing to save
_MAY_RUN = (
    "the container %s may still run, for the Docker Engine does not say that it is removed: run the same command again,"
    " which removes it"
)
_STAGE_MEMORY, _SERVICE_MEMORY = 0.9, 0.7  # of the engine's, where no limit is given


class DockerSettings(BaseModel):
    """Run programs as containers.

    Attributes:
        run_id: names networks and containers.
        run_directory: of the run; while its lock is held, the run lives.
        source: the repository that the images are built from.
        gpus: `all` those of the engine's host, `none`, or `auto` for all where there are any.
        memory: limit of a stage, as `8g`; empty: nearly all there is.
        training_base, browsergym_base: base images; empty: those of the Dockerfiles.
        requirements: of applications of web tasks, beside what the environment's image has.
        training_image, browsergym_image: images that are there and need not be built.
        host_block, registry_block: names of prefect-docker's blocks.
        grace: seconds that a stage has to save its work when it is asked to stop.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["docker"] = "docker"
    run_id: str
    run_directory: Path
    source: Path
    gpus: Literal["auto", "all", "none"] = "auto"
    memory: str = ""
    training_base: str = ""
    browsergym_base: str = ""
    requirements: tuple[str, ...] = ()
    training_image: str = ""
    browsergym_image: str = ""
    host_block: str = ""
    registry_block: str = ""
    grace: float = 8.0

    @field_validator("memory")
    @classmethod
    def _an_amount(cls, memory: str) -> str:
        if memory:
            containers.bytes_of(memory)
        return memory


def device_request(named: tuple[str, ...] | None) -> DeviceRequest:
    """Asks for these GPUs of the engine's host; for all, where none are named (see `gpus.named`)."""
    which = {"device_ids": list(named)} if named else {"count": -1}
    return DeviceRequest(capabilities=[["gpu"]], **which)


class DockerRuntime(Runtime):
    """Programs as containers of one engine."""

    python = "python"

    def __init__(self, settings: DockerSettings) -> None:
        self.settings = settings
        self.grace = settings.grace
        self.patience = engine.PATIENCE  # seconds for which the engine may be away
        self._client: Client | None = None
        self._networks: dict[Kind, Any] = {}
        self._services: set[str] = set()
        self._kept: dict[str, Loan] = {}  # by stage, of containers that may still run
        self.images: BuiltImages = BuiltImages(
            lambda: self.client,
            settings.source,
            {
                "browsergym": settings.browsergym_image
                or Image(
                    "browsergym",
                    {"BASE_IMAGE": settings.browsergym_base, "REQUIREMENTS": "\n".join(settings.requirements)},
                ),
                "training": settings.training_image or self._training_image,
            },
        )

    def _training_image(self) -> Image:
        torch = (os.environ.get("TORCH_BACKEND") or self._build_for_driver()) if self.gpu else "cpu"
        return Image("training", {"BASE_IMAGE": self.settings.training_base, "TORCH_BACKEND": torch})

    def _build_for_driver(self) -> str:
        """That of PyTorch; raises ConfigurationError where the driver is too old for any."""
        return drivers.backend(drivers.version() if engine.is_local(self.client) else None)

    @property
    def client(self) -> Client:
        """Connects when it is first needed; raises EngineUnavailable."""
        if self._client is None:
            self._client = engine.connect(self.settings.host_block, self.settings.registry_block)
        return self._client

    @property
    def gpu(self) -> bool:
        """Whether a stage that computes gets the GPUs."""
        if gpus.named() == ():  # CUDA_VISIBLE_DEVICES says that there is none
            return False
        return self.settings.gpus == "all" or (self.settings.gpus == "auto" and engine.has_gpu(self.client))

    def check(self, server: bool = True) -> None:
        if not server and (self.settings.host_block or self.settings.registry_block):
            return  # that is where they are
        with answering():
            self.client.ping()
            if words := engine.trouble(self.client):
                raise EngineUnavailable(words)
            if self.settings.gpus == "all" and not engine.has_gpu(self.client):
                raise EngineUnavailable(engine.NO_GPU)
            if self.gpu and not os.environ.get("TORCH_BACKEND"):
                self._build_for_driver()

    def reap(self) -> None:
        own = self.settings.run_directory
        gone = {own: True}  # by run directory, whether none of its containers is left
        with answering(known=True):
            for container in self.client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True):
                if self._stale(container.labels):
                    folder = Path(container.labels.get(FOLDER_LABEL, ""))
                    gone[folder] = containers.remove(container) and gone.get(folder, True)
            for network in self.client.networks.list(filters={"label": RUN_LABEL}):
                if self._stale(network.attrs.get("Labels") or {}):
                    _remove_network(network)
        for folder in (each for each, all_gone in gone.items() if all_gone):
            with contextlib.nullcontext(True) if folder == own else _unheld(folder) as dead:
                if dead:
                    reclaim(folder)

    def _stale(self, labels: Mapping[str, str]) -> bool:
        """Whether that was left by our own run, of which there is no other, or by one of this machine that is dead."""
        if labels.get(HOST_LABEL) not in (self._host, socket.gethostname()):  # the name: of an earlier release
            return False
        folder = Path(labels.get(FOLDER_LABEL, ""))
        with contextlib.nullcontext(True) if folder == self.settings.run_directory else _unheld(folder) as dead:
            return dead

    def close(self) -> None:
        if self._networks and engine.answers(self.client, min(engine.ANSWER, self.patience)):
            for network in self._networks.values():
                _remove_network(network)
        self._networks.clear()
        if self._client is not None:
            self._client.close()
            self._client = None

    def listening(self, port: int) -> Listening:
        return Listening("0.0.0.0", containers.PORT)

    def run(self, stage: Stage, on_line: OnLine | None = None) -> None:
        if stage.internet:
            _make_caches()
        with self._started(stage, "training", _STAGE_MEMORY, self.grace) as container:
            for line in container.lines():
                if on_line is not None:
                    on_line(line)
            exit_code, out_of_memory = container.end()
            tail = container.tail()
        if exit_code != 0:
            raise StageError(stage.name, stage.command, exit_code, reason_of(exit_code, tail, out_of_memory), tail)

    @contextlib.contextmanager
    def serve(self, service: Service) -> Iterator[Served]:
        with contextlib.closing(_ServedContainer(self, service)) as served:
            served.restart()
            yield served

    def start_service(self, service: Service) -> contextlib.AbstractContextManager[Container]:
        """A running service, for the length of a block."""
        return self._started(service, "browsergym", _SERVICE_MEMORY, _SERVICE_GRACE)

    @contextlib.contextmanager
    def _started(self, stage: Stage, image: str, memory: float, grace: float) -> Iterator[Container]:
        with lent(stage.writes) as loan:
            container = Container(self._create(stage, image, memory), stage, self.patience)
            try:
                container.start()
                yield container
            finally:
                try:
                    container.close(grace)
                finally:
                    if not container.gone:
                        loan.kept = True
                        self._kept[stage.name] = loan
                        _logger.warning(_MAY_RUN, self._name(stage.name))

    def _create(self, stage: Stage, image: str, memory: float) -> Any:
        published = isinstance(stage, Service) and stage.published
        kinds: list[Kind] = ["published", "inside"] if published else ["inside"]
        kinds += ["outside"] if stage.internet else []
        engine.wait_for(self.client, self.patience)
        with answering(known=True):
            self._remove_former(stage)
            arguments = containers.arguments(stage)
            arguments["environment"] = {**self._proxies(stage), **arguments["environment"]}
            first, *others = (self._network(kind) for kind in kinds)
            endpoint = EndpointConfig(self.client.api.api_version, aliases=[stage.name])
            created = self.client.containers.create(
                self.images.name(image),
                name=self._name(stage.name),
                labels=self._labels(),
                network=first.name,
                networking_config={first.name: endpoint},
                device_requests=[device_request(gpus.named())] if stage.gpu and self.gpu else [],
                use_config_proxy=False,
                **self._limits(stage, memory),
                **arguments,
            )
            try:
                for network in others:
                    network.connect(created, aliases=[stage.name])
            except BaseException:
                containers.remove(created)
                raise
        return created

    def _remove_former(self, stage: Stage) -> None:
        """An earlier attempt's container, which could not be removed while the engine was away."""
        try:
            former = self.client.containers.get(self._name(stage.name))
        except NotFound:
            gone = True
        else:
            ours = former.labels.get(FOLDER_LABEL) == str(self.settings.run_directory)
            gone = ours and containers.remove(former)
        if gone and stage.name in self._kept:
            self._kept.pop(stage.name).end()

    def _proxies(self, stage: Stage) -> dict[str, str]:
        if isinstance(stage, Service):
            self._services.add(stage.name)
        configured = self.client.api._proxy_configs.get_environment()
        return proxies.of_container(stage.internet, configured, os.environ, sorted(self._services))

    def _limits(self, stage: Stage, share: float) -> dict[str, int]:
        given = self.settings.memory if not isinstance(stage, Service) else ""
        memory = containers.bytes_of(given) if given else int(self.client.info()["MemTotal"] * share)
        return {"mem_limit": memory, "memswap_limit": memory}

    def _network(self, kind: Kind) -> Any:
        if kind not in self._networks:
            self._networks[kind] = self.client.networks.create(
                self._name(kind), driver="bridge", labels=self._labels(), check_duplicate=True, **_NETWORKS[kind]
            )
        return self._networks[kind]

    @property
    def _host(self) -> str:
        """A machine's own engine serves clones of it only if somebody lends it out."""
        return host.identity(alone=engine.is_local(self.client))

    def _name(self, what: str) -> str:
        return re.sub(r"[^a-zA-Z0-9_.-]", "-", f"browser-control-{self.settings.run_id}-{what}")

    def _labels(self) -> dict[str, str]:
        return {
            RUN_LABEL: self.settings.run_id,
            HOST_LABEL: self._host,
            FOLDER_LABEL: str(self.settings.run_directory),
        }


class _ServedContainer(Served):
    def __init__(self, runtime: DockerRuntime, service: Service) -> None:
        self.urls = (f"http://{service.name}:{containers.PORT}",)
        self._runtime = runtime
        self._service = service
        self._stack = contextlib.ExitStack()
        self._container: Container | None = None

    @property
    def alive(self) -> bool:
        return self._container is not None and self._container.alive

    def tail(self) -> Sequence[str]:
        return self._container.tail() if self._container is not None else ()

    def restart(self) -> None:
        self._stack.close()
        self._container = self._stack.enter_context(self._runtime.start_service(self._service))

    def close(self) -> None:
        self._stack.close()


def _remove_network(network: Any) -> None:
    with contextlib.suppress(*engine.FAULTS):
        network.remove()


def _make_caches() -> None:
    """The engine mounts no folder that is not there; where the caller is root, they are for the container's user."""
    for folder in containers.caches().values():
        folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:  # which reads them all the same, and may have written some itself
            give(folder, UNPRIVILEGED, UNPRIVILEGED)


@contextlib.contextmanager
def _unheld(folder: Path) -> Iterator[bool]:
    """Whether no process holds the lock of a run directory, as long as it lives (`run.begin`); in it none can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            unheld = True
        except BlockingIOError:
            unheld = False
        yield unheld
    finally:
        os.close(descriptor)
