"""A flow's file as a program, which ends with a fitting exit code.

`python flows/train.py` parses and checks first, and imports Prefect later.

Prefect takes two seconds to import and its server six to start; both happen at the same time, and neither before the
arguments are known to be good.
"""

import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from browser_control import proxies
from browser_control.errors import (
    EXIT_PREEMPTED,
    EXIT_USER_ERROR,
    BrowserControlError,
    ConfigurationError,
    Preempted,
    UserError,
    refusal,
)
from browser_control.pipeline import parameters, server
from browser_control.pipeline.progress import OutputLost
from browser_control.pipeline.runtimes.base import StageError

_STATE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "browser-control"


def main(flow_file: str, name: str = "train", arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the flow `name` of `flow_file`, which takes `Parameters`, with those of the command line, and exits."""
    signal.signal(signal.SIGTERM, _leave)
    proxies.spare_loopback()
    with exit_codes():
        chosen = parameters.parse(arguments)
        from browser_control.pipeline import run

        run.check(chosen, server=False, trains=True)
        with _prefect_server() as wait:
            flow = _load(flow_file, name)
            _run(flow, chosen.model_dump(), wait)
    sys.exit(0)


def main_by_signature(flow_file: str, name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """The same for any flow: its own parameters become the options, for which Prefect has to be imported first."""
    signal.signal(signal.SIGTERM, _leave)
    proxies.spare_loopback()
    asks = {"-h", "--help"} & set(sys.argv[1:] if arguments is None else arguments)
    with exit_codes(), contextlib.nullcontext(lambda: None) if asks else _prefect_server() as wait:
        flow = _load(flow_file, name)
        chosen = parameters.parse_schema(flow.parameters.model_dump(), flow_file, flow.description, arguments)
        from prefect.exceptions import ParameterTypeError

        try:
            flow.validate_parameters(chosen)
        except ParameterTypeError as error:
            raise ConfigurationError(" ".join(str(error).split())) from error
        _run(flow, chosen, wait)
    sys.exit(0)


@contextlib.contextmanager
def _prefect_server() -> Iterator[Callable[[], None]]:
    """The server that Prefect is to use, from before its import on: the one that is named, or one for this run.

    It comes as what waits until it answers.
    """
    for variable, value in {**server.QUIET, **server.OF_A_RUN}.items():
        os.environ.setdefault(variable, value)
    if url := server.configured_server():
        server.refuse_unreachable(url)
        yield lambda: None
    else:
        with server.temporary_server(_STATE / "prefect-server.log") as temporary:
            yield temporary.wait


def _run(flow: Any, chosen: dict[str, Any], wait: Callable[[], None]) -> None:
    wait()
    try:
        flow(**chosen)
    finally:
        server.flush()


def _load(flow_file: str, name: str) -> Any:
    """Imports a flow's file as a module; this is where Prefect is imported."""
    spec = importlib.util.spec_from_file_location(Path(flow_file).stem, flow_file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turns what ends a run into words and an exit code; only what we did wrong gets a traceback."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        yield
    except UserError as error:
        console.print(f"error: {error}", style="red")
        sys.exit(EXIT_USER_ERROR)
    except StageError as error:
        if error.reason not in ("configuration", "out_of_memory"):  # whose sentence says it all
            console.print("\n".join(error.tail))
        console.print(f"error: {error}", style="red")
        sys.exit({"configuration": EXIT_USER_ERROR, "preempted": EXIT_PREEMPTED}.get(error.reason, 1))
    except OSError as error:
        if (words := refusal(error)) is None:
            raise
        console.print(f"error: {words}", style="red")
        sys.exit(EXIT_USER_ERROR)
    except OutputLost:
        sys.exit(EXIT_PREEMPTED)
    except (KeyboardInterrupt, Preempted, _Stopped):
        console.print("stopped; the same command continues this run")
        sys.exit(EXIT_PREEMPTED)
    except BrowserControlError as error:
        console.print(f"error: {error}", style="red")
        sys.exit(1)
    except BaseException as error:
        if type(error).__name__ == "TerminationSignal":  # Prefect's SIGTERM; it is not imported by now, or need not be
            console.print("stopped; the same command continues this run")
            sys.exit(EXIT_PREEMPTED)
        raise


class _Stopped(BaseException):
    """SIGTERM, as an exception that every `finally` sees."""


def _leave(number: int, frame: FrameType | None) -> None:
    raise _Stopped
