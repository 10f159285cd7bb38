"""The endpoint: OpenAI's protocol, and no answer that the page does not offer."""

import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from browser_control.language import actions, prompts
from browser_control.language.page import parse_page
from browser_control.policy.policy import Policy
from browser_control.policy.sampling import Request
from browser_control.use import serving

PAGE = '"Choose. Goal: not this"\nbutton "yes" [11]\nbutton "no" [12]\ntextbox "Name" [13]'


@pytest.fixture
def server(make_policy: Callable[..., Policy]) -> Iterator[serving.Server]:
    running = serving.Server(make_policy(), "tiny", 0)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def ask(server: serving.Server, content: object, **more: object) -> httpx.Response:
    turns = [{"role": "system", "content": prompts.SYSTEM}, {"role": "user", "content": content}]
    return httpx.post(f"{server.url}/chat/completions", json={"model": "x", "messages": turns, **more}, trust_env=False)


def test_the_answer_is_the_policys_action_on_the_page_of_the_prompt(server: serving.Server) -> None:
    memory = prompts.Memory(done=['click button "no" [12]'])
    prompt = prompts.build(PAGE, "Choose yes", memory, error="it is disabled")
    answer = ask(server, prompt.text).json()
    said = answer["choices"][0]["message"]["content"]
    [completion] = server.policy.act([Request(prompt)])
    assert said == completion.text
    actions.check(actions.parse_label(said), parse_page(PAGE).elements)
    assert answer["usage"]["prompt_tokens"] == len(completion.prompt_ids)
    listed = httpx.get(f"{server.url}/models", trust_env=False).json()
    assert [model["id"] for model in listed["data"]] == ["tiny"]


def test_a_page_of_a_browser_is_no_client(server: serving.Server) -> None:
    """It may send such a request to loopback without asking first."""
    headers = {"Origin": "http://evil.example", "Content-Type": "text/plain"}
    body = '{"messages": [{"role": "user", "content": "Goal: x"}]}'
    answer = httpx.post(f"{server.url}/chat/completions", content=body, headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["message"]) == (403, "a page of a browser is no client")
    assert httpx.get(f"{server.url}/models", headers={"Origin": "null"}, trust_env=False).status_code == 403


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        ("Hello!", {}, "is no page"),
        ("not a line\nGoal: x", {}, "is no page"),
        ('"Text."\nGoal: x', {}, "nothing that can be acted on"),
        (["parts"], {}, "and text"),
        (PAGE + "\nGoal: x", {"stream": True}, "leave stream out"),
        (PAGE + "\nGoal: x", {"temperature": 0.7}, "leave temperature out"),
    ],
)
def test_what_cannot_be_answered_is_400_with_the_reason(
    server: serving.Server, content: object, more: dict[str, object], words: str
) -> None:
    answer = ask(server, content, **more)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"messages": ' * 50_000, b"\xff", b"", b"9" * 5000, b'{"a": NaN}'])
def test_a_body_that_is_no_request_is_400_and_the_next_is_answered(server: serving.Server, body: bytes) -> None:
    answer = httpx.post(f"{server.url}/chat/completions", content=body, trust_env=False)
    assert (answer.status_code, bool(answer.json()["error"]["message"])) == (400, True)
    assert httpx.get(f"{server.url}/models", trust_env=False).status_code == 200
