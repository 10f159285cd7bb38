"""`browser-control`: looks at what runs left behind."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from browser_control.errors import EXIT_USER_ERROR, ArchiveInvalid, UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 all is well, 1 an archive is not as its manifest says, 2 the command is wrong."""
    parser = argparse.ArgumentParser(prog="browser-control", description="Looks at what runs left behind.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("verify", help="compare every file of an archive with its manifest")
    check.add_argument("archive", metavar="ARCHIVE", help="a folder, such as archives/RUN, or any other fsspec URL")
    chosen = parser.parse_args(arguments)
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        _verify(chosen.archive)
    except ArchiveInvalid as error:
        errors.print(f"error: {error}", style="red")
        return 1
    except (UserError, ValueError, ImportError) as error:  # fsspec: a protocol that is unknown, or not installed
        errors.print(f"error: {error}", style="red")
        return EXIT_USER_ERROR
    return 0


def _verify(url: str) -> None:
    from browser_control.pipeline import archive

    manifest = archive.verify(url)
    table = Table(show_header=False, box=None, pad_edge=False)
    files = manifest["files"]
    megabytes = sum(entry["bytes"] for entry in files.values()) / 1e6
    rows = {
        "archive": f"{url} is as its manifest says",
        "run": manifest["run_id"],
        "files": f"{len(files)}, {megabytes:.1f} MB",
        "configuration": manifest["config_digest"],
        "commit": manifest["git_commit"] or "unknown",
        "seed": str(manifest["seeds"]["seed"]),
        "packages": ", ".join(f"{name} {version}" for name, version in manifest["packages"].items()),
    }
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/bold]", value)
    Console(highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
