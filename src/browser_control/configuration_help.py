"""Help for who writes a configuration: each key explained, its JSON Schema, and what two of them differ in.

All of it is read from the models of `configuration`, so that it says what a run does.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from browser_control import configuration
from browser_control.configuration import CONFIGS, Configuration
from browser_control.errors import ConfigurationError

SCHEMA = CONFIGS / "schema.json"  # for editors: each of `configs/*.yaml` names it in its first line
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minItems": "not fewer than {}",
    "pattern": "like {}",
}


@dataclass(frozen=True)
class Key:
    """One key of a configuration.

    Attributes:
        name: with its section, as `--set` takes it.
        default: as YAML spells it, or `required`.
        allowed: type and bounds, in words.
        meaning: what it is for.
    """

    name: str
    default: str
    allowed: str
    meaning: str


def all_keys() -> list[Key]:
    """All keys, in the order of the file."""
    return list(_keys(Configuration, ""))


def explain(name: str) -> list[Key]:
    """The key of that name, or those of the section of that name.

    Raises:
        ConfigurationError: there is neither; one sentence, which names the nearest.
    """
    known = all_keys()
    found = [each for each in known if each.name == name or each.name.startswith(f"{name}.")]
    if not found:
        names = [*Configuration.model_fields, *(each.name for each in known)]
        raise ConfigurationError(f"there is no key {name!r}{configuration.nearest(name, names)}")
    return found


def is_key(name: str) -> bool:
    """Whether an argument means a key or section, and not a file: what is neither is taken for a misspelled key."""
    looks_like_a_file = name.endswith((".yaml", ".yml")) or "/" in name
    return not looks_like_a_file and not any(path.is_file() for path in (Path(name), CONFIGS / f"{name}.yaml"))


def compare(one: Configuration, other: Configuration) -> list[tuple[str, str, str]]:
    """The keys in which they differ, and both values as YAML spells them."""
    left, right = flat(one.model_dump(mode="json")), flat(other.model_dump(mode="json"))
    one_spelled, other_spelled = ({name: spelled(value) for name, value in each.items()} for each in (left, right))
    names = dict.fromkeys([*left, *right])
    pairs = [(name, one_spelled.get(name, ""), other_spelled.get(name, "")) for name in names]
    return [each for each in pairs if each[1] != each[2]]


def changed(one: Configuration) -> list[tuple[str, str, str]]:
    """The keys that it sets otherwise than by default, with both values."""
    defaults = {each.name: each.default for each in all_keys()}
    values = flat(one.model_dump(mode="json"))
    return [
        (name, defaults.get(name, ""), spelled(value))
        for name, value in values.items()
        if defaults.get(name) != spelled(value)
    ]


def schema() -> str:
    """JSON Schema of a configuration, as it is kept in `configs/schema.json`."""
    made = Configuration.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "browser-control configuration"}
    return json.dumps(head, indent=2) + "\n"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by `section.key`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def spelled(value: Any) -> str:
    """A value on one line, as YAML reads it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(spelled, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _keys(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        if (section := configuration.section_of(field.annotation)) is not None:
            yield from _keys(section, f"{prefix}{name}.")
            continue
        default = "required" if field.default is PydanticUndefined else spelled(field.default)
        meaning = properties[name].get("description", "")
        yield Key(f"{prefix}{name}", default, _allowed(properties[name]), meaning)


def _allowed(found: Mapping[str, Any]) -> str:
    if "anyOf" in found:
        return " or ".join(map(_allowed, found["anyOf"]))
    if "enum" in found:
        return ", ".join(map(str, found["enum"]))
    kind = str(found["type"])
    if kind == "array":
        several = found.get("prefixItems")
        each = f"{len(several)} of {_allowed(several[0])}" if several else _allowed(found["items"])
        kind = f"list ({each})"
        found = {} if several else found
    bounds = [words.format(found[bound]) for bound, words in _BOUNDS.items() if bound in found]
    return ", ".join([kind, *bounds])
