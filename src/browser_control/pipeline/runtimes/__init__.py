"""Ways to run a program, chosen by `type`."""

from browser_control.pipeline.runtimes.base import Runtime
from browser_control.pipeline.runtimes.process import ProcessRuntime, ProcessSettings

RuntimeSettings = ProcessSettings


def make_runtime(settings: RuntimeSettings) -> Runtime:
    """The runtime that `settings` describe; the only place that knows them all."""
    return ProcessRuntime(settings)
