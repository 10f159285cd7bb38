"""Goals are read in all their wordings, and solvers are functions of what they see."""

from datetime import date

import pytest

from browser_control.language.actions import Action
from browser_control.language.page import parse_page
from browser_control.solvers import SOLVERS, View
from browser_control.solvers.dates import goal_date
from browser_control.solvers.goals import between, first_quoted, ordinals, quoted
from browser_control.solvers.mail import Errand, read_goal


@pytest.mark.parametrize(
    ("goal", "errand"),
    [
        (
            "Find the email by Misty and click the star icon to mark it as important.",
            Errand("star", "Misty"),
        ),
        ("Find the email by Ryann and click the trash icon to delete it.", Errand("delete", "Ryann")),
        (
            'Find the email by Misty and reply to them with the text "Forward it.".',
            Errand("reply", "Misty", "Forward it."),
        ),
        ("Find the email by Misty and forward that email to Edeline.", Errand("forward", "Misty", "Edeline")),
        ("Anne wants the email Laetitia sent to you.", Errand("forward", "Laetitia", "Anne")),
        ("Loralyn is waiting for the email by Anitra.", Errand("forward", "Anitra", "Loralyn")),
        ("Jacklyn wants his or her message to be sent to Melanie.", Errand("forward", "Jacklyn", "Melanie")),
        ("Please send Drusie Mei's email.", Errand("forward", "Mei", "Drusie")),
        ("Let Roze receive the email message by Kyla.", Errand("forward", "Kyla", "Roze")),
        ("I don't want the email from Elvina anymore.", Errand("delete", "Elvina")),
        ("Mark the last email Kyla sent as imiportant.", Errand("star", "Kyla")),
        ('Tell Livvie "Lectus at." in an email.', Errand("reply", "Livvie", "Lectus at.")),
        ("Delete everything.", None),
    ],
)
def test_errands_in_an_inbox(goal: str, errand: Errand | None) -> None:
    assert read_goal(goal) == errand


def test_what_goals_quote_and_count() -> None:
    goal = 'Use the textbox to enter "Ada" and press "Search", then find and click the 3rd search result.'
    assert quoted(goal) == ["Ada", "Search"]
    assert first_quoted(goal) == "Ada"
    assert first_quoted("Click the button.") is None
    assert ordinals(goal) == [2]
    assert ordinals("Enter 123 as the 1st and the 22nd") == [0, 21]
    assert between("Select a, b and click Submit.", "Select ", " and click") == "a, b"
    assert between("Select a.", "Choose ", ".") is None
    assert goal_date("Select 02/09/2016 as the date and hit submit.") == date(2016, 2, 9)
    assert goal_date("Select a date.") is None


def view(goal: str, page: str, *taken: Action) -> View:
    return View(goal, parse_page(page), taken)


def test_a_name_is_matched_exactly_before_it_is_matched_but_for_case() -> None:
    page = 'button "Yes" [1]\nbutton "yes" [2]'
    assert SOLVERS["click-button"](view('Click on the "yes" button.', page)) == Action("click", "2")
    assert SOLVERS["click-button"](view('Click on the "YES" button.', page)) == Action("click", "1")
    assert SOLVERS["click-button"](view('Click on the "no" button.', page)) is None


def test_a_link_that_is_out_of_sight_is_looked_for_behind_the_tabs_in_turn() -> None:
    goal = 'Switch between the tabs to find and click on the link "proin".'
    page = 'tab "Tab #1" [1] selected\ntab "Tab #2" [2]\ntab "Tab #3" [3]\nitem "Proin" [4]'
    solver = SOLVERS["click-tab-2"]
    assert solver(view(goal, page)) == Action("click", "2")
    assert solver(view(goal, page, Action("click", "2"))) == Action("click", "3")
    assert solver(view(goal, page + '\nitem "proin" [5]')) == Action("click", "5")


def test_times_are_typed_as_a_time_field_takes_them() -> None:
    page = 'textbox [1]\nbutton "Submit" [2]'
    for said, typed in (("8:05 AM", "08:05"), ("12:30 AM", "00:30"), ("12:01 PM", "12:01"), ("9:59 PM", "21:59")):
        goal = f"Enter {said} as the time and press submit."
        assert SOLVERS["enter-time"](view(goal, page)) == Action("fill", "1", typed)


