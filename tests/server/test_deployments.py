"""prefect.yaml holds only keys that Prefect knows, entry points that exist and parameters that the flows accept.

Prefect itself passes over what it does not know.
"""

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.cli.deploy._models import (
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ParameterTypeError
from prefect.settings.legacy import _get_settings_fields
from prefect.settings.models.root import Settings
from prefect.utilities.importtools import import_object
from prefect.workers.process import ProcessWorker
from pydantic import BaseModel, ValidationError

from browser_control import configuration
from browser_control.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "prefect.yaml"
POOLS = {"gpu", "local"}


def problems(written: dict[str, Any]) -> list[str]:
    """What is wrong with a file like prefect.yaml."""
    found = unknown(PrefectYamlModel, {key: value for key, value in written.items() if key != "definitions"}, "file")
    for step in written["pull"]:
        found += [f"pull: there is no step {each}" for each in step if not callable(import_object(each))]
    names = [f"{each['entrypoint']} {each['name']}" for each in written["deployments"]]
    found += [f"{name} is there twice" for name in set(names) if names.count(name) > 1]
    for each in written["deployments"]:
        found += of_deployment(each)
    return found


def of_deployment(each: dict[str, Any]) -> list[str]:
    name = each["name"]
    found = unknown(DeploymentConfig, each, name)
    found += unknown(WorkPoolConfig, each["work_pool"], f"{name}: work_pool")
    found += of_job_variables(each["work_pool"].get("job_variables", {}), name)
    if "concurrency_limit" in each:
        found.append(f"{name}: concurrency_limit is a lease, which ends a run when the server is away for minutes")
    if each["work_pool"]["name"] not in POOLS:
        found.append(f"{name}: there is no work pool {each['work_pool']['name']!r}")
    try:
        flow = load(each["entrypoint"])
    except (ImportError, AttributeError) as error:
        return [*found, f"{name}: there is no entry point {each['entrypoint']}: {error}"]
    found += of_parameters(flow, each["parameters"], name)
    for schedule in each.get("schedules", []):
        found += [f"{name}: {problem}" for problem in of_schedule(schedule)]
        found += of_parameters(flow, {**each["parameters"], **schedule.get("parameters", {})}, name)
    return found


def of_job_variables(variables: dict[str, Any], name: str) -> list[str]:
    known = ProcessWorker.get_default_base_job_template()["variables"]["properties"]
    found = [f"{name}: job_variables: there is no key {key}" for key in variables if key not in known]
    settings = {field.upper() for field in _get_settings_fields(Settings)}
    found += [
        f"{name}: Prefect has no setting {variable}"
        for variable in variables.get("env", {})
        if variable.startswith("PREFECT_") and variable not in settings
    ]
    found += [f"{name}: {key} is no text" for key, value in variables.get("env", {}).items() if type(value) is not str]
    return found


def of_schedule(schedule: dict[str, Any]) -> list[str]:
    try:
        model = RawScheduleConfig.model_validate(schedule)
        CronSchedule(cron=model.cron or "", timezone=model.timezone)
    except ValidationError as error:
        return [str(error)]
    return [] if model.timezone else ["a schedule has no time zone"]


def of_parameters(flow: Flow[..., Any], parameters: dict[str, Any], name: str) -> list[str]:
    known = inspect.signature(flow.fn).parameters
    if strangers := set(parameters) - set(known):
        return [f"{name}: there is no parameter {stranger}" for stranger in strangers]
    try:
        flow.validate_parameters(parameters)
        configuration.load(parameters.get("config", known["config"].default))
    except (ParameterTypeError, UserError) as error:
        return [f"{name}: {error}"]
    return []


def unknown(model: type[BaseModel], written: dict[str, Any], where: str) -> list[str]:
    known = {field.alias or name for name, field in model.model_fields.items()}
    return [f"{where}: there is no key {key}" for key in written if key not in known]


def load(entrypoint: str) -> Flow[..., Any]:
    file, name = entrypoint.split(":")
    if not (ROOT / file).is_file():
        raise ImportError(file)
    spec = importlib.util.spec_from_file_location(Path(file).stem, ROOT / file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Flow[..., Any] = getattr(module, name)
    return found


@pytest.fixture
def written() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def test_prefect_yaml_is_right(written: dict[str, Any]) -> None:
    assert problems(written) == []


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (["deployment"], [], "file: there is no key deployment"),
        (["deployments", 0, "concurency_limit"], 1, "there is no key concurency_limit"),
        (["deployments", 0, "schedule_"], {}, "there is no key schedule_"),
        (["deployments", 0, "concurrency_limit"], {"limit": 1}, "concurrency_limit is a lease"),
        (["deployments", 0, "work_pool", "job_variable"], {}, "work_pool: there is no key job_variable"),
        (["deployments", 0, "work_pool", "name"], "gpus", "there is no work pool 'gpus'"),
        (["deployments", 0, "work_pool", "job_variables", "environ"], {}, "job_variables: there is no key environ"),
        (["deployments", 0, "work_pool", "job_variables", "env", "PREFECT_FLOW_HEARTBEAT"], "30", "has no setting"),
        (["deployments", 0, "work_pool", "job_variables", "env", "DO_NOT_TRACK"], 1, "DO_NOT_TRACK is no text"),
        (["deployments", 0, "entrypoint"], "flows/trian.py:train", "there is no entry point"),
        (["deployments", 0, "entrypoint"], "flows/train.py:trian", "there is no entry point"),
        (["deployments", 0, "parameters", "runtime"], "dokcer", "runtime"),
        (["deployments", 0, "parameters", "environment_sessions"], 0, "environment_sessions"),
        (["deployments", 0, "parameters", "config"], "lfm.yaml", "there is no configuration 'lfm.yaml'"),
        (["deployments", 0, "parameters", "sesions"], 4, "there is no parameter sesions"),
        (["deployments", 3, "parameters", "grid"], {"seed": 1}, "grid"),
        (["deployments", 0, "schedules", 0, "parameters", "start_from"], "last", "start_from"),
        (["deployments", 0, "schedules", 0, "parameters", "start"], "promoted", "there is no parameter start"),
        (["deployments", 0, "schedules", 0, "timezon"], "UTC", "timezon"),
        (["deployments", 0, "schedules", 0, "timezone"], "Europe/Berlim", "Europe/Berlim"),
        (["deployments", 0, "schedules", 0, "timezone"], None, "a schedule has no time zone"),
        (["deployments", 0, "schedules", 0, "cron"], "0 25 * * *", "0 25 * * *"),
    ],
)
def test_what_is_wrong_is_found(written: dict[str, Any], place: list[Any], value: Any, words: str) -> None:
    section = written = yaml.safe_load(yaml.dump(written, Dumper=WithoutAnchors))
    for part in place[:-1]:
        section = section[part]
    section[place[-1]] = value
    assert any(words in problem for problem in problems(written)), problems(written)


class WithoutAnchors(yaml.SafeDumper):
    """Writes what several places share to each of them, so that one can be changed alone."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
