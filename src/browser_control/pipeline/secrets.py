"""Secrets: from the environment, or from Prefect's Secret blocks, and only to the programs that need them.

While a flow runs they are out of its environment, which every program inherits; a program that needs one is given it.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Set

from prefect.blocks.system import Secret

BLOCKS = {"HF_TOKEN": "hf-token", "WANDB_API_KEY": "wandb-api-key"}
_NEEDED_BY = {"programs.fetch_model": ("HF_TOKEN",), "fine_tune_local": ("WANDB_API_KEY",)}


@contextlib.contextmanager
def taken(of_web_tasks: Set[str] = frozenset()) -> Iterator[dict[str, dict[str, str]]]:
    """The secrets by program and variable, which are out of the environment for the length of the block.

    What the environment does not have, a block on the server may: that of `APP_PASSWORD` is called `app-password`.

    Args:
        of_web_tasks: variables that the environment's service needs (`run.web_task_secrets`).
    """
    needed = {**_NEEDED_BY, "environment": tuple(of_web_tasks - set(BLOCKS))}
    blocks = {**{name: name.lower().replace("_", "-") for name in needed["environment"]}, **BLOCKS}
    found = {name: value for name in blocks if (value := os.environ.pop(name, None))}
    try:
        known = {**_of_blocks({name: block for name, block in blocks.items() if name not in found}), **found}
        yield {program: {name: known[name] for name in names if name in known} for program, names in needed.items()}
    finally:
        os.environ.update(found)


def _of_blocks(blocks: Mapping[str, str]) -> dict[str, str]:
    values = {}
    for name, called in blocks.items():
        with contextlib.suppress(ValueError):  # there is no such block
            block = Secret.load(called)
            assert isinstance(block, Secret)
            values[name] = str(block.get())
    return values
