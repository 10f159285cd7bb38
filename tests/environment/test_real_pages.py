"""What pages are made of that nobody made for us: each is listed and can be operated, in a real browser."""

from pathlib import Path

import pytest

from browser_control.environment.live import LiveEnvironments
from browser_control.language.actions import VERBS, is_offered
from browser_control.language.page import parse_page
from browser_control.web_tasks.steps import step

RADIO_CARDS = """<style>input{position:absolute;opacity:0;width:0;height:0}</style>
<label><input type=radio name=from value=a>Giro <small>DE12</small></label>
<label><input type=radio name=from value=b>Savings <small>DE99</small></label>
<input type=checkbox id=fast style="display:none"><label for=fast>Instant</label>"""

CUSTOM_LIST = """<div role=combobox tabindex=0 aria-label=Role aria-expanded=false
onclick="lb.hidden=!lb.hidden">Choose</div>
<ul role=listbox id=lb hidden onclick="
  document.querySelector('[role=combobox]').textContent=event.target.textContent; lb.hidden=true">
<li role=option>Admin<li role=option>Guest</ul>"""

CHOICES = """<div role=radiogroup aria-label=Plan><div role=radio aria-checked=false tabindex=0>Basic</div>
<div role=radio aria-checked=false tabindex=-1>Pro</div></div><script>
document.querySelectorAll("[role=radio]").forEach(each => each.onclick = () =>
  document.querySelectorAll("[role=radio]").forEach(other => other.setAttribute("aria-checked", other === each)));
</script>"""

CALENDAR = """<div id=host></div><script>
const root = host.attachShadow({mode: "open"});
const cell = day => `<span role=gridcell tabindex=${day === 1 ? 0 : -1}>${day}</span> `;
root.innerHTML = "<div role=grid>" + [1, 2, 3].map(cell).join("") + "</div>";
root.firstChild.addEventListener("click", event => { window.day = event.target.textContent; });
</script>"""

TABLE = """<table><thead><tr><th>Customer<th>Total<th></thead><tbody>
<tr><td>Ada<td>12.00<td><button>Delete</button></tr><tr><td>Bob<td>7.00<td><button>Delete</button></tr></tbody></table><script>
document.querySelector("tbody").addEventListener("click", event => {
  if (event.target.tagName === "BUTTON") event.target.closest("tr").remove(); });</script>"""

LISTENING_LIST = """<ul><li>Tea<li>Milk</ul><p></p><script>
document.querySelector("ul").onclick = event => {
  document.querySelector("p").textContent = event.target.textContent + " taken"; };
</script>"""

LISTENING_ROOT = (
    f"<div id=app><h1>Shop</h1><main><p>{'All of it is cheap. ' * 20}</p><button>Buy</button></main></div>"
    '<script>app.addEventListener("click", event => { window.bought = event.target.tagName === "BUTTON"; });</script>'
)

_BOARD = """<style>body{display:flex;gap:9px}
.col{width:150px;min-height:150px;background:#eee}.card{padding:6px;GRAB}</style>
<div class=col><h3>To do</h3><div class=card DRAGGABLE>Paint</div><div class=card DRAGGABLE>Cook</div></div>
<div class=col id=done><h3>Done</h3></div><script>"""

BOARD = (
    _BOARD.replace("GRAB", "").replace("DRAGGABLE", "draggable=true")
    + """let held;
for (const card of document.querySelectorAll(".card")) card.addEventListener("dragstart", event => {
  held = card; event.dataTransfer.setData("text/plain", ""); });
for (const column of document.querySelectorAll(".col")) {
  column.addEventListener("dragover", event => event.preventDefault());
  column.addEventListener("drop", event => { event.preventDefault(); column.append(held); });
}</script>"""
)

POINTER_BOARD = (
    _BOARD.replace("GRAB", "cursor:grab").replace("DRAGGABLE", "")
    + """for (const card of document.querySelectorAll(".card"))
card.addEventListener("pointerdown", () => addEventListener("pointerup", event => {
  card.style.pointerEvents = "none";
  document.elementFromPoint(event.clientX, event.clientY).closest(".col")?.append(card);
  card.style.pointerEvents = "";
}, {once: true}));</script>"""
)

IMAGE_MAP = """<img usemap=#m width=300 height=100 alt="Regions"
src="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='300' height='100'%3E%3C/svg%3E">
<map name=m><area shape=rect coords="0,0,99,99" href="#north" alt="North">
<area shape=circle coords="250,50,45" href="#south" title="South"></map>"""

SIGNATURE = """<canvas width=200 height=80 aria-label="Sign here"></canvas><script>
document.querySelector("canvas").addEventListener("pointerdown", event => { window.signed = true; });</script>"""

CHART = """<svg width=200 height=100><rect x=0 y=0 width=80 height=100 fill=red></rect>
<rect x=100 y=20 width=80 height=80 fill=red></rect></svg><p></p><script>
document.querySelectorAll("rect").forEach((bar, index) =>
  bar.addEventListener("click", () => { window.bar = index; }));</script>"""

WIZARD = """<iframe title=Wizard
srcdoc="<button onclick=&quot;parent.postMessage('done', '*')&quot;>Finish</button>"></iframe>
<script>addEventListener("message", event => { window.said = event.data; });</script>"""

