"""Whether a policy computes what its model computes, asked once when it is loaded.

Sampler and trainer read with caches, padding and shared prompts, which not every architecture bears. So the policy
answers to two pages, and the log-probabilities of what it said are computed again, by the trainer's forward pass and by
the model alone. It says what it likes: among the actions of a page a token is often all but certain, and a wrong model
as certain of it as a right one. Where windows are read fast, a third page is longer than the window. Draws come from
generators of this module: no random state is consumed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from browser_control.errors import ConfigurationError
from browser_control.language import prompts
from browser_control.policy.sampling import Completion, Request

TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 0.15}  # mean difference of a decision's log-probability
_LONGEST = 8  # tokens of a completion: enough for a few decisions
_PAGES = (
    'button "yes" [11]\nbutton "no" [12]\ntextbox "Name" [14]',
    "\n".join(f'link "{name}" [{number}]' for number, name in enumerate("ABCDEF", start=7)),
)


class Policy(Protocol):
    """What is asked of a `policy.Policy`."""

    model: Any
    settings: Any

    @property
    def device(self) -> torch.device: ...

    @property
    def window(self) -> int | None: ...

    @property
    def row_tokens(self) -> int | None: ...

    def talk(self, requests: Sequence[Request], longest: int) -> list[Completion]: ...

    def log_probs(self, completions: Sequence[Completion], share: bool | None = None) -> Tensor: ...

    def plain_log_probs(self, completions: Sequence[Completion]) -> Tensor: ...


@contextmanager
def refusing(kind: str) -> Iterator[None]:
    """Turns what a foreign model's forward pass raises in the block into a ConfigurationError of one sentence."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, TypeError, ValueError, LookupError, RuntimeError) as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigurationError(
            f"models of type {kind!r} are not supported: they cannot be read step by step ({words})"
        ) from error


def check(policy: Policy) -> None:
    """Raises ConfigurationError where sampler, trainer and the model alone differ, or one of them fails."""
    kind = policy.model.config.model_type
    tolerance = TOLERANCE[next(policy.model.parameters()).dtype]
    with refusing(kind):
        gaps = _gaps(policy)
    for who, gap in gaps.items():
        if not gap <= tolerance:  # or it is not a number
            raise ConfigurationError(
                f"models of type {kind!r} are not supported: log-probabilities of the {who} differ from those of the"
                f" model alone by {gap:.2g}, and {tolerance} is tolerated"
            )


def _longer_than(window: int | None) -> tuple[str, ...]:
    """A page of more tokens than a window; none where there is no window."""
    if window is None:
        return ()
    return ("\n".join(f'"{number}"' for number in range(window)),)  # at least a token a line


@torch.no_grad()
def _gaps(policy: Policy) -> dict[str, float]:
    """Mean difference between the log-probabilities of sampler and trainer and those of the model alone."""
    format_ = policy.settings.action_format
    pages, budget = (*_PAGES, *_longer_than(policy.window)), 1 << 20
    asked = [prompts.build(page, "Choose yes", action_format=format_, budget=budget) for page in pages]
    drawn = (0, 1, 0, *range(len(_PAGES), len(pages)))
    requests = [Request(asked[page], np.random.default_rng(draw)) for draw, page in enumerate(drawn)]
    made = policy.talk(requests, _LONGEST)
    plain = policy.plain_log_probs(made)
    sampled = torch.tensor([value for each in made for value in each.log_probs], device=policy.device)
    found = {
        "sampler": sampled,
        "trainer": policy.log_probs(made),
    }
    if policy.row_tokens is not None:  # else it reads in one way only
        found["trainer that shares prompts"] = policy.log_probs(made, share=True)
    return {who: (values - plain).abs().mean().item() for who, values in found.items()}
