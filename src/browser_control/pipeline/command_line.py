"""`python flows/train.py` as a program: parses and checks first, imports Prefect later, ends with a fitting exit code.

Prefect takes two seconds to import and its server six to start; both happen at the same time, and neither before the
arguments are known to be good.
"""

import contextlib
import errno
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from browser_control.errors import EXIT_PREEMPTED, EXIT_USER_ERROR, BrowserControlError, Preempted, UserError
from browser_control.pipeline import parameters, server
from browser_control.pipeline.parameters import Parameters
from browser_control.pipeline.runtimes.base import StageError

_STATE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "browser-control"


def main(flow_file: str, name: str = "train", arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the flow `name` of `flow_file` with the parameters of the command line, and exits."""
    signal.signal(signal.SIGTERM, _leave)
    with _exit_codes():
        chosen = parameters.parse(arguments)
        from browser_control.pipeline import run

        run.check(chosen, server=False)
        _run(lambda: _load(flow_file, name), chosen)
    sys.exit(0)


def _run(load: Callable[[], Any], chosen: Parameters) -> None:
    for variable, value in {**server.QUIET, **server.HEARTBEAT}.items():
        os.environ.setdefault(variable, value)
    with contextlib.ExitStack() as stack:
        temporary = None
        if url := server.configured_server():
            server.refuse_unreachable(url)
        else:
            temporary = stack.enter_context(server.temporary_server(_STATE / "prefect-server.log"))
        flow = load()
        if temporary is not None:
            temporary.wait()
        stack.callback(server.flush)
        flow(**chosen.model_dump())


def _load(flow_file: str, name: str) -> Any:
    """Imports a flow's file as a module; this is where Prefect is imported."""
    spec = importlib.util.spec_from_file_location(Path(flow_file).stem, flow_file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    """Turns what ends a run into words and an exit code; only what we did wrong gets a traceback."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        yield
    except UserError as error:
        console.print(f"error: {error}", style="red")
        sys.exit(EXIT_USER_ERROR)
    except StageError as error:
        if error.reason != "configuration":
            console.print("\n".join(error.tail))
        console.print(f"error: {error}", style="red")
        sys.exit({"configuration": EXIT_USER_ERROR, "preempted": EXIT_PREEMPTED}.get(error.reason, 1))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        console.print(f"error: {no_space(error)}", style="red")
        sys.exit(EXIT_USER_ERROR)
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


def no_space(error: OSError) -> str:
    return f"no space left on the disk of {error.filename or 'the run'}: free some, and run the same command again"


class _Stopped(BaseException):
    """SIGTERM, as an exception that every `finally` sees."""


def _leave(number: int, frame: FrameType | None) -> None:
    raise _Stopped
