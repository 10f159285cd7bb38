// Real time, for pages of the user's own: the page's clock is everybody's, and what is awaited is seen to be under way.

const realTimeout = window.setTimeout.bind(window);
const realFrame = window.requestAnimationFrame.bind(window);
const FRAME = 16;
const SOON = 1000;  // ms; a timer that is due sooner is waited for
const CHAIN = 5;    // timers that set one another are a loop from there on, and are not
const remembered = null, rollingBack = false, addedListeners = [], imageRules = [];  // only MiniWoB has these
const timers = { size: 1 };
let clock = 0;      // ms that were waited
let requests = 0, changed = now(), leaving = false, chain = 0;
const awaited = new Set();
const above = window.parent;

const passed = milliseconds => own(new Promise(resolve => realTimeout(resolve, milliseconds)));
async function advance(milliseconds) {
  await passed(milliseconds);
  clock += milliseconds;
}

window.setTimeout = (callback, delay, ...rest) => {
  const depth = chain + 1;
  const number = realTimeout(() => {
    awaited.delete(number);
    const outer = chain;
    chain = depth;
    try {
      if (typeof callback === "function") apply(callback, window, rest);
      else evaluate(String(callback));
    } finally { chain = outer; }
  }, delay);
  if ((Number(delay) || 0) <= SOON && depth <= CHAIN) awaited.add(number);
  return number;
};
const realClear = window.clearTimeout.bind(window);
window.clearTimeout = number => { awaited.delete(number); realClear(number); };

// Under way until it has come and whoever waited for it had their turn.
function underWay(promise) {
  requests++;
  const over = () => { realTimeout(() => { requests--; }, 0); };
  shield(() => { apply(then, promise, [over, over]); });
  return promise;
}
const realFetch = window.fetch.bind(window);
window.fetch = (...given) => underWay(apply(realFetch, undefined, given));
for (const part of ["arrayBuffer", "blob", "formData", "json", "text"]) {
  const real = Response.prototype[part];
  Response.prototype[part] = function (...given) { return underWay(apply(real, this, given)); };
}
const realSend = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (...given) {
  requests++;
  apply(addListener, this, ["loadend", () => { requests--; }, { once: true }]);
  return apply(realSend, this, given);
};

new MutationObserver(() => { changed = now(); })
  .observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
let goings = 0;     // numbers them: the last one is that which counts
const goesNot = going => { if (leaving === going) leaving = false; };
const goes = () => {
  const going = leaving = ++goings;
  realTimeout(goesNot, 3000, going);
  return going;
};
// A frame that goes with the page it is in needs not be waited for by itself.
const isLeft = () => leaving !== false || goesAlong();
const goesAlong = () => { try { return above !== window && above.browserControl.isLeft(); } catch { return false; } };
window.addEventListener("beforeunload", () => { if (!goesAlong()) goes(); });
// By a script, which the browser carries out a little later; not where the page's own router stops it or takes it over.
const goingOf = new WeakMap();
navigation?.addEventListener("navigate", event => {
  if (shield(() => event.destination.sameDocument || event.downloadRequest !== null)) return;
  const going = goes();
  goingOf.set(event, going);
  realTimeout(() => { if (shield(() => event.defaultPrevented)) goesNot(going); }, 0);
});
const realIntercept = NavigateEvent?.prototype.intercept;
if (realIntercept) NavigateEvent.prototype.intercept = function (...given) {
  apply(realIntercept, this, given);
  goesNot(goingOf.get(this));
};
// A form that is sent leads away a little later: the browser asks its own process first.
const leave = form => {
  if (!shield(() => form.target && form.target !== "_self")) goes();
};
window.addEventListener("submit", event => {
  if (shield(() => !event.defaultPrevented && event.target?.method !== "dialog")) leave(shield(() => event.target));
});
const realSubmit = HTMLFormElement.prototype.submit;
HTMLFormElement.prototype.submit = function () { leave(this); return apply(realSubmit, this, []); };