def test_guessing_halves_what_the_feedback_leaves() -> None:
    goal = "Guess the number between 0-9 and press Submit. Use the feedback below to find the right number."
    page = 'spinbutton [1]\nbutton "Submit" [2]'
    solver, submit = SOLVERS["guess-number"], Action("click", "2")
    first = Action("fill", "1", "4")
    assert solver(view(goal, page)) == first
    assert solver(view(goal, page, first)) == submit
    higher = f'"The number is higher than 4."\n{page}'
    second = Action("fill", "1", "7")
    assert solver(view(goal, higher, first, submit)) == second
    lower = f'"The number is lower than 7."\n{page}'
    assert solver(view(goal, lower, first, submit, second, submit)) == Action("fill", "1", "5")


BOXES = 'checkbox "a" [1]{a}\ncheckbox "b" [2]{b}\ncheckbox "c" [3]{c}\nbutton "Submit" [4]'


@pytest.mark.parametrize(
    ("ticked", "bid"), [("", "3"), ("c", "1"), ("ac", "4"), ("abc", "2"), ("b", "2")], ids=lambda each: each or "none"
)
def test_boxes_are_ticked_in_the_order_of_the_goal_and_wrong_ones_unticked(ticked: str, bid: str) -> None:
    page = BOXES.format(**{name: " checked" if name in ticked else "" for name in "abc"})
    goal = "Select c, a and click Submit."
    assert SOLVERS["click-checkboxes"](view(goal, page)) == Action("click", bid)


def test_similar_words_are_ticked_in_the_order_of_the_goal() -> None:
    page = 'checkbox "large" [1]\ncheckbox "swine" [2]\ncheckbox "old" [3]\nbutton "Submit" [4]'
    goal = "Select words similar to pig, huge and click Submit."
    assert SOLVERS["click-checkboxes-soft"](view(goal, page)) == Action("click", "2")


def test_of_two_buttons_the_last_clicked_holds() -> None:
    page = 'button "Odd" [1]\n"4"\nbutton "Even" [2]\nbutton "Submit" [3]'
    solve, odd, even = SOLVERS["odd-or-even"], Action("click", "1"), Action("click", "2")
    assert solve(view("", page)) == even
    assert solve(view("", page, odd)) == even
    assert solve(view("", page, odd, even)) == Action("click", "3")
    assert solve(view("", page, even, odd)) == even


def test_what_is_ordered_is_read_off_the_page() -> None:
    tea, ham = '"Tea"\n"vegan"\nitem "-" [1]\n{tea}item "+" [2]\n', '"Ham"\n"meat"\nitem "-" [3]\n{ham}item "+" [4]\n'
    dishes = f'{tea}{ham}button "Order!" [5]'
    solve = SOLVERS["order-food"]

    def ordered(tea: str, ham: str) -> Action | None:
        return solve(view("Order 2 items that are vegan", dishes.format(tea=tea, ham=ham)))

    assert ordered("", "") == Action("click", "2")
    assert ordered('"1"\n', "") == Action("click", "2")
    assert ordered('"2"\n', "") == Action("click", "5")
    assert ordered('"3"\n', "") == Action("click", "1")
    assert ordered('"2"\n', '"1"\n') == Action("click", "3")


def test_a_slider_is_clicked_again_where_the_first_click_was_wrong() -> None:
    page = 'item [1] size 140x10\nitem "slider handle" [2] focused at {at},5\n"{shown}"\nbutton "Submit" [3]'
    solve, goal = SOLVERS["use-slider-2"], "Set the sliders to the combination [12] and submit."
    right, wrong = Action("click-at", "1", "84,5"), Action("click-at", "1", "14,5")
    assert solve(view(goal, page.format(at=14, shown=2))) == right
    assert solve(view(goal, page.format(at=14, shown=2), wrong)) == right
    assert solve(view(goal, page.format(at=14, shown=2), right)) == Action("key", "", "ArrowRight")
    assert solve(view(goal, page.format(at=84, shown=12), right)) == Action("click", "3")


def test_shapes_are_dragged_in_steps() -> None:
    page = 'circle "red" [1] at {x},90 size 17\n"rectangle black outline at 37,30 size 70x50"\nbutton "Submit" [2]'
    goal = "Drag all circles into the black box."
    offsets = {x: SOLVERS["drag-shapes"](view(goal, page.format(x=x))) for x in (10, 50, 70, 130)}
    assert {x: action and action.argument for x, action in offsets.items()} == {
        10: "40,-60",
        50: "0,-60",
        70: "-40,-60",
        130: "-80,-60",
    }
