"""Prompts: what of a long page is shown, and what an episode's earlier turns leave in them."""

from browser_control.language.actions import Action
from browser_control.language.page import Element, format_page, quote, unquote
from browser_control.language.prompts import Memory, build, elements

PAGE = "\n".join(
    [*(f'"text {number}"' for number in range(50)), *(f'button "b{number}" [{number}]' for number in range(50))]
)


def shown(budget: int, viewport: tuple[int, int] | None = None) -> list[str]:
    prompt = build(PAGE, "go", tokens=lambda line: 1, budget=budget, viewport=viewport)
    return prompt.text.split("\n")[:-1]


def test_what_can_be_acted_on_is_kept_before_what_can_only_be_read() -> None:
    """But for a quarter of what fits, which is for the text in view."""
    for viewport, texts in (((50, 60), 10), (None, 15), ((0, 4), 10)):
        lines = shown(2 * 60, viewport)
        assert [line for line in lines if line.startswith("button")] == PAGE.split("\n")[50 : 100 - (texts - 10)]
        assert len(lines) == 60 and texts == sum(line.startswith('"') for line in lines)
    assert shown(2 * 60)[:15] == PAGE.split("\n")[:15]


def test_of_a_long_page_what_the_viewport_shows_is_kept() -> None:
    assert shown(2 * 6, (97, 99)) == PAGE.split("\n")[94:]
    assert shown(2 * 6, (70, 72)) == PAGE.split("\n")[69:75] or shown(2 * 6, (70, 72)) == PAGE.split("\n")[68:74]
    assert shown(2 * 8) == PAGE.split("\n")[:2] + PAGE.split("\n")[50:56]


def test_of_a_huge_page_no_more_lines_are_counted_than_fit() -> None:
    counted = []
    page = "\n".join(f'button "b{number}" [{number}]' for number in range(10_000))
    build(page, "go", tokens=lambda line: counted.append(line) or 1, budget=100)  # type: ignore[func-returns-value]
    assert len(counted) <= 51


def test_of_a_page_that_is_one_long_text_as_much_is_shown_as_fits_around_the_viewport() -> None:
    text = " ".join(f'word "{number}"' for number in range(10_000))
    line = quote(text)

    def cut(reading: tuple[int, int, int] | None) -> str:
        [shown, _] = build(line, "go", budget=400, reading=reading).text.split("\n")
        assert 390 < len(shown) < 400
        return unquote(shown)

    assert cut(None).startswith('word "0" word "1"') and cut(None).endswith("…")
    place = text.index('"5000"')
    middle = cut((0, place, place + 8))
    assert middle[0] == middle[-1] == "…" and abs(middle.index('"5000"') - len(middle) / 2) < 20
    assert cut((0, place, place + 5_000))[1:-1].strip().startswith('"5000"')  # the viewport shows more than fits
    assert cut((0, len(text), len(text))).endswith('word "9999"')
    assert build(quote("x" * 900), "go", budget=400).text.startswith('"xxx')  # with nowhere to cut it


def test_which_text_is_read_is_said_with_it() -> None:
    """Of several equally long ones too."""
    page = "\n".join(quote(f"{name} " * 1_000) for name in ("here", "look", "more"))
    lines = build(page, "go", budget=400, viewport=(1, 1), reading=(1, 2_000, 2_100)).text.split("\n")
    assert lines[0].startswith('"…') and "look look" in lines[0] and "here" not in lines[0]
    lines = build(page, "go", budget=400, viewport=(1, 1), reading=(0, 4_000, 5_000)).text.split("\n")
    assert lines[0].startswith('"look look')


def test_a_text_beside_something_that_fits_is_shown_as_far_as_it_fits() -> None:
    line = quote("word " * 10_000)
    for page in (f'"Words"\n{line}', f'{line}\nlink "Up" [3]', f'"Words"\nlink "Up" [3]\n{line}\n"The end"'):
        lines = build(page, "go", budget=400).text.split("\n")
        [piece] = [each for each in lines if each.startswith('"word word')]
        assert piece.endswith('…"') and 390 < sum(len(each) + 1 for each in lines[:-1]) <= 400
        assert [each for each in lines if each != piece] == [
            *(each for each in page.split("\n") if each != line),
            "Goal: go",
        ]
    assert build("", "go", budget=400).text == build(line, "go", budget=3).text == "Goal: go"


def test_many_short_lines_leave_room_for_the_long_text_in_view() -> None:
    comments = [f'"comment {number} of some length"' for number in range(200)]
    page = "\n".join(['"Title"', quote("word " * 10_000), *comments, 'link "Up" [3]'])
    lines = build(page, "go", budget=1_000).text.split("\n")
    [piece] = [each for each in lines if each.startswith('"word word')]
    assert len(piece) > 450 and sum(each in comments for each in lines) > 5
    assert lines[0] == '"Title"' and lines[-2:] == ['link "Up" [3]', "Goal: go"]


def test_of_a_list_that_does_not_fit_the_first_options_are_shown_and_all_can_be_chosen() -> None:
    countries = tuple(f"country {number}" for number in range(6_000))
    page = (Element("combobox", "Country", "7", "country 4", (), countries), Element("button", "Go", "8"))
    prompt = build(format_page(page), "go", budget=1_000)
    first, *rest = prompt.text.split("\n")
    assert rest == ['button "Go" [8]', "Goal: go"] and len(first) <= 125 + len('"country 0", ')
    assert first.startswith('combobox "Country" [7] value "country 4" options "country 0", ')
    assert first.endswith(', "…"')
    assert prompt.elements == page
    assert build(format_page(page), "go", budget=1_000, action_format="bid").elements == page


def test_the_same_dialog_again_can_be_answered_as_the_one_before() -> None:
    page = 'confirm "Sure?" [dialog]'
    elements, memory = build(page, "go").elements, Memory()
    for _ in range(3):
        memory.see(page)
        assert memory.spent == ()
        memory.act(Action("accept"), elements, "label")


def test_an_action_that_changed_nothing_is_spent_until_the_page_changes() -> None:
    elements, memory = build(PAGE, "go").elements, Memory()
    click, fill = Action("click", "3"), Action("fill", "3", "x")
    seen = []
    for action in (click, fill, click, fill):
        memory.see(PAGE)
        seen.append(memory.spent)
        memory.act(action, elements, "label")
    memory.see(PAGE)
    assert seen == [(), (click,), (), (click,)]  # a text may be typed again
    assert build(PAGE, "go", memory).spent == (click,)  # in vain twice
    memory.see(PAGE + '\n"new"')
    assert memory.spent == ()
    assert memory.done == ['click button "b3" [3]', 'fill button "b3" [3] with "x"'] * 2


def test_a_prompt_repeats_as_many_of_the_last_actions_as_it_is_asked_to() -> None:
    memory, listed = Memory(), elements('button "A" [1]\nbutton "B" [2]')
    clicked = (("A", 1), ("B", 2), ("A", 1), ("B", 2), ("A", 1), ("A", 1))
    for _, bid in clicked:
        memory.act(Action("click", str(bid)), listed, "label")
    done = [f'click button "{name}" [{bid}]' for name, bid in clicked]
    for remembered in (1, 4, 14):
        text = build('button "A" [1]', "Do it.", memory, remembered=remembered).text
        assert f"Done: {'; '.join(done[-remembered:])}\n" in text
