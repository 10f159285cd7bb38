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


@pytest.fixture(scope="module")
def overridden(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("sources") / "own"
    for name, evil in EVILS.items():
        (folder / name).mkdir(parents=True)
        for file, page in (("page.html", PAGE), ("inner.html", INNER)):
            (folder / name / file).write_text(page.replace("EVIL", evil))
        task = {"start": "page.html", "goal": "Order.", "success": "done === 63", "max_turns": 9}
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
