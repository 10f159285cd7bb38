"""A model behind an OpenAI-compatible endpoint, judged as our own policies are."""

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import llguidance
import llguidance.hf
import pytest
from llguidance.gbnf_to_lark import gbnf_to_lark
from paper_service import paper_service
from tiny import PaperEnvironments

from browser_control.cli import main
from browser_control.configuration import Policy as Settings
from browser_control.errors import ServiceFailed, UserError
from browser_control.language import actions, prompts
from browser_control.language.page import parse_page
from browser_control.policy.policy import Policy
from browser_control.policy.sampling import Request
from browser_control.run_directory import read_json
from browser_control.training import benchmark
from browser_control.training.rollout import Start, play
from browser_control.use import gbnf, serving
from browser_control.use.endpoint import Endpoint, find_action, instructions

MakePolicy = Callable[..., Policy]
VERBS = tuple(actions.VERBS)
PAGE = "\n".join(
    [
        '"Choose."',
        'button "yes" [11]',
        'button "no \\"really\\"" [12]',
        'textbox "Name" [13]',
        'textbox "Day" [14] as "yyyy-mm-dd"',
        'combobox "City" [15] options "Lima", "Rome"',
        'listbox "Several" [16] multiple options "a", "b"',
        'link "Home" [17]',
        'group "Box" [18] scrollable',
        'image "Map" [19] size 160x90',
        'textbox "Note" [20] value "seen"',
    ]
)
PROMPT = prompts.build('button "yes" [11]\nbutton "no" [12]\ntextbox "Name" [13]', "Choose yes")
Say = Callable[[dict[str, Any]], tuple[int, object]]


