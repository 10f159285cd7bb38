"""What we use of OpenEnv's core, imported without its web interface.

OpenEnv goes without the web interface where gradio is missing; importing gradio would take longer than all the rest.
"""

import sys

_hide_gradio = "gradio" not in sys.modules
if _hide_gradio:
    sys.modules["gradio"] = None  # type: ignore[assignment]  # `import gradio` raises ModuleNotFoundError
try:
    from openenv.core.env_server.http_server import create_app  # type: ignore[import-untyped]
    from openenv.core.env_server.interfaces import Environment  # type: ignore[import-untyped]
    from openenv.core.env_server.types import (  # type: ignore[import-untyped]
        Action,
        EnvironmentMetadata,
        Observation,
        State,
    )
finally:
    if _hide_gradio:
        del sys.modules["gradio"]

__all__ = ["Action", "Environment", "EnvironmentMetadata", "Observation", "State", "create_app"]
