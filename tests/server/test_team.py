"""A team's server: PostgreSQL, a password, and the settings of `deployments/docker-compose.server.yml`.

The containers are left out, what runs in them is real: the database is Debian's, the server ours, both with what the
file says; so is the server's health check.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect_server import ROOT, Server
from stand_ins import CONFIG

from browser_control.pipeline.runtimes.process import free_port
from browser_control.records import archive

FILE = ROOT / "deployments" / "docker-compose.server.yml"
PASSWORD, AUTH = "elephant42", "ada:lovelace"
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """What the compose file says, with the variables that it asks for."""
    text = FILE.read_text()
    for written, value in {
        "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD}": PASSWORD,
        "${POSTGRES_PASSWORD}": PASSWORD,
        "${PREFECT_AUTH:?set PREFECT_AUTH to user:password}": AUTH,
        "${NO_PROXY:-127.0.0.1}": "127.0.0.1",
    }.items():
        assert written in text
        text = text.replace(written, value)
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


@pytest.fixture(scope="module")
def database(services: dict[str, Any]) -> Iterator[int]:
    """The port of a PostgreSQL with the user and the database of the compose file."""
    if not POSTGRES:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    environ, port = services["database"]["environment"], free_port()
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # the path of a socket must be short
    programs = POSTGRES[-1].parent
    (folder / "password").write_text(environ["POSTGRES_PASSWORD"])
    unprivileged: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
        shutil.chown(folder / "password", "postgres")
        unprivileged = ["runuser", "-u", "postgres", "--"]
    user = environ["POSTGRES_USER"]
    made = ["--username", user, "--pwfile", str(folder / "password"), "--auth", "scram-sha-256"]
    call([*unprivileged, str(programs / "initdb"), "--pgdata", str(folder / "data"), *made])
    control = [*unprivileged, str(programs / "pg_ctl"), "--pgdata", str(folder / "data"), "--log", str(folder / "log")]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    call([*control, "start", "--wait", "--options", options])
    try:
        where = ["--host", "127.0.0.1", "--port", str(port), "--username", user, environ["POSTGRES_DB"]]
        call([str(programs / "createdb"), *where], PGPASSWORD=environ["POSTGRES_PASSWORD"])
        yield port
    finally:
        call([*control, "stop", "--mode", "immediate"])
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def team(services: dict[str, Any], database: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environ = {name: value for name, value in services["server"]["environment"].items() if name != "PREFECT_HOME"}
    url = "PREFECT_API_DATABASE_CONNECTION_URL"
    environ[url] = environ[url].replace("@database:5432/", f"@127.0.0.1:{database}/")
    server = Server(tmp_path_factory.mktemp("team"), more=environ, auth=AUTH)
    environ["PREFECT_UI_API_URL"] = f"http://127.0.0.1:{server.port}/api"
    (server.folder / "config.yaml").write_text(CONFIG)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def call(command: list[str], **environ: str) -> None:
    done = subprocess.run(command, env={**os.environ, **environ}, cwd="/", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_run_on_a_teams_server_survives_its_restart(team: Server, services: dict[str, Any], database: int) -> None:
    done = team.command("python", "deployments/setup.py", "--gpus", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    team.work("gpu")
    team.work("local")
    run = team.run("train/lfm2-350m", team.parameters(run_id="team"), STAND_IN="fine_tune_local=wait")
    team.wait_for_text("team", "progress")
    team.kill()
    team.start()
    (team.folder / "release").touch()
    team.wait_for(run, "Completed")
    archive.verify(str(team.folder / "archives" / "team"))
    team.wait_for(team.run("train/smollm2-135m", team.parameters(run_id="another")), "Completed")
    assert "another-success" in team.artifacts("another")
    assert not list((team.folder / "home").glob("*.db"))


def test_a_teams_server_asks_for_its_password(team: Server) -> None:
    done = team.command("prefect", "deployment", "ls", PREFECT_API_AUTH_STRING="ada:wrong")
    assert done.returncode != 0
    assert "401" in done.stdout + done.stderr


def test_the_health_check_of_the_compose_file_passes(team: Server, services: dict[str, Any]) -> None:
    verb, python, *arguments = services["server"]["healthcheck"]["test"]
    assert (verb, python) == ("CMD", "python")
    call([sys.executable, *(argument.replace(":4200/", f":{team.port}/") for argument in arguments)])
