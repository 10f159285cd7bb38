"""A web task of the user's own: what its file says, and one sentence where that is wrong."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from browser_control import configuration
from browser_control.errors import ConfigurationError
from browser_control.web_tasks import plain_yaml, registry, server_file, task_file

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "shop" / "order-shirts"


def made(tmp_path: Path, **changes: Any) -> Path:
    """A copy of the example with other values; None takes a key away."""
    folder = tmp_path / "shop" / "order-shirts"
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    values = {**yaml.safe_load((folder / "task.yaml").read_text()), **changes}
    (folder / "task.yaml").write_text(yaml.safe_dump({key: each for key, each in values.items() if each is not None}))
    return folder


SERVER = {"command": ["./app", "{port}"]}


@pytest.fixture(autouse=True)
def nothing_of_this_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_own", {})


def test_an_episode_is_drawn_by_its_seed() -> None:
    task = task_file.read(EXAMPLE)
    assert (task.name, task.goals) == ("shop.order-shirts", 800)
    drawn = [task.draw(seed) for seed in range(400)]
    assert drawn == [task.draw(seed) for seed in range(400)]
    assert {each["count"] for each in drawn} == set(range(1, 41))
    assert len({task.goal(each) for each in drawn}) > 250


def test_the_parameters_of_a_goal_are_read_back_from_it() -> None:
    task = task_file.read(EXAMPLE)
    for seed in range(200):
        parameters = task.draw(seed)
        found = task.parameters_in(task.goal(parameters))
        assert found == {name: task_file.spelled(value) for name, value in parameters.items()}
    assert task.parameters_in("Order nothing.") is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gaol": "x"}, "there is no key 'gaol' (did you mean 'goal'?)"),
        (
            {"goal": "Order {count} shirts, size {size}."},
            "the parameter 'colour' is not in the goal: write {colour} wh",
        ),
        (
            {"goal": "Order {colr}, {colour} {size} {count}"},
            "there is no parameter 'colr' (did you mean 'colour'?), in",
        ),
        ({"solution": ['click button "{color}"']}, "there is no parameter 'color' (did you mean 'colour'?), in"),
        ({"solution": ['clik button "Add"']}, "solution: there is no action 'clik' (did you mean 'click'?), in 'clik"),
        ({"solution": ["click Add"]}, "solution: 'click Add' is not an action, such as `fill textbox"),
        ({"before": ["click Add"]}, "before: 'click Add' is not an action, such as `fill textbox"),
        ({"solution": ['click button "Order" #0']}, "solution: 'click button \"Order\" #0' is not an action"),
        ({"start": "a\0b"}, "start: there is no file 'a\\x00b' in that folder"),
        ({"start": "a" * 5000}, "start: there is no file 'aaa"),
        ({"goal": ["a"]}, "goal: this should be text, in quotes where it looks like something else, not ['a']"),
        ({"solution": "click"}, "solution: this should be a list, not 'click'"),
        ({"parameters": ["count"]}, "parameters: this should be a mapping, not ['count']"),
        ({"parameters": {"count": "many"}}, "parameters.count: a list of values, or {from: 1, to: 6}, not 'many'"),
        ({"parameters": {"count": []}}, "parameters.count: there should be something in this list, not []"),
        ({"parameters": {"count": [["a"]]}}, "parameters.count.0: a value is text, a number, true or false, not ['a']"),
        ({"parameters": {"count": {"from": 1}}}, "'parameters.count.to' is missing"),
        ({"parameters": {"count": {"from": "a", "to": 2}}}, "parameters.count.from: input should be a valid integer"),
        (
            {"parameters": {"count": {"from": 0, "to": 10**30}}},
            "parameters.count.to: input should be less than",
        ),
        ({"parameters": {"Count": [1]}}, "parameters.Count: names of parameters are small letters, digits and unders"),
        (
            {"parameters": {"class": [1]}, "goal": "{class}"},
            "'class' is a word of JavaScript's: call the",
        ),
        ({"server": ["a"]}, "server: this can be of no such kind, not ['a']"),
        ({"success": None}, "'success' is missing"),
        ({"start": "pag.html"}, "start: there is no file 'pag.html' in that folder"),
        ({"start": "../page.html"}, "start: there is no file '../page.html' in that folder"),
        ({"parameters": {"count": {"from": 3, "to": 1}}}, "from 3 to 1 is no range"),
        ({"max_turns": 0}, "max_turns: input should be greater than or equal to 1, not 0"),
        ({"server": SERVER}, "start: with a server it is a path on it, such as /, not 'page.html'"),
        ({"server": {**SERVER, "redy": "/"}, "start": "/"}, "'server.redy' (did you mean 'ready'?)"),
        ({"server": {"command": ["./app"]}, "start": "/"}, "server: the server has to be told its port: write {port}"),
        (
            {"server": {"command": ["{prt}", "{port}"]}, "start": "/"},
            "{prt} is not known to a server: there are {port}",
        ),
        (
            {"server": {**SERVER, "reset": "start"}, "start": "/"},
            "server.reset: input should be 'restart', not 'start'",
        ),
        (
            {"server": {**SERVER, "reset": {"post": "x"}}, "start": "/"},
            "server.reset: post 'x': a path on the server b",
        ),
        ({"server": {**SERVER, "reset": {}}, "start": "/"}, "one of get, post, put, patch, delete says what is asked"),
        ({"server": {**SERVER, "reset": {"post": "/{x}"}}, "start": "/"}, "there is no parameter 'x', in '/{x}'"),
        ({"server": {**SERVER, "url": "http://a.example"}, "start": "/"}, "started by its command, or has a url"),
        ({"server": {"url": "http://a.example/app"}, "start": "/"}, "server.url: string should match pattern"),
        ({"server": {"url": "http://a.example", "shared": True}, "start": "/"}, "runs is shared, and has no"),
        ({"server": {"url": "http://a.example", "reset": "restart"}, "start": "/"}, "cannot be restarted: let reset"),
        ({"server": {**SERVER, "shared": True}, "start": "/"}, "a shared server cannot be restarted for one session"),
        ({"server": {**SERVER, "command": ["{secret:A}", "{port}"]}, "start": "/"}, "a command is seen by everyone"),
        (
            {"server": "../application/server.yaml", "start": "/"},
            "server: there is no file '../application/server.yaml'",
        ),
        ({"state": {"get": "/x", "where": {"a": 1}}}, "success and state are two judges: give one of them"),
        ({"state": {"get": "/x"}, "success": None}, "'state.where' is missing"),
        (
            {"state": {"get": "/x", "where": {"a": 1}}, "success": None},
            "and there is none: `server` says how it starts",
        ),
        ({"before": [{"goto": "x"}]}, "before.0.goto: string should match pattern '^/', not 'x'"),
        ({"before": ['click link "{colr}"']}, "there is no parameter 'colr' (did you mean 'colour'?)"),
    ],
)
def test_a_file_that_is_wrong_is_one_sentence(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        task_file.read(made(tmp_path, **changes))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_digest_changes_with_every_file(tmp_path: Path) -> None:
    folder = made(tmp_path)
    first = task_file.read(folder).digest
    (folder / ".hidden").write_text("x")
    assert task_file.read(folder).digest == first
    (folder / "page.html").write_text((folder / "page.html").read_text() + "\n")
    assert task_file.read(folder).digest != first


def test_a_configuration_names_folders_and_their_web_tasks(tmp_path: Path) -> None:
    folder = made(tmp_path).parent
    overrides = [f"environment.web_tasks=[{folder}]", "training.web_tasks=[shop.order-shirts, click-test]"]
    settings = configuration.load("smollm2_135m_local_lora.yaml", overrides)
    resolved = registry.resolve(settings)
    assert resolved.training.web_tasks == ("shop.order-shirts", "click-test")
    assert registry.few_pages("shop.order-shirts") is None
    before = resolved.digest
    made(tmp_path, max_turns=4)
    assert resolved.digest != before


def test_few_goals_are_too_few_to_hold_any_out(tmp_path: Path) -> None:
    registry.use([made(tmp_path, parameters={"count": [1, 2], "size": ["small"], "colour": ["red"]}).parent])
    assert registry.few_pages("shop.order-shirts") == 2


def test_two_web_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    registry.use([made(tmp_path / "here").parent])
    with pytest.raises(ConfigurationError, match=r"there is another 'shop[.]order-shirts'"):
        registry.use([made(tmp_path / "there").parent])


def test_a_folder_without_web_tasks_and_an_unknown_name_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"holds no web tasks: there is no NAME/task[.]yaml in it"):
        registry.use([tmp_path])
    with pytest.raises(ConfigurationError, match=r"is one web task: name the folder that it is in"):
        registry.use([made(tmp_path)])
    with pytest.raises(ConfigurationError, match=r"environment[.]web_tasks names the folders"):
        registry.find("warehouse.xyz")


LIBRARY = EXAMPLE.parents[1] / "library"


def test_a_digest_changes_with_the_application(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(LIBRARY, tmp_path / "library"))
    first = [task_file.read(folder / name).digest for name in ("lend-book", "add-book")]
    assert task_file.read(folder / "lend-book").application == task_file.read(folder / "add-book").application
    (folder / "application" / "app.py").write_text("pass")
    assert all(task_file.read(folder / name).digest not in first for name in ("lend-book", "add-book"))


def test_what_the_file_of_an_application_says_is_checked_with_each_web_task(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(LIBRARY, tmp_path / "library"))
    server = folder / "application" / "server.yaml"
    server.write_text(server.read_text().replace("/api/reset", '"/api/{city}"'))
    with pytest.raises(
        ConfigurationError, match=r"server.yaml: reset needs the parameter 'city', which .*task.yaml has"
    ):
        task_file.read(folder / "lend-book")
    server.write_text("[]")
    with pytest.raises(ConfigurationError, match=r"server.yaml must hold a mapping of keys, such as command and ready"):
        task_file.read(folder / "lend-book")


def test_the_secrets_of_a_web_task_are_known_by_name(tmp_path: Path) -> None:
    server = {**SERVER, "environment": {"KEY": "{secret:API_KEY}"}}
    before = ['fill textbox "Word" with "{secret:APP_WORD}"', {"post": "/login", "form": {"word": "{secret:OTHER}"}}]
    folder = made(tmp_path, server=server, before=before, start="/")
    assert task_file.read(folder).secrets == {"API_KEY", "APP_WORD", "OTHER"}


ANSWER = {"loans": [{"book": "Emma", "to": {"name": "Ada"}}, {"book": "Kim", "to": None}], "open": True, "count": 2}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("count", 2),
        ("loans.length", 2),
        ("loans.1.book", "Kim"),
        ("loans[book=Emma].to.name", "Ada"),
        ("loans[to.name=Ada].book", "Emma"),
        ("loans[book=Kim].to.name", None),
        ("loans[book=Dune].book", None),
        ("loans.7", None),
        ("open.door", None),
    ],
)
def test_an_answer_is_looked_into_by_a_path(path: str, found: object) -> None:
    assert server_file.found_at(path, ANSWER) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("goal: a\nstart: b\ngoal: c\n", "is not valid YAML: there is the key 'goal' twice in line 3, column 1"),
        ("goal: " + 2000 * "[", "is not valid YAML: "),
        (f"max_turns: {5000 * '9'}", "is not valid YAML: "),
        ("goal: [a\n", "is not valid YAML: while parsing a flow sequence in line 1, column 7"),
        ("goal: !!python/object/apply:os.getcwd []", "is not valid YAML: could not determine a constructor"),
    ],
)
def test_what_is_no_yaml_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    folder = made(tmp_path)
    (folder / "task.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        task_file.read(folder)
    assert f"task.yaml {words}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_looks_like_a_time_or_a_date_is_text() -> None:
    written = "[9:30, 2026-01-02, yes, Off, 007, 1_000, 0x10, .inf, 3, -2.50, 1e3, true, ~]"
    assert plain_yaml.load(f"a: {written}\nb: &b {{c: 1}}\nd: {{<<: *b}}") == {
        "a": ["9:30", "2026-01-02", "yes", "Off", "007", "1_000", "0x10", ".inf", 3, -2.5, 1000.0, True, None],
        "b": {"c": 1},
        "d": {"c": 1},
    }


def test_a_goal_is_one_line(tmp_path: Path) -> None:
    goal = "Order {count} {colour} shirts,\n  size  {size}.\n"
    assert task_file.read(made(tmp_path, goal=goal)).file.goal == "Order {count} {colour} shirts, size  {size}."


def test_numbers_and_their_texts_are_the_same_and_nothing_else_is() -> None:
    assert server_file.matches(2, "2")
    assert server_file.matches(True, "true")
    assert server_file.matches(None, None)
    assert not server_file.matches(None, "None")
    assert not server_file.matches("2 ", 2)
    assert server_file.matches([1], [1])


EXAMPLES = EXAMPLE.parents[1]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*/task.yaml")), ids=lambda path: path.parent.name)
def test_every_example_is_right_has_enough_goals_and_a_solution(path: Path) -> None:
    found = task_file.read(path.parent)
    assert found.file.solution
    assert found.goals >= task_file.ENOUGH_PAGES or found.name == "library.remove-book"
    assert len(found.file.solution) <= found.file.max_turns
    assert found.goal(found.draw(0))
