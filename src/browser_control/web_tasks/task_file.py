"""`task.yaml`: a web task of the user's own, which is a page, a goal with parameters, and a judge."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from browser_control.configuration import contents, nearest
from browser_control.errors import ConfigurationError
from browser_control.web_tasks import plain_yaml
from browser_control.web_tasks.parameters import PLACE, Value, fill_in, secrets_in, spelled, texts
from browser_control.web_tasks.server_file import SESSION, Application, Request, Server, State, kind
from browser_control.web_tasks.steps import step

FILE = "task.yaml"
NAME = r"[a-z0-9][a-z0-9-]*"
MISTAKE = "the web task is wrong"  # begins what its author has to put right
MOST = 2**53  # as far as JavaScript counts
ENOUGH_PAGES = 50  # distinct ones, from which on some are held out

_Model = TypeVar("_Model", bound=BaseModel)


class Range(BaseModel):
    """Whole numbers from `from` to `to`, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: int = Field(alias="from", ge=-MOST, le=MOST, description="the least")
    high: int = Field(alias="to", ge=-MOST, le=MOST, description="the greatest")

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.high < self.low:
            raise ValueError(f"from {self.low} to {self.high} is no range")
        return self


def _plain(value: object) -> object:
    if not isinstance(value, (bool, int, float, str)) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"a value is text, a number, true or false, not {value!r:.60}")
    return value


Plain = Annotated[Value, BeforeValidator(_plain)]


class Goto(BaseModel):
    """Another page of the server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    goto: str = Field(pattern="^/", description="path")


def _first_kind(value: object) -> str:
    return "~goto" if isinstance(value, Mapping) and "goto" in value else kind(value)


Before = Annotated[
    Annotated[str, Tag("~text")] | Annotated[Goto, Tag("~goto")] | Annotated[Request, Tag("~mapping")],
    Discriminator(_first_kind),
]


class TaskFile(BaseModel):
    """What `task.yaml` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: str = Field(description="HTML file of the folder, to begin on; with a server, a path on it, such as /")
    server: Annotated[Annotated[str, Tag("~text")] | Annotated[Server, Tag("~mapping")], Discriminator(kind)] | None = (
        Field(
            default=None,
            description="the web task's application, or the YAML file that says so, such as ../app/server.yaml",
        )
    )
    before: tuple[Before, ...] = Field(
        default=(),
        description="what is done before the first turn: requests to the server, {goto: /path}, actions; a login, say",
    )
    parameters: dict[
        Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")],
        Annotated[
            Annotated[tuple[Plain, ...], Field(min_length=1), Tag("~list")] | Annotated[Range, Tag("~mapping")],
            Discriminator(kind),
        ],
    ] = Field(default={}, description="drawn by the episode's seed: a list, or {from: 1, to: 6}")
    goal: str = Field(min_length=1, description="what is to be done, each parameter in braces")
    success: str = Field(
        default="", description="JavaScript in the page, parameters in scope: whether the goal is reached"
    )
    state: State | None = Field(default=None, description="instead of success: what the server has to answer")
    failure: Annotated[Annotated[str, Tag("~text")] | Annotated[State, Tag("~mapping")], Discriminator(kind)] = Field(
        default="", description="JavaScript, or a question to the server: whether it cannot be reached any more"
    )
    max_turns: int = Field(default=10, ge=1, le=100, description="after which an episode is cut off")
    solution: tuple[str, ...] = Field(
        default=(), description="actions, each parameter in braces: the proof that it can be done, and demonstrations"
    )

    @field_validator("goal")
    @classmethod
    def _one_line(cls, goal: str) -> str:
        return re.sub(r"\s*\n\s*", " ", goal.strip())  # as the prompt has it, whatever way YAML was told to break lines

    @model_validator(mode="after")
    def _parameters_in_the_goal(self) -> "TaskFile":
        named = set(PLACE.findall(self.goal))
        for name in self.parameters:
            if _WORDS_OF_JAVASCRIPT.fullmatch(name):
                raise ValueError(f"{name!r} is a word of JavaScript's: call the parameter something else")
            if name == SESSION:
                raise ValueError("{session} is the name of a session: call the parameter something else")
            if name not in named:
                raise ValueError(f"the parameter {name!r} is not in the goal: write {{{name}}} where it belongs")
        for text in (self.goal, *self.solution):
            self._check_places(text, ())
        return self

    @model_validator(mode="after")
    def _actions(self) -> "TaskFile":
        for key, written in (("solution", self.solution), ("before", self.before)):
            for each in written:
                try:
                    step(each) if isinstance(each, str) else None
                except ConfigurationError as error:
                    raise ValueError(f"{key}: {error}") from None
        return self

    @model_validator(mode="after")
    def _judge(self) -> "TaskFile":
        if not self.success and self.state is None:
            raise ValueError("'success' is missing: JavaScript, or `state`, what the server has to answer")
        if self.success and self.state is not None:
            raise ValueError("success and state are two judges: give one of them")
        return self

    @model_validator(mode="after")
    def _what_needs_a_server(self) -> "TaskFile":
        asked = [each for each in (*self.before, self.state, self.failure) if isinstance(each, (Request, Goto))]
        if self.server is None and asked:
            raise ValueError("state, failure and before ask a server, and there is none: `server` says how it starts")
        if self.server is not None and not self.start.startswith("/"):
            raise ValueError(f"start: with a server it is a path on it, such as /, not {self.start!r:.80}")
        for text in self._sent():
            self._check_places(text, (SESSION,))
        return self

    @property
    def unshown(self) -> list[str]:
        """Parameters that no step of the solution names."""
        named = set(PLACE.findall(" ".join(self.solution)))
        return [name for name in self.parameters if name not in named]

    def _sent(self) -> Iterator[str]:
        """Texts that go to the server, or into its pages."""
        yield self.start if self.server is not None else ""
        resets = self.server.resets if isinstance(self.server, Server) else ()
        yield from (each for each in self.before if isinstance(each, str))
        yield from (each.goto for each in self.before if isinstance(each, Goto))
        for each in (*resets, *self.before, self.state, self.failure):
            if isinstance(each, Request):
                yield from texts(each.tree())

    def _check_places(self, text: str, others: tuple[str, ...]) -> None:
        for name in PLACE.findall(text):
            if name not in self.parameters and name not in others:
                raise ValueError(f"there is no parameter {name!r}{nearest(name, self.parameters)}, in {text!r:.80}")


