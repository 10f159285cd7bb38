"""Web tasks in an inbox: an email is starred, deleted, answered or forwarded."""

import re
from dataclasses import dataclass

from browser_control.language.actions import Action
from browser_control.language.page import Element
from browser_control.solvers.goals import first_quoted
from browser_control.solvers.view import View, click, fill, first_missing

_OTHER_WORDS = (  # capitalized in goals without being a name
    "Access|Add|And|Answer|Are|Ask|Automatically|Can|Check|Click|Copy|Could|Create|Deliver|Delete|Email|Find|For|Forward|Foward|From|Get|Give|"
    "Go|Have|Hey|Help|In|Inbox|It|Let|Like|Locate|Look|Mail|Make|Mark|Message|Move|My|Navigate|Need|Now|Open|Pass|"
    "Please|Primary|Pull|Put|Read|Remind|Remove|Reply|Resend|Respond|Save|Say|Search|See|Select|Send|Set|Share|Show|Star|Submit|"
    "Take|Tell|Text|That|The|Then|There|This|To|Transfer|Trash|Tuesday|Use|Using|Want|Will|With|Would|Write|You"
)
_NAME = re.compile(rf"\b(?!(?:{_OTHER_WORDS})\b)[A-Z][a-z]+(?:-[A-Z][a-z]+)?\b")
_SENT_BY = (  # how goals say who wrote the email
    r"\b(?:from|by) {}\b",
    r"\b{}'s? (?:\w+ )?(?:[Ee]-?mail|message)",
    r"\b{} (?:has )?(?:sent|wrote)\b",
    r"\bthe {} e-?mail",
    r"\b{} wants (?:his|her)",
)


@dataclass(frozen=True)
class Errand:
    """What a goal asks for: `verb` is star, delete, reply or forward; `argument` the answer, or the receiver."""

    verb: str
    sender: str
    argument: str = ""


def read_goal(goal: str) -> Errand | None:
    """The errand; the wording of some web tasks was written by many people.

    `Find the email by Ada and click the star icon to mark it as important.`, `… click the trash icon to delete it.`,
    `… reply to them with the text "No.".`, `… forward that email to Bob.`, `Bob wants the email Ada sent to you.`
    """
    answer = first_quoted(goal)
    words = goal.replace(f'"{answer}"', "") if answer else goal
    names = _NAME.findall(words)
    if not names:
        return None
    sender = _sender(words, names)
    if answer is not None:
        return Errand("reply", sender, answer)
    if re.search(r"delete|trash|recycling|don't want|remove|get rid|out of my inbox", words, re.IGNORECASE):
        return Errand("delete", sender)
    if re.search(r"\bstar\b|\bmark|import|imiport", words, re.IGNORECASE):
        return Errand("star", sender)
    others = [name for name in names if name != sender]
    return Errand("forward", sender, others[-1]) if others else None


def _sender(words: str, names: list[str]) -> str:
    """Who of `names` wrote the email; the first one if the words do not tell."""
    told = (name for name in names for phrase in _SENT_BY if re.search(phrase.format(name), words))
    return next(told, names[0])


def inbox(view: View) -> Action | None:
    """Does the errand from wherever it stands: in the list of emails, in one, or in an answer."""
    errand = read_goal(view.goal)
    if errand is None:
        return None
    opened = view.called("close email", "item")
    if opened is not None and not (errand.verb in ("reply", "forward") and _is_from(view, errand.sender)):
        return click(opened)
    if errand.verb in ("star", "delete"):
        return _click_icon(view, errand)
    fields = view.of_role("textbox")
    if fields:
        field, icon = (
            (view.called("to:", "textbox"), "send forward") if errand.verb == "forward" else (fields[0], "send reply")
        )
        return first_missing(view, fill(field, errand.argument), click(view.called(icon)))
    return click(_email(view, errand.sender) if opened is None else view.called(errand.verb, "item"))


def _is_from(view: View, sender: str) -> bool:
    """Whether the open email names `sender`; `Lucines` is Lucine, too."""
    return sender in view.page.texts or sender.removesuffix("s") in view.page.texts


def _email(view: View, sender: str) -> Element | None:
    """The email of `sender` in the list, where a line begins with who sent it; `Lucines` is Lucine, too."""
    lines = {item.name.split()[0]: item for item in view.of_role("item") if item.name}
    return lines.get(sender) or lines.get(sender.removesuffix("s"))


def _click_icon(view: View, errand: Errand) -> Action | None:
    """The star or the trash behind the email in the list."""
    items = view.of_role("item")
    email = _email(view, errand.sender)
    if email is None:
        return None
    behind = items[items.index(email) + 1 :][:2]
    return click(next((item for item in behind if item.name == ICONS[errand.verb]), None))


ICONS = {"star": "star", "delete": "trash"}
SOLVERS = {
    f"email-inbox{kind}": inbox
    for kind in (
        "",
        "-delete",
        "-forward",
        "-forward-nl",
        "-forward-nl-turk",
        "-important",
        "-nl-turk",
        "-noscroll",
        "-reply",
        "-star-reply",
    )
}
