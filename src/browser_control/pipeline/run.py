"""One run: its name, its folder, and what it is made of."""

import contextlib
import errno
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from browser_control import configuration, drivers, gpus, proxies
from browser_control.configuration import Configuration
from browser_control.errors import ConfigurationError, short
from browser_control.language import kept
from browser_control.pipeline import browsergym
from browser_control.pipeline.parameters import Parameters
from browser_control.pipeline.progress import Listener, Listeners, Terminal
from browser_control.pipeline.runtimes import RuntimeSettings, make_runtime, runtime_settings
from browser_control.pipeline.runtimes.base import Runtime
from browser_control.pipeline.runtimes.process import refuse_taken_port
from browser_control.records import archive
from browser_control.records.registry import Registry
from browser_control.run_directory import RunDirectory
from browser_control.solvers import prerequisites
from browser_control.web_tasks import registry as web_tasks
from browser_control.web_tasks import requirements

_RUN_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Run:
    """What every stage of a run needs to know."""

    id: str
    configuration: Configuration
    directory: RunDirectory
    archive_url: str
    runtime: Runtime
    listener: Listener
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)  # variables by program


@contextlib.contextmanager
def begin(
    chosen: Parameters,
    listen: Callable[[str], Listener] | None = None,
    secrets: Mapping[str, Mapping[str, str]] | None = None,
    trains: bool = False,
) -> Iterator[Run]:
    """Opens a run, new or to be continued, and holds it so that no other process works on it.

    Args:
        listen: makes a listener beside the terminal, from the run's id.
        secrets: variables that only the program of that name is given.
        trains: whether what the configuration says of training has to hold.

    Raises:
        UserError: what `check` finds, or another process works on this run.
    """
    proxies.spare_loopback()  # a worker may have been started by hand
    settings, name = check(chosen, trains=trains)
    directory = RunDirectory(Path(chosen.runs).absolute() / name)
    runtime = make_runtime(_runtime_settings(chosen, settings, directory))
    with _held(directory.root), contextlib.closing(Terminal()) as terminal, contextlib.closing(runtime):
        runtime.reap()
        configuration.write(
            settings, directory.config
        )  # a run continues under what its digest leaves out, as now given
        kept.take(settings.warm_start.kept, directory.kept)
        listener = Listeners([terminal] if listen is None else [terminal, listen(name)])
        yield Run(name, settings, directory, archive.join(chosen.archives, name), runtime, listener, secrets or {})


def web_task_secrets(chosen: Parameters) -> frozenset[str]:
    """Names of the secrets that the chosen web tasks need; raises ConfigurationError."""
    settings = web_tasks.resolve(configuration.load(chosen.config, chosen.all_overrides))
    found = (web_tasks.own(name) for name in web_tasks.named(settings))
    return frozenset(name for each in found if each is not None for name in each.secrets)


def check(chosen: Parameters, server: bool = True, trains: bool = False) -> tuple[Configuration, str]:
    """The configuration and the run that `chosen` come to; starts nothing and leaves nothing.

    Args:
        server: whether a Prefect server can be asked by now.
        trains: whether what the configuration says of training has to hold.

    Raises:
        UserError: what can be known to be wrong beforehand; one sentence.
    """
    settings = web_tasks.resolve(configuration.load(chosen.config, chosen.all_overrides))
    if chosen.runtime == "docker" and settings.environment.allowed_hosts:
        raise ConfigurationError("environment.allowed_hosts: in Docker the browser has no way out; use runtime process")
    if chosen.runtime == "docker":
        _refuse_packages(settings)
        _refuse_foreign_servers(settings)
    elif not browsergym.given_urls(settings):
        requirements.check(web_tasks.named(settings))
    if chosen.start_from == "promoted":
        Registry(chosen.models, settings.name).refuse_another_shape(settings)
    if "://" in chosen.archives and (trouble := archive.trouble_with(chosen.archives)):
        raise ConfigurationError(f"archives: {short(chosen.archives, 300)[1:-1]} cannot be written to: {trouble}")
    name = chosen.run_id or next_run_id(settings, chosen)
    if not _RUN_ID.fullmatch(name):
        raise ConfigurationError(
            f"run_id {short(name)} must be lower-case letters, digits, dots, dashes and underscores, at most 100"
        )
    if _finished(chosen, name):
        raise ConfigurationError(f"run {name!r} is finished and archived; choose another run_id")
    _refuse_unwritable(chosen)
    _refuse_foreign(Path(chosen.runs) / name, Path(chosen.models) / settings.name)
    _refuse_another_configuration(settings, Path(chosen.runs) / name)
    directory = RunDirectory(Path(chosen.runs).absolute() / name)
    if trains and chosen.start_from == "base" and not directory.warm_start.exists():
        prerequisites.check(settings)
    kept.check(settings.warm_start.kept, directory.kept)
    with contextlib.closing(make_runtime(_runtime_settings(chosen, settings, directory))) as runtime:
        runtime.check(server)
    if chosen.runtime == "process" and settings.model.device != "cpu":
        drivers.refuse(gpus.visible())
    if urls := browsergym.given_urls(settings):
        if settings.environment.allowed_hosts:
            raise ConfigurationError(
                "environment.allowed_hosts is for a service of the run's own, not for environment.urls"
            )
        browsergym.refuse_unreachable(urls)
    elif chosen.environment_port:
        refuse_taken_port(chosen.environment_port)
    return settings, name


