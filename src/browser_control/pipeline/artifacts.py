"""What a run shows in Prefect's UI: log lines, progress, scores, a summary.

A server that is away for a while costs an artifact, not the run.
"""

import contextlib
import logging
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger
from prefect.runtime import flow_run, task_run
from prefect.states import Running

from browser_control.pipeline import server
from browser_control.pipeline.progress import Progress, describe
from browser_control.pipeline.run import Run
from browser_control.records import report, summary
from browser_control.records.promotion import Decision
from browser_control.training import benchmark_tables
from browser_control.web_tasks import registry as web_tasks

_LINES = 300  # of a stage that go to Prefect; the whole log is a file
_SECONDS = 2.0  # between two updates of a progress artifact
_PRESENCE = 15.0  # seconds between two looks at what the server thinks of us

_DRAWN_NAME = re.compile("[a-z]+-[a-z]+")  # an adjective and an animal, which Prefect draws

_logger = logging.getLogger(__name__)


class RunLog:
    """Listens to a run and tells Prefect: a bounded number of log lines, and a progress artifact a stage."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._lines = 0
        self._artifact: UUID | None = None
        self._updated = 0.0
        self._present = time.monotonic()

    def began(self, stage: str) -> None:
        self._lines = 0
        self._artifact = None
        self._updated = 0.0

    def line(self, stage: str, line: str) -> None:
        self._lines += 1
        if self._lines <= _LINES:
            get_run_logger().info(line)
        elif self._lines == _LINES + 1:
            get_run_logger().info("... more in logs/%s.log of the run directory", stage)

    def progressed(self, stage: str, progress: Progress, seconds_left: float | None) -> None:
        now = time.monotonic()
        if now - self._updated < _SECONDS and progress.done < progress.total:
            return
        self._updated = now
        if now - self._present >= _PRESENCE:
            self._present = now
            with _lenient():
                say_that_we_live()
        description = describe(stage, progress, seconds_left)
        with _lenient():
            if self._artifact is None:
                key = _key(self._run_id, stage)
                self._artifact = cast(UUID, create_progress_artifact(progress.percent, key, description))
            else:
                update_progress_artifact(self._artifact, progress.percent, description=description)

    def ended(self, stage: str, summary: str) -> None:
        get_run_logger().info("%s: %s", stage, summary)

    def finished(self, rows: list[dict[str, str]], places: Mapping[str, str]) -> None:
        """`publish` makes artifacts of these."""

    def failed(self, stage: str, error: str) -> None:
        get_run_logger().error("%s: %s", stage, error)


def task_name() -> str:
    """Names a task's run as the task, without the random letters that Prefect adds."""
    return str(task_run.task_name)


def tag(run: Run) -> None:
    """Tags the flow run with its model and web tasks, and names it by what it does, unless somebody gave it a name."""
    tags = {run.configuration.name, *run.configuration.judged_web_tasks, *(flow_run.tags or [])}
    given = str(flow_run.name or "")
    name = report.title(run.configuration) if _DRAWN_NAME.fullmatch(given) else given
    with _lenient(), get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, name=name, tags=sorted(tags))


def say_that_we_live() -> None:
    """A server that was away, or a machine that slept, has heard no heartbeat, and takes this run for dead."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run.id).state
        if state is not None and state.is_crashed() and state.message == server.SILENT:
            client.set_flow_run_state(
                flow_run.id, Running(message="it lives: the server did not hear of it for a while")
            )


def publish(run: Run, evaluations: Mapping[str, summary.Scores], decision: Decision) -> None:
    """The table of scores and the summary, in Prefect and on the terminal."""
    rows = summary.table(evaluations)
    ui = server.ui_hint(flow_run.get_flow_run_ui_url())
    places = summary.places(run.directory, run.archive_url, ui, _to_watch(run))
    places = {"adapter": decision.reason, **_few(run, evaluations), **places}
    run.listener.finished(rows, places)
    found = report.of_run(run.directory.root, run.archive_url, {})
    link = _link(places["report"])
    shown = {"report": link, "learning curve": f"{link}#training {found.curve}", **places} | {"report": link}
    words = summary.markdown(found.title, rows, shown, found.headline)
    with _lenient():
        create_table_artifact(rows, key=_key(run.id, "success"), description="Success on held-out pages")
        create_markdown_artifact(words, key=_key(run.id, "summary"), description=found.headline)
        create_link_artifact(link, "the report", key=_key(run.id, "report"), description=found.headline)


def _to_watch(run: Run) -> str:
    """A web task that shows what was learned; empty where nothing was, or it is a package's, which `play` plays not."""
    settings = run.configuration
    learns = settings.training.updates or settings.warm_start.demonstrates
    return next((each for each in settings.judged_web_tasks if learns and web_tasks.package_of(each) is None), "")


def _few(run: Run, evaluations: Mapping[str, summary.Scores]) -> dict[str, str]:
    words = summary.fewer_pages(evaluations, run.configuration.evaluation.episodes)
    return {"fewer": words} if words else {}


def publish_scores(run: Run, evaluations: Mapping[str, summary.Scores]) -> None:
    """The table of scores of a run that makes no archive."""
    rows = summary.table(evaluations)
    run.listener.finished(rows, {**_few(run, evaluations), "logs": str(run.directory.logs)})
    publish_table(run.id, rows)


def publish_benchmark(run: Run, scores: dict[str, Any]) -> None:
    """The tables of a benchmark in Prefect."""
    with _lenient():
        create_markdown_artifact(
            benchmark_tables.markdown(scores), key=_key(run.id, "benchmark"), description="BrowserGym's benchmark"
        )


def publish_table(name: str, rows: list[dict[str, str]]) -> None:
    with _lenient():
        create_table_artifact(rows, key=_key(name, "success"), description="Success on held-out pages")


def _link(place: str) -> str:
    """Of a file of this machine a URL that a browser on it opens; any other URL as it is."""
    return place if "://" in place else Path(place).absolute().as_uri()


def _key(*parts: str) -> str:
    """Prefect allows lower-case letters, digits and dashes."""
    return "-".join(parts).replace(".", "-").replace("_", "-")


@contextlib.contextmanager
def _lenient() -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        _logger.warning("no artifact: %s", error)