_WORDS_OF_JAVASCRIPT = re.compile(
    "arguments|await|break|case|catch|class|const|continue|debugger|default|delete|do|else|enum|eval|export|extends|false"
    "|finally|for|function|if|implements|import|in|instanceof|interface|let|new|null|package|private|protected|public"
    "|return|static|super|switch|this|throw|true|try|typeof|var|void|while|with|yield"
)

_EXAMPLES: Mapping[type[BaseModel], tuple[str, ...]] = {TaskFile: ("start", "goal"), Server: ("command", "ready")}


class WebTask:
    """A web task of a folder: `SOURCE.NAME`, where the source is the folder's name."""

    def __init__(self, folder: Path, file: TaskFile, application: Application | None = None) -> None:
        self.folder = folder
        self.file = file
        self.application = application
        self.source = folder.parent.name
        self.name = f"{self.source}.{folder.name}"

    @property
    def host(self) -> str:
        """Its own name in the browser, and so its own origin: a secure one, as every name below localhost."""
        return self.application.host if self.application else _host(self.folder)

    @property
    def origin(self) -> str:
        return self.application.origin if self.application else f"http://{self.host}"

    def start_url(self, parameters: Mapping[str, Value]) -> str:
        start = self.file.start
        return f"{self.origin}{fill_in(start, parameters) if self.application else f'/{start}'}"

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that change with every file of the folder, and of its application's."""
        own = contents(self.folder)
        if self.application is None or self.application.folder == self.folder:
            return own
        return hashlib.sha256(f"{own} {contents(self.application.folder)}".encode()).hexdigest()[:12]

    @property
    def secrets(self) -> frozenset[str]:
        """Names of those that its server and what comes before the first turn need."""
        server = self.application.server.environment if self.application else {}
        sent = [each.tree() if isinstance(each, Request) else each for each in self.file.before]
        return secrets_in([server, [each for each in sent if not isinstance(each, Goto)]])

    def draw(self, seed: int) -> dict[str, Value]:
        """The parameters of the episode; they depend on the seed and their own values alone."""
        return {
            name: values[_number(seed, name) % len(values)]
            for name, values in ((name, self.values_of(name)) for name in self.file.parameters)
        }

    def values_of(self, parameter: str) -> "range | tuple[Value, ...]":
        values = self.file.parameters[parameter]
        return range(values.low, values.high + 1) if isinstance(values, Range) else values

    @cached_property
    def goals(self) -> int:
        """How many different ones there are."""
        return math.prod(len(set(self.values_of(name))) for name in self.file.parameters)

    def goal(self, parameters: Mapping[str, Value]) -> str:
        return fill_in(self.file.goal, parameters)

    def parameters_in(self, goal: str) -> dict[str, str] | None:
        """The parameters, as text, that a goal was made of; None where it is not of this web task."""
        found = self._goal_pattern.fullmatch(goal)
        return found.groupdict() if found else None

    @cached_property
    def _goal_pattern(self) -> re.Pattern[str]:
        pattern, seen = "", set[str]()
        for index, part in enumerate(PLACE.split(self.file.goal)):
            if index % 2 == 0:
                pattern += re.escape(part)
            elif part in seen:
                pattern += f"(?P={part})"
            else:
                seen.add(part)
                values = self.file.parameters[part]
                listed = sorted(map(spelled, () if isinstance(values, Range) else values), key=len, reverse=True)
                pattern += f"(?P<{part}>{'|'.join(map(re.escape, listed)) or '-?[0-9]+'})"
        return re.compile(pattern)

    def judge(self, script: str, parameters: Mapping[str, Value]) -> str:
        """A JavaScript function without arguments that says what `script` says, with the parameters in scope."""
        if not script:
            return "null"
        return f"(({', '.join(parameters)}) => () => (\n{script}\n))({', '.join(map(json.dumps, parameters.values()))})"


