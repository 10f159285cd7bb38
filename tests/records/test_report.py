"""Reports: their numbers are those of the archive, and a real browser reads them, without any other file."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from browser_control import configuration
from browser_control.cli import main
from browser_control.configuration import Configuration
from browser_control.environment.chromium import find_chromium
from browser_control.records import archive, report, report_page
from browser_control.run_directory import RunDirectory, write_json, write_text
from browser_control.training import pictures
from browser_control.training.statistics import wilson
from browser_control.web_tasks import registry

HOSTILE = '</pre><script>document.title = "owned"</script>'
PAGES = 10


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_chromium()), chromium_sandbox=False)
        page = browser.new_page(color_scheme="dark", viewport={"width": 390, "height": 800})
        yield page
        browser.close()


def archived(folder: Path, web_tasks: list[str], name: str = "small", learned: int = 4, seed: int = 0) -> str:
    """An archive of a run that wins `learned` more of the ten pages of each web task after training than before."""
    run = RunDirectory(folder / "runs" / name)
    settings = Configuration.model_validate(
        {
            "name": "small-lora",
            "seed": seed,
            "model": {"name": "/nowhere"},
            "training": {"web_tasks": web_tasks, "updates": 2},
        }
    )
    configuration.write(settings, run.config)
    for evaluation, won in (("base", 3), ("after", 3 + learned)):
        lines = [line(task, number, won) for task in web_tasks for number in range(PAGES)]
        write_json(run.evaluation(evaluation), scores(lines))
        text = "".join(json.dumps(each) + "\n" for each in lines)
        write_text(run.evaluation(evaluation).with_suffix(".episodes.jsonl"), text)
    file = io.BytesIO()
    Image.new("RGB", (160, 210), "white").save(file, "WEBP")
    taken = {pictures.name(task, 0, turn): file.getvalue() for task in web_tasks for turn in range(3)}
    pictures.write(taken, run.evaluation("after").with_suffix(".pictures.zip"))
    write_json(run.warm_start / "state.json", {"seconds": 41.5})
    updates = [{"update": number, "strict/all": 0.5, "success/all": 0.6, "time/seconds": 2.0} for number in (1, 2)]
    write_text(run.metrics, "".join(json.dumps(each) + "\n" for each in updates))
    origin = archive.Origin(git_commit="c0ffee")
    found = report.of_run(run.root, f"archives/{name}", archive.provenance(name, settings, origin))
    write_text(run.report, report_page.render(found))
    url = str(folder / "archives" / name)
    archive.write(run, url, name, settings, origin)
    return url


def line(web_task: str, number: int, won: int) -> dict[str, Any]:
    """The first `won` are won, the next is done in part, the others repeat an action until their turns are over."""
    strict, success = number < won, number < won + 1
    turns: list[dict[str, Any]] = [{"said": 'click button "okay" [14]'}, {"said": 'click button "okay" [14]'}]
    if number % 5 == 0 or number > 7:
        turns[0]["saw"] = f'button "okay" [14]\n"{HOSTILE}"\nGoal: press okay'
    return {
        "web_task": web_task,
        "seed": number,
        "strict": strict,
        "success": success,
        "truncated": not success,
        "unscorable": "",
        "turns": turns,
    }


def scores(lines: list[dict[str, Any]]) -> dict[str, Any]:
    def count(some: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "pages": len(some),
            "unscorable": 0,
            **{kind: {"successes": sum(each[kind] for each in some)} for kind in ("strict", "success")},
            "exempt": False,
        }

    names = dict.fromkeys(each["web_task"] for each in lines)
    return {
        "overall": count(lines),
        "web_tasks": {name: count([each for each in lines if each["web_task"] == name]) for name in names},
        "seconds": 1.5,
        "sampling": "slow: one token a step, for 3 of 4 layers are hybrid",
        "episodes": [
            {
                "web_task": each["web_task"],
                "page": str(each["seed"]),
                "strict": each["strict"],
                "success": each["success"],
            }
            for each in lines
        ],
    }


def spelled_of(successes: int, pages: int) -> str:
    low, high = wilson(successes, pages)
    return f"{successes / pages:.2f} [{low:.2f}, {high:.2f}]"


def test_a_browser_reads_in_the_report_what_the_archive_says(tmp_path: Path, page: Page) -> None:
    url = archived(tmp_path, ["click-button", "click-link"])
    archive.verify(url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{url}/report.html")
    assert asked == [f"file://{url}/report.html"]  # nothing from elsewhere
    assert page.title() == "small · 2 web tasks · seed 0 - report"  # nothing of what a page said ran
    episodes = archive.read_json(url, "evaluation/after.json")["episodes"]
    before = archive.read_json(url, "evaluation/base.json")["episodes"]
    spelled = [spelled_of(sum(each["strict"] for each in played), 20) for played in (before, episodes)]
    headline = page.inner_text("#headline")
    assert (
        f"rose from {spelled[0]} to {spelled[1]} on 20 held-out pages: 8 pages newly won, 0 newly lost, 12 as before"
        in headline
    )
    rows = page.locator("#web-tasks tbody tr")
    assert rows.count() == 2
    for played, title in ((before, "base"), (episodes, "after training")):
        whole, positive = (sum(each[kind] for each in played) for kind in ("strict", "success"))
        said = f"{title}: {spelled_of(whole, 20)} strict, {spelled_of(positive, 20)} as BrowserGym counts"
        assert said in page.inner_text("#success + figure figcaption")
    drawn = page.locator("#success + figure desc.value").all_text_contents()
    assert drawn == ["0.30", "0.70", "0.40", "0.80"]  # strict before and after, then as BrowserGym counts
    assert spelled_of(7, PAGES) in rows.first.inner_text()
    causes = page.locator("#failures ~ div tbody tr").first.inner_text().split("\t")
    assert causes[0] == "out of turns: repeated one action"
    assert causes[1:3] == ["12", "4"]
    assert "Lowest at the end: click-button, click-link (0.70). None fell." in page.inner_text("#extremes")
    assert "slow: one token a step, for 3 of 4 layers are hybrid" in page.content()
    assert "warm start 41.5 s; GRPO: the rest 4.0 s; " in page.inner_text("#training ~ figure:last-of-type figcaption")
    assert "make train" in page.inner_text("#command") and "c0ffee" in page.inner_text("main")


def test_what_the_warm_start_brought_and_what_grpo_lost_of_it_is_said(tmp_path: Path) -> None:
    archived(tmp_path, ["click-button", "click-link"])
    run = RunDirectory(tmp_path / "runs" / "small")
    assert not report.of_run(run.root, "", {}).stages  # which were not judged apart
    won = {"click-button": 9, "click-link": 3}
    lines = [line(task, number, won[task]) for task in won for number in range(PAGES)]
    write_json(run.evaluation("warm-start"), scores(lines))
    found = report.of_run(run.root, "", {})
    assert found.stages == (
        "The warm start: 0.30 to 0.60, 6 pages newly won, 0 newly lost, 14 as before (exact McNemar, p = 0.031)."
        " GRPO: 0.60 to 0.70, 4 pages newly won, 2 newly lost, 14 as before (exact McNemar, p = 0.69)."
    )
    assert found.stages in report_page.render(found)
    assert found.extremes.endswith("None fell. Fell most since the warm start: click-button (by 2 pages).")


def test_the_report_is_readable_on_a_phone_in_the_dark_and_by_keyboard(tmp_path: Path, page: Page) -> None:
    url = archived(tmp_path, ["click-link", "click-button"])
    page.goto(f"file://{url}/report.html")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    colours = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    assert colours == ["rgb(13, 17, 23)", "rgb(230, 237, 243)"]
    names = page.locator("#web-tasks tbody th")
    page.locator("#web-tasks thead button").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert [each.strip() for each in names.all_inner_texts()] == ["click-button", "click-link"]
    page.locator("#episodes ~ details > summary").first.focus()  # the first is open
    page.keyboard.press("Tab")  # the strip, which arrows scroll
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert HOSTILE in page.locator("details details[open]").first.inner_text()
    assert 'click button "okay" [14]' in page.locator("details[open] ol.turns").first.inner_text()


def test_an_episode_is_a_strip_of_pictures_with_what_was_said_and_what_came_of_it(tmp_path: Path, page: Page) -> None:
    url = archived(tmp_path, ["click-link", "click-button"])
    page.goto(f"file://{url}/report.html")
    page.evaluate("document.querySelectorAll('#episodes ~ details').forEach(each => { each.open = true; })")
    strips = page.locator(".episode")
    lines = map(json.loads, archive.read(url, "evaluation/after.episodes.jsonl").decode().splitlines())
    assert strips.count() == sum("saw" in each["turns"][0] for each in lines)
    pictured = page.locator(".episode", has=page.locator("img"))
    assert pictured.count() == 2  # one of each web task
    strip = pictured.first
    assert "Goal: press okay" in strip.inner_text() and "won: the whole task done" in strip.inner_text()
    assert strip.locator("li").count() == 3  # two turns and the end
    widths = strip.locator("img").evaluate_all("all => all.map(each => each.complete && each.naturalWidth)")
    assert widths == [160, 160, 160]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_damaged_file_of_pictures_leaves_a_report_without_them(tmp_path: Path) -> None:
    archived(tmp_path, ["click-button"])
    run = RunDirectory(tmp_path / "runs" / "small")
    run.evaluation("after").with_suffix(".pictures.zip").write_bytes(b"no archive")
    found = report.read(str(run.root))
    assert found.shown and not any(each.pictured for shown in found.shown.values() for each in shown)


def test_a_report_of_125_web_tasks_is_one_file_that_opens(tmp_path: Path, page: Page) -> None:
    names = list(registry.web_tasks())
    url = archived(tmp_path, names)
    assert (Path(url) / "report.html").stat().st_size < 5_000_000
    page.goto(f"file://{url}/report.html")
    assert page.locator("#web-tasks tbody tr").count() == len(names)


def test_a_report_of_the_longest_pages_stays_under_five_megabytes(tmp_path: Path) -> None:
    archived(tmp_path, list(registry.web_tasks()))
    run = RunDirectory(tmp_path / "runs" / "small")
    path = run.evaluation("after").with_suffix(".episodes.jsonl")
    lines = [json.loads(each) for each in path.read_text().splitlines()]
    for each in lines:
        each["turns"] = [{"saw": '"' * 20_000, "said": '"' * 100}] * 6
    write_text(path, "".join(json.dumps(each) + "\n" for each in lines))
    taken = {pictures.name(each["web_task"], each["seed"], 0): os.urandom(90_000) for each in lines}
    pictures.write(taken, run.evaluation("after").with_suffix(".pictures.zip"))
    found = report.read(str(run.root))
    assert found.shown and sum(each.pictured for shown in found.shown.values() for each in shown) > 2_000_000
    assert len(report_page.render(found).encode()) < 5_000_000


def test_the_command_compares_runs_the_best_first(tmp_path: Path, page: Page) -> None:
    urls = [archived(tmp_path, ["click-button"], f"run-{n}", learned=n, seed=n) for n in (1, 5)]
    output = tmp_path / "comparison.html"
    assert main(["report", *urls, "--output", str(output)]) == 0
    page.goto(f"file://{output}")
    assert "Best: run-5, success 0.80" in page.inner_text("#headline")
    runs = page.locator("#runs ~ div tbody tr").all_inner_texts()
    assert [each.split()[0] for each in runs[:2]] == ["run-5", "run-1"]
    heads = page.locator("#runs ~ div").first.locator("thead th").all_inner_texts()
    assert heads == ["run", "base", "after", "seed"]
    page.get_by_role("link", name=f"{urls[1]}/report.html").click()
    assert page.title() == "small · 1 web task · seed 5 - report"


def test_a_run_that_is_not_archived_has_a_report_too(tmp_path: Path, page: Page) -> None:
    archived(tmp_path, ["click-button"])
    output = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "runs" / "small"), "--output", str(output)]) == 0
    page.goto(f"file://{output}")
    assert "rose from" in page.inner_text("#headline")


@pytest.mark.parametrize(
    ("learned", "words"),
    [
        (
            0,
            "Success stayed at 0.30 [0.11, 0.60] on 10 held-out pages: 0 pages newly won, 0 newly lost, 10 as before"
            " (exact McNemar, p = 1).",
        ),
        (2, "Success rose from 0.30 [0.11, 0.60] to 0.50 [0.24, 0.76] on 10 held-out pages:"),
        (-2, "Success fell from 0.30 [0.11, 0.60] to 0.10 [0.02, 0.40] on 10 held-out pages:"),
    ],
)
def test_one_sentence_says_whether_a_run_learned(tmp_path: Path, learned: int, words: str) -> None:
    said = report.read(archived(tmp_path, ["click-button"], learned=learned)).headline
    assert said.startswith(words)
    assert said.endswith("which may be chance.") == (learned != 0)


def test_what_was_not_kept_is_said_to_be_missing(tmp_path: Path, page: Page) -> None:
    archived(tmp_path, ["click-button"])
    run = RunDirectory(tmp_path / "runs" / "small")
    for path in (run.metrics, *run.root.glob("evaluation/*.episodes.jsonl")):
        path.unlink()
    output = tmp_path / "report.html"
    assert main(["report", str(run.root), "--output", str(output)]) == 0
    page.goto(f"file://{output}")
    said = page.inner_text("main")
    assert "No update of GRPO was made." in said and "None was kept." in said
    assert "did not keep what was said" in said


def test_a_column_is_sorted_by_its_numbers(tmp_path: Path, page: Page) -> None:
    page.goto(f"file://{archived(tmp_path, ['click-button', 'click-link', 'focus-text'])}/report.html")
    page.evaluate(
        """for (const [row, change] of [[0, "+0.50"], [1, "-0.10"], [2, "+1.00"]])
             document.querySelector("#web-tasks").tBodies[0].rows[row].lastElementChild.textContent = change"""
    )
    page.locator("#web-tasks thead button").last.click()
    changes = page.locator("#web-tasks tbody td:last-child")
    assert changes.all_inner_texts() == ["+1.00", "+0.50", "-0.10"]
    assert page.locator("#web-tasks th[aria-sort=descending]").count() == 1


def test_a_run_directory_has_a_report_before_it_is_archived(tmp_path: Path) -> None:
    archived(tmp_path, ["click-button"])
    output = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "runs" / "small"), "--output", str(output)]) == 0
    assert "rose from 0.30" in output.read_text()


def test_what_is_no_run_is_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "neither an archive nor a run directory" in capsys.readouterr().err
