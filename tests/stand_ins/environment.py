"""OpenEnv's protocol with one page that never changes."""

import argparse
import json
import os
import sys
from http import HTTPStatus
from pathlib import Path

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

import stand_ins

OBSERVATION = {"goal": "Click.", "text": 'button "okay" [14]', "error": "", "metadata": {}}
TEXTS = {"empty": '"nothing to click"', "foreign": "[14] button 'okay', clickable"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--max-turns", type=int, required=True)
    parser.add_argument("--services", type=int, default=1)
    chosen = parser.parse_args()
    host, port = chosen.host, chosen.port
    how = dict(part.split("=") for part in os.environ.get("STAND_IN", "").split(",") if part).get("environment")
    if how == "die":
        sys.exit("error: no Chromium was found")
    stand_ins.misbehave(how)
    if pids := os.environ.get("STAND_IN_PIDS"):
        Path(pids).write_text(str(os.getpid()))
    observation = {**OBSERVATION, "text": TEXTS.get(how or "", OBSERVATION["text"])}
    with serve(
        lambda connection: answer(connection, observation, chosen.max_turns), host, port, process_request=health
    ) as server:
        server.serve_forever()


def answer(connection: ServerConnection, observation: dict[str, object], max_turns: int) -> None:
    for message in connection:
        if json.loads(message)["type"] == "state":
            connection.send(json.dumps({"type": "state", "data": {"max_steps": max_turns}}))
            continue
        data = {"observation": observation, "reward": 0.0, "done": False}
        connection.send(json.dumps({"type": "observation", "data": data}))


def health(connection: ServerConnection, request: Request) -> Response | None:
    if request.path != "/health":
        return None
    return Response(HTTPStatus.OK, "OK", Headers({"Content-Length": "2"}), b"{}")


main()
