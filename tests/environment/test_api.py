"""Whatever is sent to the service is answered, over HTTP by its own schema and over a WebSocket by any message."""

import json
import os
from typing import Any

import httpx
import hypothesis
import schemathesis
from hypothesis import strategies as st
from service_process import Service
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

EXAMPLES = int(os.environ.get("API_EXAMPLES", "3"))  # of each operation; of messages twenty times as many
few = hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="API_EXAMPLES" not in os.environ,
    suppress_health_check=list(hypothesis.HealthCheck),
)
many = hypothesis.settings(few, max_examples=20 * EXAMPLES)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
datas = st.fixed_dictionaries(
    {},
    optional={
        "seed": json_values,
        "task_name": json_values | st.sampled_from(["click-test", "../x", "flight.AA"]),
        "screenshot": json_values,
        "shows": json_values,
        "episode_id": json_values,
        "action_str": json_values | st.sampled_from(["noop()", "click('13')", "click("]),
        "metadata": json_values,
    },
)
messages = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40),
    json_values.map(json.dumps),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["reset", "step", "state", "mcp", "close", "?"]) | json_values,
            "data": json_values | datas,
        }
    ).map(json.dumps),
)


def test_no_request_is_answered_by_an_error_of_the_server(service: Service) -> None:
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/reset", "/step", "/state", "/schema", "/health", "/mcp"}
    for operation in operations:

        @hypothesis.given(operation.as_strategy())
        @few
        def send(case: Any) -> None:
            response = case.call(timeout=60)
            assert response.status_code < 500, (case, response.text)

        send()


def test_a_step_over_http_says_where_episodes_are_played(service: Service) -> None:
    answer = httpx.post(f"{service.url}/step", json={"action": {"action_str": "noop()"}})
    assert answer.status_code == 400
    assert "use a WebSocket session at /ws" in answer.json()["detail"]


@hypothesis.given(st.lists(messages, max_size=4))
@many
def test_whatever_a_client_says_the_next_one_is_served(service: Service, said: list[str | bytes]) -> None:
    address = service.url.replace("http", "ws", 1) + "/ws"
    with connect(address) as rude:
        try:
            for message in said:
                rude.send(message)
                rude.recv(timeout=60)
        except ConnectionClosed as closed:
            assert closed.rcvd is None or closed.rcvd.code != 1011, closed  # 1011: an error of the server
    with connect(address) as polite:
        polite.send(json.dumps({"type": "reset", "data": {"seed": 1, "task_name": "click-test"}}))
        assert json.loads(polite.recv(timeout=60))["data"]["observation"]["goal"] == "Click the button."
