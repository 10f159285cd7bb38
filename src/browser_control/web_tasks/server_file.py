"""What a task file says of an application: how its server is started, reset and asked."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from browser_control.web_tasks.parameters import PLACE, Json, secrets_in, spelled, texts

METHODS = ("get", "post", "put", "patch", "delete")
PLACES = ("port", "data", "host")  # of a server's command and environment
PYTHON = "python"  # as a command: this project's
SESSION = "session"  # a name of the session's own, in requests


def kind(value: object) -> str:
    """Which of several forms a value has; pydantic then complains of that one alone."""
    return "~text" if isinstance(value, str) else "~list" if isinstance(value, (list, tuple)) else "~mapping"


class Request(BaseModel):
    """A request to the server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    get: str | None = Field(default=None, description="path")
    post: str | None = Field(default=None, description="path")
    put: str | None = Field(default=None, description="path")
    patch: str | None = Field(default=None, description="path")
    delete: str | None = Field(default=None, description="path")
    body: Json = Field(default=None, description="sent as JSON; parameters in braces")
    form: dict[str, str] | None = Field(default=None, description="sent as a form is, instead of a body")

    @model_validator(mode="after")
    def _one_method(self) -> "Request":
        given = [name for name in METHODS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"one of {', '.join(METHODS)} says what is asked, such as {{get: /api/state}}")
        if not self.path.startswith("/"):
            raise ValueError(f"{given[0]} {self.path!r:.80}: a path on the server begins with /")
        return self

    @property
    def method(self) -> str:
        return next(name for name in METHODS if getattr(self, name) is not None)

    @property
    def path(self) -> str:
        return str(getattr(self, self.method))

    def tree(self) -> Json:
        """All that parameters may be in."""
        return [self.path, self.body, self.form]


class State(Request):
    """A question to the server, and the answer that is wanted."""

    where: dict[str, Json] = Field(min_length=1, description="path in the JSON of the answer, and its value")

    def tree(self) -> Json:
        return [super().tree(), self.where]


class Server(BaseModel):
    """A server that is started for the web task, or one that somebody else runs (`url`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...] = Field(default=(), description="program and arguments; {port}, {data} and {host} in it")
    url: str = Field(
        default="",
        pattern=r"^$|^https?://[a-z0-9.-]+(:[0-9]{1,5})?/?$",
        description="instead of command: http(s)://HOST:PORT of a server that somebody else runs, for all sessions",
    )
    environment: dict[str, str] = Field(default={}, description="variables, with the same places and {secret:NAME}")
    requirements: tuple[str, ...] = Field(
        default=(), description="packages that python needs beside this project's, as pip has them: django>=5.2,<6"
    )
    ready: str = Field(default="/", pattern="^/", description="path that it answers without an error once it is ready")
    seconds: float = Field(default=30, gt=0, le=300, description="in which it has to be ready")
    reset: Annotated[
        Annotated[Literal["restart"], Tag("~text")]
        | Annotated[Request, Tag("~mapping")]
        | Annotated[tuple[Request, ...], Tag("~list")],
        Discriminator(kind),
    ] = Field(default="restart", description="before each episode: one or several requests, or `restart`")
    shared: bool = Field(default=False, description="one instance for all sessions, which requests name by {session}")

    @model_validator(mode="after")
    def _can_be_started(self) -> "Server":
        if bool(self.command) == bool(self.url):
            raise ValueError("a server is started by its command, or has a url: give one of them")
        if self.url:
            if self.environment or self.requirements or "shared" in self.model_fields_set:
                raise ValueError(
                    "a server that somebody else runs is shared, and has no environment or requirements of ours"
                )
            if self.reset == "restart" and "reset" in self.model_fields_set:
                raise ValueError("a server that somebody else runs cannot be restarted: let reset be a request")
            return self
        written = [*self.command, *texts(self.environment)]
        named = [name for text in written for name in PLACE.findall(text)]
        if "port" not in named:
            raise ValueError("the server has to be told its port: write {port} in its command or environment")
        if unknown := [name for name in named if name not in PLACES]:
            raise ValueError(f"{{{unknown[0]}}} is not known to a server: there are {{port}}, {{data}} and {{host}}")
        if secrets_in(self.command):
            raise ValueError("a command is seen by everyone: write {secret:NAME} in environment")
        if self.shared and self.reset == "restart":
            raise ValueError("a shared server cannot be restarted for one session: let reset be a request")
        return self

    @model_validator(mode="after")
    def _requirements_are_pythons(self) -> "Server":
        if self.requirements and self.command[:1] != (PYTHON,):
            raise ValueError(f"requirements are those of python, and the command begins with {self.command[0]!r:.80}")
        for text in self.requirements:
            try:
                url = Requirement(text).url
            except InvalidRequirement:
                raise ValueError(f"the requirement {text!r:.80} is none, such as django>=5.2,<6") from None
            if url:
                raise ValueError(f"the requirement {text!r:.80} names an address: give a package and its versions")
        return self

    @property
    def for_all(self) -> bool:
        """Whether one instance is for all sessions."""
        return self.shared or bool(self.url)

    @property
    def resets(self) -> tuple[Request, ...]:
        if isinstance(self.reset, Request):
            return (self.reset,)
        return () if self.reset == "restart" else self.reset


@dataclass(frozen=True)
class Application:
    """A server and the folder that it runs in; web tasks that name the same one share an instance in a session."""

    folder: Path
    own_host: str  # its name in the browser, where we start it
    server: Server = field(compare=False)

    @property
    def host(self) -> str:
        """Its name in the browser."""
        return urlsplit(self.server.url).hostname or self.own_host

    @property
    def origin(self) -> str:
        return self.server.url.rstrip("/") or f"http://{self.own_host}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of a server that somebody else runs."""
        parts = urlsplit(self.server.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def name(self) -> str:
        return self.own_host.removesuffix(".localhost")


_PART = re.compile(r"([A-Za-z0-9_-]+)|\[([^\[\]=]+)=([^\[\]]*)\]")


def found_at(path: str, answer: Json) -> Json:
    """What is at `path` of an answer; None where nothing is.

    `loans.0.book` goes into mappings and lists, `loans[book=Dune].reader` to the first of a list that has such a
    value, `loans.length` counts.
    """
    for key, name, value in _PART.findall(path):
        if name:
            answer = answer if isinstance(answer, list) else []
            answer = next((each for each in answer if matches(found_at(name, each), value)), None)
        elif isinstance(answer, dict):
            answer = answer.get(key)
        elif isinstance(answer, list) and key == "length":
            answer = len(answer)
        elif isinstance(answer, list) and key.isdigit() and int(key) < len(answer):
            answer = answer[int(key)]
        else:
            return None
    return answer


def matches(actual: Json, wanted: Json) -> bool:
    """Whether they are the same; a number and its text are, for forms send text."""
    plain = (bool, int, float, str)
    if isinstance(actual, plain) and isinstance(wanted, plain):
        return spelled(actual) == spelled(wanted)
    return bool(actual == wanted)
