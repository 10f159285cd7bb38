"""A report as one HTML file that needs nothing else: jinja2's templates, pygal's charts as SVG inside."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pygal
import yaml
from markupsafe import Markup

from browser_control.records import summary
from browser_control.records.report import Report
from browser_control.records.summary import TITLES, Score, Scores, counted
from browser_control.training.statistics import wilson

# pygal leaves a finder of plugins there, which has no `find_spec`: every later import that fails would warn of it.
sys.meta_path[:] = [each for each in sys.meta_path if type(each).__module__ != "pygal"]

_STRICT, _BROWSERGYM = "the whole task done (strict)", summary.BROWSERGYM
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("browser_control.records"),
    autoescape=True,  # whatever a page or the policy says stays text
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_LOOK: dict[str, Any] = dict(
    background="transparent",
    plot_background="transparent",
    foreground="var(--ink)",
    foreground_strong="var(--ink)",
    foreground_subtle="var(--quiet)",
    guide_stroke_color="var(--line)",
    major_guide_stroke_color="var(--line)",
    ci_colors=("var(--ink)",) * 2,
    font_family="system-ui, sans-serif",
    label_font_size=14,
    major_label_font_size=14,
    legend_font_size=14,
    value_font_size=14,
    opacity="1",
    stroke_opacity="1",
    stroke_width="2",
    transition="0s",
)
_BARS = pygal.style.Style(colors=("var(--strict)", "var(--browsergym)"), **_LOOK)
_CURVES = pygal.style.Style(colors=("var(--browsergym)", "var(--strict)"), **_LOOK)


def render(report: Report) -> str:
    """The page of one run."""
    scores = report.scores
    return _TEMPLATES.get_template("report.html.j2").render(
        report=report,
        facts=facts(report),
        titles=[TITLES[name] for name in scores],
        success=_success(scores),
        web_tasks=_web_tasks(scores),
        total={TITLES[name]: summary.total(each) for name, each in scores.items()},
        curve=_curve(report.metrics),
        seconds=report.seconds,
        time=_time(report.seconds),
        differs=any(score.success != score.strict for score in map(summary.total, scores.values())),
        played=Counter(each.web_task for each in report.episodes.get(report.last, ())),
        failures=sum(cause.after for cause in report.causes),
        settings=yaml.safe_dump(report.settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        **_words(),
    )


def render_comparison(reports: Sequence[Report], name: str = "") -> str:
    """The page that compares runs, the best first: what differs in their configurations, and what came out."""
    ordered = sorted(reports, key=lambda each: -summary.total(each.scores[each.last]).rate)
    settings = {each.id: _flat(each.settings.model_dump(mode="json")) for each in ordered}
    keys = list(dict.fromkeys(key for values in settings.values() for key in values))
    differing = [
        key
        for key in keys
        if key != "environment.urls" and len({str(values.get(key)) for values in settings.values()}) > 1
    ]
    scores = {each.id: each.scores[each.last] for each in ordered}
    return _TEMPLATES.get_template("comparison.html.j2").render(
        name=name,
        reports=ordered,
        differing=differing,
        settings=settings,
        titles=list(scores),
        web_tasks=_web_tasks(scores),
        total={run: summary.total(each) for run, each in scores.items()},
        success=_compared(scores),
        links={each.id: _link(f"{each.where}/report.html") for each in ordered},
        same_pages=len({_pages(each) for each in ordered}) == 1,
        **_words(),
    )


def _words() -> dict[str, Any]:
    return {"strict": _STRICT, "browsergym": _BROWSERGYM, "interval": _interval, "counted": counted}


def _pages(report: Report) -> frozenset[tuple[str, str]]:
    return frozenset((each["web_task"], each["page"]) for each in report.evaluations[report.last]["episodes"])


def facts(report: Report) -> dict[str, str]:
    """What was trained on what."""
    settings, training = report.settings, report.settings.training
    lora = settings.lora
    episodes = training.groups * training.group_size
    warm = settings.warm_start
    updates = f"{counted(len(report.metrics), 'update')} of {training.updates}"
    updates += f", each {training.groups} groups of {training.group_size} ({episodes} episodes)"
    rounds = f"; {counted(warm.dagger_rounds, 'round')} of DAgger, {warm.dagger_episodes} episodes each"
    if warm.dagger_demonstrations:
        rounds += f" and {warm.dagger_demonstrations} demonstrations"
    judged = summary.total(report.scores[report.last])
    pages = counted(judged.pages, "page")
    facts = {
        "base model": settings.model.name,
        "what is trained": f"LoRA of rank {lora.rank}" if lora else "all weights",
        "demonstrations": f"{warm.demonstrations} in all, of {', '.join(warm.web_tasks)}"
        + (rounds if warm.dagger_rounds else "")
        if warm.demonstrations
        else "none",
        "kept episodes": ", ".join(Path(each).name for each in warm.kept),
        "GRPO": updates if training.updates else "none",
        "rewarded": {"strict": "the whole task", "browsergym": "any positive reward"}[training.reward],
        "web tasks of GRPO": ", ".join(training.web_tasks) if training.updates else "",
        "actions": ", ".join(settings.policy.actions),
        "judged on": f"{pages} of web tasks that have too few to hold any out"
        if judged.exempt
        else f"{pages}, all different, that no demonstration and no training showed (told by content, not by seed)",
    }
    if settings.judged_web_tasks != training.web_tasks or not training.updates:
        facts["judged web tasks"] = ", ".join(settings.judged_web_tasks)
    if report.from_promoted and not report.settings.warm_start.demonstrates:
        facts["began from"] = "the promoted adapter"
    return {name: value for name, value in facts.items() if value}


def _interval(successes: int, pages: int) -> dict[str, float]:
    """A rate and its 95% Wilson interval, of 100."""
    low, high = wilson(successes, pages)
    return {"rate": 100 * successes / pages if pages else 0.0, "low": 100 * low, "high": 100 * high}


def _web_tasks(scores: Mapping[str, Scores]) -> dict[str, list[Score | None]]:
    """By web task, its scores in the order of the evaluations."""
    names = dict.fromkeys(name for each in scores.values() for name in each)
    return {name: [each.get(name) for each in scores.values()] for name in names}


def _success(scores: Mapping[str, Scores]) -> Markup:
    """Both kinds of success of all pages together, with intervals."""
    totals = [summary.total(each) for each in scores.values()]
    chart = _chart(pygal.Bar, range=(0, 1))
    chart.x_labels = [TITLES[name] for name in scores]
    for title, kind in ((_STRICT, "strict"), (_BROWSERGYM, "success")):
        chart.add(title, [_bar(getattr(score, kind), score.pages) for score in totals])
    return _svg(chart)


def _compared(scores: Mapping[str, Scores]) -> Markup:
    """Strict success of each run, the first on top."""
    chart = _chart(pygal.HorizontalBar, range=(0, 1), show_legend=False, height=60 + 36 * len(scores))
    chart.x_labels = list(scores)[::-1]
    chart.y_labels = [0, 0.25, 0.5, 0.75, 1]  # ten would run into each other
    totals = [summary.total(each) for each in scores.values()]
    chart.add(_STRICT, [_bar(score.strict, score.pages) for score in totals[::-1]])
    return _svg(chart)


def _bar(successes: int, pages: int) -> dict[str, Any]:
    low, high = wilson(successes, pages)
    return {"value": successes / pages if pages else None, "ci": {"low": low, "high": high}}


def _curve(metrics: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Success in training, update by update: of the episodes that were played, at the training temperature."""
    if not metrics:
        return None
    dots = 3 if len(metrics) < 60 else 0
    chart = _chart(
        pygal.XY, range=(0, 1), dots_size=dots, x_title="update", height=340, margin_bottom=20, style=_CURVES
    )
    for title, key in ((_BROWSERGYM, "success/all"), (_STRICT, "strict/all")):  # the last is drawn on top
        chart.add(title, [(each["update"], each[key]) for each in metrics if each.get(key) is not None])
    chart.x_value_formatter = lambda value: f"{value:.0f}"
    chart.x_labels = _numbers([each["update"] for each in metrics])
    return _svg(chart)


