"""The version of what the policy reads and says: listing, prompt and actions together.

A policy trained under one version acts on another page under the next. Checkpoints, archives and `promoted.json` carry
the version that they were made under. Raise it with every change of a page's listing, of the prompt or of the spelling
of actions that a trained policy would notice; what carries none is of version 1. What a prompt leaves out of a
page that is longer than `policy.max_prompt_tokens` (`window`) is no part of it.
"""

VERSION = 3  # lists MiniWoB's pages as 2 did; of one's own it lists frames, cards and ARIA's widgets otherwise
