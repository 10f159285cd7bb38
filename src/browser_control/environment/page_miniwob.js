// MiniWoB's episodes: begun and judged as BrowserGym does. It shares a scope with page_rollback.js, page_clock.js and page_script.js.

// Playwright dismisses dialogs by itself; none may stop the page here.
window.alert = () => undefined;
window.confirm = () => false;
window.prompt = () => null;

// A caret that blinks has the page drawn twice a second, as long as a field has the focus and nobody asks for the page.
const restingCaret = new CSSStyleSheet();
restingCaret.replaceSync(":root { caret-animation: manual; }");
document.adoptedStyleSheets = [restingCaret];

let displayParts = {}, queryCopy = null;
const DISPLAY_PARTS = ["reward-display", "click-canvas", "sync-task-cover"];

// BrowserGym takes MiniWoB's display for humans out of the page, and puts it back while MiniWoB's core needs it
// (browsergym.miniwob.base.AbstractMiniwobTask.setup).
function removeDisplay() {
  core.clearTimer();
  document.body.removeEventListener("click", core.canvasDrawClick);
  const query = document.getElementById("query");
  queryCopy = query.cloneNode(true);
  query.innerHTML = "";
  for (const id of DISPLAY_PARTS) {
    const part = document.getElementById(id);
    part.remove();
    displayParts[id] = part;
  }
}

function bringBackDisplay() {
  document.getElementById("query").innerHTML = queryCopy.innerHTML;
  for (const part of Object.values(displayParts)) document.body.appendChild(part);
  core.createDisplay();
}

function withDisplay(method) {
  return function (...given) {
    bringBackDisplay();
    const result = method.apply(core, given);
    removeDisplay();
    return result;
  };
}

// Two web tasks show in colour what their goal does not say in words (BrowserGym's own treatment).
const SPECIAL_GOALS = {
  "click-menu-2": () => {
    const query = document.getElementById("query");
    if (!query.children.length) return collapse(query.textContent);
    const icon = query.children[0].getAttribute("class").split(" ")[1];
    return `${collapse(query.childNodes[0].textContent)} "${icon}" ${collapse(query.childNodes[2].textContent)}`;
  },
  "use-colorwheel-2": () => {
    const query = document.getElementById("query");
    const [, ...parts] = query.children[1].style.backgroundColor.match(/^rgb\((\d+),\s*(\d+),\s*(\d+)\)$/);
    const hex = "#" + parts.map(part => parseInt(part, 10).toString(16).padStart(2, "0")).join("");
    return `${collapse(query.children[0].textContent)} ${hex} ${collapse(query.children[2].textContent)}`;
  },
};

const MAX_TIME = 1000000;  // BrowserGym's, in milliseconds of the page's clock

// A file that did not arrive: Chromium drops what is under way whenever a network interface of the machine comes or
// goes, as those of containers do, and a page that lacks a script or a style sheet is another page.
let lost = null;
addListener.call(window, "error", event => {
  if (event.target !== window && /^(script|link|img)$/.test(event.target?.localName)) lost ??= event.target.src || event.target.href;
}, true);

async function loaded() {
  if (document.readyState !== "complete")
    await new Promise(resolve => addListener.call(window, "load", resolve, { once: true }));
  for (let waits = 0; !document.getElementById("reward-display") && !lost && waits < 2000; waits++)
    await new Promise(resolve => realTimeout(resolve, waits && 1));  // the page's own load listener comes after ours
  if (!document.getElementById("reward-display") && !lost) throw new Error(`${location.href} has not started MiniWoB's core`);
}

// A style sheet can put an image in an element's place (`content: url(...)`). Until it has come the element has no box,
// and a click meets what is behind it. In BrowserGym an episode has an empty cache: the image comes after the action by
// which the first element took it. So it is here, whatever the browser has: all images are fetched before the episode,
// and each is given to its rules at that moment.
const NO_IMAGE = 'url("/never")';  // page_server.py leaves it unanswered
const imageRules = [];  // [rule, content, url]
const fetched = new Map();  // images by URL
const taken = new Set(), delivered = new Set();  // URLs

async function fetchImages() {
  for (const sheet of document.styleSheets) {
    if (sheet.href?.includes("jquery-ui")) continue;
    for (const rule of sheet.cssRules) {
      const [, url] = (rule.style?.content ?? "").match(/^url\("([^"]*)"\)$/) ?? [];
      if (url && !rule.selectorText.includes("::")) imageRules.push([rule, rule.style.content, new URL(url, sheet.href ?? location.href).href]);
    }
  }
  for (const [, , url] of imageRules) if (!fetched.has(url)) fetched.set(url, new Image());
  await Promise.all([...fetched].map(([url, image]) => {
    image.src = url;
    return image.decode().catch(() => { lost ??= url; });
  }));
}

