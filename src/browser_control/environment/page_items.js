// What can be acted on though nothing says so of the element itself: its label, its list or its board does.

// What the page draws for an element: the label for a radio button or a checkbox that is out of sight, the image of a map.
function drawnFor(element) {
  if (element.tagName === "AREA") return document.querySelector(`img[usemap="#${CSS.escape(element.parentElement?.name ?? "")}"]`) ?? element;
  if (!CLICKS_LABELS || element.tagName !== "INPUT" || !/^(radio|checkbox)$/.test(element.type) || visible(element) && hasBox(element)) return element;
  return [...element.labels ?? []].find(label => visible(label) && hasBox(label)) ?? element;
}

const isHeld = element => element.getAttribute("draggable") === "true" || getComputedStyle(element).cursor === "grab";

// Where what is held may be put: what it lies in, and what is like that.
function placesFor(held) {
  for (let place = held.parentElement, level = 0; place?.parentElement && level < 3; place = place.parentElement, level++) {
    const places = [...place.parentElement.children].filter(other => alike(place, other) && visible(other) && hasBox(other));
    if (places.length > 1) return places;
  }
  return [];
}

const alike = (one, other) => one.tagName === other.tagName && one.classList[0] === other.classList[0];

// The children that an element listens for: its rows or points, or several of one kind that are most of what is in it.
function partsOf(element) {
  const listening = listens(element) && !HAND.test(getComputedStyle(element).cursor) || hears(element, "pointerdown");
  if (!listening || element.namespaceURI.endsWith("svg") || !element.textContent.trim()) return [];
  const children = [...element.children].filter(child => visible(child) && hasBox(child));
  if (/^(TBODY|UL|OL)$/.test(element.tagName)) return children;
  const several = children.filter(child => children.filter(other => alike(child, other)).length > 2);
  return several.length * 2 >= children.length ? several : [];
}

// Whether it listens for all that is in it, as the root of an application does: it is a place, and nothing to click.
function isWhole(element) {
  return !HAND.test(getComputedStyle(element).cursor) && element.childElementCount > 1 && textOf(element).length > 2 * NAME_LENGTH;
}
