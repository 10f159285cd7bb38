"""The action tree admits what a flat list of all spellings admits, token by token, and does so on pages of any size."""

import random
from collections.abc import Sequence

import pytest
from flat_grammar import LISTED, Grammar, choices
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import save_model
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from browser_control.language.action_tree import ActionTrees, Matcher
from browser_control.language.actions import MANY_OPTIONS, VERBS, Action, fragments, is_offered, parse_bid, parse_label
from browser_control.language.page import Element, parse_page

FORMATS = ("label", "bid")
MAX_TEXT = 8


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_model("llama", folder)
    made: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder)
    return made


def trees(
    tokenizer: PreTrainedTokenizerFast, verbs: Sequence[str] = tuple(VERBS), action_format: str = "label"
) -> ActionTrees:
    return ActionTrees(tokenizer, len(tokenizer), verbs, action_format, MAX_TEXT)


words = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.sampled_from(" \"'\\[]()"), max_size=12
)
bids = st.lists(st.from_regex(r"[a-z]{0,2}[0-9]{1,3}", fullmatch=True), min_size=1, max_size=6, unique=True)


@st.composite
def pages(draw: st.DrawFn) -> tuple[Element, ...]:
    """A few elements of all kinds, with names that a page may have."""
    made = []
    for bid in draw(bids):
        role = draw(st.sampled_from(["button", "textbox", "combobox", "link", "item", "listbox", "checkbox"]))
        options = (
            tuple(" ".join(option.split()) for option in draw(st.lists(words, max_size=4)))
            if role in ("combobox", "listbox")
            else ()
        )
        states = draw(st.lists(st.sampled_from(["disabled", "readonly", "scrollable"]), max_size=1))
        states += ["multiple"] if role == "listbox" else []
        value = draw(st.none() | st.just("Ada")) if role == "textbox" else None
        made.append(Element(role, " ".join(draw(words).split()), bid, value, tuple(states), options))
    return tuple(made)


def walk(matcher: Matcher, reference: object, chance: random.Random) -> list[int]:
    """One random way through both at once; they must agree at each step. Returns the tokens."""
    tokens: list[int] = []
    for _ in range(400):
        forced = matcher.forced()
        assert forced == reference.forced()  # type: ignore[attr-defined]
        tokens += forced
        assert matcher.done == reference.done  # type: ignore[attr-defined]
        if matcher.done:
            return tokens
        mask = matcher.mask()
        assert mask.tobytes() == reference.mask().tobytes()  # type: ignore[attr-defined]
        admitted = [token for token in range(len(mask) * 32) if mask[token >> 5] >> (token & 31) & 1]
        token = chance.choice(admitted)
        matcher.consume(token)
        reference.consume(token)  # type: ignore[attr-defined]
        tokens.append(token)
    raise AssertionError("an action without end")


@pytest.mark.parametrize("action_format", FORMATS)
@settings(max_examples=60, deadline=None)
@given(page=pages(), seed=st.integers(0, 2**32))
def test_masks_are_those_of_the_flat_list(
    tokenizer: PreTrainedTokenizerFast, action_format: str, page: tuple[Element, ...], seed: int
) -> None:
    chance = random.Random(seed)
    tree = trees(tokenizer, LISTED, action_format)
    flat = Grammar(tokenizer, len(tokenizer), LISTED, action_format, MAX_TEXT)
    for _ in range(4):
        tokens = walk(tree.matcher(page), flat.matcher(page), chance)
        said = tokenizer.decode(tokens)
        action = parse_label(said) if action_format == "label" else parse_bid(said)
        assert list(tree.encode(action, page)) == tokens or action.verb in (
            "fill",
            "type",
        )  # a text has many tokenizations


@pytest.mark.parametrize("action_format", FORMATS)
@settings(max_examples=60, deadline=None)
@given(page=pages())
def test_every_action_that_is_offered_is_a_path_and_reads_back(
    tokenizer: PreTrainedTokenizerFast, action_format: str, page: tuple[Element, ...]
) -> None:
    tree = trees(tokenizer, LISTED, action_format)
    offered = [action for action, _ in choices(page, LISTED)]
    for choice, typed in dict.fromkeys(choices(page, LISTED)):
        action = Action(choice.verb, choice.bid, "Ada 1") if typed else choice
        matcher, tokens = tree.matcher(page), tree.encode(action, page)
        for token in tokens:
            matcher.consume(token)
        assert matcher.done
        said = tokenizer.decode(tokens)
        assert (parse_label(said) if action_format == "label" else parse_bid(said)) == action
    assert len(tree.tree(page)) == len(set(offered))


def many(count: int) -> tuple[Element, ...]:
    return tuple(Element("item", f"thing {number}", str(number + 10)) for number in range(count))


