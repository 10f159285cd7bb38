"""Secrets: from the environment, or from Prefect's Secret blocks, and only to the programs that need them.

While a flow runs they are out of its environment, which every program inherits; a program that needs one is given it.
"""

import contextlib
import os
from collections.abc import Iterator

from prefect.blocks.system import Secret

BLOCKS = {"HF_TOKEN": "hf-token", "WANDB_API_KEY": "wandb-api-key"}
_NEEDED_BY = {"programs.fetch_model": ("HF_TOKEN",), "fine_tune_local": ("WANDB_API_KEY",)}


@contextlib.contextmanager
def taken() -> Iterator[dict[str, dict[str, str]]]:
    """The secrets by program and variable, which are out of the environment for the length of the block.

    What the environment does not have, a block on the server may.
    """
    found = {name: value for name in BLOCKS if (value := os.environ.pop(name, None))}
    try:
        known = {**_of_blocks(set(BLOCKS) - set(found)), **found}
        yield {program: {name: known[name] for name in names if name in known} for program, names in _NEEDED_BY.items()}
    finally:
        os.environ.update(found)


def _of_blocks(names: set[str]) -> dict[str, str]:
    values = {}
    for name in names:
        with contextlib.suppress(ValueError):  # there is no such block
            block = Secret.load(BLOCKS[name])
            assert isinstance(block, Secret)
            values[name] = str(block.get())
    return values
