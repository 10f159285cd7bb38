"""Serves the deployments of one machine without a worker (`make serve`): schedules, the UI's form and the CLI work."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow, serve
from prefect.deployments.runner import RunnerDeployment

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from browser_control.pipeline import server  # noqa: E402
from flows.evaluate import evaluate  # noqa: E402
from flows.train import train  # noqa: E402

_FLOWS: dict[str, Flow[Any, Any]] = {"flows/train.py:train": train, "flows/evaluate.py:evaluate": evaluate}


def main() -> None:
    """Those of prefect.yaml that need no GPU, with their parameters, one run at a time."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    server.exit_unreachable()
    for variable, value in server.OF_A_RUN.items():  # the runs inherit it
        os.environ.setdefault(variable, value)
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    served = [
        _FLOWS[each["entrypoint"]].to_deployment(
            f"{each['name']}-here",  # one of the same name that has a work pool would keep it, and its runs fail
            description=each["description"],
            tags=each["tags"],
            parameters=each["parameters"],
        )
        for each in written
        if each["work_pool"]["name"] == "local" and each["entrypoint"] in _FLOWS
    ]
    serve(*(each for each in served if isinstance(each, RunnerDeployment)), limit=1)


if __name__ == "__main__":
    main()
