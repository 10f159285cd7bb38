"""Others' clients read the page in BrowserGym's spelling."""

from browser_control.language.axtree import axtree_text
from browser_control.language.page import parse_page


def test_the_page_is_spelled_as_browsergym_spells_it() -> None:
    page = parse_page(
        '"Choose, it\'s free"\n'
        'button "Click Me!" [13]\n'
        'textbox "Name" [21] value "Ada" required focused\n'
        "checkbox [15] checked\n"
        'combobox "Country" [30] value "Spain" disabled options "France", "Spain"\n'
        'item "lorem" [17]\n'
        'slider "Volume" [24] value "5" as "0 to 10"\n'
        "drawing [26] size 150x130"
    )
    assert axtree_text(page).splitlines() == [
        'StaticText "Choose, it\'s free"',
        "[13] button 'Click Me!'",
        "[21] textbox 'Name' value='Ada', required, focused",
        "[15] checkbox '', checked='true'",
        "[30] combobox 'Country' value='Spain', disabled=True",
        "\toption 'France', selected=False",
        "\toption 'Spain', selected=True",
        "[17] generic 'lorem', clickable",
        "[24] slider 'Volume' value='5', format='0 to 10'",
        "[26] drawing '', size=(150, 130)",
    ]
