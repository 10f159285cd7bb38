// Puts a page back to what it was before its first episode, so that the next can begin without loading it again:
// nodes, attributes, fields, listeners, whatever scripts can reach from their global names, and the page's timers.
// What only closures hold stays; tests/environment/in_page.py finds the web tasks where that shows.

const pristine = new Set(Object.getOwnPropertyNames(window));
const HANDLERS = ("onclick ondblclick onmousedown onmouseup onmousemove onmouseover onmouseout onmouseenter " +
  "onmouseleave onkeydown onkeyup onkeypress oninput onchange onsubmit onreset onfocus onblur onscroll onselect " +
  "ondragstart ondragover ondrop oncontextmenu onload onhashchange").split(" ");
let addedListeners = [];  // since the page was remembered
let remembered = null;
let rollingBack = false;

const isObject = value => value !== null && (typeof value === "object" || typeof value === "function");

// Libraries of functions that keep no state where it can be reached, or (jQuery) only outside of their functions.
const STATELESS = new Set(["d3", "Sizzle"]);
const LIBRARIES = new Set(["$", "jQuery", "jscolor"]);
const NO_STATE = new Set(["prototype", "fn"]);

// MiniWoB's core has lists of thousands of words in every page: of a list so long its members alone are remembered, if it has
// no gaps, and no properties beside them.
const LONG_LIST = 50;
const hasMembersAlone = list => Object.keys(list).length === list.length;

// The own values of everything that can be reached from `roots` ([value, whether it belongs to a library]), without
// the page's nodes, which are remembered apart: names and values by object, and the members by long list.
function rememberValues(roots) {
  const known = new Map(), lists = new Map();
  const open = roots.filter(([value]) => isObject(value));
  while (open.length) {
    const [object, library] = open.pop();
    if (known.has(object) || lists.has(object) || object === window || object instanceof Node || object instanceof Location) continue;
    if (Array.isArray(object) && object.length >= LONG_LIST && hasMembersAlone(object)) {
      lists.set(object, object.slice());
      for (const member of object) if (isObject(member) && !(library && typeof member === "function")) open.push([member, library]);
      continue;
    }
    const values = [];
    known.set(object, values);
    for (const key of Reflect.ownKeys(object)) {
      if (NO_STATE.has(key)) continue;
      const described = Reflect.getOwnPropertyDescriptor(object, key);
      if (!described || !("value" in described) || !described.writable) continue;
      const value = described.value;
      values.push([key, value]);
      if (isObject(value) && !(library && typeof value === "function")) open.push([value, library]);
    }
  }
  return { known, lists };
}

function bringBackValues({ known, lists }) {
  for (const [list, members] of lists) {
    if (list.length !== members.length) list.length = members.length;
    for (let at = 0; at < members.length; at++) if (list[at] !== members[at]) list[at] = members[at];
    if (!hasMembersAlone(list)) for (const key of Object.keys(list).slice(members.length)) delete list[key];
  }
  for (const [object, values] of known) {
    if (Array.isArray(object)) object.length = values.find(([key]) => key === "length")[1];
    const wanted = new Set(values.map(([key]) => key));
    for (const key of Reflect.ownKeys(object)) {
      if (!wanted.has(key) && !NO_STATE.has(key) && Reflect.getOwnPropertyDescriptor(object, key).configurable) delete object[key];
    }
    for (const [key, value] of values) if (object[key] !== value) object[key] = value;
  }
}

const globalNames = () => Object.getOwnPropertyNames(window).filter(name => !pristine.has(name) && name !== "browserControl");
const handlersOf = target => HANDLERS.map(name => target[name]);

function rememberNode(node) {
  const element = node.nodeType === 1;
  return {
    node, data: node.nodeValue, children: [...node.childNodes],
    attributes: element ? [...node.attributes].map(each => [each.name, each.value]) : null,
    values: Reflect.ownKeys(node).map(key => [key, node[key]]),
    handlers: element ? handlersOf(node) : null,
  };
}