def test_a_drag_of_many_items_costs_their_number_and_not_its_square(tokenizer: PreTrainedTokenizerFast) -> None:
    """llguidance stops at 2,000 spellings, and does not compile 60 items at all."""
    tree = trees(tokenizer, ["click", "hover", "drag", "scroll"])
    page = many(300)
    assert len(tree.tree(page)) == 300 * 2 + 300 * 299 + 2
    said = tree.encode(Action("drag", "10", "309"), page)
    matcher = tree.matcher(page)
    for token in said:
        matcher.consume(token)
    assert matcher.done
    again = tree.matcher(page)
    with pytest.raises(ValueError, match="is not admitted here"):
        for token in tree.encode(Action("drag", "10", "10"), page):
            again.consume(token)


def nodes(root: object, seen: set[int]) -> int:
    if id(root) in seen:
        return 0
    seen.add(id(root))
    return 1 + sum(nodes(child, seen) for child in root.children.values())  # type: ignore[attr-defined]


def test_all_verbs_share_the_elements_of_a_page(tokenizer: PreTrainedTokenizerFast) -> None:
    page = many(100)
    one, all_verbs = (trees(tokenizer, verbs).tree(page) for verbs in (["click"], ["click", "hover", "drag"]))
    roots = lambda tree: [slot.root for slots in tree.slots.values() for slot in slots]  # noqa: E731
    seen: set[int] = set()
    together = sum(nodes(root, seen) for root in roots(all_verbs))
    alone = sum(nodes(root, set()) for root in roots(one))
    assert together - alone <= 5  # " to"


def test_a_list_of_six_thousand_options_is_offered_whole(tokenizer: PreTrainedTokenizerFast) -> None:
    options = tuple(f"option {number} of many" for number in range(6000))
    page = (Element("combobox", "Which", "12", "", (), options), Element("button", "Go", "13"))
    tree = trees(tokenizer, ["click", "hover", "drag", "select", "scroll"])
    assert len(tree.tree(page)) == 6000 + 2 * 2 + 2 + 2
    matcher = tree.matcher(page)
    for token in tree.encode(Action("select", "12", "option 5999 of many"), page):
        matcher.consume(token)
    assert matcher.done


@pytest.mark.parametrize("action_format", FORMATS)
def test_the_masks_of_a_long_list_are_those_of_the_flat_list(
    tokenizer: PreTrainedTokenizerFast, action_format: str
) -> None:
    """Its options are tokenized where an action gets to them."""
    options = tuple(f"Lot {number}" for number in range(MANY_OPTIONS + 44))
    page = (Element("combobox", "Lot", "12", "", (), options), Element("combobox", "", "13", "", (), ("Lot 1", "7")))
    tree = trees(tokenizer, ("click", "select"), action_format)
    flat = Grammar(tokenizer, len(tokenizer), ("click", "select"), action_format, MAX_TEXT)
    assert len(tree.tree(page)) == 2 + len(options) + 2
    for seed in range(12):
        tokens = walk(tree.matcher(page), flat.matcher(page), random.Random(seed))
        said = tokenizer.decode(tokens)
        action = parse_label(said) if action_format == "label" else parse_bid(said)
        assert list(tree.encode(action, page)) == tokens
        assert is_offered(action, page, VERBS)


@pytest.mark.parametrize("action_format", FORMATS)
@settings(max_examples=20, deadline=None)
@given(names=st.lists(words, min_size=3, max_size=6), seed=st.integers(0, 2**32))
def test_an_option_has_the_tokens_that_it_has_alone_in_whatever_list(
    tokenizer: PreTrainedTokenizerFast, action_format: str, names: list[str], seed: int
) -> None:
    """Also where another list had it before."""
    tree = trees(tokenizer, ("select",), action_format)
    options = [" ".join(f"{name} {number} {name}".split()) for number in range(MANY_OPTIONS) for name in names]
    chance = random.Random(seed)
    for listed in (tuple(options), tuple(chance.sample(options, MANY_OPTIONS * 2))):
        page = (Element("combobox", "Which", "12", "", (), listed),)
        for option in chance.sample(listed, 10):
            matcher = tree.matcher(page)
            for fragment in fragments(Action("select", "12", option), page, action_format):
                for token in tokenizer.encode(fragment, add_special_tokens=False):
                    matcher.consume(token)
            assert matcher.done


def test_ten_thousand_elements_end_no_run(tokenizer: PreTrainedTokenizerFast) -> None:
    tree = trees(tokenizer)
    matcher = tree.matcher(many(10_000))
    while not matcher.done:
        matcher.forced()
        if not matcher.done:
            mask = matcher.mask()
            matcher.consume(next(t for t in range(len(mask) * 32) if mask[t >> 5] >> (t & 31) & 1))


def test_a_page_is_built_once(tokenizer: PreTrainedTokenizerFast) -> None:
    tree, page = trees(tokenizer), many(20)
    assert tree.tree(page) is tree.tree(tuple(page))
    first, second = tree.matcher(page), tree.matcher(page)
    first.forced()
    second.forced()
    assert first.mask() is second.mask()


