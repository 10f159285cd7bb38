"""Web tasks in a list of posts or dishes, each with its own buttons.

The buttons of posts are icons that change their image under the mouse, and the first click on one goes elsewhere, since
the new image is not there yet: the mouse is moved over it first.
"""

import re
from dataclasses import dataclass

from browser_control.language.actions import Action
from browser_control.language.page import Element, Text
from browser_control.solvers.forms import submit
from browser_control.solvers.goals import between
from browser_control.solvers.view import View, click, first_missing


def _buttons_of(view: View, user: str) -> list[list[Element]]:
    """The elements of each of the user's posts; a post begins with the author's name, `Day @ada 3h ago`."""
    posts: list[list[Element]] = []
    mine = False
    for item in view.page:
        if isinstance(item, Element):
            if mine:
                posts[-1].append(item)
        elif author := re.search(r" (@\w+)(?: |$)", item.text):
            mine = author[1] == user
            if mine:
                posts.append([])
    return posts


def click_on_post(view: View) -> Action | None:
    """social-media: `For the user @ada, click on the "Like" button.`, or an entry of the menu behind `more`."""
    user = between(view.goal, "For the user ", ",") or ""
    wanted = (between(view.goal, 'click on the "', '"') or "").casefold()
    elements = [element for post in _buttons_of(view, user) for element in post]
    for element in elements:
        if element.name.casefold() in (wanted, f"{wanted} {user}".casefold()):
            return first_missing(view, _hover(element), click(element))
    more = next((element for element in elements if element.name == "more"), None)
    return first_missing(view, _hover(more), click(more))


def click_on_posts(view: View) -> Action | None:
    """social-media-all, -some: `Click the "Reply" button on all posts by @ada and then click Submit.`, or `3 posts`."""
    found = re.search(r'the "(\w+)" button on (\w+) posts? by (@\w+)', view.goal)
    if not found:
        return None
    posts = _buttons_of(view, found[3])
    count = len(posts) if found[2] == "all" else int(found[2])
    buttons = [element for post in posts[:count] for element in post if element.name == found[1].lower()]
    return submit(view, *map(_hover, buttons[:1]), *map(click, buttons))


def _hover(element: Element | None) -> Action | None:
    return Action("hover", element.bid) if element else None


def order_food(view: View) -> Action | None:
    """order-food: `Order 2 items that are vegan`, or `Order one of each item: Garlic bread, Chocolate cake`

    Two of one dish are two items that are vegan. How many are ordered the page shows.
    """
    dishes = _dishes(view)
    wanted: dict[str, int] = {}
    if ":" in view.goal:
        wanted = {name.strip(): 1 for name in view.goal.split(":")[1].split(",")}
    else:
        count, kind = re.findall(r"Order (\d+) items that are (\S+)", view.goal)[0]
        wanted = {next(dish.name for dish in dishes if kind in dish.kinds.split()): int(count)}
    for dish in dishes:
        if dish.ordered > wanted.get(dish.name, 0):
            return click(dish.less)
    named = {dish.name: dish for dish in dishes}
    missing = (named[name] for name, count in wanted.items() if named[name].ordered < count)
    return click(next((dish.more for dish in missing), view.called("Order!", "button")))


@dataclass(frozen=True)
class _Dish:
    name: str
    kinds: str
    ordered: int
    less: Element
    more: Element


def _dishes(view: View) -> list[_Dish]:
    """Name and kinds stand before the minus button; how many are ordered, if any, before the plus button."""
    dishes = []
    items = view.page.items
    for index, less in enumerate(items[:-1]):
        name, kinds = items[index - 2], items[index - 1]
        if isinstance(less, Element) and less.name == "-" and isinstance(name, Text) and isinstance(kinds, Text):
            number = items[index + 1]
            ordered = int(number.text) if isinstance(number, Text) else 0
            more = items[index + 2] if isinstance(number, Text) else number
            assert isinstance(more, Element)
            dishes.append(_Dish(name.text, kinds.text, ordered, less, more))
    return dishes


SOLVERS = {
    "social-media": click_on_post,
    "social-media-all": click_on_posts,
    "social-media-some": click_on_posts,
    "order-food": order_food,
}
