// Marks elements with BrowserGym's bids, prepares actions as Playwright does, and lists the page as text: what would
// otherwise take many round trips. It shares a scope with what comes before it in every page, before the page's own
// scripts: a clock (page_clock.js or page_time.js), page_events.js, what begins and judges episodes (page_miniwob.js or
// page_own.js), page_items.js and page_viewport.js.

// Whether a frame that can be looked into is still on its way; it comes by the browser's time too. `empty` has the addresses
// that no document came from.
const empty = new WeakMap();
function loadsFrames(root) {
  for (const frame of root.querySelectorAll("iframe, frame")) {
    let inside = null;
    try { inside = frame.contentDocument; } catch { continue; }
    if (!inside) continue;
    const awaited = frame.hasAttribute("srcdoc") ? inside.URL !== "about:srcdoc" : !!frame.src && frame.src !== "about:blank" && inside.URL === "about:blank" && empty.get(frame) !== frame.src;
    if (awaited || inside.readyState !== "complete" || loadsFrames(inside)) return true;
  }
  return false;
}

// ------------------------------------------------------------------ BrowserGym's marks

const MARKED_TAGS = new Set((
  "a abbr acronym address applet area article aside audio b base basefont bdi bdo big blockquote body br button " +
  "canvas caption center cite code col colgroup data datalist dd del details dfn dialog dir div dl dt em embed " +
  "fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i " +
  "iframe img input ins kbd label legend li link main map mark menu meta meter nav noframes noscript object " +
  "ol optgroup option output p param picture pre progress q rp rt ruby s samp script search section select " +
  "small source span strike strong style sub summary sup svg table tbody td template textarea tfoot th thead " +
  "time title tr track tt u ul var video wbr").split(" "));
let marks = 0, frameMarks = 0;
const elementsByBid = new Map();  // of the page and its frames, as last marked

// Gives every HTML element a bid, in document order and those of a shadow root after their host, and writes dynamic
// values into attributes, exactly as BrowserGym's frame_mark_elements.js does: a copied element gets a bid of its own,
// and a frame's elements get bids that begin with the frame's. Returns what is marked, in that order.
function mark(prefix = "", marked = []) {
  if (!prefix) elementsByBid.clear();
  const seen = new Set();
  const visit = root => {
    for (const element of root.querySelectorAll("*")) {
      if (MARKED_TAGS.has(element.tagName.toLowerCase())) {
        if (typeof element.value !== "undefined") element.setAttribute("value", element.value);
        if (typeof element.checked !== "undefined") element.toggleAttribute("checked", element.checked === true);
        const isFrame = element.tagName === "IFRAME" || element.tagName === "FRAME";
        let bid = element.getAttribute("bid");
        if (bid === null || seen.has(bid)) element.setAttribute("bid", bid = prefix + (isFrame ? letters(frameMarks++) : marks++));
        seen.add(bid);
        marked.push(element);
        if (isFrame) insideOf(element)?.mark(bid, marked);
      } else if (element.shadowRoot) {
        marked.push(element);
      }
      if (element.shadowRoot) visit(element.shadowRoot);
    }
  };
  visit(document);
  return marked;
}

// BrowserGym's names of frames: a to z, then aA, aB ...
function letters(number) {
  const lower = String.fromCharCode(97 + number % 26);
  return number < 26 ? lower : String.fromCharCode(97 + Math.floor(number / 26) - 1) + lower.toUpperCase();
}

// ------------------------------------------------------------------ the page as text

const ROLES = new Set(("button link checkbox radio tab menuitem menuitemcheckbox menuitemradio option textbox " +
  "combobox listbox slider spinbutton switch treeitem searchbox").split(" "));
const INPUT_ROLES = {
  button: "button", submit: "button", reset: "button", image: "button", checkbox: "checkbox", radio: "radio",
  range: "slider", number: "spinbutton", hidden: null, file: "button", color: "textbox",
};
// How the values of these fields are spelled.
const FORMATS = {
  date: "yyyy-mm-dd", time: "hh:mm", "datetime-local": "yyyy-mm-ddThh:mm", month: "yyyy-mm", week: "yyyy-Www",
  color: "#rrggbb", file: "file",
};
const FIELDS = new Set(["textbox", "combobox", "listbox", "slider", "spinbutton", "searchbox", "checkbox", "radio"]);
const NEVER_ITEMS = new Set(["HTML", "BODY", "LABEL"]);
const CONTAINERS = new Set("dialog alertdialog tablist tabpanel menu menubar listbox tree grid presentation none".split(" "));
const SKIPPED = new Set(["SCRIPT", "STYLE", "NOSCRIPT", "TEMPLATE", "HEAD", "AREA"]);  // an area is listed with its image
const NAME_LENGTH = 120;
const VALUE_LENGTH = 240;
const LABEL_LENGTH = 30;

