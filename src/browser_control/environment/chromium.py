"""Where Chromium is on this machine, and how it is started for us."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from browser_control.errors import BrowserNotFound

ENVIRON_VARIABLE = "BROWSER_CONTROL_CHROMIUM"
SANDBOX_VARIABLE = "BROWSER_CONTROL_CHROMIUM_SANDBOX"  # 0 where something else is the sandbox
VISIBLE_VARIABLE = "BROWSER_CONTROL_VISIBLE"  # 1 shows the browser's windows

# The real programs come before the shell scripts of the same name: a script stays between us and the browser.
_USUAL_PLACES = (
    "/usr/lib/chromium/chromium-headless-shell",
    "/usr/lib/chromium/chromium",
    "/usr/lib/chromium-browser/chromium-browser",
    "/opt/google/chrome/chrome",
)
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PLAYWRIGHT = (  # patterns below Playwright's folder of downloads
    "chromium_headless_shell-*/*/headless_shell",
    "chromium_headless_shell-*/*/chrome-headless-shell",
    "chromium-*/*/chrome",
)


def find_chromium(path: str | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The Chromium to use: `path`, the environment variable, the system's, Playwright's own download.

    Where windows are to be seen (`BROWSER_CONTROL_VISIBLE`), one that has any.

    Raises BrowserNotFound with one sentence that says what to do.
    """
    visible = is_visible(environ)
    for asked, origin in ((path, "--browser"), (environ.get(ENVIRON_VARIABLE), ENVIRON_VARIABLE)):
        if asked:
            found = shutil.which(asked, path=environ.get("PATH"))
            if found is None:
                raise BrowserNotFound(f"{origin} names {asked!r}, which is not a program that can be run.")
            return Path(found)
    for place in _USUAL_PLACES:
        if os.access(place, os.X_OK) and not (visible and _is_headless_shell(Path(place))):
            return Path(place)
    for name in _NAMES:
        found = shutil.which(name, path=environ.get("PATH"))
        if found is not None and not (visible and _is_headless_shell(Path(found))):
            return Path(found)
    for candidate in _playwright_downloads(environ):
        if not (visible and _is_headless_shell(candidate)):
            return candidate
    if visible:
        raise BrowserNotFound(
            "No Chromium that has windows was found: install one (`apt-get install chromium`), or name it with"
            f" {ENVIRON_VARIABLE}."
        )
    raise BrowserNotFound(
        "No Chromium was found: install one (`apt-get install chromium-headless-shell` or "
        f"`python -m playwright install chromium`), or name it with --browser or {ENVIRON_VARIABLE}."
    )


def is_visible(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether windows are to be seen."""
    return environ.get(VISIBLE_VARIABLE) == "1"


def _is_headless_shell(program: Path) -> bool:
    return "headless" in program.name.replace("_", "-")


def _playwright_downloads(environ: Mapping[str, str]) -> list[Path]:
    named = environ.get("PLAYWRIGHT_BROWSERS_PATH")
    folder = Path(named) if named else Path(environ.get("HOME", "/")) / ".cache" / "ms-playwright"
    return [
        candidate
        for pattern in _PLAYWRIGHT
        for candidate in sorted(folder.glob(pattern), reverse=True)
        if os.access(candidate, os.X_OK)
    ]


def command_line(program: Path, profile: Path, resolver_rules: str) -> list[str]:
    """Arguments of a Chromium that is driven over a pipe and talks to nobody but our page server.

    `resolver_rules` is Chromium's --host-resolver-rules: which names exist for the browser. Without any it reaches the
    whole network, as a person's does.
    """
    # a proxy would look names up by itself, whatever the resolver rules say
    confined = [f"--host-resolver-rules={resolver_rules}", "--no-proxy-server"] if resolver_rules else []
    arguments = [
        str(program),
        *([] if is_visible() else ["--headless"]),
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
        *confined,
        "--no-first-run",
        "--no-default-browser-check",
        "--no-pings",
        # WebRTC asks for no name, and would send datagrams to any address
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--disable-background-networking",
        "--disable-background-timer-throttling",
        "--disable-backgrounding-occluded-windows",
        "--disable-renderer-backgrounding",
        "--disable-ipc-flooding-protection",
        "--disable-back-forward-cache",
        "--disable-breakpad",
        "--disable-client-side-phishing-detection",
        "--disable-component-extensions-with-background-pages",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-dev-shm-usage",
        "--disable-domain-reliability",
        "--disable-extensions",
        "--disable-field-trial-config",
        "--disable-gpu",
        "--disable-hang-monitor",
        "--disable-popup-blocking",
        "--disable-prompt-on-repost",
        "--disable-smooth-scrolling",
        "--disable-sync",
        "--allow-pre-commit-input",
        "--force-color-profile=srgb",
        "--metrics-recording-only",
        "--mute-audio",
        "--password-store=basic",
        "--use-mock-keychain",
        # A page of an episode lives for seconds: its scripts are worth optimising ten times later than Chromium would,
        # and its garbage too little for several threads.
        "--js-flags=--invocation-count-for-maglev=4000 --invocation-count-for-turbofan=30000 --single-threaded-gc",
        # As BrowserGym: scroll bars take their room in the layout. RenderDocument makes a new frame with all its
        # parts for each page that is loaded, a quarter of the cost of an episode; without it a page reuses its frame.
        "--disable-features=OverlayScrollbars,ExtendedOverlayScrollbars,Translate,MediaRouter,"
        "OptimizationHints,PaintHolding,HttpsUpgrades,AcceptCHFrame,BackForwardCache,RenderDocument",
    ]
    if os.geteuid() == 0 or os.environ.get(SANDBOX_VARIABLE) == "0":
        arguments.append("--no-sandbox")  # Chromium refuses to sandbox itself as root, and in a container it cannot
    return [*arguments, "--no-startup-window" if is_visible() else "about:blank"]  # nobody would play in that window