// jQuery UI numbers the elements of its widgets in a closure: the same numbers, kept where they can be brought back.
const uniqueIds = { count: 0 };
function numberWidgets() {
  if (!window.jQuery || !jQuery.fn.uniqueId) return;
  const given = [...document.querySelectorAll("[id^=ui-id-]")].map(({ id }) => Number(id.slice(6)));
  uniqueIds.count = Math.max(0, ...given);
  jQuery.fn.uniqueId = function () {
    return this.each(function () { if (!this.id) this.id = `ui-id-${++uniqueIds.count}`; });
  };
}

function remember(state) {
  numberWidgets();
  const nodes = [];
  const open = [document.documentElement];
  while (open.length) {
    const entry = rememberNode(open.pop());
    nodes.push(entry);
    open.push(...entry.children);
  }
  const globals = globalNames().map(name => [name, window[name]]);
  const reachable = [
    ...globals.filter(([name]) => !STATELESS.has(name)).map(([name, value]) => [value, LIBRARIES.has(name)]),
    ...nodes.flatMap(({ values }) => values.map(([, value]) => [value, false])),
  ];
  remembered = {
    state, nodes, globals, uniqueIds: uniqueIds.count, values: rememberValues(reachable),
    handlers: [window, document].map(handlersOf), title: document.title,
  };
  addedListeners = [];
}

function bringBackNode({ node, data, children, attributes, values, handlers }) {
  if (node.nodeValue !== data) node.nodeValue = data;
  if (attributes) {
    const wanted = new Map(attributes);
    for (const { name } of [...node.attributes]) if (!wanted.has(name)) node.removeAttribute(name);
    for (const [name, value] of attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    HANDLERS.forEach((name, index) => { if (node[name] !== handlers[index]) node[name] = handlers[index]; });
    if (node.scrollTop || node.scrollLeft) node.scrollTop = node.scrollLeft = 0;
  }
  const own = new Map(values);
  for (const key of Reflect.ownKeys(node)) if (!own.has(key)) delete node[key];
  for (const [key, value] of values) if (node[key] !== value) node[key] = value;
  const now = node.childNodes;
  if (now.length !== children.length || children.some((child, index) => now[index] !== child)) node.replaceChildren(...children);
}

// A field that was used takes no more notice of its attributes, until a form resets it.
function resetFields() {
  const fields = remembered.nodes.map(({ node }) => node).filter(node => node.nodeType === 1 && node.matches("input, textarea, select"));
  if (!fields.length) return;
  const form = document.createElement("form");
  form.id = "browser-control-reset";
  document.body.append(form);
  for (const field of fields) {
    const owner = field.getAttribute("form");
    field.setAttribute("form", form.id);
    form.reset();
    if (owner === null) field.removeAttribute("form"); else field.setAttribute("form", owner);
  }
  form.remove();
}

// The page as it was, and the value that `remember` was given; listeners hear nothing of it.
function rollBack() {
  rollingBack = true;
  try {
    if (document.activeElement && document.activeElement !== document.body) document.activeElement.blur();
    getSelection().removeAllRanges();
    for (const [target, type, listener, options] of addedListeners) target.removeEventListener(type, listener, options);
    addedListeners = [];
    remembered.nodes.forEach(bringBackNode);
    resetFields();
    const names = new Set(remembered.globals.map(([name]) => name));
    for (const name of globalNames()) if (!names.has(name) && !delete window[name]) window[name] = undefined;
    for (const [name, value] of remembered.globals) if (window[name] !== value) window[name] = value;
    bringBackValues(remembered.values);
    uniqueIds.count = remembered.uniqueIds;
    [window, document].forEach((target, which) => HANDLERS.forEach((name, index) => {
      if (target[name] !== remembered.handlers[which][index]) target[name] = remembered.handlers[which][index];
    }));
    if (document.title !== remembered.title) document.title = remembered.title;
    window.scrollTo(0, 0);
    for (const animation of document.getAnimations()) animation.cancel();
  } finally { rollingBack = false; }
  return remembered.state;
}
