"""A language model behind an OpenAI-compatible endpoint, in place of a policy of our own.

It is asked as ours are: the same page, goal and history, an action in the same spelling, the most probable answer. What
a model cannot know that was not trained here, how actions are spelled, stands in the system's turn.
"""

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from browser_control import configuration
from browser_control.errors import ServiceFailed, UserError
from browser_control.language import actions, prompts
from browser_control.policy.sampling import Completion, Request
from browser_control.use import gbnf

_TRIES = 5
_PATIENCE = 600.0  # seconds for one answer
_BYTES_A_TOKEN = 3  # what of a long page is left out is decided by an estimate: the tokenizer is not here
_LATER = frozenset({408, 409, 425, 429, 500, 502, 503, 504})  # answers that another try may not get
_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)

_PLACES: Mapping[str, str] = {
    actions.ELEMENT: " ELEMENT",
    actions.TARGET: " ELEMENT",
    actions.TEXT: ' "TEXT"',
    actions.OPTION: ' "OPTION"',
    actions.KEY: ' "KEY"',
    actions.FOCUS_KEY: ' "KEY"',
    actions.DIRECTION: " down|up",
    actions.EDGE: f" {'|'.join(actions.EDGES)}",
    actions.POINT: " (X,Y)",
    actions.OFFSET: " (DX,DY)",
}
_MEANING: Mapping[str, str] = {
    "press": f"in a field; KEY: {', '.join(actions.KEYS)}",
    "key": f"where the focus is; KEY: {', '.join(actions.FOCUS_KEYS)}",
    "type": "where the focus is",
    "alt-click": "a link, without leaving the page",
    "toggle": "one of several options that can be chosen together",
    "click-at": "at X,Y pixels from the element's upper left corner",
    "drag-by": "by DX,DY pixels",
    "scroll": "the page",
    "scroll-in": "a scrollable element, to its end",
    "clear": "a field that has a text",
    "back": "to the page before this one",
    "tab": "to another window",
    "close": "the window in front",
    "accept": "the dialog that is open",
    "answer": "the prompt that is open",
    "dismiss": "the dialog that is open",
}


class Endpoint:
    """Answers as a policy does; any number of threads may ask.

    Args:
        url: of the API, such as `http://127.0.0.1:8080/v1`.
        model: its name there.
        settings: prompt and verbs; actions are spelled with labels.
        key: sent as a bearer token; empty for none.
        explains: tell how actions are spelled; not to a model that was trained here.
        constrains: send the page's actions as a GBNF grammar (llama.cpp's server).
        fields: of the request besides; one that is None is left out.
        at_once: requests that are under way at a time, at most.
        pause: seconds before it is asked again where it had no time; twice as long each time.
    """

    def __init__(
        self,
        url: str,
        model: str,
        settings: configuration.Policy,
        *,
        key: str = "",
        explains: bool = True,
        constrains: bool = False,
        fields: Mapping[str, Any] | None = None,
        at_once: int = 8,
        pause: float = 2.0,
    ) -> None:
        self.url = _without_credentials(url)
        self.model = model
        self.settings = settings.model_copy(update={"action_format": "label", "decoding": "free"})
        self._system = instructions(self.settings.actions) if explains else prompts.SYSTEM
        self._constrains = constrains
        self._fields = dict(fields or {})
        self._pause = pause
        self._answered = False
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=url.rstrip("/") + "/", headers=headers, timeout=_PATIENCE)
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="endpoint")

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def count_tokens(self, text: str) -> int:
        return -(-len(text.encode()) // _BYTES_A_TOKEN)

    def prepare(self, request: Request) -> None:
        """Nothing: what a page offers is worked out over there."""

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """One answer for each request: an action where it holds one that the page offers, else its own words.

        Raises:
            UserError: the endpoint refuses the first question, or the key.
            ServiceFailed: it does not answer, also when asked again.
        """
        answers = self._pool.map(self._answer, [request.prompt for request in requests])
        return [Completion((), (), (), (), (), text) for text in answers]

    def _answer(self, prompt: prompts.Prompt) -> str:
        said = self._ask(prompt)
        return find_action(said, prompt, self.settings.actions)

    def _ask(self, prompt: prompts.Prompt) -> str:
        body = self._request(prompt)
        words = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1))
            try:
                answer = self._client.post("chat/completions", json=body)
            except httpx.HTTPError as error:
                words = str(error) or type(error).__name__
                if isinstance(error, httpx.ConnectError) and not self._answered:
                    raise UserError(f"nothing answers at {self.url}: {words}") from error
                continue
            if answer.status_code not in _LATER:
                return self._read(answer)
            words = f"{answer.status_code} {_reason(answer)}"
        raise ServiceFailed(f"{self.url} did not answer {_TRIES} times: {words}")

    def _request(self, prompt: prompts.Prompt) -> dict[str, Any]:
        messages = [{"role": "system", "content": self._system}, {"role": "user", "content": prompt.text}]
        body: dict[str, Any] = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": 512}
        if self._constrains and prompt.elements:
            verbs, longest = tuple(self.settings.actions), self.settings.max_text_characters
            body["grammar"] = gbnf.grammar(prompt.elements, verbs, longest)
        return {name: value for name, value in (body | self._fields).items() if value is not None}

    def _read(self, answer: httpx.Response) -> str:
        if answer.is_success:
            try:
                said = answer.json()["choices"][0]["message"]["content"]
            except (ValueError, LookupError, TypeError) as error:
                raise UserError(f"{self.url} does not speak OpenAI's protocol: {answer.text[:200]!r}") from error
            self._answered = True
            return said if isinstance(said, str) else ""  # it may answer with a tool call, or with nothing
        if answer.status_code in (401, 403) or not self._answered:
            raise UserError(f"{self.url} refuses what it is asked: {answer.status_code} {_reason(answer)}")
        return f"(refused: {_reason(answer)})"  # a page too long for it, say: an answer that is no action


