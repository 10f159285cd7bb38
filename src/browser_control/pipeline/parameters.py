"""The flow's parameters: one validated model behind the function's arguments, the command line and the UI's form."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from browser_control.configuration import LOTS
from browser_control.errors import ConfigurationError, short
from browser_control.pipeline import openenv

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Sessions = Annotated[int, Field(ge=1, le=1024)]
Replicas = Annotated[int, Field(ge=1, le=64)]
Lot = Annotated[int, Field(ge=0, lt=LOTS)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Parameters(BaseModel):
    """What a person may choose of a run; the flow `train` has the same parameters with the same defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: str = Field("smollm2_135m_local_lora.yaml", description="A YAML file, or the name of one in configs/.")
    runtime: Literal["process", "docker"] = Field(
        "process", description="Where the programs run: as processes of this machine, or in containers."
    )
    run_id: str = Field(
        "",
        description="Names the run. Empty: from the configuration, so that the same command continues its run.",
    )
    seed: Seed | None = Field(None, description="Seed of the run. Empty: the configuration's.")
    environment_sessions: Sessions | None = Field(
        None, description="Episodes that run at a time. Empty: the configuration's."
    )
    environment_port: Port = Field(
        0, description="TCP port of this machine for the BrowserGym service. 0: a free one; in Docker none."
    )
    environment_replicas: Replicas = Field(1, description="BrowserGym services that share the sessions.")
    runs: str = Field("runs", description="Folder of the run directories.")
    archives: str = Field("archives", description="Folder, or any other fsspec URL, of the archives.")
    overrides: list[str] = Field(
        default_factory=list, description="Values of the configuration to replace, as section.key=value."
    )
    start_from: Literal["base", "promoted"] = Field(
        "base", description="What training starts from: the base model, or the promoted adapter, if there is one."
    )
    models: str = Field("models", description="Folder that says which adapters are promoted.")
    gpus: Literal["auto", "all", "none"] = Field(
        "auto", description="Docker: the GPUs that training gets; auto: all, where there are any."
    )
    memory: str = Field("", description="Docker: memory limit of a training container, as 8g. Empty: nearly all.")
    openenv_url: str = Field(openenv.URL, description="Docker: any git URL or folder to clone OpenEnv from.")
    openenv_ref: str = Field(openenv.COMMIT, description="Docker: commit, branch or tag of OpenEnv.")
    training_base: str = Field("", description="Docker: base image for training. Empty: the Dockerfile's.")
    browsergym_base: str = Field("", description="Docker: base image for BrowserGym. Empty: the Dockerfile's.")
    docker_host: str = Field("", description="Docker: name of a DockerHost block. Empty: DOCKER_HOST, or this machine.")
    docker_registry: str = Field("", description="Docker: name of a DockerRegistryCredentials block to pull with.")

    @property
    def all_overrides(self) -> list[str]:
        """`overrides` with the parameters that stand for a value of the configuration; those come last and win."""
        chosen = {"seed": self.seed, "environment.sessions": self.environment_sessions}
        return [*self.overrides, *(f"{key}={value}" for key, value in chosen.items() if value is not None)]


def validate(values: dict[str, Any]) -> Parameters:
    """The parameters that `values` spell; raises ConfigurationError, one sentence."""
    try:
        return Parameters(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{where}: {first['msg'].lower()}, not {short(first['input'])}") from error


def parse(arguments: Sequence[str] | None = None) -> Parameters:
    """The parameters that a command line spells; one option for each."""
    parser = argparse.ArgumentParser(
        prog="python flows/train.py",
        description="Trains a small language model to operate web pages: the whole job, from model to archive.",
        epilog="The same command continues a run that was stopped.",
    )
    for name, field in Parameters.model_fields.items():
        option = "--" + name.replace("_", "-")
        description = (field.description or "").replace("%", "%%")
        if name == "overrides":
            parser.add_argument("--set", dest=name, action="append", metavar="SECTION.KEY=VALUE", help=description)
        elif get_origin(field.annotation) is Literal:
            parser.add_argument(option, choices=get_args(field.annotation), help=description)
        else:
            shown = "" if field.default in ("", None) else f" (default: {field.default})"
            parser.add_argument(option, metavar=name.upper(), help=description + shown)
    chosen = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return validate(chosen)


def parse_schema(
    schema: Mapping[str, Any], flow_file: str, description: str, arguments: Sequence[str] | None = None
) -> dict[str, Any]:
    """The parameters that a command line spells, one option for each of a flow's JSON schema; values are not checked.

    What is no text is spelled in YAML, as `--grid "{seed: [0, 1]}"`.
    """
    parser = argparse.ArgumentParser(
        prog=f"python flows/{Path(flow_file).name}", description=description.partition("Args:")[0].strip()
    )
    for name, field in schema["properties"].items():
        option = "--" + name.replace("_", "-")
        words = field.get("description", "").replace("%", "%%")
        required = name in schema["required"]
        if name == "overrides":
            parser.add_argument("--set", dest=name, action="append", metavar="SECTION.KEY=VALUE", help=words)
        elif "enum" in field:
            parser.add_argument(option, choices=field["enum"], help=words, required=required)
        else:
            read = str if field.get("type") == "string" else _yaml
            shown = f" (default: {field['default']})" if field.get("default") else ""
            parser.add_argument(option, type=read, metavar=name.upper(), help=words + shown, required=required)
    return {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid YAML") from error