FIELDS = """<input aria-label=Name value=Ada><textarea aria-label=Text>one
two</textarea><div contenteditable aria-label=Note><p>first <b>line</b></p></div>
<input type=date aria-label=From value=2012-02-04>
<input type=number aria-label=Seats value=3><input type=color aria-label=Colour value="#00ff00"><input aria-label=Empty>
<input aria-label=Code value=X1 readonly><script>
window.told = []; addEventListener("input", event => window.told.push(event.target.ariaLabel)); </script>"""
EMPTIED = ["Name", "Text", "Note", "From", "Seats"]

PAGES = {
    "a frame that tells its page": (
        WIZARD,
        ['button "Finish" []'],
        ['click button "Finish"'],
        "window.said === 'done'",
    ),
    "radio buttons that are drawn by their labels": (
        RADIO_CARDS,
        ['radio "Giro DE12" []', 'radio "Savings DE99" []', 'checkbox "Instant" []'],
        ['click radio "Savings DE99"', 'click checkbox "Instant"'],
        "document.querySelector('[value=b]').checked && fast.checked",
    ),
    "a list that a script makes": (
        CUSTOM_LIST,
        ['combobox "Role" [] value "Choose" collapsed'],
        ['click combobox "Role"', 'click option "Guest"'],
        "document.querySelector('[role=combobox]').textContent === 'Guest'",
    ),
    "radio buttons that a script makes": (
        CHOICES,
        ['radio "Basic" []', 'radio "Pro" []'],
        ['click radio "Pro"'],
        "document.querySelectorAll('[role=radio]')[1].ariaChecked === 'true'",
    ),
    "the days of a calendar in a shadow root": (
        CALENDAR,
        ['item "1" []', 'item "2" []', 'item "3" []'],
        ['click item "3"'],
        "window.day === '3'",
    ),
    "a table that listens for its rows": (
        TABLE,
        ['item "Ada 12.00" []', 'button "Delete" []', 'item "Bob 7.00" []', 'button "Delete" []'],
        ['click button "Delete" #2'],
        "document.querySelectorAll('tbody tr').length === 1 && document.body.innerText.includes('Ada')",
    ),
    "a list that listens for its points": (
        LISTENING_LIST,
        ['item "Tea" []', 'item "Milk" []'],
        ['click item "Milk"'],
        "document.body.innerText.includes('Milk taken')",
    ),
    "a root that listens for a whole application": (
        LISTENING_ROOT,
        ['"Shop"', '"' + ("All of it is cheap. " * 20).strip() + '"', 'button "Buy" []'],
        ['click button "Buy"'],
        "window.bought",
    ),
    "a board with cards to be dragged": (
        BOARD,
        ['item "To do" []', 'item "Paint" []', 'item "Cook" []', 'item "Done" []'],
        ['drag item "Cook" to item "Done"'],
        "document.querySelector('#done .card')?.textContent === 'Cook'",
    ),
    "a board that listens to the pointer": (
        POINTER_BOARD,
        ['item "To do" []', 'item "Paint" []', 'item "Cook" []', 'item "Done" []'],
        ['drag item "Cook" to item "Done"'],
        "document.querySelector('#done .card')?.textContent === 'Cook'",
    ),
    "an image map": (
        IMAGE_MAP,
        ['"Regions"', 'link "North" []', 'link "South" []'],
        ['click link "South"'],
        "location.hash === '#south'",
    ),
    "a canvas that listens to the pointer": (
        SIGNATURE,
        ['drawing "Sign here" [] size 200x80'],
        ["click-at drawing \"Sign here\" (20,30)"],
        "window.signed",
    ),
    "the bars of a chart": (
        CHART,
        ['rectangle "red" [] at 40,50 size 80x100', 'rectangle "red" [] at 140,60 size 80'],
        ['click rectangle "red" #2'],
        "window.bar === 1",
    ),
    "fields that have a text": (
        FIELDS,
        ['textbox "Name" [] value "Ada"', 'textbox "Empty" []'],
        [f'clear {"spinbutton" if each == "Seats" else "textbox"} "{each}"' for each in EMPTIED],
        "told.join() === 'Name,Text,Note,From,Seats' && !document.querySelector('[contenteditable]').innerText.trim()"
        " && "
        "[...document.querySelectorAll('input, textarea')].map(each => each.value).join('') === '#00ff00X1'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", PAGES)
def test_what_pages_are_made_of_is_listed_and_can_be_operated(what: str, chromium: str, tmp_path: Path) -> None:
    page, listed, solution, success = PAGES[what]
    file = tmp_path / "page.html"
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{page}")
    with LiveEnvironments(Path(chromium), file.as_uri(), "Go.", success, 9) as environments:
        seen = environments.reset(0, "", 0).result()
        lines = seen.text.split("\n")
        for element in parse_page(seen.text).elements:
            lines = [line.replace(f"[{element.bid}]", "[]") for line in lines]
        assert [line for line in lines if line in listed][: len(listed)] == listed, seen.text
        for said in solution:
            elements = parse_page(seen.text).elements
            action = step(said).on(elements, {})
            assert action is not None and is_offered(action, elements, VERBS), f"{said}\n{seen.text}"
            seen = environments.step(0, action.to_browsergym()).result()
            assert seen.error == "", f"{said}: {seen.error}"
        assert seen.done and seen.reward == 1.0, seen.text