function roleOf(element) {
  const explicit = (element.getAttribute("role") || "").trim().split(/\s+/)[0].toLowerCase();
  if (ROLES.has(explicit)) return explicit;
  if (explicit === "presentation" || explicit === "none") return "";
  switch (element.tagName) {
    case "A": case "AREA": return element.hasAttribute("href") ? "link" : "";
    case "BUTTON": return "button";
    case "TEXTAREA": return "textbox";
    case "OPTION": return "option";
    case "svg": case "CANVAS": return listens(element) || hears(element, "pointerdown") ? "drawing" : "";
    case "SELECT": return element.multiple || element.size > 1 ? "listbox" : "combobox";
    case "INPUT": return INPUT_ROLES[element.type] ?? (element.type in INPUT_ROLES ? "" : "textbox");
    default:
      return element.isContentEditable && !element.parentElement?.isContentEditable ? "textbox" : "";
  }
}

const textOf = element => collapse(element.innerText ?? element.textContent);
const shorten = (text, length = NAME_LENGTH) =>
  text.length > length ? text.slice(0, length / 3) + "…" + text.slice(-length * 2 / 3) : text;
const hasBox = element => { const box = element.getBoundingClientRect(); return box.width > 0 && box.height > 0; };
const visible = element => element.checkVisibility({ visibilityProperty: true });

function isPresentational(element) {
  const role = element.getAttribute("role");
  return role === "presentation" || role === "none";
}

// A clickable element without a role of its own: it listens to the mouse, takes the focus, or shows the hand.
function isItem(element) {
  if (NEVER_ITEMS.has(element.tagName) || element.id === "wrap" || !element.hasAttribute("bid")) return false;
  if (CONTAINERS.has(element.getAttribute("role"))) return false;
  if (element.classList.contains("ui-sortable") || element.classList.contains("ui-droppable")) return false;
  if (listens(element) || element.tagName === "SUMMARY") return true;
  if (element.classList.contains("ui-sortable-handle") || element.classList.contains("ui-draggable")) return true;
  if (element.hasAttribute("tabindex") && (element.tabIndex >= 0 || CELLS.has(element.getAttribute("role")))) return true;
  if (element.getAttribute("draggable") === "true" || hears(element, "drop")) return true;
  const { cursor } = getComputedStyle(element);
  return (HAND.test(cursor) || RESIZE.test(cursor) && !element.closest("dialog, [role=dialog]")) && element.parentElement !== null &&
    getComputedStyle(element.parentElement).cursor !== cursor;
}

const HAND = /^(pointer|grab|move)$/;
const CELLS = new Set(["gridcell", "row"]);  // of which the page gives one at a time the focus
const RESIZE = /^(se|nwse)-resize$/;  // a corner that can be dragged; borders would say the same again

function nameFromIds(element) {
  const ids = element.getAttribute("aria-labelledby") || "";
  const root = element.getRootNode();
  return collapse(ids.split(/\s+/).map(id => root.getElementById(id)?.textContent || "").join(" "));
}

// The name of an icon that has no text: what its author called it.
function nameFromMarkup(element) {
  if (element.dataset && element.dataset.color) return element.dataset.color;
  const { cursor } = getComputedStyle(element);
  if (RESIZE.test(cursor)) return cursor;
  const words = (element.getAttribute("class") || "").trim().split(/\s+/);
  const telling = words.find(word => /-(up|down|next|prev|close|handle|bold|italic|underline)$/.test(word));
  return (telling || element.id || words[0] || "").replace(/^(ui|ql)-/, "").replace(/[-_]+/g, " ").trim();
}

