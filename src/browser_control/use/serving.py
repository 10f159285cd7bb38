"""An archived adapter behind OpenAI's protocol, on loopback: `/v1/chat/completions` and `/v1/models`.

The page is in the prompt: the user's last message is what `language.prompts.build` makes, the listing line by line,
then `Done:` and `Error:` where there are any, and `Goal:`. The answer is one action that this page offers.
"""

import json
import threading
import time
import uuid
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from browser_control.errors import ServiceFailed, UserError
from browser_control.language.page import Element, PageUnreadable, parse_page
from browser_control.language.prompts import Prompt
from browser_control.language.window import MORE

if TYPE_CHECKING:
    from browser_control.policy.policy import Policy

_LARGEST = 4_000_000  # bytes of a request


class BadRequest(ValueError):
    """What a client asked for cannot be answered; the message says why."""


def read_prompt(text: str) -> Prompt:
    """The prompt of a message, with the elements that its page lists; raises BadRequest."""
    lines = [line for line in text.splitlines() if line]
    if not any(line.startswith("Goal: ") for line in lines):
        raise BadRequest("the last message is no page: it ends with a line that begins with 'Goal: '")
    try:
        page = parse_page(Prompt("\n".join(lines), ()).page)
    except PageUnreadable as error:
        raise BadRequest(f"the last message is no page: {error}") from error
    if not page.elements:
        raise BadRequest("the page lists nothing that can be acted on")
    return Prompt("\n".join(lines), tuple(map(_as_shown, page.elements)))


def _as_shown(element: Element) -> Element:
    """Without what stands for options that the message does not show: those nobody can choose here."""
    return replace(element, options=element.options[:-1]) if element.options[-1:] == (MORE,) else element


def answer(policy: "Policy", model: str, asked: Any) -> dict[str, Any]:
    """OpenAI's answer to a request for a completion; raises BadRequest."""
    from browser_control.policy.sampling import Request

    if not isinstance(asked, dict) or not isinstance(asked.get("messages"), list) or not asked["messages"]:
        raise BadRequest("messages is a list of turns")
    if asked.get("stream"):
        raise BadRequest("an action comes whole: leave stream out")
    if asked.get("temperature"):
        raise BadRequest("actions are the most probable ones: leave temperature out, or 0")
    last = asked["messages"][-1]
    if not isinstance(last, dict) or last.get("role") != "user" or not isinstance(last.get("content"), str):
        raise BadRequest("the last message is the user's, and text")
    [completion] = policy.act([Request(read_prompt(last["content"]))])
    prompt, said = len(completion.prompt_ids), len(completion.token_ids)
    message = {"role": "assistant", "content": completion.text}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said},
    }


class Server(ThreadingHTTPServer):
    """Answers one request after the other: there is one model."""

    daemon_threads = True

    def __init__(self, policy: "Policy", model: str, port: int) -> None:
        """
        Raises:
            UserError: the adapter's prompts are not pages as they are listed.
            ServiceFailed: the port is taken.
        """
        if policy.settings.action_format != "label":
            raise UserError("only an adapter whose policy.action_format is label can be served: prompts are the pages")
        self.policy, self.model = policy, model
        self.one_at_a_time = threading.Lock()
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise ServiceFailed(
                f"cannot listen on 127.0.0.1:{port}: {error.strerror}; choose another --port"
            ) from error

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self._refused():
            return
        if self.path != "/v1/models":
            self._say(404, _error("there is /v1/models and /v1/chat/completions"))
            return
        model = {"id": self.server.model, "object": "model", "created": 0, "owned_by": "browser-control"}
        self._say(200, {"object": "list", "data": [model]})

    def do_POST(self) -> None:
        if self._refused():
            return
        if self.path != "/v1/chat/completions":
            self._say(404, _error("there is /v1/models and /v1/chat/completions"))
            return
        try:
            length = int(self.headers.get("Content-Length", ""))
            if not 0 <= length <= _LARGEST:
                raise BadRequest("the request is too large")
            asked = json.loads(self.rfile.read(length))
            with self.server.one_at_a_time:
                found = answer(self.server.policy, self.server.model, asked)
        except RecursionError:
            self._say(400, _error("the request is nested too deeply"))
        except ValueError as error:  # BadRequest, no JSON, no length
            self._say(400, _error(str(error)))
        else:
            self._say(200, found)

    def _refused(self) -> bool:
        """A page that a person looks at is no client, though its browser reaches loopback and says of which origin."""
        if self.headers.get("Origin") is None:
            return False
        self.close_connection = True
        self._say(403, _error("a page of a browser is no client"))
        return True

    def _say(self, status: int, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


def _error(words: str) -> dict[str, Any]:
    return {"error": {"message": words, "type": "invalid_request_error", "param": None, "code": None}}
