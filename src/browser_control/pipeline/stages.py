"""The programs of a run as stages: what each is called with, what it leaves, and when it need not run again."""

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from browser_control import configuration
from browser_control.errors import (
    ArchiveInvalid,
    BrowserControlError,
    CheckpointDamaged,
    EnvironmentUnreachable,
    RecordDamaged,
    ServiceFailed,
)
from browser_control.integrity import file_digest, is_sealed, read_sealed, verify_folder, write_sealed
from browser_control.pipeline import gpu as gpus
from browser_control.pipeline import openenv, package_index
from browser_control.pipeline.browsergym import BrowserGym, given_urls
from browser_control.pipeline.progress import Pace, Progress, parse_progress
from browser_control.pipeline.run import Run, announced
from browser_control.pipeline.runtimes.base import Images, Service, Stage, StageError
from browser_control.records import archive as archives
from browser_control.records import summary
from browser_control.records.promotion import Decision
from browser_control.records.registry import Judge, Registry
from browser_control.run_directory import read_json, write_text
from browser_control.training import benchmark_tables
from browser_control.web_tasks.registry import FLIGHT, is_package

Evaluation = Literal["base", "promoted", "warm-start", "after"]
Pages = Literal["evaluation", "final"]
Subset = Literal["all", "56", "heldout23"]  # of the benchmark's web tasks

_EVALUATIONS = {  # the task that makes it, and the checkpoint that is judged
    "base": ("evaluate-before", "base"),
    "promoted": ("evaluate-promoted", None),  # the run's copy of it
    "warm-start": ("evaluate-warm-start", "warm-start"),
    "after": ("evaluate-after", "latest"),
}


# What a program that has a way out is told of it, in a container as well.
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_HUB = ("HF_ENDPOINT", "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DISABLE_XET", "HF_HUB_OFFLINE")
_INDEX = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")  # or pip's files, in a container


def package() -> str:
    """The package whose programs are run: ours, or one with stand-ins of the same names, as tests use it."""
    return os.environ.get("BROWSER_CONTROL_PROGRAMS", "browser_control")


def program(run: Run, name: str, *arguments: str, log: str, **needs: Any) -> Stage:
    """A program with the arguments that all of them take; `needs` are those of a Stage."""
    command = (run.runtime.python, "-m", f"{package()}.{name}")
    where = ("--config-file-name", str(run.directory.config), "--run-directory", str(run.directory.root))
    environ = {**needs.pop("environ", {}), **run.secrets.get(name, {})}
    certificates: tuple[Path, ...] = ()
    if needs.get("internet"):
        fetches = needs.get("fetches", False)
        asked = package_index.settings() if fetches and run.runtime.images is not None else {}
        variables, certificates = way_out({**asked, **os.environ}, fetches)
        environ = {**variables, **environ}
    if name != "programs.fetch_model":
        environ["HF_HUB_OFFLINE"] = "1"  # the model is there: no GPU waits for a hub, and nobody else needs a token
    return Stage(
        log,
        command + where + arguments,
        run.directory.logs / f"{log}.log",
        environ,
        writes=(run.directory.root,),
        reads=(*_model_files(run), *_web_tasks(run), *certificates),
        **needs,
    )


def way_out(environ: Mapping[str, str], fetches: bool) -> tuple[dict[str, str], tuple[Path, ...]]:
    """Variables that say how the internet is reached, and the files and folders of certificates that they name.

    Args:
        fetches: whether the program downloads the model, from a hub or a package index.
    """
    files = {name: Path(environ[name]).absolute() for name in _CERTIFICATES if environ.get(name)}
    files = {name: path for name, path in files.items() if path.exists()}
    others = {name: environ[name] for name in (*_HUB, *_INDEX) if environ.get(name)} if fetches else {}
    return {**{name: str(path) for name, path in files.items()}, **others}, tuple(dict.fromkeys(files.values()))


def on(environment: BrowserGym, **needs: Any) -> dict[str, Any]:
    """What a program needs that talks to the environment; to somebody else's it needs a way out."""
    environ = {"BROWSERGYM_URL": ",".join(environment.urls)}
    return {"internet": not environment.served, **needs, "environ": environ}


def _web_tasks(run: Run) -> tuple[Path, ...]:
    """The folders of the user's own web tasks."""
    given = run.configuration.environment.web_tasks
    return tuple(Path(each) for each in given if each != FLIGHT and not is_package(each))


def _model_files(run: Run) -> tuple[Path, ...]:
    """The base model, where it is a folder or a file of this machine."""
    path = Path(run.configuration.model.name)
    return (path,) if path.exists() else ()