def _number(seed: int, parameter: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {parameter}".encode()).digest()[:8])


def _host(folder: Path) -> str:
    return f"{folder.name}.{folder.parent.name}.localhost"


def check_names(folder: Path) -> None:
    """Raises ConfigurationError where a web task in this folder would have no name."""
    if not re.fullmatch(NAME, folder.name) or not re.fullmatch(NAME, folder.parent.name):
        raise ConfigurationError(
            f"{folder.parent.name}/{folder.name}: names of a folder of web tasks and of a web task are small letters,"
            " digits and dashes"
        )


def read(folder: Path) -> WebTask:
    """The web task in `folder`.

    Raises:
        ConfigurationError: no such file, or what it says is wrong; one sentence.
    """
    folder = folder.absolute()
    path = folder / FILE
    check_names(folder)
    if not path.is_file():
        raise ConfigurationError(f"there is no {path}: `browser-control web-task new {folder}` makes one")
    file = _read(path, TaskFile)
    if isinstance(file.server, Server):
        return WebTask(folder, file, Application(folder, _host(folder), file.server))
    if file.server is not None:
        return WebTask(folder, file, _application(folder, file, file.server))
    if not _is_inside(folder, file.start):
        raise ConfigurationError(f"{path}: start: there is no file {file.start!r:.200} in that folder")
    return WebTask(folder, file)


def _is_inside(folder: Path, name: str) -> bool:
    """Whether it is a file of the folder."""
    try:
        path = (folder / name).resolve()
        return path.is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, ValueError):  # too long to be a name; a null byte
        return False


def _application(folder: Path, file: TaskFile, named: str) -> Application:
    """The application that a file beside the web tasks describes; it runs where that file is."""
    path = (folder / named).resolve()
    place = path.parent
    if not path.is_file() or place.parent != folder.parent.resolve() or not re.fullmatch(NAME, place.name):
        where = f"{folder.parent.name}/APPLICATION/server.yaml"
        raise ConfigurationError(f"{folder / FILE}: server: there is no file {named!r}, such as {where}")
    server = _read(path, Server)
    for name in (name for each in server.resets for text in texts(each.tree()) for name in PLACE.findall(text)):
        if name not in file.parameters and name != SESSION:
            raise ConfigurationError(f"{path}: reset needs the parameter {name!r}, which {folder / FILE} has not")
    return Application(folder.parent / place.name, _host(place), server)


def _read(path: Path, kind: type[_Model]) -> _Model:
    try:
        values = plain_yaml.load(path.read_text())
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} must hold a mapping of keys, such as {' and '.join(_EXAMPLES[kind])}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_sentence(error)}") from error


def read_all(folder: Path) -> list[WebTask]:
    """The web tasks of a folder, which has one in each folder with a task.yaml."""
    if (folder / FILE).is_file():
        raise ConfigurationError(f"{folder} is one web task: name the folder that it is in, {folder.parent}")
    found = [read(path.parent) for path in sorted(folder.glob(f"*/{FILE}"))]
    if not found:
        raise ConfigurationError(f"{folder} holds no web tasks: there is no NAME/{FILE} in it")
    return found


_NO_PLACES = ("tuple[", "function-", "bool", "~", "[key]")  # kinds of a value, in the place of an error
_PARAMETER = "names of parameters are small letters, digits and underscores"
_PYDANTICS = {  # its words for types, in YAML's
    "string_type": "this should be text, in quotes where it looks like something else",
    "tuple_type": "this should be a list",
    "dict_type": "this should be a mapping",
    "model_type": "this should be a mapping",
    "model_attributes_type": "this should be a mapping",
    "union_tag_invalid": "this can be of no such kind",
    "too_short": "there should be something in this list",
}


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if not str(part).startswith(_NO_PLACES))
    if first["type"] == "extra_forbidden":
        models = (TaskFile, Range, Server, State, Goto)
        known = [field.alias or name for model in models for name, field in model.model_fields.items()]
        return f"there is no key {where!r}{nearest(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return f"{where!r} is missing"
    message = _PYDANTICS.get(first["type"], first["msg"]).removeprefix("Value error, ")
    if first["loc"][:1] == ("parameters",) and first["type"] in ("string_pattern_mismatch", "union_tag_invalid"):
        message = _PARAMETER if first["type"] == "string_pattern_mismatch" else "a list of values, or {from: 1, to: 6}"
    shown = "" if first["type"] == "value_error" else f", not {first['input']!r:.60}"
    return f"{where}: {message[0].lower()}{message[1:]}{shown}" if where else message


def schema() -> str:
    """JSON Schema of task.yaml, which editors help by."""
    made: dict[str, Any] = TaskFile.model_json_schema()
    return json.dumps(made, indent=2) + "\n"