def _numbers(updates: Sequence[int], most: int = 10) -> list[int]:
    """At most so many of the updates for a scale, evenly spread; pygal's own would repeat those of a short run."""
    every = -(-len(updates) // most)
    return list(updates)[::every]


def _time(seconds: Mapping[str, float]) -> Markup:
    chart = _chart(pygal.HorizontalBar, show_legend=False, show_x_labels=False, show_y_guides=False, truncate_label=40)
    chart.height = 30 + 36 * len(seconds)
    chart.value_formatter = lambda value: f"{value:.0f} s"
    chart.x_labels = [f"{name} {spent:.0f} s" for name, spent in seconds.items()][
        ::-1
    ]  # a short bar has no room for it
    chart.add("seconds", list(seconds.values())[::-1])
    return _svg(chart)


def _chart(kind: Any, **settings: Any) -> Any:
    defaults = {
        "width": 480,
        "height": 300,
        "margin": 8,
        "style": _BARS,
        "js": (),
        "disable_xml_declaration": True,
        "legend_at_bottom": True,
        "legend_at_bottom_columns": 1,
        "show_x_guides": False,
        "truncate_legend": -1,
        "truncate_label": 28,
        "tooltip_border_radius": 4,
        "value_formatter": lambda value: f"{value:.2f}",
    }
    return kind(**(defaults | settings))


def _svg(chart: Any) -> Markup:
    """The chart without pygal's script, which would only say what the tables say."""
    tree = chart.render_tree()
    for parent in tree.iter():
        for child in list(parent):
            if str(child.tag).endswith("script"):
                parent.remove(child)
    tree.set("aria-hidden", "true")  # its table, or its caption, says the same
    return Markup(pygal.etree.etree.tostring(tree, encoding="unicode"))


def _link(place: str) -> str:
    return place if "://" in place else Path(place).resolve().as_uri()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
