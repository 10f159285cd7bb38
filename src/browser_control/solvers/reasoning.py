"""Web tasks in which an answer is worked out: arithmetic, guessing, words of a text, words of like meaning."""

import re
from itertools import pairwise

from browser_control.language.actions import Action
from browser_control.language.page import Element, Text
from browser_control.solvers.forms import submit, tick
from browser_control.solvers.goals import between, first_quoted, ordinals
from browser_control.solvers.view import View, click, fill

_MEANINGS = [  # words of like meaning, a line each
    set(line.split())
    for line in """
    big large huge enormous gigantic
    small tiny little mini petite
    red scarlet crimson vermillion
    happy cheerful joyful gleeful delighted
    sad unhappy sorrowful miserable tragic
    angry mad furious irritated
    evil wicked immoral sinful corrupt depraved
    wrong incorrect mistaken erroneous
    real genuine actual
    strange odd peculiar unusual weird
    stop cease halt end finish
    scared terrified panicked fearful frightened afraid
    quiet calm peaceful serene mild
    old aged archaic
    love like adore favor
    kill murder assassinate
    keep retain preserve sustain maintain
    hide conceal camouflage
    hate despise loathe detest dislike
    funny humorous amusing comical laughable
    fat fleshy plump chubby
    stupid dumb dull unwise
    delicious savory delectable appetizing
    cut slice carve chop
    brave courageous fearless
    begin start initiate launch
    answer reply response
    television televisions TV TVs
    house home houses homes
    fire flame fires flames
    pig pork swine
    rabbit rabbits bunny bunnies
    car cars automobile automobiles vehicle vehicles
    water
    """.strip().splitlines()
]
_DIGITS = {  # seven rows of four boxes
    "0": "0110 1001 1001 1001 1001 1001 0110",
    "1": "0010 0110 0010 0010 0010 0010 0010",
    "2": "0110 1001 1001 0010 0100 1000 1111",
    "3": "0110 1001 0001 0110 0001 1001 0110",
    "4": "1000 1010 1010 1111 0010 0010 0010",
    "5": "1111 1000 1000 1110 0001 1001 0110",
    "6": "0110 1001 1000 1110 1001 1001 0110",
    "7": "1111 1001 0001 0010 0010 0100 0100",
    "8": "0110 1001 1001 0110 1001 1001 0110",
    "9": "0110 1001 1001 0111 0001 1001 0110",
}


def _type_and_submit(view: View, text: str | None) -> Action | None:
    fields = view.of_role("textbox")
    return submit(view, fill(fields[-1], text)) if fields else None


def similar_words(view: View) -> Action | None:
    """click-checkboxes-soft: `Select words similar to mini, houses and click Submit.`"""
    words = (between(view.goal, "similar to ", " and click Submit") or "").split(", ")
    meanings = [meaning for word in words for meaning in _MEANINGS if word in meaning]
    return tick(view, [box for meaning in meanings for box in view.of_role("checkbox") if box.name in meaning])


def calculate(view: View) -> Action | None:
    """simple-arithmetic: `Solve the math problem …`; the field is called `9 x 0 =`."""
    for text in (field.name for field in view.of_role("textbox")):
        if found := re.fullmatch(r"(\d+) ([-+x]) (\d+) =", text):
            return _type_and_submit(view, str(_apply(found[2], int(found[1]), int(found[3]))))
    return None


def _apply(sign: str, left: int, right: int) -> int:
    return {"+": left + right, "-": left - right, "x": left * right}[sign]


def solve_for_x(view: View) -> Action | None:
    """simple-algebra: `Solve for x …`; the page says `x + 9 = 6` or `9 - x = 6`."""
    for text in view.page.texts:
        if found := re.fullmatch(r"(\w+) ([-+]) (\w+) = (-?\d+)", text):
            left, sign, right, result = found.groups()
            if left == "x":
                answer = int(result) - int(right) if sign == "+" else int(result) + int(right)
            else:
                answer = int(result) - int(left) if sign == "+" else int(left) - int(result)
            return _type_and_submit(view, str(answer))
    return None