// The mouse may be elsewhere by the time the images are delivered: over what an icon without a box leaves bare.
for (const type of ["mousemove", "mousedown", "mouseup"])
  addListener.call(window, type, () => { if (imageRules.length) takeImages(); }, true);

function takeImages() {
  for (const [{ selectorText }, , url] of imageRules) if (!taken.has(url) && document.querySelector(selectorText)) taken.add(url);
}

// Keeps the page from drawing while a click's events arrive: between them a frame would give an icon without a box back
// its box, since the mouse is over what is behind.
function hold(milliseconds) {
  const until = realNow() + milliseconds;
  while (realNow() < until);
}

function withholdImages() {
  taken.clear();
  delivered.clear();
  for (const [rule] of imageRules) rule.style.content = NO_IMAGE;
}

function deliverImages() {
  takeImages();
  for (const [rule, content, url] of imageRules) if (taken.has(url) && !delivered.has(url)) rule.style.content = content;
  for (const url of taken) delivered.add(url);
}

// Takes away what only people need.
function prepare() {
  removeDisplay();
  core.getUtterance = withDisplay(core.getUtterance);
  core.endEpisode = withDisplay(core.endEpisode);
  core.startEpisodeReal = withDisplay(core.startEpisodeReal);
}

// What of the page's state is ours: as it was remembered, so it is brought back.
const ownState = () => ({ clock, timerCount, timers: [...timers].map(([number, timer]) => [number, { ...timer }]), displayParts, query: queryCopy.innerHTML });

function bringBackOwnState(state) {
  clock = state.clock;
  timerCount = state.timerCount;
  timers.clear();
  for (const [number, timer] of state.timers) timers.set(number, { ...timer });
  displayParts = { ...state.displayParts };
  queryCopy.innerHTML = state.query;
  marks = frameMarks = 0;
  shapeNumbers = new WeakMap();
  shapeCounts = new WeakMap();
  guard = null;
}

async function start(webTask, seed) {
  Math.seedrandom(seed);
  core.EPISODE_MAX_TIME = MAX_TIME;
  core.startEpisodeReal();
  for (let waited = 0; !WOB_TASK_READY && waited < 5000; waited += 100) {
    await advance(100);
    await new Promise(resolve => realTimeout(resolve, 1));
  }
  let goal = core.getUtterance();
  if (webTask in SPECIAL_GOALS) goal = withDisplay(SPECIAL_GOALS[webTask])();
  return typeof goal === "object" && goal !== null ? goal.utterance : goal;
}

// Begins an episode: in a page that was just loaded, or once more in one that is to be `kept` for that. A page that
// lacks one of its files is only said to, unless that is to be `accepted`.
async function reset(webTask, seed, wait, kept, accepted) {
  if (remembered) {
    bringBackOwnState(rollBack());
  } else {
    await loaded();
    await fetchImages();
    if (lost && !accepted) return { lost };
    prepare();
    if (kept) remember(ownState());
  }
  withholdImages();
  const goal = await start(webTask, seed);
  deliverImages();
  await advance(wait);
  return { goal, ...await observe() };
}

// What follows an action: the page's time runs on, then the page is listed. If the action's events met something
// else than their target, that is said at once instead, so that the action can be tried again.
async function settle(wait) {
  const covered = missed();
  if (covered) {
    deliverImages();  // by the next try they are there
    return { missed: covered };
  }
  if (document.readyState === "loading")
    await new Promise(resolve => addListener.call(document, "DOMContentLoaded", resolve, { once: true }));
  deliverImages();
  await advance(wait);
  return observe();
}

async function observe() {
  deliverImages();
  for (let waits = 0; waits < 100 && (loadsImages() || loadsFrames(document)); waits++)
    await new Promise(resolve => realTimeout(resolve, 2));
  const marked = mark();
  if (typeof WOB_DONE_GLOBAL === "undefined") return { url: location.href, done: false, raw: 0, reason: null, ...listPage(marked) };
  return {
    url: location.href,
    done: WOB_DONE_GLOBAL, raw: WOB_RAW_REWARD_GLOBAL, reason: WOB_REWARD_REASON,
    ...listPage(marked),
  };
}

// Whether an image that takes room in the layout is on its way; it comes by the browser's time, not by ours.
function loadsImages() {
  for (const image of document.images) if (!image.complete) return true;
  for (const element of document.querySelectorAll("#area span:empty"))
    if (element.offsetWidth === 0 && getComputedStyle(element).content.startsWith("url(") && visible(element)) return true;
  return false;
}

const CLICKS_LABELS = false;  // BrowserGym does not

const episodes = { reset, settle, hold };
