"""`task.yaml`: a web task of the user's own, which is a page, a goal with parameters, and a judge."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from browser_control.configuration import contents, nearest
from browser_control.errors import ConfigurationError

FILE = "task.yaml"
NAME = r"[a-z0-9][a-z0-9-]*"
MISTAKE = "the web task is wrong"  # begins what its author has to put right
ENOUGH_PAGES = 50  # distinct ones, from which on some are held out

Value = bool | int | float | str


class Range(BaseModel):
    """Whole numbers from `from` to `to`, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: int = Field(alias="from", description="the least")
    high: int = Field(alias="to", description="the greatest")

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.high < self.low:
            raise ValueError(f"from {self.low} to {self.high} is no range")
        return self


class TaskFile(BaseModel):
    """What `task.yaml` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: str = Field(description="HTML file of the folder, to begin on")
    parameters: dict[
        Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")], Annotated[tuple[Value, ...], Field(min_length=1)] | Range
    ] = Field(default={}, description="drawn by the episode's seed: a list, or {from: 1, to: 6}")
    goal: str = Field(min_length=1, description="what is to be done, each parameter in braces")
    success: str = Field(
        min_length=1, description="JavaScript in the page, parameters in scope: whether the goal is reached"
    )
    failure: str = Field(default="", description="JavaScript: whether it cannot be reached any more")
    max_turns: int = Field(default=10, ge=1, le=100, description="after which an episode is cut off")
    solution: tuple[str, ...] = Field(
        default=(), description="actions, each parameter in braces: the proof that it can be done, and demonstrations"
    )

    @model_validator(mode="after")
    def _parameters_in_the_goal(self) -> "TaskFile":
        named = set(_PLACE.findall(self.goal))
        for name in self.parameters:
            if name not in named:
                raise ValueError(f"the parameter {name!r} is not in the goal: write {{{name}}} where it belongs")
        for text in (self.goal, *self.solution):
            for name in _PLACE.findall(text):
                if name not in self.parameters:
                    raise ValueError(f"there is no parameter {name!r}{nearest(name, self.parameters)}, in {text!r:.80}")
        return self


_PLACE = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


class WebTask:
    """A web task of a folder: `SOURCE.NAME`, where the source is the folder's name."""

    def __init__(self, folder: Path, file: TaskFile) -> None:
        self.folder = folder
        self.file = file
        self.source = folder.parent.name
        self.name = f"{self.source}.{folder.name}"

    @property
    def host(self) -> str:
        """Its own name in the browser, and so its own origin: a secure one, as every name below localhost."""
        return f"{self.folder.name}.{self.source}.localhost"

    @property
    def start_url(self) -> str:
        return f"http://{self.host}/{self.file.start}"

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that change with every file of the folder."""
        return contents(self.folder)

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
        for index, part in enumerate(_PLACE.split(self.file.goal)):
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


def spelled(value: Value) -> str:
    """As goal and actions have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def fill_in(text: str, parameters: Mapping[str, Value]) -> str:
    """`text` with the parameters in place of their names in braces."""
    return _PLACE.sub(lambda found: spelled(parameters[found[1]]), text)


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
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigurationError(f"there is no {path}: `browser-control web-task new {folder}` makes one") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} must hold a mapping of keys, such as start and goal")
    try:
        file = TaskFile.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_sentence(error)}") from error
    page = (folder / file.start).resolve()
    if not page.is_relative_to(folder.resolve()) or not page.is_file():
        raise ConfigurationError(f"{path}: start: there is no file {file.start!r} in that folder")
    return WebTask(folder, file)


def read_all(folder: Path) -> list[WebTask]:
    """The web tasks of a folder, which has one in each folder with a task.yaml."""
    if (folder / FILE).is_file():
        raise ConfigurationError(f"{folder} is one web task: name the folder that it is in, {folder.parent}")
    found = [read(path.parent) for path in sorted(folder.glob(f"*/{FILE}"))]
    if not found:
        raise ConfigurationError(f"{folder} holds no web tasks: there is no NAME/{FILE} in it")
    return found


def _sentence(error: ValidationError) -> str:
    # of parameters there are two kinds, and a value of one is a complaint of the other too
    kinds = ("tuple_type", "model_type", "model_attributes_type")
    first = min(error.errors(), key=lambda each: each["type"] in kinds)
    where = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("tuple[", "Range")))
    if first["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in TaskFile.model_fields.items()] + ["from", "to"]
        return f"there is no key {where!r}{nearest(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return f"{where!r} is missing"
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] == "value_error" else f", not {first['input']!r:.60}"
    return f"{where}: {message[0].lower()}{message[1:]}{shown}" if where else message


def schema() -> str:
    """JSON Schema of task.yaml, which editors help by."""
    made: dict[str, Any] = TaskFile.model_json_schema()
    return json.dumps(made, indent=2) + "\n"
