"""The flow from beginning to end on stand-in programs: real processes, a real Prefect server, no browser, no model."""

import importlib.util
import inspect
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness
from processes import marked, wait_until
from stand_ins import CONFIG

from browser_control.errors import ConfigurationError, ServiceFailed, UserError
from browser_control.pipeline.parameters import Parameters
from browser_control.pipeline.runtimes.base import StageError
from browser_control.records import archive

ROOT = Path(__file__).resolve().parents[1]
FLOW = ROOT / "flows" / "train.py"


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with prefect_test_harness(server_startup_timeout=240):  # several servers may be starting on a busy machine
        yield str(PREFECT_API_URL.value())


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For runs with a server of their own: its database is made once."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def module(server: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("train", FLOW)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.again["retry_delay_seconds"] = 0
    return module


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Parameters of a run on stand-ins, in folders of its own."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    for name, value in stand_ins(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("BROWSERGYM_URL", raising=False)
    return {
        "config": str(tmp_path / "config.yaml"),
        "runs": str(tmp_path / "runs"),
        "archives": str(tmp_path / "archives"),
        "models": str(tmp_path / "models"),
    }


def stand_ins(tmp_path: Path, **misbehaviour: str) -> dict[str, str]:
    return {
        "BROWSER_CONTROL_PROGRAMS": "stand_ins",
        "PYTHONPATH": str(ROOT / "tests"),
        "STAND_IN": ",".join(f"{name}={how}" for name, how in misbehaviour.items()),
        "STAND_IN_PIDS": str(tmp_path / "environment.pid"),
    }


def calls(place: Mapping[str, str]) -> list[str]:
    (file,) = Path(place["runs"]).glob("*/calls")
    return file.read_text().split()


def test_a_run_goes_from_the_model_to_a_verified_archive(module: ModuleType, place: dict[str, Any]) -> None:
    url = module.train(**place)
    manifest = archive.verify(url)
    assert calls(place) == [
        "fetch_model",
        "evaluate",
        "warm_start",
        "evaluate",
        "fine_tune_local",
        "evaluate",
    ]
    assert {"config.yaml", "result.json", "metrics.jsonl", "logs/train.log"} <= set(manifest["files"])
    pictured = [name for name in manifest["files"] if name.endswith(".pictures.zip")]
    assert pictured == ["evaluation/after.pictures.zip"]  # those that the report shows
    assert "checkpoints/step-000002/adapter.bin" in manifest["files"]
    assert "checkpoints/step-000001/adapter.bin" not in manifest["files"]
    assert set(artifacts(Path(url).name)) == {"progress", "table", "markdown"}


def test_without_updates_of_grpo_the_warm_start_is_judged_once(module: ModuleType, place: dict[str, Any]) -> None:
    module.train(**place, overrides=["training.updates=0"])
    assert calls(place) == ["fetch_model", "evaluate", "warm_start", "fine_tune_local", "evaluate"]


def test_prefect_shows_what_a_run_does_in_which_order_and_what_came_out(
    module: ModuleType, place: dict[str, Any]
) -> None:
    EventsWorker.drain_all()  # one that other tests left may speak to a server that is gone
    url = module.train(run_id="seen", **place)
    order = ["fetch-promoted", "fetch-model", "start-browsergym", "health-gate", "evaluate-before", "warm-start"]
    order += ["evaluate-warm-start", "train", "evaluate-after", "archive", "promote"]
    with get_client(sync_client=True) as client:
        summary, link = (shown(client, f"seen-{name}") for name in ("summary", "report"))
        (run,) = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(tags={"all_": ["stand-in"]}), limit=1, sort=FlowRunSort.START_TIME_DESC
        )
        of_run = FlowRunFilter(id={"any_": [run.id]})
        wait_until(lambda: len(client.read_task_runs(flow_run_filter=of_run)) == len(order), 120)  # told by events
        tasks = client.read_task_runs(flow_run_filter=of_run)
    assert run.name == "stand-in · 2 web tasks · seed 0"
    names = {each.id: each.name for each in tasks}
    before = {each.name: {names[one.id] for found in each.task_inputs.values() for one in found} for each in tasks}
    assert before == {name: set(order[:number][-1:]) for number, name in enumerate(order)}
    title, sentence = summary.splitlines()[0:3:2]
    assert title == f"# {run.name}"
    assert sentence.startswith("**Success rose from 0.30 [0.15, 0.52] to 0.90 [0.70, 0.97] on 20 held-out pages")
    assert f"{(Path(url) / 'report.html').as_uri()}#training" in summary
    assert (Path(url) / "report.html").as_uri() in link


