"""Django's admin in Docker: what an application needs is a layer of the environment's image."""

import contextlib
import uuid
from pathlib import Path

import pytest
from processes import wait_until

from browser_control.environment import health
from browser_control.environment.client import Environments
from browser_control.pipeline.runtimes import DockerSettings, make_runtime
from browser_control.pipeline.runtimes.base import Service
from browser_control.pipeline.runtimes.process import free_port
from browser_control.solvers.playing import play
from browser_control.web_tasks import registry, requirements

ROOT = Path(__file__).resolve().parents[2]
DJANGO = ROOT / "examples" / "django-admin"


@pytest.mark.timeout(900)
def test_an_application_runs_in_the_image_that_has_what_it_requires(
    browsergym_image: str, base_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_own", {})
    registry.use([DJANGO])
    settings = DockerSettings(
        run_id=f"requirements-{uuid.uuid4().hex[:8]}",
        run_directory=tmp_path,
        source=ROOT,
        gpus="none",
        training_image=browsergym_image,
        browsergym_base=base_image,
        requirements=requirements.wanted(["django-admin.change-stock"]),
    )
    with contextlib.closing(make_runtime(settings)) as runtime:
        runtime.images.build(None, tmp_path, print)
        assert runtime.images.name("browsergym") != browsergym_image
        port = free_port()
        where = runtime.listening(port)
        arguments = ("--host", where.host, "--port", str(where.port), "--sessions", "2", "--web-tasks", str(DJANGO))
        command = (runtime.python, "-m", "browser_control.environment", *arguments)
        log = tmp_path / "environment.log"
        service = Service("environment", command, log, reads=(DJANGO,), port=where.port, published=port)
        with runtime.serve(service):
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: health.answers(url), 60)
            with Environments([url], 1) as environments:
                (played,) = play(environments, [("django-admin.change-stock", 0)])
    assert played.failure == ""
