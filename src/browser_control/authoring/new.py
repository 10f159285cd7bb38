"""Writing an example to start from."""

from importlib import resources
from pathlib import Path

from browser_control.errors import ConfigurationError
from browser_control.web_tasks import task_file
from browser_control.web_tasks.task_file import FILE, WebTask

_FILES = ("page.html", FILE)


def write(folder: Path) -> WebTask:
    """A web task that works as it is; raises ConfigurationError where the folder is not empty, or its name is none."""
    task_file.check_names(folder.absolute())
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is there already, and is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    example = resources.files("browser_control.authoring").joinpath("new_web_task")
    for name in _FILES:
        (folder / name).write_text(example.joinpath(name).read_text())
    return task_file.read(folder)