def test_the_same_command_after_a_finished_run_starts_a_new_one(module: ModuleType, place: dict[str, Any]) -> None:
    first, second = module.train(**place), module.train(**place)
    assert second == first + "-2"
    with pytest.raises(ConfigurationError, match="finished and archived"):
        module.train(run_id=Path(first).name, **place)


def test_a_run_that_was_stopped_behind_its_archive_is_judged_by_the_same_command(
    module: ModuleType, place: dict[str, Any]
) -> None:
    module.train(**place)
    models, (archived,) = Path(place["models"]), Path(place["archives"]).iterdir()
    before, manifest = calls(place), (archived / archive.MANIFEST).read_bytes()
    (models / "stand-in" / "promoted.json").unlink()  # as it was when the run ended with its archive
    (Path(place["runs"]) / archived.name / "decision.json").unlink()
    assert module.train(**place) == str(archived)
    assert calls(place) == [*before, "fetch_model"]
    assert (archived / archive.MANIFEST).read_bytes() == manifest
    promoted = json.loads((models / "stand-in" / "promoted.json").read_text())["promoted"]
    assert promoted["run_id"] == archived.name
    assert module.train(**place) == f"{archived}-2"


def test_a_crashed_stage_is_tried_again(
    module: ModuleType, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "fine_tune_local=crash-once")
    module.train(**place)
    assert calls(place).count("fine_tune_local") == 2


@pytest.mark.parametrize(
    ("how", "reason", "sentence"),
    [
        ("oom", "out_of_memory", "train ran out of memory"),
        ("refuse", "configuration", "the moon is in the wrong house"),
        ("full-disk", "configuration", "No space left on device.*free some"),
    ],
)
def test_what_cannot_go_better_is_not_tried_again(
    module: ModuleType,
    place: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    reason: str,
    sentence: str,
) -> None:
    monkeypatch.setenv("STAND_IN", f"fine_tune_local={how}")
    with pytest.raises(StageError, match=sentence) as caught:
        module.train(**place)
    assert caught.value.reason == reason
    assert calls(place).count("fine_tune_local") == 1


def test_a_failed_run_continues_with_what_is_missing(
    module: ModuleType, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "fine_tune_local=oom")
    with pytest.raises(StageError):
        module.train(**place)
    monkeypatch.setenv("STAND_IN", "")
    module.train(**place)
    assert calls(place)[-3:] == ["fetch_model", "fine_tune_local", "evaluate"]


def test_a_service_that_dies_is_started_again_and_training_goes_on(
    module: ModuleType, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "fine_tune_local=kill-environment-once")
    archive.verify(module.train(**place))
    assert calls(place).count("fine_tune_local") == 2


def test_a_service_that_does_not_come_up_is_reported_with_its_words(
    module: ModuleType, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "environment=die")
    with pytest.raises(ServiceFailed, match="no Chromium was found"):
        module.train(**place)


def test_two_processes_do_not_work_on_one_run(module: ModuleType, place: dict[str, Any]) -> None:
    from browser_control.pipeline.run import begin

    with begin(Parameters(**place)) as run, pytest.raises(ConfigurationError, match="another process"):
        module.train(run_id=run.id, **place)


@pytest.mark.parametrize(("replicas", "said"), [(1, []), (3, ["3"] * 3)])
def test_replicas_of_the_environment_know_of_each_other(place: dict[str, Any], replicas: int, said: list[str]) -> None:
    from browser_control.pipeline import stages
    from browser_control.pipeline.run import begin

    with begin(Parameters(**place)) as run:
        commands = [each.command for each in stages._environment_services(run, 0, replicas)]
    assert [each[each.index("--services") + 1] for each in commands if "--services" in each] == said


def test_a_run_is_not_continued_with_another_configuration(place: dict[str, Any]) -> None:
    from browser_control.pipeline.run import begin, check

    with begin(Parameters(run_id="mine", **place)):
        pass
    with pytest.raises(ConfigurationError, match="another configuration"):
        check(Parameters(run_id="mine", seed=3, **place))


