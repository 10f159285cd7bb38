// The clock of MiniWoB's pages.
// Timers, animation frames and dates follow a clock that moves only when the service moves it: half a second of
// animation passes in a millisecond, and the same actions always meet the same page, however slow the policy is.

const EPOCH = Date.UTC(2026, 0, 1, 12);
const FRAME = 16;
const RealDate = Date;
const realTimeout = window.setTimeout.bind(window);
const realFrame = window.requestAnimationFrame.bind(window);
const timers = new Map();
const { apply } = Reflect;
// MiniWoB's pages leave the language and the document as they are (page_intrinsics.js)
const shield = work => work(), hand = (element, method, ...given) => element[method](...given), shieldAll = functions => functions;
let clock = 0, timerCount = 0;

function addTimer(callback, delay, rest, repeats) {
  const wait = Math.max(Number(delay) || 0, repeats ? 1 : 0);
  timers.set(++timerCount, { at: clock + wait, number: timerCount, callback, rest, every: repeats ? wait : null });
  return timerCount;
}
window.setTimeout = (callback, delay, ...rest) => addTimer(callback, delay, rest, false);
window.setInterval = (callback, delay, ...rest) => addTimer(callback, delay, rest, true);
window.clearTimeout = window.clearInterval = number => { timers.delete(Number(number)); };
window.requestAnimationFrame = callback =>
  addTimer(() => callback(clock), FRAME - clock % FRAME, [], false);
window.cancelAnimationFrame = window.clearTimeout;

window.Date = class Date extends RealDate {
  constructor(...parts) { super(...(parts.length ? parts : [EPOCH + clock])); }
  static now() { return EPOCH + clock; }
};
const realNow = performance.now.bind(performance);
performance.now = () => clock;

function nextTimer(until) {
  let next = null;
  for (const timer of timers.values()) {
    if (timer.at <= until && (next === null || timer.at < next.at || (timer.at === next.at && timer.number < next.number)))
      next = timer;
  }
  return next;
}

async function advance(milliseconds) {
  const until = clock + milliseconds;
  for (let timer, runs = 0; (timer = nextTimer(until)) !== null && runs < 2000; runs++) {
    clock = Math.max(clock, timer.at);
    if (timer.every === null) timers.delete(timer.number);
    else timer.at = clock + timer.every;
    try {
      if (typeof timer.callback === "function") timer.callback.apply(window, timer.rest);
      else (0, eval)(String(timer.callback));
    } catch (error) { console.error(error); }
    await null;  // what the callback promised runs before the next timer, as in a browser's own loop
  }
  clock = until;
  for (const frame of framesOf(document)) await frame.advance(milliseconds);
}
