"""Whatever is asked for: it is taken, or refused in one sentence. By property: any key, any parameter, any text."""

import os
import unittest.mock
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stand_ins import CONFIG

from browser_control import configuration
from browser_control.configuration import Configuration, section_of
from browser_control.errors import ConfigurationError, UserError
from browser_control.pipeline import parameters, run

EXAMPLES = int(os.environ.get("BAD_INPUTS", "150"))  # a property; by hand more
often = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def keys(model: Any = Configuration, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        if (section := section_of(field.annotation)) is not None:
            yield from keys(section, f"{prefix}{name}.")


EXTREMES = [
    "",
    "null",
    "~",
    "-1",
    "0",
    "1e309",
    ".nan",
    "-.inf",
    "9" * 5000,
    "0x" + "f" * 100,
    "2026-11-27",
    "2026-13-45",
    "[]",
    "{}",
    "[[[" * 2000,
    "{a: " * 2000,
    "&a [*a]",
    "&a {b: *a}",
    "!!python/object/apply:os.system [id]",
    "!!binary x",
    "'; rm -rf / #",
    "$(id)",
    "../../etc/passwd",
    "\x00",
    "\u202eabc",
    "{secret:HF_TOKEN}",
    "a" * 100_000,
]
TEXTS = st.one_of(st.sampled_from(EXTREMES), st.text(max_size=40), st.integers().map(str), st.floats().map(str))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


def is_one_sentence(error: Exception) -> bool:
    words = str(error)
    return bool(words.strip()) and "\n" not in words and len(words) < 2000


@given(key=st.sampled_from(sorted(keys())), value=TEXTS)
@often
def test_any_value_of_any_key_is_taken_or_refused_in_one_sentence(key: str, value: str) -> None:
    try:
        found = configuration.load("smollm2_135m_local_lora.yaml", [f"{key}={value}"])
    except ConfigurationError as error:
        assert is_one_sentence(error), str(error)
    else:
        assert configuration.validate(yaml.safe_load(yaml.safe_dump(found.model_dump(mode="json"))), "again") == found


@given(key=st.text(max_size=30), value=TEXTS)
@often
def test_any_override_is_taken_or_refused_in_one_sentence(key: str, value: str) -> None:
    try:
        configuration.load("smollm2_135m_local_lora.yaml", [f"{key}={value}", key])
    except ConfigurationError as error:
        assert is_one_sentence(error), str(error)


@given(content=st.one_of(st.binary(max_size=200), JSON.map(lambda value: yaml.safe_dump(value).encode())))
@often
def test_any_file_is_a_configuration_or_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:  # none that is drawn has all that must be there
        configuration.load(str(tmp_path / "config.yaml"))
    assert is_one_sentence(caught.value), str(caught.value)


@given(url=st.one_of(st.text(max_size=40), st.sampled_from(["http://[::1", "ftp://x", "http://", "http://a b", ",,"])))
@often
def test_any_address_of_an_environment_is_taken_or_refused_in_one_sentence(tmp_path: Path, url: str) -> None:
    if "\0" in url or any(0xD800 <= ord(letter) < 0xE000 for letter in url):
        return  # no variable of an environment can hold it
    try:
        with unittest.mock.patch.dict(os.environ, {"BROWSERGYM_URL": url}):
            configuration.load("smollm2_135m_local_lora.yaml")
    except ConfigurationError as error:
        assert is_one_sentence(error), str(error)


NAMES = sorted(set(parameters.Parameters.model_fields) - {"config", "runtime", "docker_host", "docker_registry"})


@given(name=st.sampled_from(NAMES), value=st.one_of(TEXTS, JSON))
@often
def test_any_parameter_is_taken_or_refused_in_one_sentence_and_leaves_nothing(
    tmp_path: Path, name: str, value: Any
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    folders = {each: str(tmp_path / each) for each in ("runs", "archives", "models")}
    before = sorted(tmp_path.rglob("*"))
    try:
        run.check(parameters.validate({"config": str(tmp_path / "config.yaml"), **folders, name: value}))
    except UserError as error:
        assert is_one_sentence(error), str(error)
    assert sorted(tmp_path.rglob("*")) == before
