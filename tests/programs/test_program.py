"""What every program does alike."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_run_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "refused"
    command = [sys.executable, "-m", "browser_control.fine_tune_local", "--run-directory", str(run)]
    command += ["--config-file-name", "smollm2_135m_local_lora.yaml"]
    environ = {**os.environ, "BROWSERGYM_URL": "http://127.0.0.1:9"}
    refused = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: No environment answers at http://127.0.0.1:9")
    assert refused.stderr.count("\n") == 1
    assert not run.exists()