def _refuse_packages(settings: Configuration) -> None:
    """Their classes are not in the images, and ask servers that a container cannot reach."""
    for source in filter(web_tasks.is_package, settings.environment.web_tasks):
        raise ConfigurationError(
            f"environment.web_tasks: {source} is a Python package, which is not in the images; use runtime process"
        )


def _refuse_foreign_servers(settings: Configuration) -> None:
    """What a web task asks of a server that somebody else runs has no way out of a container."""
    for found in filter(None, map(web_tasks.own, web_tasks.named(settings))):
        if found.application is not None and found.application.server.url:
            url = found.application.server.url
            raise ConfigurationError(f"{found.name} plays on {url}: in Docker there is no way out; use runtime process")


def _runtime_settings(chosen: Parameters, settings: Configuration, directory: RunDirectory) -> RuntimeSettings:
    device = {"auto": "auto", "cuda": "all", "cpu": "none"}[settings.model.device]
    return runtime_settings(
        chosen.runtime,
        run_id=directory.root.name,
        run_directory=directory.root,
        source=configuration.CONFIGS.parent,
        gpus=device if chosen.gpus == "auto" else chosen.gpus,
        memory=chosen.memory,
        training_base=chosen.training_base,
        browsergym_base=chosen.browsergym_base,
        requirements=requirements.wanted(web_tasks.named(settings)),
        host_block=chosen.docker_host,
        registry_block=chosen.docker_registry,
    )


def next_run_id(settings: Configuration, chosen: Parameters) -> str:
    """The run that this configuration continues, or starts: the first that is not finished.

    The name follows from the configuration and what training starts from, so that the same command continues what it
    began.
    """
    stem = f"{settings.name}-{settings.digest[:8]}" + ("-on" if chosen.start_from == "promoted" else "")
    number = 1
    while _finished(chosen, name := stem if number == 1 else f"{stem}-{number}"):
        number += 1
    return name


def _finished(chosen: Parameters, name: str) -> bool:
    """Whether the run is archived and judged; where its folder says nothing of that, it was stopped in between."""
    directory = RunDirectory(Path(chosen.runs) / name)
    judged = directory.decision.exists() or not directory.root.exists()
    return judged and archive.exists(archive.join(chosen.archives, name))


def _refuse_unwritable(chosen: Parameters) -> None:
    """Of folders of this machine."""
    for parameter, where in (("runs", chosen.runs), ("archives", chosen.archives), ("models", chosen.models)):
        if "://" in where:
            continue
        nearest = _nearest(parameter, where)
        if not _may_be_written_to(nearest):
            raise ConfigurationError(
                f"{parameter}: no folder can be made at {short(where, 300)}, since {nearest} is not a folder"
                " that may be written to"
            )


def _nearest(parameter: str, where: str) -> Path:
    """The folder itself, or the nearest above it that there is."""
    path = Path(where).absolute()
    try:
        return next(each for each in (path, *path.parents) if "\0" not in where and each.exists())
    except (StopIteration, OSError) as error:  # a name that is too long, say
        raise ConfigurationError(f"{parameter}: no folder can be called {short(where, 300)}; choose another") from error


def _refuse_foreign(run: Path, models: Path) -> None:
    """Of what earlier runs left, before this one has worked for hours: their folders may be another user's."""
    for parameter, folder in (("run_id", run), ("models", models)):
        for path in (folder, folder / "logs", folder / "checkpoints", folder / "evaluation"):
            if path.exists() and not _may_be_written_to(path):
                raise ConfigurationError(
                    f"{parameter}: {path} may not be written to: have its owner ({_owner(path)}) give it to you, or"
                    f" choose another {parameter}"
                )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError):  # a user whom this machine does not know
        return str(path.stat().st_uid)


def _may_be_written_to(folder: Path) -> bool:
    """Tries: what the permissions say is not all that root, or a network, is refused."""
    try:
        with tempfile.TemporaryDirectory(dir=folder):
            return True
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        return False


def _refuse_another_configuration(settings: Configuration, folder: Path) -> None:
    path = RunDirectory(folder).config
    try:
        same = not path.exists() or configuration.load(str(path)).digest == settings.digest
    except ConfigurationError as error:
        raise ConfigurationError(f"run {folder.name!r} cannot be continued: {error}; choose another run_id") from error
    if not same:
        raise ConfigurationError(
            f"run {folder.name!r} was begun with another configuration ({path}); choose another run_id"
        )


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Holds `folder` as long as this process lives; the kernel lets go of it, however the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not _locked(descriptor):
            raise ConfigurationError(
                f"another process works on the run {folder.name!r}; wait for it, or give this one a run_id of its own"
            )
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Tries for a moment, for another run may be looking whether this one lives."""
    deadline = time.monotonic() + 0.5
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)


@contextlib.contextmanager
def announced(run: Run, stage: str) -> Iterator[list[str]]:
    """Tells the run's listener that a stage began and how it ended; the block appends words on what came out."""
    words: list[str] = []
    run.listener.began(stage)
    try:
        yield words
    except BaseException as error:
        words_of_error = str(error) or type(error).__name__
        run.listener.failed(stage, words_of_error if isinstance(error, Exception) else "stopped")
        raise
    run.listener.ended(stage, " · ".join(words))