function listPage(marked) {
  const out = [];
  const spoken = new Set();      // labels that already serve as a name
  const pads = new Set();
  const content = document.body ?? document.documentElement;  // null after document.open(): nothing is listed
  const sources = [];            // of each item: its element, or the pieces of a text
  const interactive = new Map(); // element -> role

  const modal = document.querySelector("dialog:modal");
  const parts = new Set();       // children of what listens for them
  for (const element of marked) {
    if (!element.hasAttribute("bid")) continue;
    const drawn = drawnFor(element);
    if (!visible(drawn)) continue;
    let role = roleOf(element) || (isPresentational(element) ? "" : isItem(element) || parts.has(element) ? "item" : "");
    if (!role && !hears(element, "pointerdown") || !(hasBox(drawn) || role === "option")) continue;
    if (role === "item" || !role) {
      const listened = partsOf(element);
      for (const part of listened) parts.add(part);
      if (listened.length && !hears(element, "drop") || isWhole(element)) role = "";
    }
    if (!role) continue;
    if (element.closest("[inert]") || modal && element.ownerDocument === document && !modal.contains(element)) continue;
    interactive.set(element, role);
    elementsByBid.set(element.getAttribute("bid"), element);
  }

  for (const held of [...interactive.keys()].filter(isHeld)) {
    for (const place of placesFor(held)) {
      if (interactive.has(place) || !place.hasAttribute("bid")) continue;
      interactive.set(place, "item");
      elementsByBid.set(place.getAttribute("bid"), place);
    }
  }

  const names = new Map();
  for (const [element, role] of interactive) if (FIELDS.has(role)) names.set(element, fieldName(element, spoken));

  // As they are shown: those of a shadow root in the host's place, and what the page gives it in its slots.
  const childrenOf = node => node.shadowRoot ? node.shadowRoot.childNodes
    : node.tagName === "SLOT" && node.assignedNodes().length ? node.assignedNodes() : node.childNodes;

  let run = [], pieces = [];  // of a text: its strings, and of each that is a node's the node
  const say = (string, node = null) => { run.push(string); pieces.push([string, node]); };
  const flush = () => {
    const text = collapse(run.join("")).replace(/^(\| )+|( \|)+$/g, "");
    if (text) { sources[out.length] = pieces; out.push(text); }
    run = [], pieces = [];
  };

  function walk(node, silent) {
    if (node.nodeType === 3) {
      if (silent || spoken.has(node)) return;
      say(node.data, node);
      return;
    }
    if (node.nodeType !== 1 || SKIPPED.has(node.tagName)) return;
    if (!visible(node) && !interactive.has(node) && getComputedStyle(node).display !== "contents") return;
    if (node.tagName === "BR") { flush(); return; }
    if (node.tagName === "IFRAME" || node.tagName === "FRAME") {
      flush();
      if (insideOf(node)) walk(node.contentDocument.body, silent);
      else if (hasBox(node) && node.title) say(node.title);
      flush();
      return;
    }
    const role = interactive.get(node);
    if (role) {
      flush();
      if (emit(node, role)) return;
      for (const child of childrenOf(node)) walk(child, true);
      flush();
      return;
    }
    if (node.tagName === "svg") {
      flush();
      out.push(...shapesOf(node));
      return;
    }
    if (spoken.has(node)) silent = true;
    if (node.tagName === "IMG" && node.alt && !silent) say(` ${node.alt} `);
    if (node.tagName === "IMG" && node.useMap) {
      flush();
      for (const [area, role] of interactive) if (area.tagName === "AREA" && drawnFor(area) === node) emit(area, role);
    }
    const display = getComputedStyle(node).display;
    const inline = display.startsWith("inline") || display === "table-cell";
    if (!inline) flush();
    else if (display === "table-cell" && collapse(run.join(""))) say(" | ");
    else if (display !== "inline") say(" ");
    for (const child of childrenOf(node)) walk(child, silent);
    if (!inline) flush();
  }

  // Lists the element; true if nothing below it is left to list.
  function emit(element, role) {
    const inner = [...element.querySelectorAll("*")].filter(child => interactive.has(child) && element.tagName !== "SELECT");
    const leaf = inner.length === 0 || element.tagName === "BUTTON";
    let name = names.get(element) ?? itemName(element, role, leaf ? [] : inner);
    const pad = role === "item" && isPad(element);
    if (role === "item" && !leaf && !name && !pad) return false;
    const entry = [role, shorten(name), element.getAttribute("bid"), null, statesOf(element, role), [], formatOf(element), null, null];
    if (role === "drawing" || pad) entry[8] = sizeOf(element);
    else if (role === "item" && pads.has(element.parentElement)) entry[7] = placeIn(element, element.parentElement);
    if (pad) pads.add(element);
    if (element.tagName === "SELECT") {
      const options = optionNames(element);
      entry[3] = [...element.options].flatMap((option, index) => option.selected ? [options[index]] : []).join(", ");
      entry[5] = options.filter((_, index) => !element.options[index].disabled);
    } else if (["textbox", "searchbox", "spinbutton", "combobox", "slider"].includes(role)) {
      entry[3] = element.value ?? element.getAttribute("aria-valuenow") ?? (element.isContentEditable || role === "combobox" ? textOf(element) : null);
    }
    if (entry[3] !== null) entry[3] = shorten(entry[3], VALUE_LENGTH);
    sources[out.length] = element;
    out.push(entry);
    if (role === "drawing") {
      out.push(...shapesOf(element));
      return true;
    }
    return leaf;
  }

  if (content) walk(content, false);
  flush();
  return { items: out, ...viewportOf(out, sources) };
}

// The names of a list's options: those of one label are told apart by their group, or by their number.
function optionNames(select) {
  const labels = [...select.options].map(option => collapse(option.label));
  const count = names => names.reduce((counts, name) => counts.set(name, (counts.get(name) ?? 0) + 1), new Map());
  const counts = count(labels);
  const grouped = [...select.options].map((option, index) => {
    const group = option.closest("optgroup")?.label;
    return counts.get(labels[index]) > 1 && group ? collapse(`${group}: ${labels[index]}`) : labels[index];
  });
  const twice = count(grouped), seen = new Map();
  return grouped.map(name => {
    if (twice.get(name) === 1) return name;
    seen.set(name, (seen.get(name) ?? 0) + 1);
    return seen.get(name) === 1 ? name : collapse(`${name} (${seen.get(name)})`);
  });
}

function formatOf(element) {
  if (element.tagName !== "INPUT") return "";
  const { type, min, max } = element;
  if (type === "range") return `${min || 0} to ${max || 100}`;
  return type === "number" && min && max ? `${min} to ${max}` : FORMATS[type] ?? "";
}

// The middle of an element, from the upper left corner of another.
function placeIn(element, outer) {
  const box = element.getBoundingClientRect(), frame = outer.getBoundingClientRect();
  return [Math.round((box.left + box.right) / 2 - frame.left), Math.round((box.top + box.bottom) / 2 - frame.top)];
}

const sizeOf = element => { const box = element.getBoundingClientRect(); return [Math.round(box.width), Math.round(box.height)]; };