def clone_openenv(run: Run, url: str, ref: str) -> str:
    """Puts OpenEnv where the builds of the images expect it; returns its commit."""
    with announced(run, "clone-openenv") as words:
        docker = configuration.CONFIGS.parent / "docker"
        commit = openenv.clone(url, ref, [docker / name / "OpenEnv" for name in ("browsergym", "training")])
        words.append(commit)
        return commit


def build_images(run: Run, images: Images, openenv_commit: str) -> None:
    """Builds what the engine has not got as it is needed."""
    with announced(run, "build-images") as words:
        run.directory.logs.mkdir(parents=True, exist_ok=True)
        words += images.build(openenv_commit, run.directory.logs, lambda line: run.listener.line("build-images", line))


def wants_gpu(run: Run) -> bool:
    device = run.configuration.model.device
    return device == "cuda" or (device == "auto" and run.runtime.gpu)


@contextlib.contextmanager
def gpu(run: Run) -> Iterator[None]:
    """Holds the GPUs of this machine for the length of the block; waits for the run that has them."""

    def wait(words: str) -> None:
        run.listener.line("take-gpu", words)
        run.listener.progressed("take-gpu", Progress("take-gpu", 0, 1, message=words), None)

    with contextlib.ExitStack() as stack:
        with announced(run, "take-gpu"):
            stack.enter_context(gpus.held(f"run {run.id}", wait))
        yield


class ServiceDied(BrowserControlError):
    """The environment service ended under a stage; started again, the stage may go on."""


def fetch_model(run: Run) -> Path:
    """Puts the base model where training finds it; returns its folder."""
    with announced(run, "fetch-model") as words:
        lines: list[str] = []
        _run(run, program(run, "programs.fetch_model", log="fetch-model", internet=True, fetches=True), lines)
        words.append(run.configuration.model.name)
        return Path(lines[-1])


@contextlib.contextmanager
def browsergym(run: Run, port: int, replicas: int = 1) -> Iterator[BrowserGym]:
    """The service that the run is told to use, or its own for the length of the block.

    Args:
        port: of this machine, for the first replica; the others follow it. 0: whatever is free.
        replicas: services that share the sessions.
    """
    with contextlib.ExitStack() as stack:
        with announced(run, "start-browsergym") as words:
            if urls := given_urls(run.configuration):
                environment = BrowserGym(urls)
            else:
                services = _environment_services(run, port, replicas)
                served = tuple(stack.enter_context(run.runtime.serve(service)) for service in services)
                environment = BrowserGym(tuple(url for each in served for url in each.urls), served)
            words += environment.urls
        yield environment


def pass_health_gate(run: Run, environment: BrowserGym) -> None:
    """Waits until a real browser answers, asked from where the programs run.

    Raises:
        ServiceFailed: a service of ours died, or was not healthy in time.
        EnvironmentUnreachable: the same of a service that somebody else runs.
    """
    with announced(run, "health-gate") as words:
        for health in _ask_for_health(run, environment):
            words.append(f"{health['web_task']}, {health['elements']} elements")


def _ask_for_health(run: Run, environment: BrowserGym) -> list[dict[str, Any]]:
    def on_line(line: str) -> None:
        if line.startswith("{"):
            seen.append(json.loads(line))
        elif environment.died:
            raise ServiceFailed(f"the environment service ended before it was healthy: {environment.last_words()}")

    seen: list[dict[str, Any]] = []
    try:
        run.runtime.run(program(run, "programs.health_gate", log="health-gate", **on(environment)), on_line)
    except StageError as error:
        if error.reason != "configuration":
            raise
        if not environment.served:
            raise EnvironmentUnreachable(str(error)) from error
        raise ServiceFailed(f"{error}; the service said: {environment.last_words()}") from error
    return seen


def evaluate(
    run: Run, name: Evaluation, environment: BrowserGym, pages: Pages = "evaluation", lot: int | None = None
) -> summary.Scores:
    """Scores on held-out pages, from `evaluation/NAME.json` where they are there.

    Args:
        pages: that are played; the final set decides nothing.
        lot: of the pages; default: the run's own.
    """
    stage, checkpoint = _EVALUATIONS[name]
    output = run.directory.evaluation(name)
    with announced(run, stage) as words:
        if not _is_whole(output, words):
            lot = _lot(run) if lot is None else lot
            arguments = ["--checkpoint", checkpoint or str(run.directory.promoted), "--output", str(output)]
            arguments += ["--pages", pages, "--lot", str(lot)]
            if checkpoint is None:
                arguments.append("--any-language")  # trained under another one, it is judged all the same
            if name == "after":
                arguments.append("--pictures")  # which the report shows
            needs = on(environment, gpu=True)
            _run_on(environment, run, program(run, "programs.evaluate", *arguments, log=stage, **needs))
        scores = summary.read_scores(read_sealed(output))
        words.append(summary.sentence(scores))
        return scores


