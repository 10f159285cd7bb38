"""The engine `stock`: OpenEnv's own BrowserGym server, unchanged, for comparison with ours.

It needs a clone of OpenEnv whose `envs` folder is on PYTHONPATH. What it lacks on a machine is put around it: MiniWoB's
pages are served, and Chromium is where its Playwright looks for one.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from browser_control.environment.page_server import PageServer, bundle_folder
from browser_control.errors import ConfigurationError


def run(program: Path, listener: socket.socket, sessions: int) -> None:
    """Serves OpenEnv's environment until SIGTERM or SIGINT; raises ConfigurationError where there is no clone."""
    if importlib.util.find_spec("browsergym_env") is None:
        raise ConfigurationError(
            "--engine stock needs OpenEnv's own environment: put the folder `envs` of its clone on PYTHONPATH."
        )
    with pages() as url, playwright_browsers(program) as browsers:
        os.environ |= {
            "MINIWOB_URL": url,
            "PLAYWRIGHT_BROWSERS_PATH": str(browsers),
            "MAX_CONCURRENT_ENVS": str(sessions),
        }
        os.environ.setdefault("BROWSERGYM_TASK_NAME", "click-test")
        from browsergym_env.server.app import app  # type: ignore[import-not-found]

        listener.listen()  # whoever reads the greeting may connect

        host, port = listener.getsockname()[:2]
        print(f"environment ready on http://{host}:{port}, OpenEnv's own, {program}", flush=True)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def pages() -> Iterator[str]:
    """MiniWoB's pages over HTTP; the URL that BrowserGym calls MINIWOB_URL."""
    loop = asyncio.new_event_loop()
    server = PageServer(bundle_folder())
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever, name="pages", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}/miniwob/"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.stop()
        loop.close()


@contextlib.contextmanager
def playwright_browsers(program: Path) -> Iterator[Path]:
    """A folder as Playwright's own downloads, in which its Chromium is `program`."""
    folder = Path(tempfile.mkdtemp(prefix="browser-control-stock-"))
    try:
        spec = importlib.util.find_spec("playwright")
        assert spec is not None and spec.submodule_search_locations
        driver = Path(next(iter(spec.submodule_search_locations))) / "driver" / "package"
        browsers = json.loads((driver / "browsers.json").read_text())["browsers"]
        revision = next(browser["revision"] for browser in browsers if browser["name"] == "chromium")
        place = folder / f"chromium-{revision}" / "chrome-linux"
        place.mkdir(parents=True)
        (place / "chrome").symlink_to(program)
        (place.parent / "INSTALLATION_COMPLETE").touch()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
