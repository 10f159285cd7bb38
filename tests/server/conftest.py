"""The server of the tests in this folder."""

from collections.abc import Callable, Iterator

import pytest
from prefect_server import Server
from stand_ins import CONFIG


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    (server.folder / "config.yaml").write_text(CONFIG)
    try:
        server.start()
        done = server.command("python", "deployments/setup.py")
        assert done.returncode == 0, done.stdout + done.stderr
        server.work("local")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def calls(server: Server) -> Callable[[str], list[str]]:
    """The programs that a run called, in order."""
    return lambda run_id: (server.folder / "runs" / run_id / "calls").read_text().split()
