"""The exceptions of browser-control.

```
BrowserControlError
├── UserError                     what was asked for is wrong: one sentence, exit code 2
│   ├── ConfigurationError        a key, value or file of the configuration
│   ├── ModelUnavailable          unknown, gated or unreachable model
│   ├── BrowserNotFound           no Chromium on this machine
│   ├── EnvironmentUnreachable    nothing answers at the environment's URL
│   ├── EnvironmentMismatch       the environment is not the one that the configuration is made for
│   ├── ServiceFailed             a service that did not come up: port taken, died, never healthy
│   ├── EngineUnavailable         no Docker Engine, no right to it, or not what it takes
│   ├── BuildFailed               an image that cannot be built; says at which step
│   ├── RepositoryUnavailable     no such repository or commit of OpenEnv, and no clone of it here
│   ├── CheckpointMismatch        a checkpoint of another configuration
│   ├── RecordDamaged             a JSON file of a run or a registry that is not what was written
│   ├── ArchiveInvalid            an archive that is incomplete or altered
│   └── ArchivesUnreachable       the store in which archives are does not do what is asked of it
├── EnvironmentFailure            an episode that cannot be scored; data, not a crash
├── EnvironmentLost               a service that answered before is gone: no episode can be scored any more
├── TrainingFailed                training cannot go on: nothing scorable, or no finite gradient, again and again
├── CheckpointDamaged             a checkpoint that does not match its own digests
├── Preempted                     SIGTERM or SIGINT: saved, exit code 75
├── RankFailed                    another of the processes that train together failed
└── StageError                    a program that failed (see pipeline.runtimes.base)
```
"""

import errno

EXIT_USER_ERROR = 2
EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: try again later


# What a machine refuses that its user can change: no traceback would help.
_REFUSALS = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or have the quota raised",
    errno.EROFS: "choose a folder that may be written to",
    errno.EACCES: "have its owner give it to you, or choose another folder",
    errno.EPERM: "have its owner give it to you, or choose another folder",
    errno.EIO: "the disk or the network behind it fails: look at the kernel's log",
}


def refusal(error: OSError) -> str | None:
    """One sentence on what the machine refused and what to do; None where it is no matter of disk or permission."""
    if error.errno not in _REFUSALS:
        return None
    where = error.filename2 or error.filename or "the run's folder"
    return f"{error.strerror}: {where}: {_REFUSALS[error.errno]}, and run the same command again"


def short(value: object, length: int = 60) -> str:
    """What a person gave, as Python spells it, at a length that a sentence bears."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def reason(error: BaseException) -> str:
    """What an error says; where it says nothing, as one of time does, what kind it is."""
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)


class BrowserControlError(Exception):
    """Base of all errors this package raises on purpose."""

    @property
    def retriable(self) -> bool:
        """Whether the same attempt may fare better another time."""
        return True


class UserError(BrowserControlError):
    """What the user asked for cannot be done; the message is one sentence that says what to do."""

    @property
    def retriable(self) -> bool:
        return False


class ConfigurationError(UserError):
    """A key, a value or a file of the configuration is wrong."""


class ModelUnavailable(UserError):
    """The base model cannot be had: unknown, gated, or no network."""


class BrowserNotFound(UserError):
    """No Chromium was found on this machine."""


class EnvironmentUnreachable(UserError):
    """Nothing that speaks OpenEnv's protocol answers at an environment's URL."""


class EnvironmentMismatch(UserError):
    """An environment answers, and is not the one that the configuration is made for."""


class ServiceFailed(UserError):
    """A service did not come up, or is not healthy."""


class EngineUnavailable(UserError):
    """There is no Docker Engine, we may not use it, or it lacks what was asked for."""


class RepositoryUnavailable(UserError):
    """A git repository has no such commit, or is `unreachable`; through a `network`, it may be back in a moment."""

    def __init__(self, words: str, unreachable: bool = False, network: bool = False) -> None:
        super().__init__(words)
        self.unreachable = unreachable
        self.network = network

    @property
    def retriable(self) -> bool:
        return self.network


class CheckpointMismatch(UserError):
    """A checkpoint was written under another configuration."""


class RecordDamaged(UserError):
    """A JSON file of a run or a registry is not what was written."""


class ArchiveInvalid(UserError):
    """An archive is incomplete or was altered."""


class ArchivesUnreachable(UserError):
    """A store elsewhere in which archives are refuses, or does not answer; it may be back in a moment."""

    @property
    def retriable(self) -> bool:
        return True


class EnvironmentFailure(BrowserControlError):
    """The environment failed in the middle of an episode, which is therefore unscorable."""


class EnvironmentLost(BrowserControlError):
    """A service that answered before does not any more: what goes on without it would be worth nothing."""


class TrainingFailed(BrowserControlError):
    """Several updates in a row came to nothing: to go on would only look like training."""


class BuildFailed(UserError):
    """An image cannot be built; `network` says whether that may have been a bad connection."""

    def __init__(self, words: str, network: bool = False) -> None:
        super().__init__(words)
        self.network = network

    @property
    def retriable(self) -> bool:
        return self.network


class CheckpointDamaged(BrowserControlError):
    """A checkpoint does not match the digests written beside it."""


class Preempted(BrowserControlError):
    """The process was asked to end; what was done is saved and the same command continues."""


class RankFailed(BrowserControlError):
    """Another of the processes that train together failed, and so this one cannot go on."""
