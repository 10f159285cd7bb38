"""What a policy decides greedily on pages, for a program that does not know it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from browser_control.language.prompts import Prompt
from browser_control.policy.policy import Policy
from browser_control.policy.sampling import Completion, Request


def decide(policy: Policy, prompts: Sequence[Prompt], batch: int = 16) -> list[dict[str, Any]]:
    """As `plain_transformers` reads it."""
    completions = [
        completion
        for first in range(0, len(prompts), batch)
        for completion in policy.act([Request(prompt) for prompt in prompts[first : first + batch]])
    ]
    return [as_read(policy, prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]


def as_read(policy: Policy, prompt: Prompt, completion: Completion) -> dict[str, Any]:
    return {
        "text": prompt.text,
        "prompt": list(completion.prompt_ids),
        "tokens": list(completion.token_ids),
        "said": completion.text,
        "decisions": [
            [position, admitted(mask, policy.vocabulary)]
            for position, mask in zip(completion.decisions, completion.masks, strict=True)
        ],
    }


def admitted(mask: Any, vocabulary: int) -> list[int]:
    """The tokens that a mask admits."""
    bits = np.unpackbits(np.asarray(mask, dtype=np.int32).view(np.uint8), bitorder="little")[:vocabulary]
    return [int(token) for token in np.flatnonzero(bits)]
