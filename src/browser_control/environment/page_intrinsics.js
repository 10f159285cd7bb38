// What our scripts use of the language and of the document, as it was before the page's own scripts: these may put something
// else in its place, as libraries do (zone.js, polyfills, clocks of tests) and as a hostile page may.

const {
  Array, CSS, Element, Event, HTMLFormElement, JSON, Math, MessageChannel, MutationObserver, NavigateEvent, Number, Object, Promise,
  Reflect, Response, SVGElement, String, XMLHttpRequest, eval: evaluate, getComputedStyle, isNaN, navigation, performance,
} = window;
const { apply, defineProperty, deleteProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys, setPrototypeOf } = Reflect;
const now = performance.now.bind(performance);

// A kind of collection with methods of its own.
function collection(known) {
  const made = class extends known {};
  for (const key of ownKeys(known.prototype))
    if (key !== "constructor") defineProperty(made.prototype, key, getOwnPropertyDescriptor(known.prototype, key));
  setPrototypeOf(made.prototype, null);
  Object.freeze(made.prototype);
  return made;
}
const Map = collection(window.Map), Set = collection(window.Set), WeakMap = collection(window.WeakMap);

// A promise that is awaited by the language alone, whatever the page makes of `then` and of the kinds of promises.
async function pass(promise, resolve, reject) {
  let value;
  try { value = await promise; } catch (error) { return reject(error); }
  resolve(value);
}
const own = promise => {
  defineProperty(promise, "then", { __proto__: null, value(resolve, reject) { pass(promise, resolve, reject); } });
  defineProperty(promise, "constructor", { __proto__: null, value: Promise });
  return promise;
};
const { then } = Promise.prototype;

const INTERFACES = (
  "EventTarget Node Element HTMLElement SVGElement Document DocumentFragment ShadowRoot CharacterData Text HTMLInputElement " +
  "HTMLSelectElement HTMLOptionElement HTMLOptGroupElement HTMLTextAreaElement HTMLButtonElement HTMLLabelElement HTMLIFrameElement " +
  "HTMLFrameElement HTMLImageElement HTMLFormElement HTMLAreaElement HTMLMapElement HTMLSlotElement HTMLAnchorElement " +
  "HTMLDialogElement SVGPolygonElement SVGPointList NodeList HTMLCollection HTMLOptionsCollection DOMTokenList DOMRect " +
  "DOMRectReadOnly DOMRectList CSSStyleDeclaration Range AbstractRange Selection Event UIEvent MouseEvent Animation AnimationEffect " +
  "Performance PerformanceEntry PerformanceResourceTiming MessageChannel MessagePort NavigateEvent NavigationDestination").split(" ");
const USED = new Set("%words% onpointerdown ondrop".split(" "));  // all words of our scripts (service.py)
let intrinsics = null;  // a list: { holder, key, known, rest }

function remember() {
  const iterators = [[], "", new window.Map(), new window.Set()].map(each => getPrototypeOf(each[Symbol.iterator]()));
  const matches = getPrototypeOf("".matchAll(/a/g));
  const language = [
    Object, Object.prototype, window.Function.prototype, Array, Array.prototype, String, String.prototype, window.RegExp,
    window.RegExp.prototype, Number, Number.prototype, Math, JSON, Promise, Promise.prototype, CSS, matches, ...iterators, getPrototypeOf(iterators[0]),
  ];
  const note = (holder, key) => {
    const known = getOwnPropertyDescriptor(holder, key);
    if (!known.configurable) return;
    intrinsics = { holder, key, known, rest: intrinsics };
  };
  for (const holder of language) for (const key of ownKeys(holder)) note(holder, key);  // they call one another
  for (const { prototype } of INTERFACES.flatMap(name => window[name] ?? []))
    for (const key of ownKeys(prototype)) if (typeof key === "symbol" || USED.has(key)) note(prototype, key);
  for (const key of ownKeys(window)) if (USED.has(key) && getOwnPropertyDescriptor(window, key).get) note(window, key);
}

// What a description of a property may have is read of one that has it not, too: nothing may be where that is looked for.
const everything = Object.prototype;
const PARTS = { key: "value", rest: { key: "writable", rest: { key: "get", rest: { key: "set", rest: null } } } };
const same = (one, other) => one !== undefined && one.value === other.value && one.get === other.get && one.set === other.set;

// Puts all back in its place; a list of what was there instead.
function restore() {
  let theirs = null;
  for (let each = PARTS; each !== null; each = each.rest) {
    const found = getOwnPropertyDescriptor(everything, each.key);
    if (found === undefined) continue;
    deleteProperty(everything, each.key);
    theirs = { holder: everything, key: each.key, known: found, rest: theirs };
  }
  for (let each = intrinsics; each !== null; each = each.rest) {
    const found = getOwnPropertyDescriptor(each.holder, each.key);
    if (same(found, each.known)) continue;
    defineProperty(each.holder, each.key, each.known);
    theirs = { holder: each.holder, key: each.key, known: found, rest: theirs };
  }
  return theirs;
}

function giveBack(theirs) {
  for (let each = theirs; each !== null; each = each.rest) {
    if (each.known === undefined) deleteProperty(each.holder, each.key);
    else defineProperty(each.holder, each.key, each.known);
  }
}

// What `work` does until it first waits meets nothing of the page's making, here and in the frames; where it answers with a
// promise, that is our own.
let within = false, theirs = null;
function shield(work) {
  if (within) return work();
  within = true;
  theirs = restore();
  try {
    const answer = inFrames("shield", work);
    return answer instanceof Promise ? own(answer) : answer;
  } finally {
    giveBack(theirs);
    within = false;
  }
}

// What of `work` calls the page's own scripts, with all as they left it.
function unshield(work) {
  if (!within) return work();
  const frames = scriptsWithin();
  giveBack(theirs);
  within = false;
  try {
    return inFrames("unshield", work, frames);
  } finally {
    within = true;
    theirs = restore();
  }
}

// What this script offers in the frames that can be looked into, whether they have a body or not.
function scriptsWithin() {
  const found = [];
  for (const frame of document.querySelectorAll("iframe, frame")) {
    let inside = null;
    try { inside = frame.contentWindow.browserControl; } catch { /* of another origin, or not there */ }
    if (inside) found.push(inside);
  }
  return found;
}

function inFrames(how, work, frames = scriptsWithin(), index = 0) {
  return index < frames.length ? frames[index][how](() => inFrames(how, work, frames, index + 1)) : work();
}

// Calls a method of an element that calls the page's own scripts.
function hand(element, method, ...given) {
  const known = element[method];
  return unshield(() => apply(known, element, given));
}

function shieldAll(functions) {
  const shielded = { shield, unshield };
  for (const [name, work] of Object.entries(functions)) shielded[name] = (...given) => shield(() => apply(work, undefined, given));
  remember();
  return shielded;
}
