// What of a page the viewport shows, where the page is longer: a prompt that cannot show all of it begins there.

const WORTH_LOOKING = 400;  // characters of a listing; what is shorter fits into any prompt
const LONG_TEXT = 200;      // characters of a text that a prompt may have to cut

// The first and the last item in view, null where the page is not longer or shows none; and the longest text, by its number
// among the items, with its first and its last character in view. `sources` has for each item its element, or the pieces of a
// text, [string, text node].
function viewportOf(items, sources) {
  const scroller = scrollerOf();
  if (!scroller || items.flat(2).join("").length < WORTH_LOOKING) return { viewport: null, reading: null };
  const edges = edgesOf(scroller), moves = goesWith(scroller);
  const isInView = source => source && nodeOf(source) && isWithin(boxOf(source), edges) && moves(source);
  const inView = items.flatMap((_, index) => isInView(sources[index]) ? [index] : []);
  const lengthOf = index => typeof items[index] === "string" ? items[index].length : 0;
  const longest = items.reduce((best, _, index) => lengthOf(index) > lengthOf(best) ? index : best, 0);
  return {
    viewport: inView.length ? [inView[0], inView.at(-1)] : null,
    reading: lengthOf(longest) >= LONG_TEXT && Array.isArray(sources[longest]) ? [longest, ...readingOf(sources[longest], edges)] : null,
  };
}

// What is scrolled: the document, or else what takes most of the window and has more than it shows. Null where nothing is.
function scrollerOf() {
  const root = document.scrollingElement;
  return root?.scrollHeight > innerHeight ? root : partThatScrolls();
}

function partThatScrolls() {
  let hit = document.elementFromPoint(innerWidth / 2, innerHeight / 2);
  if (hit?.tagName === "IFRAME" && insideOf(hit)) {
    const root = hit.contentDocument.scrollingElement;
    return root?.scrollHeight > hit.contentWindow.innerHeight ? root : null;
  }
  for (; hit; hit = parentOf(hit))
    if (scrolls(hit) && (hit.clientWidth * hit.clientHeight > innerWidth * innerHeight / 3 || isModal(hit))) return hit;
  return null;
}

const isModal = element => element.closest("dialog:modal, [aria-modal=true]") !== null;

// Where the mouse has to be for its wheel to turn the page by `down` pixels; null where it may stay.
function wheelPoint(x, y, down) {
  const root = document.scrollingElement, left = root ? root.scrollHeight - root.clientHeight - root.scrollTop : 0;
  if (down < 0 ? root?.scrollTop > 0 : left > 1) return null;
  for (let hit = document.elementFromPoint(x, y); hit; hit = parentOf(hit)) if (scrolls(hit) || hit.tagName === "IFRAME") return null;
  return partThatScrolls() ? [Math.round(innerWidth / 2), Math.round(innerHeight / 2)] : null;
}

const isDocument = scroller => scroller === scroller.ownerDocument.scrollingElement;

// Top and bottom of what is shown, from the window's.
function edgesOf(scroller) {
  if (isDocument(scroller)) {
    const top = originOf(scroller)[1];
    return [Math.max(top, 0), Math.min(top + scroller.ownerDocument.defaultView.innerHeight, innerHeight)];
  }
  const { top, bottom } = scroller.getBoundingClientRect();
  return [Math.max(top, 0), Math.min(bottom, innerHeight)];
}

function nodeOf(source) {
  if (!Array.isArray(source)) return source;
  const node = source.find(([, each]) => each)?.[1];
  return node && (node.parentElement ?? node.getRootNode().host);
}

// Says whether an item goes with the page as that is scrolled; what stays where it is says nothing of the place.
function goesWith(scroller) {
  const known = new Map([[scroller, true]]);  // what lies in what has been asked about already is not asked again
  return source => {
    const asked = [];
    let goes = false;
    for (let element = nodeOf(source); element; element = parentOf(element) ?? frameOf(element)) {
      if (known.has(element)) { goes = known.get(element); break; }
      asked.push(element);
      if (/^(fixed|sticky)$/.test(getComputedStyle(element).position)) break;
    }
    for (const element of asked) known.set(element, goes);
    return goes;
  };
}

const frameOf = element => element.ownerDocument === document ? null : element.ownerDocument.defaultView.frameElement;

function boxOf(source) {
  const node = nodeOf(source), down = originOf(node)[1];
  const parts = Array.isArray(source) ? rangesOf(source.flatMap(([, each]) => each ? [each] : [])) : [node];
  let [above, below] = [Infinity, -Infinity];
  for (const part of parts) {
    const { top, bottom, width } = part.getBoundingClientRect();
    if (parts.length === 1 || width && bottom > top) [above, below] = [Math.min(above, top), Math.max(below, bottom)];
  }
  return [above + down, below + down];
}

// Ranges of all that text nodes have: one for those that come one after the other in one tree. A text goes on in a shadow root,
// and a page says in which order what is given to its slots is shown.
function rangesOf(nodes) {
  const ranges = [];
  for (const node of nodes) {
    const before = ranges.at(-1);
    if (before?.endContainer.compareDocumentPosition(node) === Node.DOCUMENT_POSITION_FOLLOWING) before.setEnd(node, node.data.length);
    else ranges.push(rangeOf(node, 0, node, node.data.length));
  }
  return ranges;
}

const isWithin = ([top, bottom], [above, below]) => bottom > above && top < below;

function rangeOf(first, from, last, to) {
  const range = first.ownerDocument.createRange();
  range.setStart(first, from);
  range.setEnd(last, to);
  return range;
}

// Of a text the first and the last character in view; where none is, those next to it.
function readingOf(pieces, edges) {
  const down = originOf(nodeOf(pieces))[1], [above, below] = [edges[0] - down, edges[1] - down];
  let before = "", first = null, last = 0;
  for (const [string, node] of pieces) {
    if (node) {
      const { top, bottom } = rangeOf(node, 0, node, node.data.length).getBoundingClientRect();
      if (bottom > above && first === null) {
        const from = bisect(node.data.length, index => rangeOf(node, 0, node, index + 1).getBoundingClientRect().bottom > above);
        first = characters(before + node.data.slice(0, from));
      }
      if (bottom > top && top < below) {
        const to = bisect(node.data.length, index => rangeOf(node, index, node, node.data.length).getBoundingClientRect().top >= below);
        last = characters(before + node.data.slice(0, to));
      }
    }
    before += string;
  }
  first ??= characters(before);
  return [first, Math.max(first, last)];
}

// The least number below `length` for which it holds; `length` where there is none.
function bisect(length, holds) {
  let low = 0, high = length;
  while (low < high) {
    const middle = low + high >> 1;
    if (holds(middle)) high = middle; else low = middle + 1;
  }
  return low;
}

const characters = text => [...collapse(text)].length;