def test_a_name_is_never_a_control_token(tokenizer: PreTrainedTokenizerFast) -> None:
    control = tokenizer.convert_tokens_to_ids("<|end|>")
    page = (Element("button", "<|end|>", "7"), Element("button", "b", "8"))
    assert control not in trees(tokenizer).encode(Action("click", "7"), page)
    assert tokenizer.encode("<|end|>", add_special_tokens=False) == [control]  # what an unguarded page would say


@pytest.mark.parametrize("action_format", FORMATS)
@settings(max_examples=60, deadline=None)
@given(page=pages(), seed=st.integers(0, 2**32), count=st.integers(1, 5))
def test_spent_actions_are_not_admitted_and_all_others_are(
    tokenizer: PreTrainedTokenizerFast, action_format: str, page: tuple[Element, ...], seed: int, count: int
) -> None:
    tree, chance = trees(tokenizer, LISTED, action_format), random.Random(seed)
    offered = list(dict.fromkeys(action for action, typed in choices(page, LISTED) if not typed))
    spent = chance.sample(offered, min(count, len(offered)))

    def is_admitted(action: Action) -> bool:
        matcher = tree.matcher(page, spent)
        try:
            for token in tree.encode(action, page):
                matcher.consume(token)
        except ValueError:
            return False
        return matcher.done

    assert {action for action in offered if not is_admitted(action)} == set(spent)


def test_the_last_action_stays_though_it_is_spent(tokenizer: PreTrainedTokenizerFast) -> None:
    page = (Element("button", "Go", "12"),)
    tree = trees(tokenizer, ["click"])
    matcher = tree.matcher(page, [Action("click", "12")])
    matcher.forced()
    assert matcher.done


@pytest.mark.parametrize("action_format", FORMATS)
def test_points_and_distances_are_spelled_as_whole_numbers_within_bounds(
    tokenizer: PreTrainedTokenizerFast, action_format: str
) -> None:
    page = (Element("drawing", "", "12", size=(30, 200)), Element("circle", "red", "12.1", place=(5, 5), size=(9, 9)))
    tree = trees(tokenizer, tuple(VERBS), action_format)
    read = parse_label if action_format == "label" else parse_bid
    for action in (
        Action("click-at", "12", "29,199"),
        Action("click-at", "12", "2,0"),
        Action("drag-by", "12.1", "-160,7"),
    ):
        matcher, tokens = tree.matcher(page), tree.encode(action, page)
        for token in tokens:
            matcher.consume(token)
        assert matcher.done
        assert read(tokenizer.decode(tokens)) == action
        assert is_offered(action, page, VERBS)
    for action in (
        Action("click-at", "12", "30,0"),
        Action("drag-by", "12.1", "161,0"),
        Action("click-at", "12.1", "1,1"),
    ):
        assert not is_offered(action, page, VERBS)
        matcher = tree.matcher(page)
        with pytest.raises(ValueError, match="is not admitted here"):
            for token in tree.encode(action, page):
                matcher.consume(token)


@pytest.mark.parametrize("action_format", FORMATS)
def test_a_dialog_is_answered_and_nothing_else_is_offered(
    tokenizer: PreTrainedTokenizerFast, action_format: str
) -> None:
    verbs = tuple(VERBS)
    prompt = parse_page('prompt "Your name?" [dialog] value "Bob"').elements
    alert = parse_page('alert "Saved." [dialog]').elements
    page = (Element("button", "OK", "12"),)
    tree = trees(tokenizer, verbs, action_format)
    accept, answer, dismiss = Action("accept"), Action("answer", "", "Ada"), Action("dismiss")
    assert (len(tree.tree(alert)), len(tree.tree(prompt))) == (2, 3)
    for elements, offered in ((prompt, (accept, answer, dismiss)), (alert, (accept, dismiss)), (page, ())):
        for action in (accept, answer, dismiss):
            assert is_offered(action, elements, verbs) == (action in offered)
        for action in offered:
            matcher = tree.matcher(elements)
            for token in tree.encode(action, elements):
                matcher.consume(token)
            assert matcher.done
    assert not is_offered(Action("click", "dialog"), alert, verbs)
    assert not is_offered(Action("key", "", "Enter"), alert, verbs)
    assert len(trees(tokenizer, ("click", "key"), action_format).tree(alert)) == 1  # to wait


def test_dialogs_are_spelled_as_calls_of_the_service() -> None:
    for action, said, call in (
        (Action("accept"), "accept", "accept_dialog()"),
        (Action("answer", "", "Ada"), 'answer "Ada"', "accept_dialog('Ada')"),
        (Action("dismiss"), "dismiss", "dismiss_dialog()"),
    ):
        assert (action.spell(()), action.to_browsergym()) == (said, call)
        assert parse_label(said) == parse_bid(call) == action
