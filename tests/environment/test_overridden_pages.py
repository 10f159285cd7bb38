"""A page may put something else in the place of all it can reach: it is listed, acted on and judged as any other."""

import re
from collections.abc import Iterator

import pytest
import yaml
from service_process import Service, start_service, stop_service

from browser_control.environment.client import Environments

# Each function and each accessor of all that the window names, and of the iterators.
OVERRIDES = r"""<script>
var done = 0;
const later = setTimeout.bind(window), lists = Array.prototype, Mine = Error, evil = EVIL;
const act = bit => lists.map === evil && later(() => { done |= bit; }, 50);  // a handler meets what the page made
(() => {
  const holders = [window], seen = new Set(holders);
  const note = holder => {
    if (!/^(object|function)$/.test(typeof holder) || holder === null || seen.has(holder)) return;
    seen.add(holder);
    holders.push(holder);
  };
  const iterators = [[], "", new Map(), new Set()].map(each => each[Symbol.iterator]());
  for (const iterator of [...iterators, "".matchAll(/a/g)]) {
    note(Object.getPrototypeOf(iterator));
    note(Object.getPrototypeOf(Object.getPrototypeOf(iterator)));
  }
  for (const name of Object.getOwnPropertyNames(window)) {
    const { value } = Object.getOwnPropertyDescriptor(window, name);
    if (value === window || /^(browserControl|done)$/.test(name)) continue;
    if (typeof value === "function") note(value.prototype);
    note(value);
  }
  const { defineProperty, getOwnPropertyDescriptor, ownKeys } = Reflect;
  for (let index = 0; index < holders.length; index++) {
    const keys = ownKeys(holders[index]);
    for (let number = 0; number < keys.length; number++) {
      const key = keys[number];
      if (key === "done") continue;
      const known = getOwnPropertyDescriptor(holders[index], key);
      if (!known.configurable) continue;
      const more = { configurable: true, enumerable: known.enumerable, __proto__: null };
      if (known.get) { more.get = evil; more.set = known.set && evil; }
      else if (typeof known.value === "function") { more.value = evil; more.writable = true; }
      else continue;
      defineProperty(holders[index], key, more);
    }
  }
})();
</script>"""
PAGE = f"""<!doctype html><title>Order</title>{OVERRIDES}
<p>Order tea.</p>
<label>Name <input oninput="act(1)"></label>
<label>Date <input type="date" onchange="act(2)"></label>
<label>Size <select onchange="act(4)"><option>small<option>large</select></label>
<label><input type="checkbox" onchange="act(8)"> Milk</label>
<iframe src="inner.html"></iframe>
<button onclick="act(32)">Order</button>"""
INNER = f'<!doctype html>{OVERRIDES}<button onclick="top.done |= 16">Sugar</button>'
EVILS = {
    "throws": "function () { throw new Mine('overridden'); }",
    "lies": "function () { return 0; }",
    "hangs": "(never => function () { return never; })(new Promise(() => 0))",
}

# Adds what was not there, and gives the document methods of its own.
ADDING = r"""<!doctype html><title>Order</title><script>
var done = 0, lists = Array.prototype;
const forged = { __proto__: null, url: location.href, items: [], viewport: null, done: true, raw: 1, rested: true };
Object.prototype.then = function (resolve) { resolve(forged); };
Object.prototype[Symbol.toPrimitive] = Iterator.prototype.return = () => { throw Error("added"); };
Object.prototype.get = () => 1;
Object.defineProperty(lists, "0", { __proto__: null, set() { }, get() { return undefined; }, configurable: true });
document.querySelectorAll = document.elementsFromPoint = () => ({ __proto__: null, length: 0 });
Object.defineProperty(document, "readyState", { __proto__: null, value: "loading", configurable: true });
const theirs = () => "then" in {} && Object.hasOwn(lists, "0") && Object.hasOwn(document, "querySelectorAll");
</script><p>Order tea.</p>
<button onclick="if (theirs()) done |= 1">Milk</button><button onclick="if (theirs()) done |= 2">Order</button>"""
# Gives the element of a frame a window that answers for the frame's own.
ANSWERING = r"""<!doctype html><title>Order</title><p>Order tea.</p>
<iframe srcdoc="<button onclick='parent.done |= 1'>Milk</button>"></iframe>
<script>
var done = 0;
const answer = { url: location.href, items: [], viewport: null, done: true, raw: 1, rested: true };
const fake = {
  shield: () => answer, unshield: () => answer, isBusy: () => true, isLeft: () => true, missed: () => "missed",
  listens: () => false, hears: () => false, watch() { }, mark() { Array.prototype.map = () => 0; },
};
Object.defineProperty(document.querySelector("iframe"), "contentWindow", { value: { browserControl: fake } });
</script>
<button onclick="if ([0].map(each => 1)[0]) done |= 2">Order</button>"""


@pytest.fixture(scope="module")
def overridden(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("sources") / "own"
    for name, evil in EVILS.items():
        (folder / name).mkdir(parents=True)
        for file, page in (("page.html", PAGE), ("inner.html", INNER)):
            (folder / name / file).write_text(page.replace("EVIL", evil))
        task = {"start": "page.html", "goal": "Order.", "success": "done === 63", "max_turns": 9}
        (folder / name / "task.yaml").write_text(yaml.safe_dump(task))
    for name, page in (("adding", ADDING), ("answering", ANSWERING)):
        (folder / name).mkdir()
        (folder / name / "page.html").write_text(page)
        task = {"start": "page.html", "goal": "Order.", "success": "done === 3", "max_turns": 9}
        (folder / name / "task.yaml").write_text(yaml.safe_dump(task))
    running = start_service("--sessions", "1", "--web-tasks", str(folder))
    yield running
    assert stop_service(running) == 0


@pytest.mark.parametrize("how", EVILS)
def test_a_page_that_overrides_all_it_can_is_listed_acted_on_and_judged(overridden: Service, how: str) -> None:
    with Environments([overridden.url], 1) as environments:
        for seed in range(2):  # the second in the page of the first
            seen = environments.reset(0, f"own.{how}", seed).result()
            for action, what in (
                ("fill('{bid}', 'Ada')", 'textbox "Name"'),
                ("fill('{bid}', '2026-05-01')", 'textbox "Date"'),
                ("select_option('{bid}', 'large')", 'combobox "Size"'),
                ("click('{bid}')", 'checkbox "Milk"'),
                ("click('{bid}')", 'button "Sugar"'),
                ("click('{bid}')", 'button "Order"'),
            ):
                assert not seen.done
                found = re.search(rf"{what}.*\[(\w+)\]", seen.text)
                assert found is not None, seen.text
                seen = environments.step(0, action.format(bid=found[1])).result()
                assert seen.error == ""
            assert (seen.done, seen.reward) == (True, 1.0)


@pytest.mark.parametrize("how", ["adding", "answering"])
def test_a_page_that_adds_what_was_not_there_or_answers_for_a_frame_is_listed_acted_on_and_judged(
    overridden: Service, how: str
) -> None:
    with Environments([overridden.url], 1) as environments:
        seen = environments.reset(0, f"own.{how}", 0).result()
        for name in ("Milk", "Order"):
            assert not seen.done
            assert "Order tea." in seen.text
            found = re.search(rf'button "{name}".*\[(\w+)\]', seen.text)
            assert found is not None, seen.text
            seen = environments.step(0, f"click('{found[1]}')").result()
            assert seen.error == ""
        assert (seen.done, seen.reward) == (True, 1.0)
