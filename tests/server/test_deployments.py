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
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from pydantic import BaseModel, ValidationError

from browser_control import configuration

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "prefect.yaml"
POOLS = {"gpu", "local"}


def problems(written: dict[str, Any]) -> list[str]:
    """What is wrong with a file like prefect.yaml."""
    found = unknown(PrefectYamlModel, {key: value for key, value in written.items() if key != "definitions"}, "")
    names = [f"{each['entrypoint']} {each['name']}" for each in written["deployments"]]
    found += [f"{name} is there twice" for name in set(names) if names.count(name) > 1]
    for each in written["deployments"]:
        found += of_deployment(each)
    return found


def of_deployment(each: dict[str, Any]) -> list[str]:
    name = each["name"]
    found = unknown(DeploymentConfig, each, name)
    found += unknown(WorkPoolConfig, each["work_pool"], f"{name}: work_pool")
    found += unknown(ConcurrencyLimitSpec, each.get("concurrency_limit", {}), f"{name}: concurrency_limit")
    if each["work_pool"]["name"] not in POOLS:
        found.append(f"{name}: there is no work pool {each['work_pool']['name']!r}")
    try:
        flow = load(each["entrypoint"])
    except (ImportError, AttributeError) as error:
        return [*found, f"{name}: there is no entry point {each['entrypoint']}: {error}"]
    found += of_parameters(flow, each["parameters"], name)
    for schedule in each.get("schedules", []):
        try:
            RawScheduleConfig.model_validate(schedule)
        except ValidationError as error:
            found.append(f"{name}: {error}")
        found += of_parameters(flow, {**each["parameters"], **schedule.get("parameters", {})}, name)
        if "timezone" not in schedule:
            found.append(f"{name}: a schedule has no time zone")
    return found


def of_parameters(flow: Flow[..., Any], parameters: dict[str, Any], name: str) -> list[str]:
    known = inspect.signature(flow.fn).parameters
    if strangers := set(parameters) - set(known):
        return [f"{name}: there is no parameter {stranger}" for stranger in strangers]
    try:
        flow.validate_parameters(parameters)
    except Exception as error:
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
    for each in written["deployments"]:
        configuration.load(each["parameters"].get("config", "smollm2_135m_local_lora.yaml"))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (["deployments", 0, "concurency_limit"], 1, "there is no key concurency_limit"),
        (["deployments", 0, "work_pool", "job_variable"], {}, "there is no key job_variable"),
        (["deployments", 0, "work_pool", "name"], "gpus", "there is no work pool 'gpus'"),
        (["deployments", 0, "entrypoint"], "flows/trian.py:train", "there is no entry point"),
        (["deployments", 0, "entrypoint"], "flows/train.py:trian", "there is no entry point"),
        (["deployments", 0, "parameters", "runtime"], "dokcer", "runtime"),
        (["deployments", 0, "parameters", "environment_sessions"], 0, "environment_sessions"),
        (["deployments", 0, "parameters", "sesions"], 4, "there is no parameter sesions"),
        (["deployments", 0, "schedules", 0, "parameters", "start_from"], "last", "start_from"),
        (["deployments", 0, "schedules", 0, "timezon"], "UTC", "timezon"),
        (["deployment"], [], "there is no key deployment"),
    ],
)
def test_what_is_wrong_is_found(written: dict[str, Any], place: list[Any], value: Any, words: str) -> None:
    section = written = yaml.safe_load(yaml.safe_dump(written, default_flow_style=False))  # without shared anchors
    for part in place[:-1]:
        section = section[part]
    section[place[-1]] = value
    assert any(words in problem for problem in problems(written))