def test_the_flow_has_the_parameters_of_the_command_line(module: ModuleType) -> None:
    shown = module.train.parameters.properties
    for (name, parameter), (field_name, field) in zip(
        inspect.signature(module.train.fn).parameters.items(), Parameters.model_fields.items(), strict=True
    ):
        assert name == field_name
        assert (parameter.default or field.get_default(call_default_factory=True)) == field.get_default(
            call_default_factory=True
        )
        assert shown[name]["description"] == field.description


@pytest.mark.parametrize(("program", "number"), [("environment", signal.SIGTERM), ("fine_tune_local", signal.SIGINT)])
def test_an_interrupted_run_leaves_nothing_and_continues(
    module: ModuleType,
    place: dict[str, Any],
    tmp_path: Path,
    prefect_home: Path,
    program: str,
    number: signal.Signals,
) -> None:
    mark = str(uuid.uuid4())
    environ = command_environ(tmp_path, prefect_home, mark, **{program: "hang"})
    with subprocess.Popen(command(place), env=environ, stderr=subprocess.PIPE, text=True) as process:
        wait_for_text(Path(place["runs"]), f"{'environment' if program == 'environment' else 'train'}.log", "progress")
        process.send_signal(number)
        _, words = process.communicate(timeout=60)
    assert process.returncode == 75, words
    assert "the same command continues this run" in words
    assert marked(mark) == []
    archive.verify(module.train(**place))
    if program == "fine_tune_local":
        assert calls(place).count("evaluate") == 3  # those of before the interrupt were not done again


