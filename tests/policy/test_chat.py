"""A model is spoken to as its chat template wants, and the same every day."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import PAGE, make_configuration
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from browser_control.errors import ConfigurationError
from browser_control.language import prompts
from browser_control.language.actions import Action
from browser_control.policy import chat, policy, tokenization
from browser_control.training.rollout import read_action

ModelFolder = Callable[[str], Path]
TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
DROPS = "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}"
DATED = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{{ date_string }}"
)
THINKS = TURNS + "<assistant>{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"


@pytest.fixture
def templated(model_folder: ModelFolder) -> Callable[[str], PreTrainedTokenizerFast]:
    def make(template: str) -> PreTrainedTokenizerFast:
        tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(model_folder("llama"))
        tokenizer.chat_template = template
        return tokenizer

    return make


@pytest.mark.parametrize("template", [REFUSES, DROPS])
def test_a_template_without_a_system_turn_has_our_words_in_the_users(
    templated: Callable[[str], PreTrainedTokenizerFast], template: str
) -> None:
    assert chat.pieces(templated(template)) == (f"<user>{prompts.SYSTEM}\n\n", "", False)


def test_a_template_that_writes_the_date_always_writes_the_same(
    templated: Callable[[str], PreTrainedTokenizerFast],
) -> None:
    assert chat.pieces(templated(DATED + TURNS)) == (f"26 Jul 2024<system>{prompts.SYSTEM}<user>", "", True)
    assert chat.pieces(templated(DATED + REFUSES)) == (f"26 Jul 2024<user>{prompts.SYSTEM}\n\n", "", True)


def test_thinking_is_switched_off(templated: Callable[[str], PreTrainedTokenizerFast]) -> None:
    assert chat.pieces(templated(THINKS)).after == "<assistant>"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('no') }}", "does not take a user's turn alone: no"),
        ("{{ messages[0].nothing.here }}", "does not take a user's turn alone"),
        ("hello", "does not repeat what the user says once"),
        (TURNS + TURNS, "does not repeat what the user says once"),
        ("{% for", "does not take a user's turn alone"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(
    templated: Callable[[str], PreTrainedTokenizerFast], template: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as raised:
        chat.pieces(templated(template))
    assert "\n" not in str(raised.value)


def sentencepiece(style: str, own_decoder: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer that falls back to bytes and takes all it reads for the start of a sentence, as Llama 2's does."""
    pieces = ["<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    letters = [chr(code) for code in range(33, 127)]
    pieces += [*letters, *(f"▁{letter}" for letter in letters)]
    merges = [("▁", letter) for letter in letters]
    made = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(pieces)},
            merges=merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    if style == "normalizer":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=style, split=False)
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    if own_decoder:
        made.decoder = decoders.Metaspace(prepend_scheme=style)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize(
    ("style", "own_decoder"),
    [("normalizer", False), ("always", False), ("first", False), ("always", True), ("first", True), ("never", True)],
)
def test_a_sentencepiece_tokenizer_types_no_space_that_nobody_asked_for(
    model_folder: ModelFolder, tmp_path: Path, style: str, own_decoder: bool
) -> None:
    folder = Path(shutil.copytree(model_folder("llama"), tmp_path / "model"))
    tokenizer = sentencepiece(style, own_decoder)
    tokenizer.save_pretrained(folder)
    LlamaForCausalLM(LlamaConfig.from_pretrained(folder, vocab_size=len(tokenizer))).save_pretrained(folder)
    made = policy.load(make_configuration(), folder)
    prompt = prompts.build(PAGE, "Choose yes")
    for text in ("Ada", "A b .", "é"):
        imitated = made.imitate(prompt, Action("fill", "13", text))
        assert read_action(imitated.text, prompt, "label") == Action("fill", "13", text)
    whole = made.prompt_ids("say")
    assert "".join(made.tokenizer.convert_ids_to_tokens(whole)).lstrip("▁").startswith("You▁operate")
    assert whole[0] == made.tokenizer.convert_tokens_to_ids("Y" if style == "never" else "▁Y")  # it does begin a text


def test_a_tokenizer_that_changes_text_is_refused() -> None:
    lower = sentencepiece("normalizer")
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(ConfigurationError, match="does not keep text as it is: 'click button") as raised:
        tokenization.read_as_it_stands(lower)
    assert "\n" not in str(raised.value)


def test_a_byte_level_tokenizer_is_left_alone(model_folder: ModelFolder) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_folder("llama"))
    before = tokenizer._tokenizer
    tokenization.read_as_it_stands(tokenizer)
    assert tokenizer._tokenizer is before