@contextlib.contextmanager
def speaking(say: Say) -> Iterator[tuple[str, list[Any]]]:
    """The URL of an endpoint that answers what `say` says to a request, and what it was asked, headers first."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((dict(self.headers), self.path, body))
            status, value = say(body)
            if isinstance(value, str):
                value = {"choices": [{"message": {"role": "assistant", "content": value}}]}
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", asked
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def asking(url: str, **changes: Any) -> Iterator[Endpoint]:
    with contextlib.closing(Endpoint(url, "some-model", Settings(), pause=0.01, **changes)) as endpoint:
        yield endpoint


@contextlib.contextmanager
def served(policy: Policy) -> Iterator[str]:
    with serving.Server(policy, "tiny", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


# ---------------------------------------------------------------- our own endpoint


def test_our_own_endpoint_plays_as_the_policy_itself(make_policy: MakePolicy) -> None:
    policy = make_policy()

    def texts(player: Any) -> list[str]:
        environments = PaperEnvironments(4, lambda taken: 1.0 if len(taken) == 3 else None)
        starts = [Start("click-button", seed) for seed in range(6)]
        episodes, _ = play(player, environments, starts, max_turns=5, random_seed=None)
        assert all(turn.valid for episode in episodes for turn in episode.turns)
        return [turn.completion.text for episode in episodes for turn in episode.turns]

    with served(policy) as url, asking(url, explains=False) as endpoint:
        assert texts(endpoint) == texts(policy)


def test_the_command_judges_our_own_endpoint(
    make_policy: MakePolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(make_policy()) as url, paper_service() as environment:
        arguments = ["--endpoint", url, "--model", "tiny", "--as-trained", "--subset", "heldout23"]
        arguments += ["--environment", environment, "--output", str(tmp_path)]
        assert main(["benchmark", "miniwob", *arguments]) == 0
    assert "100.0% of the answers were actions of their page" in " ".join(capsys.readouterr().out.split())
    scores = read_json(tmp_path / "benchmark.json")
    assert (scores["judged"], scores["endpoint"], scores["valid_actions"]) == ("tiny", url, 1.0)
    assert scores["subsets"]["PipelineRL's 23 held out"]["episodes"] == 23 * 5
    assert "trained" not in scores["subsets"]


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ('click button "yes" [11]', 'click button "yes" [11]'),
        ('  `click button "yes" [11]`\n', 'click button "yes" [11]'),
        ('```\nclick button "yes" [11]\n```', 'click button "yes" [11]'),
        ("click link [11]", 'click button "yes" [11]'),  # an element is known by its number
        ('<think>click button "no" [12]</think>\nI click.\nclick button "yes" [11]', 'click button "yes" [11]'),
        ('fill textbox "Name" [13] with "Ada"', 'fill textbox "Name" [13] with "Ada"'),
        ('click button "yes" [99]', 'click button "yes" [99]'),
        ('<think>click button "no" [12]', '<think>click button "no" [12]'),
        ("I would\nclick yes.", "I would click yes."),
        ('hover button "yes" [11]', 'hover button "yes" [11]'),  # not among the verbs
        ("", ""),
    ],
)
def test_the_action_of_an_answer(said: str, found: str) -> None:
    assert find_action(said, PROMPT, ("click", "fill")) == found


def test_what_is_no_action_of_the_page_counts_as_a_turn_and_is_said() -> None:
    answers = ['hover button "yes" [11]', "click the button", 'click button "yes" [99]', 'click button "yes" [11]']

    def say(body: dict[str, Any]) -> tuple[int, str]:
        return 200, answers[body["messages"][-1]["content"].count("; ") + ("Done: " in body["messages"][-1]["content"])]

    def reward(taken: list[str]) -> float | None:
        return 1.0 if taken[-1] == "click('11')" else None

    with speaking(say) as (url, _), asking(url) as endpoint:
        [episode], _ = play(endpoint, PaperEnvironments(1, reward), [Start("one", 1)], max_turns=9, random_seed=None)
    assert [turn.valid for turn in episode.turns] == [False, False, False, True]
    assert [turn.error for turn in episode.turns[:3]] == [
        "the page does not offer that",
        "not an action: 'click the button'",
        "no element [99] on this page",
    ]
    assert episode.success
    scores = benchmark.scores([episode])
    assert scores["valid_actions"] == 0.25


def test_a_request_says_the_page_the_actions_and_nothing_else() -> None:
    with (
        speaking(lambda body: (200, "click")) as (url, asked),
        asking(url, key="secret", fields={"seed": 7, "max_tokens": None, "top_p": 1}) as endpoint,
    ):
        [completion] = endpoint.act([Request(PROMPT)])
    [(headers, path, body)] = asked
    assert headers["Authorization"] == "Bearer secret" and path == "/v1/chat/completions"
    system, user = (body.pop("messages"), body)[0]
    assert (system["role"], user) == ("system", {"role": "user", "content": PROMPT.text})
    assert system["content"] == instructions(("click", "fill", "select"))
    assert body == {"model": "some-model", "temperature": 0, "seed": 7, "top_p": 1}
    assert completion.text == "click"


def test_each_verb_is_explained_as_it_is_read() -> None:
    told = instructions(VERBS).split("The actions:\n")[1].splitlines()
    assert len(told) == len(VERBS)
    for verb, line in zip(VERBS, told, strict=True):
        spelled = line.partition("   (")[0].replace("ELEMENT", 'button "x" [1]').replace("DX,DY", "3,-4")
        spelled = spelled.replace("X,Y", "3,4").replace("KEY", actions.FOCUS_KEYS[0] if verb == "key" else "Enter")
        spelled = spelled.replace("down|up", "up").replace("|".join(actions.EDGES), actions.EDGES[0])
        assert actions.parse_label(spelled).verb == verb, line


# ---------------------------------------------------------------- what an endpoint may answer instead


def test_an_endpoint_that_had_no_time_is_asked_again() -> None:
    answers = iter([(429, {"error": {"message": "too many"}}), (503, {}), (200, 'click button "yes" [11]')])
    with speaking(lambda body: next(answers)) as (url, asked), asking(url) as endpoint:
        [completion] = endpoint.act([Request(PROMPT)])
    assert completion.text == 'click button "yes" [11]' and len(asked) == 3


def test_an_endpoint_that_never_answers_ends_the_benchmark() -> None:
    with (
        speaking(lambda body: (500, {"error": "out of memory"})) as (url, _),
        asking(url) as endpoint,
        pytest.raises(ServiceFailed, match="did not answer 5 times: 500 out of memory"),
    ):
        endpoint.act([Request(PROMPT)])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {"error": {"message": "no key"}}), "refuses what it is asked: 401 no key"),
        ((404, {"error": {"message": "no such model"}}), "refuses what it is asked: 404 no such model"),
        ((200, {"result": 1}), "does not speak OpenAI's protocol"),
    ],
)
def test_what_is_refused_at_first_is_one_sentence(answer: tuple[int, Any], words: str) -> None:
    with (
        speaking(lambda body: answer) as (url, _),
        asking(url) as endpoint,
        pytest.raises(UserError, match=words) as raised,
    ):
        endpoint.act([Request(PROMPT)])
    assert "\n" not in str(raised.value)


def test_a_prompt_that_is_refused_later_is_an_answer_that_is_no_action() -> None:
    answers = iter([(200, 'click button "yes" [11]'), (400, {"error": {"message": "the context is too long"}})])
    with speaking(lambda body: next(answers)) as (url, _), asking(url) as endpoint:
        assert endpoint.act([Request(PROMPT)])[0].text == 'click button "yes" [11]'
        assert endpoint.act([Request(PROMPT)])[0].text == "(refused: the context is too long)"


def test_an_answer_without_words_is_no_action() -> None:
    empty = {"choices": [{"message": {"role": "assistant", "content": None}}]}
    with speaking(lambda body: (200, empty)) as (url, _), asking(url) as endpoint:
        assert endpoint.act([Request(PROMPT)])[0].text == ""


def test_what_is_asked_wrongly_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["--endpoint", "http://127.0.0.1:1/v1"], "need each other"),
        (["--model", "x"], "need each other"),
        (["--endpoint", "127.0.0.1:1", "--model", "x"], "--endpoint must be a URL"),
        (["--endpoint", "http://127.0.0.1:1/v1", "--model", "x", "--api-key-env", "NOT_SET_HERE"], "is not set"),
        (["--endpoint", "http://127.0.0.1:1/v1", "--model", "x", "--request-fields", "["], "is not JSON"),
        (["--endpoint", "http://127.0.0.1:1/v1", "--model", "x", "--request-fields", "[]"], "must be an object"),
    ):
        assert main(["benchmark", "miniwob", *arguments]) == 2
        assert words in capsys.readouterr().err
    with paper_service() as environment:
        arguments = ["--endpoint", "http://127.0.0.1:1/v1", "--model", "x", "--environment", environment]
        assert main(["benchmark", "miniwob", *arguments]) == 2
        assert "nothing answers at http://127.0.0.1:1/v1" in capsys.readouterr().err


# ---------------------------------------------------------------- grammar


def accepts(tokenizer: Any, lark: str, text: str) -> bool:
    matcher = llguidance.LLMatcher(llguidance.hf.from_tokenizer(tokenizer), lark, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = tokenizer.encode(text, add_special_tokens=False)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


def test_the_grammar_of_a_page_is_what_it_offers(make_policy: MakePolicy) -> None:
    """Random walks through the offers; read by another program than the one it is written for."""
    policy = make_policy(policy={"actions": list(VERBS)})
    elements = parse_page(PAGE).elements
    lark = gbnf_to_lark(gbnf.grammar(elements, VERBS, 60))
    generator, seen = random.Random(0), set()
    offers = actions.offers(elements, VERBS, actions.LABEL_FORMAT)
    for offer in offers:
        for _ in range(4):
            said = "".join(offer.begin) + "".join(drawn(place, generator) for place in offer.places)
            assert accepts(policy.tokenizer, lark, said), said
            seen.add(actions.parse_label(said).verb)
    assert seen == set(VERBS) - {"tab", "close", "accept", "answer", "dismiss"}
    for wrong in ('click button "yes" [12]', 'fill textbox "Day" [14] with "soon"', 'click button "yes" [11] now', ""):
        assert not accepts(policy.tokenizer, lark, wrong), wrong


def drawn(place: actions.Place, generator: random.Random) -> str:
    if isinstance(place, actions.Options):
        return "".join(generator.choice(place.spelled))
    if isinstance(place, actions.Numbers):
        return str(generator.randrange(place.low, place.high))
    return ("2024-02-29" if place.format else "Añy text, (really)?") + place.closing


def test_the_grammar_goes_with_the_request_where_it_is_asked_for() -> None:
    with speaking(lambda body: (200, "x")) as (url, asked), asking(url, constrains=True) as endpoint:
        endpoint.act([Request(PROMPT)])
    assert asked[0][2]["grammar"] == gbnf.grammar(PROMPT.elements, ("click", "fill", "select"), 60)
