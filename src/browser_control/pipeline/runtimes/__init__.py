"""Ways to run a program, chosen by `type`."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from browser_control.pipeline.runtimes.base import Runtime
from browser_control.pipeline.runtimes.process import ProcessRuntime, ProcessSettings

RuntimeSettings = Annotated[ProcessSettings, Field(description="discriminated by `type`, once there are several")]

_SETTINGS: TypeAdapter[ProcessSettings] = TypeAdapter(RuntimeSettings)


def runtime_settings(type: str, **values: Any) -> RuntimeSettings:
    """The settings of the runtime called `type`."""
    return _SETTINGS.validate_python({"type": type, **values})


def make_runtime(settings: RuntimeSettings) -> Runtime:
    """The runtime that `settings` describe; the only place that knows them all."""
    return ProcessRuntime(settings)