def test_a_killed_run_leaves_nothing(place: dict[str, Any], tmp_path: Path, prefect_home: Path) -> None:
    mark = str(uuid.uuid4())
    environ = command_environ(tmp_path, prefect_home, mark, fine_tune_local="stubborn")
    with subprocess.Popen(command(place), env=environ, stderr=subprocess.DEVNULL) as process:
        wait_for_text(Path(place["runs"]), "train.log", "progress")
        process.kill()
    deadline = time.monotonic() + 10
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert marked(mark) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "traning.updates=3"], "did you mean 'training'"),
        (["--set", "training.updates=-1"], "greater than or equal to 0"),
        (["--set", "training.web_tasks=[click-buton]"], "did you mean 'click-button'"),
        (["--seed", "-5"], "seed"),
        (["--environment-port", "99999"], "environment_port"),
        (["--config", "absent.yaml"], "there is no configuration 'absent.yaml'"),
        (["--run-id", "../up"], "run_id '../up' must be"),
        (["--runtime", "docker", "--set", "environment.allowed_hosts=[example.org]"], "the browser has no way out"),
        (["--set", "environment.allowed_hosts=['http://example.org']"], "should match pattern"),
        (["--runtime", "docker", "--set", "environment.web_tasks=[browsergym.miniwob]"], "is not in the images"),
        (["--set", "environment.urls=['http://127.0.0.1:9']"], "no environment answers at http://127.0.0.1:9"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    place: dict[str, Any], tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    from browser_control.pipeline import parameters, run

    with pytest.raises(UserError) as caught:
        run.check(parameters.parse([*command(place)[2:], *arguments]))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path(place["runs"]).exists()


@pytest.mark.parametrize("parameter", ["runs", "archives", "models"])
def test_a_folder_that_cannot_be_is_refused_before_anything_starts(
    place: dict[str, Any], tmp_path: Path, parameter: str
) -> None:
    from browser_control.pipeline import parameters, run

    (tmp_path / "file").write_text("not a folder")
    arguments = [*command(place)[2:], f"--{parameter}", str(tmp_path / "file" / "below")]
    with pytest.raises(UserError, match=rf"{parameter}: no folder can be made at .*, since .*file is not a folder"):
        run.check(parameters.parse(arguments))


def test_a_folder_that_refuses_even_root_is_refused_before_anything_starts(
    place: dict[str, Any], tmp_path: Path
) -> None:
    from browser_control.pipeline import parameters, run

    with pytest.raises(UserError, match="archives: no folder can be made at '/proc/x', since /proc is not a folder"):
        run.check(parameters.parse([*command({**place, "archives": "/proc/x"})[2:]]))


@pytest.mark.parametrize("program", ["deployments/setup.py", "deployments/serve.py"])
def test_what_needs_a_server_says_so_where_there_is_none(tmp_path: Path, prefect_home: Path, program: str) -> None:
    environ = {**command_environ(tmp_path, prefect_home, ""), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    result = subprocess.run([sys.executable, str(ROOT / program)], env=environ, capture_output=True, text=True)
    assert result.returncode == 2
    assert "no Prefect server answers at http://127.0.0.1:9/api" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_prefect_server_that_does_not_answer_is_one_sentence(
    place: dict[str, Any], tmp_path: Path, prefect_home: Path
) -> None:
    environ = {**command_environ(tmp_path, prefect_home, ""), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    result = subprocess.run(command(place), env=environ, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: no Prefect server answers at http://127.0.0.1:9/api")
    assert result.stderr.count("\n") == 1


def test_bad_input_ends_the_command_with_exit_code_2(place: dict[str, Any], tmp_path: Path, prefect_home: Path) -> None:
    arguments = [*command(place), "--set", "traning.updates=3"]
    result = subprocess.run(arguments, env=command_environ(tmp_path, prefect_home, ""), capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flow", "options", "words"),
    [
        ("evaluate.py", ["--adapter", "base"], ["all", "0.30 [", "health-gate"]),
        (
            "benchmark.py",
            ["--adapter", "base", "--subset", "heldout23"],
            ["PipelineRL's 23 held out (23)", "0.30 [", "75.0% of the answers were actions of their page"],
        ),
        (
            "sweep.py",
            ["--grid", "{seed: [2, 0], training.learning_rate: [1.0e-4]}"],
            ["training.learning_rate", "0.90 [", "0.70 ["],
        ),
    ],
)
def test_the_other_flows_are_commands_too(
    place: dict[str, Any], tmp_path: Path, prefect_home: Path, flow: str, options: list[str], words: list[str]
) -> None:
    del place["models" if flow == "sweep.py" else "archives"]  # the runs of a sweep have their own; none is made
    arguments = [sys.executable, str(FLOW.with_name(flow)), *command(place)[2:], *options]
    result = subprocess.run(arguments, env=command_environ(tmp_path, prefect_home, ""), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert [word for word in words if word not in result.stderr] == []


@pytest.mark.parametrize(
    ("flow", "options", "sentence"),
    [
        ("sweep.py", [], "the following arguments are required: --grid"),
        ("sweep.py", ["--grid", "[1]"], "grid: Input should be a valid dictionary"),
        ("evaluate.py", ["--environment-sessions", "none"], "environment_sessions: Input should be a valid integer"),
        ("evaluate.py", ["--adapter", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_ends_the_other_flows_with_exit_code_2(
    place: dict[str, Any], tmp_path: Path, prefect_home: Path, flow: str, options: list[str], sentence: str
) -> None:
    arguments = [sys.executable, str(FLOW.with_name(flow)), "--config", place["config"], "--runs", place["runs"]]
    environ = command_environ(tmp_path, prefect_home, "")
    result = subprocess.run([*arguments, *options], env=environ, capture_output=True, text=True)
    assert (result.returncode, "Traceback" in result.stderr) == (2, False), result.stderr
    assert sentence in result.stderr


def test_a_proxy_in_the_shell_stops_no_run(place: dict[str, Any], tmp_path: Path, prefect_home: Path) -> None:
    environ = command_environ(tmp_path, prefect_home, uuid.uuid4().hex)
    environ = {name: value for name, value in environ.items() if name.lower() != "no_proxy"}
    environ |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(command(place), env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def command(place: Mapping[str, str]) -> list[str]:
    options = [part for name, value in place.items() for part in (f"--{name}", value)]
    return [sys.executable, str(FLOW), *options]


def command_environ(tmp_path: Path, prefect_home: Path, mark: str, **misbehaviour: str) -> dict[str, str]:
    """No server is named, so the command starts one of its own; `mark` finds all that descends from it."""
    named = {"PREFECT_HOME": str(prefect_home), "MARK": mark}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**inherited, **named, **stand_ins(tmp_path, **misbehaviour)}


def wait_for_text(folder: Path, name: str, text: str) -> None:
    deadline = time.monotonic() + 180
    while not any(text in path.read_text() for path in folder.glob(f"*/logs/{name}")):
        assert time.monotonic() < deadline, f"no {text!r} in {name}"
        time.sleep(0.05)


def shown(client: SyncPrefectClient, key: str) -> str:
    (artifact,) = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return str(artifact.data)


def artifacts(run_id: str) -> list[str]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(like_=f"{run_id}%")))
    return [str(artifact.type) for artifact in found]
