// Frames, and what answers to the mouse.

// ------------------------------------------------------------------ frames
// This script runs in each frame too. Those of another origin cannot be looked into: they are listed by their title.

function framesOf(root) {
  const found = [];
  for (const element of root.querySelectorAll("iframe, frame")) {
    const inside = insideOf(element);
    if (inside) found.push(inside);
  }
  return found;
}

// What this script offers in the document of a frame; null if that is of another origin, or not there yet.
function insideOf(frame) {
  try { return frame.contentDocument?.body ? frame.contentWindow.browserControl ?? null : null; } catch { return null; }
}

// This script where the element is, and where the viewport of that place begins in the page's.
const scriptOf = element => element.ownerDocument.defaultView.browserControl;

function originOf(element) {
  let x = 0, y = 0;
  for (let view = element.ownerDocument.defaultView; view !== window; view = view.parent) {
    const frame = view.frameElement, box = frame.getBoundingClientRect();
    x += box.left + frame.clientLeft;
    y += box.top + frame.clientTop;
  }
  return [x, y];
}

// ------------------------------------------------------------------ what answers to the mouse

// Chromium calls a node clickable if it listens to one of these (Node::WillRespondToMouseClickEvents).
const MOUSE_EVENTS = new Set(["click", "mousedown", "mouseup", "DOMActivate"]);
const DRAG_EVENTS = new Set(["pointerdown", "drop"]);  // what can be drawn upon, dragged, or dropped into
const isNoted = type => MOUSE_EVENTS.has(type) || DRAG_EVENTS.has(type);
const listeners = new WeakMap();
const addListener = EventTarget.prototype.addEventListener;
const removeListener = EventTarget.prototype.removeEventListener;
EventTarget.prototype.addEventListener = function (type, listener, options) {
  if (isNoted(type) && listener && this instanceof Element) {
    let known = listeners.get(this);
    if (!known) listeners.set(this, known = new Map());
    if (!known.has(type)) known.set(type, new Set());
    known.get(type).add(listener);
  }
  if (remembered) addedListeners.push([this ?? window, type, listener, options]);
  return apply(addListener, this, [type, listener, options]);
};
EventTarget.prototype.removeEventListener = function (type, listener, options) {
  if (isNoted(type) && this instanceof Element) {
    const known = listeners.get(this)?.get(type);
    if (known) known.delete(listener);
  }
  return apply(removeListener, this, [type, listener, options]);
};

function listens(element) {
  if (element.ownerDocument !== document) return scriptOf(element)?.listens(element) ?? false;
  if (element.onclick || element.onmousedown || element.onmouseup) return true;
  const known = listeners.get(element);
  if (known) for (const [type, set] of known) if (set.size && MOUSE_EVENTS.has(type)) return true;
  return false;
}

// Whether it listens to this one of DRAG_EVENTS.
function hears(element, type) {
  if (element.ownerDocument !== document) return scriptOf(element)?.hears(element, type) ?? false;
  return !!element["on" + type] || listeners.get(element)?.get(type)?.size > 0;
}

window.print = () => undefined;

const collapse = text => (text || "").replace(/\s+/g, " ").trim();
