"""`python -m browser_control.environment`: serves MiniWoB++ web tasks until SIGTERM or SIGINT."""

import argparse
import re
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from browser_control import allowance
from browser_control.errors import EXIT_USER_ERROR, ConfigurationError, ServiceFailed, UserError

DESCRIPTION = """Serves BrowserGym's MiniWoB++ web tasks, and your own, over OpenEnv's protocol: a WebSocket at /ws, one
session a connection, and /health, /schema, /metadata."""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m browser_control.environment", description=DESCRIPTION)
    parser.add_argument("--port", type=_port, default=8080, help="TCP port; 0 takes a free one (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--sessions", type=_positive, default=8, help="sessions at a time (default: %(default)s)")
    parser.add_argument("--max-turns", type=_positive, default=15, help="steps of an episode (default: %(default)s)")
    parser.add_argument("--browser", metavar="PATH", help="Chromium to use (default: the one that is found)")
    parser.add_argument(
        "--browsers",
        type=_positive,
        default=max(1, int(allowance.cores() // 4)),
        help="Chromiums that share the sessions (default: one for four cores)",
    )
    parser.add_argument(
        "--pages",
        type=_positive,
        help="pages kept open, so that many episodes find one of their web task (default: eight a session, if memory "
        "allows, and at least a half more than sessions, and eight)",
    )
    parser.add_argument(
        "--services",
        type=_positive,
        default=1,
        help="that share this machine, this one included: each keeps its part of the pages that there is room for "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--in-page",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="begin an episode in an open page of its web task, where that was shown to be the same episode",
    )
    parser.add_argument(
        "--allowed-hosts",
        nargs="+",
        type=_host,
        default=[],
        metavar="HOST",
        help="that the action goto may open beside the web task's own (default: none)",
    )
    parser.add_argument(
        "--web-tasks",
        nargs="+",
        default=[],
        metavar="SOURCE",
        help="folders of web tasks of your own, NAME/task.yaml; Python packages with BrowserGym's classes, such as "
        "browsergym.miniwob; and flight, the airline forms of the miniwob package",
    )
    parser.add_argument(
        "--logs", type=Path, metavar="FOLDER", help="for what servers of web tasks say (default: a temporary one)"
    )
    parser.add_argument("--engine", choices=("fast", "stock"), default="fast", help="stock: OpenEnv's own environment")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _host(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9.-]+", text):
        raise argparse.ArgumentTypeError("must be a host name in lower case, without a port")
    return text


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError("must be from 0 to 65535")
    return value


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket whose connections notice a dead peer; raises ServiceFailed if the port is taken."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The kernel asks a silent peer whether it is there; a busy trainer may be late to answer pings.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        listener.bind(address)
    except OSError as error:
        raise ServiceFailed(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port.") from error
    return listener


def serve(options: argparse.Namespace) -> None:
    """Runs the service until it is asked to stop; raises UserError for what the user can put right."""
    from browser_control.environment.chromium import find_chromium

    program = find_chromium(options.browser)
    with listening_socket(options.host, options.port) as listener:
        if options.engine == "stock":
            if options.allowed_hosts:
                raise ConfigurationError("--allowed-hosts is for the fast engine: OpenEnv's own goes anywhere.")
            if options.web_tasks:
                raise ConfigurationError("--web-tasks is for the fast engine: OpenEnv's own knows none.")
            from browser_control.environment import stock

            stock.run(program, listener, options.sessions)
        else:
            from browser_control.environment import service
            from browser_control.environment.kept_pages import kept_pages
            from browser_control.web_tasks import registry

            registry.use(options.web_tasks)
            pages = options.pages or kept_pages(options.sessions, services=options.services)
            service.run(
                program,
                listener,
                options.sessions,
                options.max_turns,
                options.browsers,
                pages,
                options.in_page,
                frozenset(options.allowed_hosts),
                options.logs,
            )


def stop(*_: object) -> None:
    """SIGTERM and SIGINT: the end that is wanted, whenever it comes."""
    raise SystemExit(0)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        serve(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return EXIT_USER_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
