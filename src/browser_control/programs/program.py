"""What the training programs share: arguments, exit codes, and the way from a configuration to a policy at work.

Nothing heavy is imported until the arguments are known to be right, so that `--help` and a typing error answer at once.
"""

import argparse
import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from browser_control import configuration, proxies
from browser_control.configuration import Configuration
from browser_control.errors import (
    EXIT_PREEMPTED,
    EXIT_USER_ERROR,
    CheckpointDamaged,
    ConfigurationError,
    EnvironmentFailure,
    EnvironmentLost,
    Preempted,
    TrainingFailed,
    UserError,
    refusal,
)
from browser_control.language import kept
from browser_control.preemption import Preemption
from browser_control.run_directory import RunDirectory
from browser_control.training.parallel import ALONE, Alone
from browser_control.web_tasks import registry

if TYPE_CHECKING:
    from browser_control.environment.client import Environments
    from browser_control.policy.policy import Policy


@dataclass(frozen=True)
class Job:
    """What a program was asked to do."""

    configuration: Configuration
    run: RunDirectory
    arguments: argparse.Namespace
    preemption: Preemption
    argv: Sequence[str]


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The arguments that all programs take."""
    made = argparse.ArgumentParser(prog=f"python -m browser_control.{name}", description=description)
    made.add_argument(
        "--config-file-name",
        required=True,
        metavar="NAME",
        help="a YAML file, or the name of one in configs/, such as lfm2_350m_local_lora.yaml",
    )
    made.add_argument(
        "--run-directory",
        type=Path,
        metavar="DIR",
        help="where the run keeps its files (default: NAME-DIGEST in runs, or in the folder BROWSER_CONTROL_RUNS)",
    )
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="overrides one setting of the configuration; may be given several times",
    )
    return made


def run(parser: argparse.ArgumentParser, work: Callable[[Job], int | None], argv: Sequence[str] | None = None) -> int:
    """Parses `argv`, does the work, and returns the exit code (docs/architecture.md lists them)."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = parser.parse_args(argv)
    proxies.spare_loopback()
    try:
        settings = registry.resolve(configuration.load(arguments.config_file_name, arguments.set))
        directory = run_directory(settings, arguments.run_directory)
        job = Job(settings, directory, arguments, Preemption().listen(), argv)
        with _begun(job):
            return work(job) or 0
    except (UserError, CheckpointDamaged) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return EXIT_USER_ERROR
    except Preempted as error:
        print(f"{error}: the same command continues", file=sys.stderr, flush=True)
        return EXIT_PREEMPTED
    except (
        EnvironmentFailure,
        EnvironmentLost,
        TrainingFailed,
    ) as error:  # nobody's mistake, and worth another attempt
        print(f"error: {error}; the same command continues", file=sys.stderr, flush=True)
        return 1
    except OSError as error:
        if (words := refusal(error)) is None:
            raise
        print(f"error: {words}", file=sys.stderr, flush=True)
        return EXIT_USER_ERROR


@contextmanager
def _begun(job: Job) -> Iterator[None]:
    """Writes the configuration into the run directory; takes it back where the run is refused before all else."""
    new = not job.run.config.exists()
    if new:
        configuration.write(job.configuration, job.run.config)
    try:
        kept.take(job.configuration.warm_start.kept, job.run.kept)
        yield
    except UserError:
        with suppress(FileNotFoundError):  # another rank was quicker
            if new and {*job.run.root.iterdir()} <= {job.run.config, job.run.kept}:
                shutil.rmtree(job.run.root)
        raise


def run_directory(settings: Configuration, given: Path | None, environ: Mapping[str, str] = os.environ) -> RunDirectory:
    """The run directory that was asked for; else one by the configuration's name, in `BROWSER_CONTROL_RUNS` (`runs`).

    `BROWSER_CONTROL_LOGS`, where it is set, has the logs of all runs that were not given a directory.
    """
    if given is not None:
        return RunDirectory(given)
    name = f"{settings.name}-{settings.digest}"
    logs = environ.get("BROWSER_CONTROL_LOGS")
    return RunDirectory(Path(environ.get("BROWSER_CONTROL_RUNS", "runs")) / name, Path(logs) / name if logs else None)


@dataclass(frozen=True)
class Work:
    """What a program works with.

    Attributes:
        policy: the base model with a fresh adapter.
        environments: this process's share of the sessions, open.
        meanwhile: what was found while the model was loaded.
    """

    policy: "Policy"
    environments: "Environments"
    meanwhile: Any = None


@contextmanager
def at_work(
    job: Job, processes: Alone = ALONE, meanwhile: "Callable[[Environments], Any]" = lambda environments: None
) -> "Iterator[Work]":
    """The policy and the environment of a configuration.

    Args:
        meanwhile: is called in a thread with the open sessions, while the model is loaded.
    """
    from browser_control.environment.client import Environments
    from browser_control.language import actions

    settings = job.configuration
    if settings.environment.sessions < processes.size:
        raise ConfigurationError(f"environment.sessions must be at least {processes.size}, one a process")
    urls = processes.share(_session_urls(settings.environment))
    with (
        Environments(
            urls, len(urls), settings.environment.max_turns, actions.shows(settings.policy.actions)
        ) as environments,
        ThreadPoolExecutor(1, "meanwhile") as pool,
    ):
        found = pool.submit(meanwhile, environments)
        from transformers.utils import logging

        from browser_control.policy import policy
        from browser_control.programs.base_model import fetch

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        loaded = policy.load(settings, processes.once(lambda: fetch(settings.model)))
        print(f"sampling is {loaded.reading}", flush=True)
        gc.collect()
        gc.freeze()  # what is there by now stays: else the collector walks through all of PyTorch now and then
        yield Work(loaded, environments, found.result())


def _session_urls(settings: configuration.Environment) -> list[str]:
    """The server of each session, in turn."""
    return [settings.urls[session % len(settings.urls)] for session in range(settings.sessions)]