// An empty surface that answers to the mouse, and is not one of several alike: where on it one points is what matters.
const PAD = 48;  // pixels, across or down
function isPad(element) {
  const [width, height] = sizeOf(element);
  const alike = sibling => sibling !== element && sibling.tagName === element.tagName && sibling.className === element.className;
  if (!element.firstElementChild && [...element.parentElement.children].some(alike)) return false;
  return listens(element) && Math.max(width, height) >= PAD && Math.min(width, height) >= 4 && width * height >= 400 &&
    !element.textContent.trim() && !element.matches("a, button, img, input, li, td, tr, tbody, table") && !element.querySelector("svg, canvas, img, input, button");
}

// ------------------------------------------------------------------ drawings
// A shape is listed by what its own element says: what it is, its colour, its place within the drawing, and its size. One
// that answers to the mouse has a bid: that of its drawing, a dot, and its number there.

const SHAPES = "circle, ellipse, rect, line, polyline, polygon, path, text, image";
const MANY_SHAPES = 60;    // of which a drawing shows no more
const SPECK = 3;           // pixels; what is no larger is not seen
const ICON = 32;           // pixels; what is smaller and answers to nothing is an icon
let shapeNumbers = new WeakMap();  // by shape
let shapeCounts = new WeakMap();   // by drawing

function shapesOf(drawing) {
  const frame = drawing.getBoundingClientRect(), bid = drawing.getAttribute("bid"), out = [];
  const icon = frame.width < ICON || frame.height < ICON;
  for (const shape of drawing.querySelectorAll(SHAPES)) {
    if (out.length >= MANY_SHAPES) break;
    if (!visible(shape) || shape.closest("defs, clipPath, mask, symbol, pattern, marker")) continue;
    const style = getComputedStyle(shape), box = shape.getBoundingClientRect();
    const answers = box.width > 0 && box.height > 0 && answersToMouse(shape, drawing, style);
    if (!answers && (icon || shape.tagName === "path" || shape.tagName === "line") || Math.max(box.width, box.height) < SPECK) continue;
    const look = collapse(`${colourOf(shape, style)} ${shape.tagName === "text" ? shape.textContent : titleOf(shape)}`);
    if (!look && !answers) continue;
    const place = placeIn(shape, drawing);
    const size = [Math.round(box.width), Math.round(box.height)];
    if (!answers) { out.push(`${kindOf(shape)} ${look} at ${place} size ${size[0] === size[1] ? size[0] : size.join("x")}`); continue; }
    if (!shapeNumbers.has(shape)) {
      shapeCounts.set(drawing, (shapeCounts.get(drawing) ?? 0) + 1);
      shapeNumbers.set(shape, shapeCounts.get(drawing));
    }
    const own = `${bid}.${shapeNumbers.get(shape)}`;
    elementsByBid.set(own, shape);
    out.push([kindOf(shape), shorten(look), own, null, [], [], "", place, size]);
  }
  return out;
}

function answersToMouse(shape, drawing, style) {
  if (style.pointerEvents === "none") return false;
  if (style.cursor === "pointer" && getComputedStyle(drawing).cursor !== "pointer") return true;
  for (let element = shape; element !== drawing; element = element.parentElement) if (listens(element)) return true;
  return listens(drawing) && shape.tagName !== "path" && shape.tagName !== "line";
}

function kindOf(shape) {
  if (shape.tagName === "rect") return "rectangle";
  if (shape.tagName === "polygon") return shape.points.numberOfItems === 3 ? "triangle" : "polygon";
  return shape.tagName;
}

const titleOf = shape => shape.getAttribute("aria-label") || shape.querySelector("title")?.textContent || "";

// As its author wrote it, if that is a word; else as #rrggbb. A shape without a filling has the colour of its line.
function colourOf(shape, style) {
  const paint = name => {
    const written = shape.getAttribute(name) || shape.style[name] || "";
    if (/^[a-z]+$/i.test(written)) return written === "transparent" ? "none" : written;
    const parts = style[name].match(/^rgb\((\d+), (\d+), (\d+)\)$/);
    if (!parts) return "none";
    const [red, green, blue] = parts.slice(1).map(Number);
    return red + green + blue === 0 ? "black" : red + green + blue === 765 ? "white" : "#" + [red, green, blue].map(part => part.toString(16).padStart(2, "0")).join("");
  };
  const filling = shape.tagName === "line" ? "none" : paint("fill");
  if (filling !== "none") return filling;
  const line = paint("stroke");
  return line === "none" ? "" : shape.tagName === "line" ? line : `${line} outline`;
}

const ARIA_NAMED = new Set(["checkbox", "radio", "switch"]);  // by what is written in them, where they are no fields

function fieldName(element, spoken) {
  const given = element.getAttribute("aria-label") || nameFromIds(element);
  if (given) return collapse(given);
  if (element.labels && element.labels.length) {
    const text = collapse([...element.labels].map(label => labelText(label)).join(" "));
    if (text) { for (const label of element.labels) spoken.add(label); return text; }
  }
  if (ARIA_NAMED.has(element.getAttribute("role")) && textOf(element)) return textOf(element);
  const hint = collapse(element.getAttribute("placeholder") || element.getAttribute("title") || "");
  return hint || (/^(checkbox|radio)$/.test(element.type) ? "" : textBefore(element, spoken));
}

