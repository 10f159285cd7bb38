"""Prefect's own server and UI, without its background services, and two paths more.

POST /reset takes away all that somebody made. POST /deployment?name=nightly&hour=3 makes a deployment that runs daily.
POST /variable?name=bucket&day=2 makes a variable as on the second of a month, for the page shows when it was made: an
episode's page must not depend on the clock.
"""

import argparse

import uvicorn
from fastapi import FastAPI, Request, Response
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, VariableCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.server.api.server import create_app
from prefect.server.database import provide_database_interface
from sqlalchemy import text
from starlette.types import Receive, Scope, Send

KEPT = ("alembic_version", "configuration")


async def clear() -> None:
    """Every table but those that the server needs to be the same server."""
    database = provide_database_interface()
    async with database.session_context(begin_transaction=True) as session:
        await session.execute(text("PRAGMA defer_foreign_keys = ON"))  # pools and queues name each other
        for table in reversed(database.Base.metadata.sorted_tables):
            if table.name not in KEPT:
                await session.execute(table.delete())


async def deploy(app: FastAPI, name: str, hour: int) -> None:
    async with PrefectClient(app) as client:
        flow = await client.create_flow_from_name("report")
        schedule = DeploymentScheduleCreate(schedule=CronSchedule(cron=f"0 {hour} * * *"), active=True)
        await client.create_deployment(flow_id=flow, name=name, schedules=[schedule])


async def make_variable(app: FastAPI, name: str, day: int) -> None:
    async with PrefectClient(app) as client:
        await client.create_variable(VariableCreate(name=name, value=1))
    made = {"name": name, "at": f"2026-01-{day:02} 09:00:00.000000"}
    async with provide_database_interface().session_context(begin_transaction=True) as session:
        await session.execute(text("UPDATE variable SET created = :at, updated = :at WHERE name = :name"), made)


class Application:
    """Prefect's application, and three paths more: its UI takes all that it does not know."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" and scope["method"] == "POST" else ""
        if path == "/reset":
            await clear()
        elif path == "/deployment":
            asked = Request(scope).query_params
            await deploy(self._app, asked["name"], int(asked["hour"]))
        elif path == "/variable":
            asked = Request(scope).query_params
            await make_variable(self._app, asked["name"], int(asked["day"]))
        else:
            return await self._app(scope, receive, send)
        await Response("{}", media_type="application/json")(scope, receive, send)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvicorn.run(Application(create_app(webserver_only=True)), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