def evaluate_beside(run: Run, folder: Path, environment: BrowserGym, lot: int) -> dict[str, Any]:
    """The evaluation of another adapter, on the pages of a lot."""
    with announced(run, "evaluate-beside") as words:
        output = run.directory.evaluation(folder.name)
        if not _is_whole(output, words):
            arguments = ("--checkpoint", str(folder), "--output", str(output), "--lot", str(lot), "--any-language")
            needs = on(environment, gpu=True)
            _run_on(environment, run, program(run, "programs.evaluate", *arguments, log="evaluate-beside", **needs))
        evaluation = read_sealed(output)
        words.append(summary.sentence(summary.read_scores(evaluation)))
        return evaluation


def benchmark(
    run: Run, environment: BrowserGym, checkpoint: Literal["base", "promoted"], judged: str, subset: Subset
) -> dict[str, Any]:
    """The scores of BrowserGym's benchmark, written as `benchmark.json`, and as `benchmark.md` to be read.

    Args:
        checkpoint: the base model, or the run's copy of an adapter.
        judged: who that is, in words.
    """
    with announced(run, "play-benchmark") as words:
        output = run.directory.root / "benchmark.json"
        where = "base" if checkpoint == "base" else str(run.directory.promoted)
        arguments = ("--checkpoint", where, "--subset", subset, "--output", str(output))
        needs = on(environment, gpu=True)
        _run_on(environment, run, program(run, "programs.benchmark", *arguments, log="play-benchmark", **needs))
        scores: dict[str, Any] = {"judged": judged, **read_json(output)}
        benchmark_tables.write(scores, run.directory.root)
        words += [benchmark_tables.sentence(scores), benchmark_tables.validity(scores)]
        words.append(str(run.directory.root / "benchmark.md"))
        return scores


def _is_whole(output: Path, words: list[str]) -> bool:
    """Whether an evaluation is there with its transcripts; one that is damaged is removed: it will be made again."""
    try:
        written = read_sealed(output).get("transcripts")
        transcripts = output.with_suffix(".episodes.jsonl")
        if written is not None and transcripts.exists() and file_digest(transcripts) != written:
            raise RecordDamaged(f"{transcripts} is damaged: it is not what was written")
    except FileNotFoundError:
        return False
    except RecordDamaged as error:
        words.append(f"{error}; it was made again")
        output.unlink()
        return False
    return True


def _is_whole_folder(folder: Path, words: list[str]) -> bool:
    """Whether a checkpoint is there; one that is damaged will be made again."""
    if not folder.exists():
        return False
    try:
        verify_folder(folder)
    except CheckpointDamaged as error:
        words.append(f"{error}; it was made again")
        return False
    return True


def _lot(run: Run) -> int:
    """The lot of held-out pages that the run took when it began."""
    return int(read_sealed(run.directory.start).get("lot", 0)) if run.directory.start.exists() else 0


def wants_warm_start(run: Run) -> bool:
    return run.configuration.warm_start.demonstrates


def warm_start(run: Run, environment: BrowserGym) -> None:
    """Behaviour cloning, unless its checkpoint is there."""
    with announced(run, "warm-start") as words:
        if not _is_whole_folder(run.directory.warm_start, words):
            needs = on(environment, gpu=True)
            _run_on(environment, run, program(run, "programs.warm_start", log="warm-start", **needs))
        settings = run.configuration.warm_start
        words += [summary.counted(settings.demonstrations, "demonstration")] if settings.demonstrations else []
        words += [f"episodes kept in {Path(each).name}" for each in settings.kept]


def train(run: Run, environment: BrowserGym, *start: str) -> None:
    """GRPO, from the newest checkpoint where there is one, unless its result is there with the last checkpoint.

    Args:
        start: arguments that say what to begin from.
    """
    with announced(run, "train") as words:
        if not _is_trained(run, words):
            needs = on(environment, gpu=True)
            needs["internet"] |= bool(run.secrets.get("fine_tune_local"))  # curves go to Weights & Biases
            _run_on(environment, run, program(run, "fine_tune_local", *start, log="train", **needs))
        words.append(f"{summary.counted(run.configuration.training.updates, 'update')}")


