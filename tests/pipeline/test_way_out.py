"""How the internet and archives elsewhere are reached, known before anything trains."""

import importlib.util
import os
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from browser_control.errors import ConfigurationError
from browser_control.pipeline import package_index, run, stages
from browser_control.pipeline.parameters import Parameters
from browser_control.pipeline.runtimes import container_output
from browser_control.records import archive


class _ReadOnly(MemoryFileSystem):
    protocol = "readonly"
    store: dict[str, object] = {}  # noqa: RUF012

    def _open(self, path: str, mode: str = "rb", **options: object) -> object:
        raise PermissionError("Access Denied")


def test_hub_index_and_certificates_reach_the_program_that_fetches(tmp_path: Path) -> None:
    bundle = tmp_path / "company.pem"
    bundle.write_text("")
    environ = {
        "HF_ENDPOINT": "https://hub.company",
        "PIP_INDEX_URL": "https://index.company/simple",
        "REQUESTS_CA_BUNDLE": str(bundle),
        "SSL_CERT_FILE": str(bundle),
        "SSL_CERT_DIR": str(tmp_path / "missing"),
        "HOME": "/home/ada",
    }
    variables, files = stages.way_out(environ, fetches=True)
    assert variables == {name: value for name, value in environ.items() if name not in ("SSL_CERT_DIR", "HOME")}
    assert files == (bundle,)


def test_training_is_told_of_certificates_alone(tmp_path: Path) -> None:
    variables, files = stages.way_out({"PIP_INDEX_URL": "https://u:p@i", "SSL_CERT_DIR": str(tmp_path)}, fetches=False)
    assert variables == {"SSL_CERT_DIR": str(tmp_path)}
    assert files == (tmp_path,)


def test_a_container_is_told_of_the_index_that_a_file_of_pip_names(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://index.company/simple\nextra-index-url = file:///here\n")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(file)}
    assert package_index.settings(environ) == {"PIP_INDEX_URL": "https://index.company/simple"}
    shell = {"PIP_INDEX_URL": "https://shell/simple"}
    assert package_index.settings(environ | shell) == shell


def test_archives_that_cannot_be_written_are_refused_before_training(tmp_path: Path) -> None:
    fsspec.register_implementation("readonly", _ReadOnly, clobber=True)
    folders = {"runs": str(tmp_path), "models": str(tmp_path)}
    with pytest.raises(ConfigurationError, match=r"archives: readonly://x cannot be written to: Access Denied"):
        run.check(Parameters(archives="readonly://x", **folders))


def test_archives_whose_package_is_missing_are_refused_in_words() -> None:
    if importlib.util.find_spec("s3fs") is None:
        with pytest.raises(ConfigurationError, match="s3fs"):
            run.check(Parameters(archives="s3://bucket/archives"))


def test_a_trial_leaves_nothing() -> None:
    assert archive.trouble_with("memory://somewhere/archives") == ""
    assert not [path for path in fsspec.filesystem("memory").find("/somewhere") if ".tried" in path]


def test_a_line_that_ends_in_a_carriage_return_comes_by_itself() -> None:
    chunks = [b"10%\r20", b"%\rdone\r", b"\nna\xc3", b"\xafve\nrest"]
    assert list(container_output.lines(chunks)) == ["10%", "20%", "done", "naïve", "rest"]
    assert next(container_output.lines(iter([b"10%\r20%\r"]))) == "10%"