const FIELD_TAGS = "input, select, textarea, button, a";
const isBlank = node => node.nodeName === "BR" || node.nodeType === 8 || node.nodeType === 3 && !node.data.trim();

// The short text beside a field that nothing else names, as in `Date: [    ]`: before it, in the cell or row
// before it, or after it where it has a row to itself.
function textBefore(element, spoken) {
  let node = element;
  for (let level = 0; level < 3; level++) {
    let before = node.previousSibling;
    while (before && isBlank(before)) before = before.previousSibling;
    if (before) return labelLike(before, spoken);
    if (level === 0) {
      let after = element.nextSibling;
      while (after && isBlank(after)) after = after.nextSibling;
      const name = after && element.parentElement.querySelectorAll(FIELD_TAGS).length === 1 ? labelLike(after, spoken) : "";
      if (name) return name;
    }
    node = node.parentElement;
    if (!node || node.id === "area" || node.querySelectorAll(FIELD_TAGS).length > 1) return "";
  }
  return "";
}

function labelLike(node, spoken) {
  if ((node.nodeType !== 3 && node.nodeType !== 1) || spoken.has(node)) return "";
  if (node.nodeType === 1 && (!visible(node) || node.querySelector(FIELD_TAGS) || node.matches(`${FIELD_TAGS}, script, svg, canvas, img`))) return "";
  const text = collapse(node.nodeType === 3 ? node.data : textOf(node));
  if (!(/^[A-Z]/.test(text) || /[:=]$/.test(text)) || text.length > LABEL_LENGTH || /[.!?]$/.test(text)) return "";
  const first = [...node.parentElement.childNodes].find(child => !isBlank(child));
  if (first !== node && first.nodeType === 1 && first.matches("input, select, textarea") && node.nextElementSibling?.matches("input, select, textarea"))
    return "";  // fields come first here: the text is the name of the field before it
  spoken.add(node);
  return text;
}

// The words of a label, without those of the field inside it.
function labelText(label) {
  const words = [];
  const gather = node => {
    if (node.nodeType === 3) words.push(node.data);
    else if (node.nodeType === 1 && !/^(SELECT|TEXTAREA|BUTTON|SCRIPT)$/.test(node.tagName)) node.childNodes.forEach(gather);
  };
  gather(label);
  return words.join("");
}

function itemName(element, role, inner) {
  const given = element.getAttribute("aria-label") || nameFromIds(element);
  if (given) return collapse(given);
  if (element.tagName === "INPUT") {
    const standard = { submit: "Submit", reset: "Reset" }[element.type] || "";
    return collapse(element.value || element.alt || element.title || standard);
  }
  if (role === "drawing") return collapse(element.querySelector(":scope > title")?.textContent);
  if (inner.length) {
    const words = [];
    const gather = node => {
      if (node.nodeType === 3) words.push(node.data);
      else if (node.nodeType === 1 && !inner.includes(node) && !SKIPPED.has(node.tagName) && visible(node)) {
        node.childNodes.forEach(gather);
        words.push(" ");
      }
    };
    element.childNodes.forEach(gather);
    return collapse(words.join(""));
  }
  const images = () => [...element.querySelectorAll("img[alt]")].map(image => image.alt).join(" ");
  return textOf(element) || collapse(element.getAttribute("alt") || element.title || images()) || nameFromMarkup(element);
}

// Whether there is more of its text than it shows.
function scrolls(element) {
  return element.scrollHeight > element.clientHeight + 8 && element.clientHeight > 0 &&
    (element.tagName === "TEXTAREA" || /^(auto|scroll)$/.test(getComputedStyle(element).overflowY));
}

function statesOf(element, role) {
  const states = [];
  const aria = name => element.getAttribute("aria-" + name) === "true";
  if (["checkbox", "radio", "switch"].includes(role) ? element.checked || aria("checked") : aria("checked")) states.push("checked");
  if (element.getAttribute("aria-checked") === "mixed" || element.indeterminate) states.push("mixed");
  if (aria("selected") || (element.tagName === "OPTION" && element.selected)) states.push("selected");
  if (element.hasAttribute("aria-expanded") && !element.hasAttribute("aria-selected")) states.push(aria("expanded") ? "expanded" : "collapsed");
  if (aria("pressed")) states.push("pressed");
  if (element.required || aria("required")) states.push("required");
  if (element.matches(":disabled") || aria("disabled")) states.push("disabled");
  if (element.readOnly && element.hasAttribute("readonly")) states.push("readonly");
  if (element.tagName === "SELECT" && element.multiple) states.push("multiple");
  if (element.tagName === "TEXTAREA" || aria("multiline")) states.push("multiline");
  if (scrolls(element)) states.push("scrollable");
  if (element.getRootNode().activeElement === element) states.push("focused");
  return states;
}

// ------------------------------------------------------------------ actions, prepared as Playwright prepares them

const RETRY_WAITS = [0, 20, 100, 100, 500], LAST_WAIT = 500;  // Playwright's, in ms
const ACTION_TIMEOUT = 500;                  // BrowserGym's, in ms of the page's clock
const SCROLLS = [null, "end", "center", "start"];

// An element by its bid; one that is not listed too, as BrowserGym finds it.
function find(bid) {
  const known = elementsByBid.get(bid);
  if (known?.isConnected) return known;
  return document.querySelector(`[bid="${CSS.escape(bid)}"]`);
}

