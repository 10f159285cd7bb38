"""Publishing an exported model on Hugging Face's hub."""

import re
from pathlib import Path

from browser_control.errors import UserError


def refuse_name(name: str) -> None:
    """Raises UserError unless `name` is a repository's, OWNER/NAME."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise UserError(f"--push takes a repository of the hub, OWNER/NAME, not {name!r}")


def push(folder: Path, name: str, public: bool = False) -> str:
    """Uploads a model to the repository `name`, as one commit; returns its page.

    A repository that is not there is made, private unless `public`; one that is there stays as visible as it is.

    Raises:
        UserError: the hub does not answer or does not let us, or there is no token.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    try:
        address = api.create_repo(name, private=not public, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export of browser-control")
    except LocalTokenNotFoundError as error:
        raise UserError("the hub asks for a token: set HF_TOKEN to one that may write") from error
    except HfHubHTTPError as error:
        raise UserError(
            f"the hub does not take {name}: {_first_line(error)}; is HF_TOKEN one that may write?"
        ) from error
    except (OSError, RuntimeError) as error:  # httpx's and hf_xet's
        raise UserError(f"{name} cannot be uploaded: {_first_line(error)}") from error
    return str(address)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