def odd_or_even(view: View) -> Action | None:
    """odd-or-even: `Mark the numbers below as odd or even and press submit when done.`

    A row is an Odd button, the number, and an Even button; of the two the last clicked holds.
    """
    items = view.page.items
    for odd, number, even in zip(items, items[1:], items[2:], strict=False):
        if isinstance(odd, Element) and isinstance(number, Text) and isinstance(even, Element):
            right = even if int(number.text) % 2 == 0 else odd
            if view.clicked_last(odd, even) != right:
                return click(right)
    return submit(view)


def guess_number(view: View) -> Action | None:
    """guess-number: `Guess the number between 0-9 and press Submit. Use the feedback below to find the right number.`

    Halves what is left. Feedback stays for the last guess only: that of an earlier one shows in the next guess.
    """
    fields = view.of_role("spinbutton")
    found = re.search(r"between (\d+)-(\d+)", view.goal)
    if not fields or not found:
        return None
    low, high = int(found[1]), int(found[2])
    guesses = [int(action.argument) for action in view.taken if action.verb == "fill"]
    for guess, following in pairwise(guesses):
        low, high = (guess + 1, high) if following > guess else (low, guess - 1)
    if guesses and view.taken[-1].verb == "fill":
        return click(view.called("Submit", "button"))
    if guesses:
        higher = any("higher" in text for text in view.page.texts)
        low, high = (guesses[-1] + 1, high) if higher else (low, guesses[-1] - 1)
    return fill(fields[0], str((low + high) // 2))


def generate_number(view: View) -> Action | None:
    """generate-number: `Generate an even number, then press submit.`, or odd, `less than 6`, `greater than 4`."""
    shown = next((int(text) for text in view.page.texts if text.isdigit()), None)
    bound = int((re.findall(r"than (\d+)", view.goal) or ["0"])[0])
    if shown is None:
        fits = False
    elif "than" in view.goal:
        fits = shown < bound if "less" in view.goal else shown > bound
    else:
        fits = shown % 2 == (0 if "even" in view.goal else 1)
    button = click(view.called("Submit" if fits else "Generate", "button"))
    if button in view.spent:  # it drew the same number again: on to the other button, and back
        return Action("hover", view.called("Submit", "button").bid)  # type: ignore[union-attr]
    return button


def find_word(view: View) -> Action | None:
    """find-word: `Find the 4th word in the paragraph, type that into the textbox and press "Submit".`"""
    words = view.page.texts[0].split() if view.page.texts else []
    index = ordinals(view.goal)[0]
    return _type_and_submit(view, re.sub(r"[.,]", "", words[index])) if index < len(words) else None


def last_word(view: View) -> Action | None:
    """scroll-text: `Find the last word in the text area, enter it into the text field and hit Submit.`"""
    words = (view.of_role("textbox")[0].value or "").split()
    return _type_and_submit(view, re.sub(r"\W", "", words[-1])) if words else None


def transcribe(view: View) -> Action | None:
    """text-transform: `Type the text below into the text field and press Submit.` Letters stand apart."""
    return _type_and_submit(view, view.page.texts[0].replace(" ", "")) if view.page.texts else None


def draw_digit(view: View) -> Action | None:
    """number-checkboxes: `Draw the number "9" in the checkboxes using the example on the right …`"""
    cells = _DIGITS[first_quoted(view.goal) or ""].replace(" ", "")
    boxes = view.of_role("checkbox")
    return tick(view, [box for box, cell in zip(boxes, cells, strict=False) if cell == "1"])


SOLVERS = {
    "click-checkboxes-soft": similar_words,
    "simple-arithmetic": calculate,
    "simple-algebra": solve_for_x,
    "odd-or-even": odd_or_even,
    "guess-number": guess_number,
    "generate-number": generate_number,
    "find-word": find_word,
    "scroll-text": last_word,
    "text-transform": transcribe,
    "number-checkboxes": draw_digit,
}
