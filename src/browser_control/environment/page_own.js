// Episodes on a page of the user's own: settled, listed, and judged by what the web task's file says.

// Between two episodes the window is given this name. The first document of the next one, which alone can, takes away what
// a renderer still holds of storage that the browser has cleared, before its own scripts run.
const FORGET = "browser-control: forget";
if (window.name === FORGET) {
  window.name = "";
  try { localStorage.clear(); sessionStorage.clear(); } catch { /* a document without an origin has none */ }
}
const forget = () => { window.name = FORGET; };

let quiet = 20;         // ms without a change of the document; an application's page is given more, for it asks its server
let asked = -Infinity;  // since when its effects are waited for
const DEADLINE = 5000;  // ms, after which the page is taken as it is
const LOADING = 12000;  // ms that a document which still loads is waited for where an episode begins, once
const AGAIN = 300;      // ms that it is waited for from then on, until the episode has begun
let waited = false;     // so long
let loaded = false;     // or once was

const hasMoving = () => document.getAnimations().some(({ playState, effect }) =>
  playState === "running" && Number.isFinite(effect?.getComputedTiming().endTime));

function isBusy() {
  return leaving || requests > 0 || awaited.size > 0 || document.readyState !== "complete" || hasMoving() ||
    [...document.images].some(image => !image.complete && image.loading !== "lazy") || loadsFrames(document) ||
    framesOf(document).some(frame => frame.isBusy()) || now() - Math.max(changed, asked) < quiet;
}

const LOOK = 5;         // ms between two looks

// Until what was posted to this window, by a frame in it for example, has been taken.
const messagesTaken = () => shield(() => new Promise(resolve => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => { shield(() => port1.close()); resolve(); };
  port2.postMessage(0);
}));

const hasLoaded = () => loaded ||= document.readyState === "complete";

// Waits until the page is at rest; false where it never was. An application's page is also looked at half as often as there
// is time for: where the machine is busy, so are what the page waits for and these looks.
async function rest(looks, loading) {
  const patience = !loading ? DEADLINE : waited ? AGAIN : loading < LOADING ? loading : LOADING;
  const begin = now();
  await messagesTaken();
  let since = begin;  // when it was still loading
  for (let calm = 0, seen; ; seen = changed) {
    const busy = shield(isBusy), time = now();
    calm = busy || changed !== seen ? 0 : calm + 1;
    if (!busy && calm >= looks) return true;
    if (!shield(hasLoaded) && time - begin < patience) since = time;
    else if (!loaded || time - since > DEADLINE) {
      waited ||= !loaded;
      return false;
    }
    await passed(LOOK);
  }
}

// What follows a reset or an action: the page comes to rest, then it is judged and listed. If the action's events met
// something else than their target, that is said at once instead. `success` and `failure` are the web task's, and `begins` says
// that the episode begins here: in this document they must not throw. In another, to which a link may lead, what they
// speak of need not be there, and what throws has not come about. `loading`: ms that there are for a document that still
// loads; 0 once the episode has begun.
let begun = false;
async function settle(success, failure, moment, begins, loading) {
  begun ||= begins;
  if (moment) {
    quiet = moment;
    asked = now();
  }
  const covered = missed();
  if (covered) return { missed: covered };
  // the browser's own page, which says that there is no such host
  if (location.protocol === "chrome-error:") return { url: "", items: [], viewport: null, done: true, raw: 0 };
  const rested = await own(rest(moment / LOOK / 2, loading));
  const seen = { url: location.href, done: false, raw: 0, rested, loaded: shield(hasLoaded) };
  if (begins && (!loaded || location.href === "about:blank")) success = failure = null;  // their page is not there yet
  const mistake = await own(judge(seen, "success", success)) || await own(judge(seen, "failure", failure));
  if (mistake) return { url: location.href, mistake };
  const before = changed;
  shield(() => {
    if (begins) seen.status = performance.getEntriesByType("navigation")[0]?.responseStatus;
    Object.assign(seen, listPage(mark()));
  });
  await null;  // our marks are no change of the page's own
  changed = before;
  return seen;
}

// Notes in `seen` what one of the web task's two says; the mistake in it, or empty. It speaks of the page as that made itself.
async function judge(seen, name, holds) {
  if (!holds || seen.done) return "";
  try {
    if (!await holds()) return "";
  } catch (error) {
    return begun ? shield(() => `${name} throws ${collapse(String(error)).slice(0, 200)}`) : "";
  }
  seen.done = true;
  seen.raw = name === "success" ? 1 : 0;
  return "";
}

// What the browser says: whether the page is about to be left, or a frame in it.
const tell = leaves => { if (leaves) goes(); else leaving = false; };
function tellFrame(frame, leaves) {
  try {
    if (leaves) empty.delete(frame);
    else if (frame.contentDocument?.URL === "about:blank") empty.set(frame, frame.src);
  } catch { /* of another origin */ }
  insideOf(frame)?.tell(leaves);
}

const CLICKS_LABELS = true;  // of what is out of sight itself

const episodes = { settle, isBusy, forget, tell, tellFrame, isLeft, hold: () => undefined };
