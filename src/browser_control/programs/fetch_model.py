"""Puts a base model where training finds it, and prints its folder.

python -m browser_control.programs.fetch_model --config-file-name NAME
"""

import sys
from collections.abc import Sequence

from browser_control.programs import program


def main(argv: Sequence[str] | None = None) -> int:
    parser = program.parser(
        "programs.fetch_model", "Puts the base model where training finds it, and prints its folder."
    )
    return program.run(parser, _fetch, argv)


def _fetch(job: program.Job) -> None:
    from browser_control.programs.base_model import fetch

    print(fetch(job.configuration.model), flush=True)


if __name__ == "__main__":
    sys.exit(main())
