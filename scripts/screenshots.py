"""Screenshots for the docs: a report and a comparison, in the light, in the dark, and on a phone.

    .venv/bin/python scripts/screenshots.py RUN [RUN ...] [--output docs/images]

The first RUN, an archive or a run directory, has its report shown; with several there is a comparison too.
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from browser_control.environment.chromium import find_chromium
from browser_control.records import report, report_page

WIDE, PHONE = {"width": 1000, "height": 760}, {"width": 390, "height": 760}


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes screenshots of a report and a comparison.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="an archive or a run directory")
    parser.add_argument("--output", type=Path, default=Path("docs/images"), metavar="DIR")
    chosen = parser.parse_args()
    reports = [report.read(each) for each in chosen.runs]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_chromium()), chromium_sandbox=False)
        page = Path(folder) / "page.html"
        page.write_text(report_page.render(reports[0]))
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
            shown = (lost if lost.count() else episodes).first
            shown.evaluate("each => { each.open = true; }")
            (shown if place == "#episodes" else tab.locator(place).first).evaluate("each => { each.scrollIntoView(); }")
            write(tab, chosen.output / f"{name}.webp")
        if len(reports) > 1:
            page.write_text(report_page.render_comparison(reports))
            tab = browser.new_page(viewport=WIDE)
            tab.goto(page.as_uri())
            write(tab, chosen.output / "comparison.webp")
        browser.close()


def write(tab: Page, path: Path) -> None:
    """What the tab shows, as a small WebP."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(tab.screenshot())).save(path, quality=75, method=6)
    print(f"{path}: {path.stat().st_size // 1000} kB")
    tab.close()


if __name__ == "__main__":
    main()