function retarget(element, behaviour) {
  if (behaviour === "none") return element;
  if (!element.matches("input, textarea, select") && !element.isContentEditable) {
    element = element.closest(behaviour === "button-link" ? "button, [role=button], a, [role=link]"
      : "button, [role=button], [role=checkbox], [role=radio]") || element;
  }
  if (behaviour === "follow-label") {
    if (!element.matches("input, textarea, button, select, [role=button], [role=checkbox], [role=radio]") && !element.isContentEditable)
      element = element.closest("label") || element;
    if (element.nodeName === "LABEL") element = element.control || element;
  }
  return element;
}

function shown(element) {
  if (!element.checkVisibility() || getComputedStyle(element).visibility !== "visible") return false;
  if (getComputedStyle(element).display === "contents") return [...element.children].some(shown);
  return hasBox(element);
}

function isDisabled(element) {
  if (/^(BUTTON|INPUT|SELECT|TEXTAREA|OPTION|OPTGROUP)$/.test(element.tagName) &&
      (element.hasAttribute("disabled") || element.closest("fieldset[disabled]"))) return true;
  return element.closest("[aria-disabled]")?.getAttribute("aria-disabled") === "true";
}

function missingState(element, states) {
  if (!element.isConnected) return "attached to the page";
  if (!shown(element)) return "visible";
  const target = retarget(element, "follow-label");
  if (states.includes("enabled") && isDisabled(target)) return "enabled";
  if (states.includes("editable") && (isDisabled(target) || target.matches("input[readonly], textarea[readonly], select[readonly]")))
    return "editable";
  return "";
}

// Tries until it works or BrowserGym's time for an action is over; `attempt` returns {error} to be tried again.
async function retrying(bid, attempt) {
  const element = find(bid);
  if (!element) return { error: `no element has the bid "${bid}"` };
  const begin = clock;
  for (let tries = 0; ; tries++) {
    if (tries) {
      const wait = RETRY_WAITS[tries - 1] ?? LAST_WAIT;
      const left = begin + ACTION_TIMEOUT - clock;
      await advance(wait < left ? wait : left);
      if (wait >= left) return lastResult;
    }
    var lastResult = await shield(() => attempt(element, tries));
    if (!lastResult.error || lastResult.final) return lastResult;
  }
}

async function frames(count) {
  for (let i = 0; i < count; i++) await new Promise(resolve => realFrame(resolve));
}

async function isStable(element) {
  if (!timers.size) return true;
  const before = element.getBoundingClientRect();
  await advance(FRAME);
  return shield(() => {
    const after = element.getBoundingClientRect();
    return ["x", "y", "width", "height"].every(side => before[side] === after[side]);
  });
}

function clickPoint(element) {
  const { innerWidth, innerHeight } = element.ownerDocument.defaultView;
  const boxes = [...element.getClientRects()];
  if (!boxes.length) return null;
  for (const box of boxes) {
    const left = Math.min(Math.max(box.left, 0), innerWidth), right = Math.min(Math.max(box.right, 0), innerWidth);
    const top = Math.min(Math.max(box.top, 0), innerHeight), bottom = Math.min(Math.max(box.bottom, 0), innerHeight);
    if ((right - left) * (bottom - top) > 0.99) return [avoidHalf((left + right) / 2), avoidHalf((top + bottom) / 2)];
  }
  return undefined;
}

function avoidHalf(value) {
  const rest = value - Math.floor(value);
  const moved = rest > 0.49 && rest < 0.51 ? value - 0.02 : value;
  return Math.trunc(moved * 100) / 100;
}

// What would receive a click there, if it is not `target` or inside it.
function obstacle(target, x, y) {
  const root = target.getRootNode();
  const hit = root.elementsFromPoint(x, y)[0];
  for (let element = hit; element; element = parentOf(element)) if (element === target) return null;
  return hit || document.documentElement;
}

const parentOf = element => element.assignedSlot ?? element.parentElement ?? element.getRootNode().host;

function describe(element) {
  const bid = element.getAttribute("bid");
  return `<${element.tagName.toLowerCase()}>` + (bid ? ` [${bid}]` : "");
}

let guard = null;  // watches that the events of an action arrive where they were aimed
const SILENCED = "blur focusout change input scroll focus focusin select selectionchange reset".split(" ");
for (const type of SILENCED)
  addListener.call(window, type, event => { if (rollingBack) event.stopImmediatePropagation(); }, true);
const GUARDED = ["mousedown", "mouseup", "pointerdown", "pointerup", "click", "auxclick", "dblclick", "contextmenu"];
const onGuardedEvent = event => {
  if (!guard || !event.isTrusted) return;
  shield(() => {
    if (!guard.events.includes(event.type)) return;
    if (guard.obstacle === undefined) guard.obstacle = obstacle(guard.target, event.clientX, event.clientY);
    if (guard.obstacle) { event.preventDefault(); event.stopImmediatePropagation(); }
  });
};
for (const type of [...GUARDED, "mousemove"]) addListener.call(window, type, onGuardedEvent, { capture: true, passive: false });

