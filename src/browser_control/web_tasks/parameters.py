"""Parameters of an episode, and secrets, in the texts and bodies of a task file."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Value = bool | int | float | str  # as JavaScript has them too
Json = Any  # what JSON can say

PLACE = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
SECRET = re.compile(r"\{secret:([A-Za-z_][A-Za-z0-9_]*)\}")


def spelled(value: Value) -> str:
    """As goal and actions have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def fill_in(text: str, parameters: Mapping[str, Value]) -> str:
    """`text` with the parameters in place of their names in braces."""
    return PLACE.sub(lambda found: spelled(parameters[found[1]]), text)


def fill_in_all(tree: Json, parameters: Mapping[str, Value]) -> Json:
    """`tree` with every text filled in; a text that is nothing but a place becomes the value, a number a number."""
    if isinstance(tree, str):
        whole = PLACE.fullmatch(tree)
        return parameters[whole[1]] if whole else fill_in(tree, parameters)
    if isinstance(tree, Mapping):
        return {fill_in(str(key), parameters): fill_in_all(each, parameters) for key, each in tree.items()}
    return [fill_in_all(each, parameters) for each in tree] if isinstance(tree, (list, tuple)) else tree


def texts(tree: Json) -> Iterator[str]:
    """Every text of it, keys too."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, Mapping):
        for key, each in tree.items():
            yield str(key)
            yield from texts(each)
    elif isinstance(tree, (list, tuple)):
        for each in tree:
            yield from texts(each)


def secrets_in(tree: Json) -> frozenset[str]:
    """Names of the secrets that it needs."""
    return frozenset(name for text in texts(tree) for name in SECRET.findall(text))


def reveal(tree: Json, secrets: Mapping[str, str]) -> Json:
    """`tree` with the secrets in place of `{secret:NAME}`; a KeyError names one that is not there."""
    if isinstance(tree, str):
        return SECRET.sub(lambda found: secrets[found[1]], tree)
    if isinstance(tree, Mapping):
        return {key: reveal(each, secrets) for key, each in tree.items()}
    return [reveal(each, secrets) for each in tree] if isinstance(tree, (list, tuple)) else tree
