"""The environment's protocol over a real WebSocket, with pages that are text: for whole programs without a browser."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

GOAL = 'Click on the "yes" button.'


Instead = Callable[[dict[str, Any]], dict[str, Any] | None]


@contextmanager
def paper_service(instead: Instead = lambda request: None) -> Iterator[str]:
    """The URL of a service for click-button, in a thread: one click ends an episode.

    Args:
        instead: is asked with every request for what to answer; None for what is right.
    """
    with serve(partial(_session, instead), "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield "http://{}:{}".format(*server.socket.getsockname())
        finally:
            server.shutdown()
            thread.join()


def page(seed: int) -> str:
    """Where `yes` stands depends on the seed."""
    first, second = ("yes", "no") if seed % 2 else ("no", "yes")
    return f'"Choose {seed}."\nbutton "{first}" [11]\nbutton "{second}" [12]\ntextbox "Name" [13]'


def _session(instead: Instead, connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):  # a client that was killed says no goodbye
        _serve(instead, connection)


def _serve(instead: Instead, connection: ServerConnection) -> None:
    seed = 0
    for message in connection:
        request = json.loads(message)
        if answer := instead(request):
            connection.send(json.dumps(answer))
        elif request["type"] == "state":
            _answer(connection, "state", {})
        elif request["type"] == "reset":
            seed = request["data"]["seed"]
            _answer(connection, "observation", _observed(seed, None))
        elif request["type"] == "step":
            _answer(connection, "observation", _observed(seed, request["data"]["action_str"]))


def _observed(seed: int, action: str | None) -> dict[str, Any]:
    right = "click('11')" if seed % 2 else "click('12')"
    return {
        "observation": {"goal": GOAL, "text": page(seed), "error": "", "metadata": {"strict": action == right}},
        "reward": float(action == right),
        "done": action is not None,
    }


def _answer(connection: ServerConnection, kind: str, data: dict[str, Any]) -> None:
    connection.send(json.dumps({"type": kind, "data": data}))
