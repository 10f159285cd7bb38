"""A checkout whose images hold the stand-in programs of `tests/stand_ins`."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class StandInCheckout:
    """A checkout of its own whose images hold the stand-in programs: all is real but for what the programs do."""

    def __init__(self, folder: Path, base_image: str) -> None:
        self.folder = folder
        self.base_image = base_image
        for name in ("src", "flows", "configs", "tests/stand_ins"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / ".dockerignore").write_text("*\n!docker\n!tests/stand_ins\n")
        self.write_dockerfiles()

    def write_dockerfiles(self, misbehaviour: str = "", step: str = "RUN true") -> None:
        """`step` is one of both builds; `misbehaviour` is what the stand-ins find in `STAND_IN`."""
        lines = [
            "ARG BASE_IMAGE",
            "FROM ${BASE_IMAGE}",
            "COPY tests/stand_ins /opt/stand_ins/stand_ins",
            f"ENV PYTHONPATH=/opt/stand_ins:/workspace/src STAND_IN={misbehaviour}",
            step,
        ]
        for name in ("training", "browsergym"):
            (self.folder / "docker" / name).mkdir(parents=True, exist_ok=True)
            (self.folder / "docker" / name / "Dockerfile").write_text("\n".join(lines) + "\n")
