"""Ways to run a program, chosen by `type`."""

from typing import Any

from pydantic import ValidationError

from browser_control.errors import ConfigurationError
from browser_control.pipeline.runtimes.base import Runtime
from browser_control.pipeline.runtimes.docker import DockerRuntime, DockerSettings
from browser_control.pipeline.runtimes.process import ProcessRuntime, ProcessSettings

RuntimeSettings = ProcessSettings | DockerSettings

_SETTINGS: dict[str, type[RuntimeSettings]] = {"process": ProcessSettings, "docker": DockerSettings}


def runtime_settings(type: str, **values: Any) -> RuntimeSettings:
    """The settings of the runtime called `type`; it takes of `values` what is for it.

    Raises:
        ConfigurationError: a value is wrong.
    """
    settings = _SETTINGS[type]
    try:
        return settings(**{name: value for name, value in values.items() if name in settings.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error


def make_runtime(settings: RuntimeSettings) -> Runtime:
    """The runtime that `settings` describe; the only place that knows them all."""
    if isinstance(settings, DockerSettings):
        return DockerRuntime(settings)
    return ProcessRuntime(settings)
