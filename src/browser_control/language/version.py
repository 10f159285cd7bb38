"""The version of what the policy reads and says: listing, prompt and actions together.

A policy trained under one version acts on another page under the next. Checkpoints, archives and `promoted.json` carry
the version that they were made under. Raise it with every change of a page's listing, of the prompt or of the spelling
of actions that a trained policy would notice; what carries none is of version 1.
"""

VERSION = 2