def instructions(verbs: Sequence[str]) -> str:
    """What a model is told that knows nothing of this project."""
    lines = []
    for name in verbs:
        spelled = "".join(_PLACES.get(part, part) for part in actions.VERBS[name].label)
        lines.append(f"{spelled}   ({_MEANING[name]})" if name in _MEANING else spelled)
    return "\n".join(
        [
            prompts.SYSTEM,
            'The message lists the page, a line each: a text as "TEXT", and what can be acted on as ROLE "NAME"'
            " [NUMBER], with its states behind. After that come your last actions (Done:), why the last one failed"
            " (Error:), and the goal.",
            'Answer with one line and nothing else: one action, with ELEMENT spelled ROLE "NAME" [NUMBER] as the page'
            ' lists it, for example: click link "Home" [3]',
            "The actions:",
            *lines,
        ]
    )


def find_action(said: str, prompt: prompts.Prompt, verbs: Sequence[str]) -> str:
    """The first line of an answer that is an action which the page offers; the answer as it is where none is.

    What a model thought aloud between `<think>` and `</think>` is no part of its answer, and backticks around a line
    are none of its action. An element is known by its number: its action is returned as the page spells it.
    """
    for line in _THOUGHT.sub("", said).splitlines():
        try:
            action = actions.parse_label(line.strip().strip("`").strip())
            actions.check(action, prompt.elements)
        except actions.InvalidAction:
            continue
        if actions.is_offered(action, prompt.elements, verbs):
            return action.spell(prompt.elements)
    return " ".join(said.split())


def read_key(name: str) -> str:
    """The API key in an environment variable; raises UserError where there is none."""
    if name and not os.environ.get(name):
        raise UserError(f"--api-key-env {name}: this environment variable is not set")
    return os.environ[name] if name else ""


def read_fields(text: str) -> dict[str, Any]:
    """More fields of a request, as JSON; raises UserError."""
    try:
        fields = json.loads(text or "{}")
    except ValueError as error:
        raise UserError(f"--request-fields is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise UserError('--request-fields must be an object, such as {"max_tokens": 64}')
    return fields


def _reason(answer: httpx.Response) -> str:
    try:
        error = answer.json()["error"]
        words = error["message"] if isinstance(error, dict) else error
    except (ValueError, LookupError, TypeError):
        words = answer.text
    return " ".join(str(words).split())[:200]


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"--endpoint must be a URL such as http://127.0.0.1:8080/v1, not {url!r}")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
