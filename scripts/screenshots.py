"""Screenshots for the docs: reports, a comparison, an episode of play, a page beside what the policy sees of it.

    .venv/bin/python scripts/screenshots.py [RUN ...] [--play "WEB_TASK --adapter ARCHIVE" [--name play]]
        [--web-task FOLDER] [--output docs/images]

The first RUN, an archive or a run directory, has its report shown in the light, in the dark and on a phone; with
several there is a comparison too. `--play` has the arguments of `browser-control play`: what it says is shown above the
film that it records. `--web-task` has a folder with an HTML file of one's own.
"""

import argparse
import base64
import html
import io
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageSequence
from playwright.sync_api import Browser, Page, sync_playwright

from browser_control.environment.chromium import find_chromium
from browser_control.records import report, report_page

WIDE, PHONE = {"width": 1000, "height": 760}, {"width": 390, "height": 760}
LOOKS = (
    "body { margin: 0; padding: 1rem; font: 14px/1.4 monospace; background: #fff; color: #1b1f24; }"
    "pre { font: inherit; white-space: pre-wrap; } img { border: 1px solid #c9d1d9; }"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="an archive or a run directory")
    parser.add_argument("--play", metavar="ARGUMENTS", help="of browser-control play, as one string")
    parser.add_argument("--name", default="play", metavar="NAME", help="of that picture (default: %(default)s)")
    parser.add_argument("--web-task", type=Path, metavar="FOLDER", help="its page, beside what `web-task show` says")
    parser.add_argument("--output", type=Path, default=Path("docs/images"), metavar="DIR")
    chosen = parser.parse_args()
    reports = [report.read(each) for each in chosen.runs]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_chromium()), chromium_sandbox=False)
        if reports:
            show_report(browser, reports[0], Path(folder) / "report.html", chosen.output)
        if len(reports) > 1:
            compared = Path(folder) / "comparison.html"
            compared.write_text(report_page.render_comparison(reports))
            tab = browser.new_page(viewport=WIDE)
            tab.goto(compared.as_uri())
            write(tab, chosen.output / "comparison.webp")
        if chosen.play:
            show_play(browser, shlex.split(chosen.play), Path(folder), chosen.output / f"{chosen.name}.webp")
        if chosen.web_task:
            show_web_task(browser, chosen.web_task, chosen.output / "own-page.webp")
        browser.close()


def show_report(browser: Browser, shown: report.Report, page: Path, output: Path) -> None:
    page.write_text(report_page.render(shown))
    for name, size, scheme, place in (
        ("report", WIDE, "light", "body"),
        ("report-dark", WIDE, "dark", "#success"),
        ("report-episodes", WIDE, "light", "#episodes"),
        ("report-phone", PHONE, "light", "#episodes"),
    ):
        tab = browser.new_page(viewport=size, color_scheme=scheme)
        tab.goto(page.as_uri())
        episodes = tab.locator("#episodes ~ details")
        lost = tab.locator("#episodes ~ details", has=tab.locator(".lost"))
        first = (lost if lost.count() else episodes).first
        first.evaluate("each => { each.open = true; }")
        (first if place == "#episodes" else tab.locator(place).first).evaluate("each => { each.scrollIntoView(); }")
        write(tab, output / f"{name}.webp")


def show_play(browser: Browser, arguments: list[str], folder: Path, output: Path) -> None:
    """Plays; the picture has the command, what it said, and the pictures of its film."""
    film = folder / "film.gif"
    said = command("play", *arguments, "--record", str(film))
    lines = [f"$ browser-control play {arguments[0]}", *said.splitlines()[:-1]]  # the last one names the film
    pictures = []
    for each in ImageSequence.Iterator(Image.open(film)):
        file = io.BytesIO()
        each.convert("RGB").save(file, "PNG")
        pictures.append(picture(file.getvalue()))
    tab = browser.new_page(viewport={"width": WIDE["width"], "height": 100})
    tab.set_content(
        f"<style>{LOOKS} pre {{ margin: 0 0 1rem; }} div {{ display: flex; gap: .5rem; }}"
        "img { flex: 1; min-width: 0; object-fit: contain; align-self: start; }</style>"
        f"<pre>{html.escape(chr(10).join(lines))}</pre><div>{''.join(pictures)}</div>"
    )
    write(tab, output, full_page=True)


def show_web_task(browser: Browser, folder: Path, output: Path) -> None:
    """The page as a person sees it, and beside it what the policy has of it."""
    said = command("web-task", "show", str(folder))
    page = browser.new_page(viewport={"width": 330, "height": 260})
    page.goto((folder / "page.html").absolute().as_uri())
    seen = picture(page.screenshot())
    page.close()
    tab = browser.new_page(viewport={"width": WIDE["width"], "height": 100})
    tab.set_content(
        f"<style>{LOOKS} div {{ display: flex; gap: 1rem; }} pre {{ margin: 0; }} img {{ align-self: start; }}</style>"
        f"<div>{seen}<pre>{html.escape(said.strip())}</pre></div>"
    )
    write(tab, output, full_page=True)


def command(*arguments: str) -> str:
    """What `browser-control` says."""
    program = str(Path(sys.executable).with_name("browser-control"))
    return subprocess.run([program, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def picture(png: bytes) -> str:
    return f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def write(tab: Page, path: Path, full_page: bool = False) -> None:
    """What the tab shows, or all of its page, as a small WebP."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(tab.screenshot(full_page=full_page))).save(path, quality=75, method=6)
    print(f"{path}: {path.stat().st_size // 1000} kB")
    tab.close()


if __name__ == "__main__":
    main()
