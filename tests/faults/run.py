"""`make faults`: the whole matrix by processes side by side, and the table of docs/reliability.md.

What passed on this commit is not run again, so that the same command goes on with what was stopped.

    python tests/faults/run.py [--wide 2] [ARGUMENTS OF PYTEST]
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(Path(__file__).parent)]

from cells import CELLS  # noqa: E402
from engine import unusable  # noqa: E402
from table import commit, write  # noqa: E402

RESULTS = ROOT / ".cache" / "faults" / "results.jsonl"


def main(arguments: list[str]) -> int:
    wide = 2
    if arguments[:1] == ["--wide"]:
        wide, arguments = int(arguments[1]), arguments[2:]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    if words := skipped(unusable()):
        print(words, flush=True)
    command = [sys.executable, "-m", "pytest", "tests/faults", "-m", "faults or not faults", *arguments]
    with tempfile.TemporaryDirectory(prefix="claims-", dir=RESULTS.parent) as claims:
        environ = {
            **os.environ,
            "FAULTS_RESULTS": str(RESULTS),
            "FAULTS_COMMIT": commit(ROOT),
            "FAULTS_CLAIMS": claims,
        }
        running = []
        try:
            running += [subprocess.Popen(command, cwd=ROOT, env=environ) for _ in range(wide)]
            codes = [process.wait() for process in running]
        except KeyboardInterrupt:
            codes = [process.wait() or 2 for process in running]
        finally:
            write(ROOT / "docs" / "reliability.md", RESULTS)
            if words:
                print(words)
    return max(code for code in codes if code != 5) if set(codes) != {5} else 0  # 5: nothing was left to run


def skipped(reason: str) -> str:
    """What is said of the cells in Docker, where they cannot be run; empty where they can."""
    cells = sum(cell.runtime == "docker" for cell in CELLS)
    return f"the {cells} cells in Docker are skipped: {reason}" if reason else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
