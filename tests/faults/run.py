"""`make faults`: the whole matrix by processes side by side, and the table of docs/reliability.md.

What passed on this commit is not run again, so that the same command goes on with what was stopped.

    python tests/faults/run.py [--wide 2] [ARGUMENTS OF PYTEST]
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from table import commit, write

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / ".cache" / "faults" / "results.jsonl"


def main(arguments: list[str]) -> int:
    wide = 2
    if arguments[:1] == ["--wide"]:
        wide, arguments = int(arguments[1]), arguments[2:]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
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
    return max(code for code in codes if code != 5) if set(codes) != {5} else 0  # 5: nothing was left to run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