// A point to aim at, once the element is ready for it and nothing covers it: its middle, or `at` from its upper left
// corner.
function aim(bid, kind, at = null) {
  return retrying(bid, async (found, tries) => {
    if (found.tagName === "AREA") return aimAtArea(found, kind);
    const element = drawnFor(found);
    if (!await shield(() => isStable(element))) return { error: `element "${bid}" keeps moving` };
    return shield(() => aimAt(element, bid, kind, at, tries));
  });
}

function aimAt(element, bid, kind, at, tries) {
  const missing = missingState(element, kind === "mouse" ? ["enabled"] : []);
  if (missing) return { error: `element "${bid}" is not ${missing}` };
  const scroll = SCROLLS[tries % SCROLLS.length];
  if (scroll) element.scrollIntoView({ block: scroll, inline: scroll }); else element.scrollIntoViewIfNeeded(true);
  let point = at ? pointWithin(element, at) : clickPoint(element);
  let shown = element;
  if (point === undefined && !at && CLICKS_LABELS) [shown, point] = pointOnLabel(element);
  if (!point) return { error: `element "${bid}" is ${point === null ? "not visible" : "outside of the viewport"}` };
  const target = retarget(shown, "button-link");
  let blocking = obstacle(target, ...point);
  if (blocking && element instanceof SVGElement && !at) [point, blocking] = pointOn(element, point, blocking);
  if (blocking) return { error: `element "${bid}" is covered by ${describe(blocking)}` };
  if (element.ownerDocument !== document) {
    const [left, top] = originOf(element);
    const watched = kind === "drop" ? null : { target, events: kind === "hover" ? ["mousemove"] : GUARDED };
    scriptOf(element).watch(watched);
    const above = document.elementsFromPoint(point[0] + left, point[1] + top)[0];
    if (!above?.contentDocument) return { error: `element "${bid}" is covered by ${describe(above ?? document.documentElement)}` };
    return { point: [point[0] + left, point[1] + top], restless: false };
  }
  watch(kind === "drop" ? null : { target, events: kind === "hover" ? ["mousemove"] : GUARDED });
  return { point, restless: imageRules.length > 0 };
}

// A point within an area of an image map.
function aimAtArea(area, kind) {
  const image = drawnFor(area), numbers = area.coords.split(",").map(Number);
  image.scrollIntoViewIfNeeded(true);
  const box = image.getBoundingClientRect();
  const mean = from => numbers.filter((_, index) => index % 2 === from).reduce((sum, each, _, all) => sum + each / all.length, 0);
  const [right, down] = area.shape === "circle" ? numbers : area.shape === "default" ? [box.width / 2, box.height / 2] : [mean(0), mean(1)];
  const [x, y] = [box.left + right, box.top + down], [hit] = document.elementsFromPoint(x, y);
  if (hit !== area && hit !== image) return { error: `the area is covered by ${describe(hit ?? document.documentElement)}` };
  watch(kind === "drop" ? null : { target: hit, events: kind === "hover" ? ["mousemove"] : GUARDED });
  return { point: [x, y], restless: false };
}

// Styled radio buttons and checkboxes are often out of sight, and a person clicks their label.
function pointOnLabel(element) {
  if (!/^(radio|checkbox)$/.test(element.type)) return [element, undefined];
  for (const label of element.labels ?? []) {
    label.scrollIntoViewIfNeeded(true);
    const point = clickPoint(label);
    if (point) return [label, point];
  }
  return [element, undefined];
}

const watch = watched => { guard = watched; };

// A point by its distance from the element's upper left corner; undefined outside of the viewport.
function pointWithin(element, [right, down]) {
  const box = element.getBoundingClientRect(), { innerWidth, innerHeight } = element.ownerDocument.defaultView;
  if (right < 0 || down < 0 || right >= box.width || down >= box.height) return null;
  const x = Math.round(box.left + right), y = Math.round(box.top + down);
  return x >= 0 && y >= 0 && x < innerWidth && y < innerHeight ? [x, y] : undefined;
}

// Of a shape that its own middle does not belong to, or something covers: another point that is its own.
function pointOn(shape, middle, blocking) {
  const box = shape.getBoundingClientRect(), parts = 8;
  for (let row = 1; row < parts; row++) {
    for (let column = 1; column < parts; column++) {
      const x = Math.round(box.left + box.width * column / parts), y = Math.round(box.top + box.height * row / parts);
      if (document.elementFromPoint(x, y) === shape) return [[x, y], null];
    }
  }
  return [middle, blocking];
}

// Whether the last guarded events arrived; null, or why not.
function missed() {
  for (const frame of framesOf(document)) {
    const covered = frame.missed();
    if (covered) return covered;
  }
  const blocking = guard?.obstacle;
  guard = null;
  return blocking ? `the element is covered by ${describe(blocking)}` : null;
}

const SET_VALUE = ["color", "date", "time", "datetime-local", "month", "range", "week"];
const TYPE_INTO = ["", "email", "number", "password", "search", "tel", "text", "url"];

function fire(element) {
  hand(element, "dispatchEvent", new Event("input", { bubbles: true, composed: true }));
  hand(element, "dispatchEvent", new Event("change", { bubbles: true }));
}