def _is_trained(run: Run, words: list[str]) -> bool:
    """Whether result and last checkpoint are there; the program makes either again from what is whole."""
    result, steps = run.directory.result, run.directory.steps()
    if not result.exists():
        return False
    if not is_sealed(result):
        words.append(f"{result} is damaged; it was made again")
    elif not steps or _is_whole_folder(steps[-1], words):
        return True
    result.unlink()
    return False


def archive(run: Run, openenv_commit: str | None = None) -> None:
    """Copies what mattered to the archive and reads it back; the run directory stays."""
    with announced(run, "archive") as words:
        origin = archives.Origin(
            git_commit=archives.git_commit(configuration.CONFIGS.parent),
            openenv_commit=openenv_commit,
            images=run.runtime.images.ids if run.runtime.images is not None else (),
        )
        if not _is_archived(run, words):
            _write_report(run, archives.provenance(run.id, run.configuration, origin))
            archives.write(run.directory, run.archive_url, run.id, run.configuration, origin)
        manifest = archives.verify(run.archive_url)
        words.append(f"{len(manifest['files'])} files, {run.archive_url}")


def _is_archived(run: Run, words: list[str]) -> bool:
    """Whether a run that was stopped after this stage has its archive; a damaged one is written again."""
    if not archives.exists(run.archive_url):
        return False
    try:
        archives.verify(run.archive_url)
    except ArchiveInvalid as error:
        words.append(f"{error}; it was written again")
        return False
    return True


def _write_report(run: Run, origin: dict[str, Any]) -> None:
    """The report that goes into the archive. Jinja and pygal are loaded here: no other stage needs them."""
    from browser_control.records import report, report_page

    found = report.of_run(run.directory.root, run.archive_url, origin)
    write_text(run.directory.report, report_page.render(found))


def promote(run: Run, models: str, judge: Judge | None = None) -> Decision:
    """Puts the archived adapter to use if it is better than the one in use; says why, or why not.

    Args:
        judge: plays another adapter that was promoted meanwhile, as `judging.judge_beside` does.
    """
    with announced(run, "promote") as words:
        rule = run.configuration.promotion
        decision = Registry(models, run.configuration.name).promote(run.archive_url, rule, judge)
        write_sealed(run.directory.decision, dataclasses.asdict(decision))
        words.append(decision.reason)
        return decision


def _environment_services(run: Run, port: int, replicas: int) -> Iterator[Service]:
    """BrowserGym services with the sessions that the run asks for between them, and one each to look at its health."""
    settings = run.configuration.environment
    sessions = math.ceil(settings.sessions / replicas) + 1
    for number in range(replicas):
        name = "environment" if number == 0 else f"environment-{number + 1}"
        published = port + number if port else 0
        where = run.runtime.listening(published)
        arguments = (
            "--host",
            where.host,
            "--port",
            where.port,
            "--sessions",
            sessions,
            "--max-turns",
            settings.max_turns,
            *(("--services", replicas) if replicas > 1 else ()),
            *(("--allowed-hosts", *settings.allowed_hosts) if settings.allowed_hosts else ()),
            *(("--web-tasks", *settings.web_tasks, "--logs", run.directory.logs) if settings.web_tasks else ()),
        )
        command = (run.runtime.python, "-m", f"{package()}.environment", *map(str, arguments))
        log = run.directory.logs / f"{name}.log"
        yield Service(
            name,
            command,
            log,
            run.secrets.get("environment", {}),
            writes=(run.directory.logs,) if settings.web_tasks else (),  # what servers of web tasks say
            reads=_web_tasks(run),
            port=where.port,
            published=published,
        )


def _run_on(environment: BrowserGym, run: Run, stage: Stage) -> None:
    """Runs a stage that needs the environment; where that died, the stage's failure is the environment's."""
    if environment.revive():
        _ask_for_health(run, environment)
    try:
        _run(run, stage)
    except StageError as error:
        if environment.died:
            words = environment.last_words()
            raise ServiceDied(f"the environment service died during {stage.name}: {words}") from error
        raise


def _run(run: Run, stage: Stage, lines: list[str] | None = None) -> None:
    """Runs a stage and tells the run's listener of its lines and its progress."""
    pace = Pace()

    def on_line(line: str) -> None:
        progress = parse_progress(line)
        if progress is not None:
            run.listener.progressed(stage.name, progress, pace.seconds_left(progress, time.monotonic()))
            return
        run.listener.line(stage.name, line)
        if lines is not None and line.strip():
            lines.append(line)

    run.runtime.run(stage, on_line)
