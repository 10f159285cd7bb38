"""Ways to run a program, chosen by `type`."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from browser_control.pipeline.runtimes.base import Runtime
from browser_control.pipeline.runtimes.process import ProcessRuntime, ProcessSettings

RuntimeSettings = Annotated[ProcessSettings, Field(description="discriminated by `type`, once there are several")]

_SETTINGS: TypeAdapter[ProcessSettings] = TypeAdapter(RuntimeSettings)


def make_runtime(type: str, **settings: Any) -> Runtime:
    """The runtime called `type`; the only place that knows them all."""
    return ProcessRuntime(_SETTINGS.validate_python({"type": type, **settings}))