// Selects what is in a field, so that inserted text replaces it; `typed` says whether text is still to be inserted.
function beginFill(bid, value) {
  return retrying(bid, element => {
    const missing = missingState(element, ["enabled", "editable"]);
    if (missing) return { error: `element "${bid}" is not ${missing}` };
    const target = retarget(element, "follow-label");
    const type = target.tagName === "INPUT" ? target.type.toLowerCase() : "";
    if (target.tagName === "INPUT") {
      if (SET_VALUE.includes(type)) {
        hand(target, "focus");
        target.value = value.trim();
        if (type !== "range" && target.value !== value.trim()) return { final: true, error: `"${value}" is not a value of a ${type} field, which takes ${FORMATS[type]}` };
        fire(target);
        return { typed: false };
      }
      if (!TYPE_INTO.includes(type)) return { final: true, error: `element "${bid}" (${type}) cannot be filled` };
      if (type === "number" && isNaN(Number(value.trim()))) return { final: true, error: `"${value}" is not a number` };
      hand(target, "select");
      hand(target, "focus");
    } else if (target.tagName === "TEXTAREA") {
      target.selectionStart = 0;
      target.selectionEnd = target.value.length;
      hand(target, "focus");
    } else if (target.isContentEditable) {
      const range = target.ownerDocument.createRange(), selection = target.ownerDocument.getSelection();
      range.selectNodeContents(target);
      selection.removeAllRanges();
      selection.addRange(range);
      hand(target, "focus");
    } else {
      return { final: true, error: `element "${bid}" is not a field that can be filled` };
    }
    return { typed: true, text: type === "number" ? value.trim() : value };
  });
}

function selectOption(bid, wanted) {
  return retrying(bid, element => {
    const missing = missingState(element, ["enabled"]);
    if (missing) return { error: `element "${bid}" is not ${missing}` };
    const select = retarget(element, "follow-label");
    if (select.tagName !== "SELECT") return { final: true, error: `element "${bid}" has no options to select` };
    let left = [...wanted];
    const chosen = [];
    const names = optionNames(select);
    for (const [index, option] of [...select.options].entries()) {
      const matches = text => text === option.value || text === option.label || text === names[index];
      if (!left.some(matches)) continue;
      chosen.push(option);
      left = select.multiple ? left.filter(text => !matches(text)) : [];
      if (!left.length) break;
    }
    if (left.length) return { error: `element "${bid}" has no option ${JSON.stringify(left[0])}` };
    select.value = undefined;
    for (const option of chosen) option.selected = true;
    fire(select);
    return {};
  });
}

// Chooses one more option of a list that takes several, or no longer, as a click with Control held does.
function toggleOption(bid, wanted) {
  return retrying(bid, element => {
    const missing = missingState(element, ["enabled"]);
    if (missing) return { error: `element "${bid}" is not ${missing}` };
    const index = element.tagName === "SELECT" && element.multiple ? optionNames(element).indexOf(wanted) : -1;
    if (index < 0) return { final: true, error: `element "${bid}" has no option ${JSON.stringify(wanted)} to toggle` };
    element.options[index].selected = !element.options[index].selected;
    fire(element);
    return {};
  });
}

// Turns the element's own text, or what it is in, by a view or to one of its ends.
function scrollIn(bid, edge) {
  let element = find(bid);
  if (!element) return { error: `no element has the bid "${bid}"` };
  while (element && !scrolls(element)) element = element.parentElement;
  if (!element) return { error: `element "${bid}" has nothing to scroll` };
  const step = Math.max(element.clientHeight * 0.8, 1);
  const top = { up: element.scrollTop - step, down: element.scrollTop + step, top: 0, bottom: element.scrollHeight }[edge];
  element.scrollTo({ top, behavior: "instant" });
  return {};
}

// The text of a field or an element, blanks at its ends included.
function textIn(bid) {
  const element = find(bid);
  if (!element) return { error: `no element has the bid "${bid}"` };
  return { text: String(element.value ?? element.innerText ?? element.textContent) };
}

// Puts the caret behind what is in a field.
function beginPaste(bid) {
  return retrying(bid, element => {
    const missing = missingState(element, ["enabled", "editable"]);
    if (missing) return { error: `element "${bid}" is not ${missing}` };
    const target = retarget(element, "follow-label");
    hand(target, "focus");
    if (target.isContentEditable) target.ownerDocument.getSelection().selectAllChildren(target), target.ownerDocument.getSelection().collapseToEnd();
    else if (TYPE_INTO.includes(target.type) && target.setSelectionRange && target.type !== "number" && target.type !== "email") target.setSelectionRange(target.value.length, target.value.length);
    else if (target.tagName === "TEXTAREA") target.setSelectionRange(target.value.length, target.value.length);
    return {};
  });
}

function focusOn(bid) {
  const element = find(bid);
  if (!element) return { error: `no element has the bid "${bid}"` };
  const active = element.ownerDocument.activeElement;
  if (element.isContentEditable && active !== element && active && active.blur) hand(active, "blur");
  hand(element, "focus");
  return {};
}

Object.defineProperty(window, "browserControl", {
  value: Object.freeze(shieldAll({
    ...episodes, aim, wheelPoint, beginFill, selectOption, toggleOption, scrollIn, textIn, beginPaste, focusOn, advance, frames,
    mark, listens, hears, watch, missed,  // of a frame, for the page that it is in
  })),
});
