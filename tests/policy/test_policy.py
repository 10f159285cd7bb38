"""The policy that is trained is the policy that acted."""

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft.tuners.lora import Linear
from tiny import PAGE, make_configuration
from transformers import Lfm2Config, Lfm2ForCausalLM

from browser_control import configuration, gpus
from browser_control.errors import ConfigurationError
from browser_control.language import prompts
from browser_control.language.actions import Action
from browser_control.policy import decoding, packing, self_check, training_rows
from browser_control.policy.adapter import FusedLinear, adapt
from browser_control.policy.decoding import DynamicReader, StaticReader
from browser_control.policy.policy import Policy, load, trainable
from browser_control.policy.sampling import Completion, Request
from browser_control.training.rollout import read_action

MakePolicy = Callable[..., Policy]
BOTH = pytest.mark.parametrize("architecture", ["llama", "lfm2"])
EVERY = pytest.mark.parametrize("architecture", ["llama", "lfm2", "mistral"])  # full, convolutions, a window
PAGES = (PAGE, 'button "a much longer label than others have" [7]\nbutton "b" [8]', 'radio "x" [1]\nradio "y" [2]')


def sampled(policy: Policy, count: int = 12) -> list[Completion]:
    """Completions on pages of different lengths."""
    return policy.act(
        [Request(prompts.build(PAGES[index % 3], "Choose yes"), np.random.default_rng(index)) for index in range(count)]
    )


@EVERY
@pytest.mark.parametrize("decoding", ["constrained", "free"])
def test_the_trainer_finds_the_log_probabilities_of_the_sampler(
    make_policy: MakePolicy, architecture: str, decoding: str
) -> None:
    policy = make_policy(architecture, policy={"decoding": decoding})
    completions = sampled(policy)
    recomputed = policy.log_probs(completions)
    expected = torch.tensor([value for each in completions for value in each.log_probs])
    assert expected.min() < -0.01
    torch.testing.assert_close(recomputed, expected, atol=2e-5, rtol=0)


@EVERY
def test_log_probabilities_do_not_depend_on_the_batch(make_policy: MakePolicy, architecture: str) -> None:
    policy = make_policy(architecture)
    completions = sampled(policy)
    together = policy.log_probs(completions)
    alone = torch.cat([policy.log_probs([completion]) for completion in completions])
    reversed_pairs = torch.cat([policy.log_probs(completions[i : i + 2][::-1]) for i in range(0, 12, 2)])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)
    assert torch.allclose(reversed_pairs.sort().values, alone.sort().values, atol=2e-5)


def test_completions_of_one_prompt_share_its_reading(make_policy: MakePolicy) -> None:
    policy = make_policy("llama")
    completions = sampled(policy, 24)
    packed = packing.pack(completions, share=True)
    apart = packing.pack(completions, share=False)
    assert (packed.ids.shape[0], apart.ids.shape[0]) == (3, 24)
    assert 2 * packed.ids.numel() < apart.ids.numel()
    shared = policy.log_probs(completions)
    policy._causal.config.layer_types = ["conv"]  # as a model that cannot share
    assert not policy.shares_prompts
    torch.testing.assert_close(shared, policy.log_probs(completions), atol=2e-5, rtol=0)


def test_completions_of_their_own_prompts_are_read_in_one_row(
    make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU reads them, but for the recording: the same log-probabilities and gradients, in the same order."""
    policy = make_policy("llama")
    completions = [
        *sampled(policy, 3),
        *policy.act([Request(prompts.build(PAGE, f"Choose {name}")) for name in "abcd"]),
    ]
    completions.insert(2, completions[0])  # shares its prompt
    weights = torch.linspace(-1, 2, sum(len(each.decisions) for each in completions))

    def found() -> tuple[torch.Tensor, list[torch.Tensor]]:
        values = policy.log_probs(completions)
        return values, list(torch.autograd.grad(values, trainable(policy.model), weights))

    apart = found()
    policy._rows = policy._training_rows(graphs=False)
    assert policy._rows is not None
    for first, second in zip(apart, found(), strict=True):
        torch.testing.assert_close(first, second, atol=2e-5, rtol=1e-4)
    assert len(policy.rows(completions)) == len(completions)  # little would be saved
    monkeypatch.setattr(training_rows, "WORTH_SHARING", 1)
    for first, second in zip(apart, found(), strict=True):
        torch.testing.assert_close(first, second, atol=2e-5, rtol=1e-4)
    assert len(policy.rows(completions)) < len(completions)
    for share in (True, False):
        torch.testing.assert_close(policy.log_probs(completions, share), apart[0], atol=2e-5, rtol=1e-4)


def test_a_long_completion_has_a_row_of_its_own_length(make_policy: MakePolicy) -> None:
    policy = make_policy("llama")
    completions = policy.act([Request(prompts.build(PAGE, "go " * 700)), Request(prompts.build(PAGE, "stop"))])
    apart = policy.log_probs(completions)
    policy._rows = policy._training_rows(graphs=False)
    torch.testing.assert_close(policy.log_probs(completions), apart, atol=2e-5, rtol=0)


def test_a_row_lays_completions_behind_their_prompt() -> None:
    first = Completion((1, 2), (7, 8, 9), (0, 2), (None, None), (0.0, 0.0), "")
    other = Completion((3,), (7,), (0,), (None,), (0.0,), "")
    second = Completion((1, 2), (5, 6), (1,), (None,), (0.0,), "")
    packed = packing.pack([first, other, second], share=True)
    assert packed.ids.tolist() == [[1, 2, 7, 8, 5], [3, 0, 0, 0, 0]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 2], [0, 0, 0, 0, 0]]
    assert packed.where.T.tolist() == [[0, 1], [0, 3], [1, 0], [0, 4]]
    assert packed.attention[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


@EVERY
def test_what_is_sampled_does_not_depend_on_the_batch(make_policy: MakePolicy, architecture: str) -> None:
    policy = make_policy(architecture)
    together = sampled(policy, 6)
    alone = [
        policy.act([Request(prompts.build(PAGES[index % 3], "Choose yes"), np.random.default_rng(index))])[0]
        for index in range(6)
    ]
    assert [each.token_ids for each in together] == [each.token_ids for each in alone]


@BOTH
@pytest.mark.parametrize("apart", [True, False], ids=["prompts apart", "prompts together"])
def test_a_cache_of_fixed_size_samples_the_same(
    make_policy: MakePolicy, architecture: str, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy(architecture)
    if apart:
        monkeypatch.setattr(decoding, "_WORTH_A_CALL", 1)  # side by side
        monkeypatch.setattr(decoding, "_SEQUENCES", 2)  # one after another
    monkeypatch.setattr(decoding, "_SHAPES", 1)
    expected = sampled(policy)
    policy.sampler.reader = StaticReader(policy._causal, graphs=False)  # what a GPU uses, there with graphs
    for _ in range(2):  # what one batch left in the cache must not matter to the next
        found = sampled(policy)
        assert [each.token_ids for each in found] == [each.token_ids for each in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.log_probs == pytest.approx(other.log_probs, abs=2e-5)
        sampled(policy, 40)  # another shape, which takes the place of the first


def test_with_bfloat16_the_head_is_exact_and_training_goes_through_what_sampling_made(make_policy: MakePolicy) -> None:
    policy = make_policy(model={"name": "unused", "device": "cpu", "dtype": "bfloat16"})
    completions = sampled(policy)
    hidden = torch.randn(3, 1, policy.model.config.hidden_size).bfloat16()
    weight = policy.model.get_output_embeddings().weight.double()
    torch.testing.assert_close(policy._causal.head(hidden).double(), hidden.double() @ weight.T, atol=1e-5, rtol=1e-5)
    policy.log_probs(completions).sum().backward()
    assert all(parameter.grad is not None for parameter in trainable(policy.model))


def test_the_adapter_computes_what_peft_computes(make_policy: MakePolicy) -> None:
    policy = make_policy("llama")
    [layer, *_] = [module for module in policy.model.modules() if isinstance(module, FusedLinear)]
    x = torch.randn(2, 3, layer.in_features, requires_grad=True)
    torch.testing.assert_close(layer(x), Linear.forward(layer, x))
    found, expected = (
        torch.autograd.grad(forward(x).sin().sum(), [x, layer.lora_A["default"].weight, layer.lora_B["default"].weight])
        for forward in (layer, lambda x: Linear.forward(layer, x))
    )
    torch.testing.assert_close(found, expected)


def test_adapters_of_layers_that_read_the_same_input_have_the_gradients_of_peft(make_policy: MakePolicy) -> None:
    policy = make_policy("llama", lora={"targets": ["q_proj", "k_proj", "v_proj"]})
    layers = [module for module in policy.model.modules() if isinstance(module, FusedLinear)]
    siblings = [layer for layer in layers if layer.siblings is layers[0].siblings]
    assert len(siblings) == 3 and layers[0].siblings is not None
    for layer in siblings:  # B begins as zero, which would hide A's gradient
        torch.nn.init.normal_(layer.lora_B["default"].weight)
    x = torch.randn(2, 3, siblings[0].in_features, requires_grad=True)
    leaves = [x, *(weight for layer in siblings for weight in layer.weights())]
    found, expected = (
        torch.autograd.grad(sum(forward(layer, x).sin().sum() for layer in siblings), leaves)
        for forward in (lambda layer, x: layer(x), Linear.forward)
    )
    torch.testing.assert_close(found, expected)


def test_what_an_adapted_layer_made_may_be_changed_in_place(make_policy: MakePolicy) -> None:
    policy = make_policy("llama", lora={"targets": ["q_proj", "k_proj", "v_proj"]})
    [first, *_] = [module for module in policy.model.modules() if isinstance(module, FusedLinear)]
    x = torch.randn(2, 3, first.in_features, requires_grad=True)
    first(x).clamp_(-0.5, 0.5).sum().backward()  # as OLMo's clip_qkv does
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_half_the_precision_gives_about_the_same_gradients_of_adapters(make_policy: MakePolicy) -> None:
    policy = make_policy("llama", lora={"targets": ["q_proj", "k_proj", "v_proj"]})
    layers = [module for module in policy.model.modules() if isinstance(module, FusedLinear)][:3]
    for layer in layers:
        torch.nn.init.normal_(layer.lora_B["default"].weight)
    x = torch.randn(2, 64, layers[0].in_features)  # no gradient is asked of it, as of the first layer's input
    leaves = [weight for layer in layers for weight in layer.weights()]
    exact = torch.autograd.grad(sum(layer(x).sin().sum() for layer in layers), leaves)
    for layer in layers:
        layer.get_base_layer().bfloat16()
    rough = torch.autograd.grad(sum(layer(x.bfloat16()).float().sin().sum() for layer in layers), leaves)
    for one, other in zip(exact, rough, strict=True):
        assert other.dtype == torch.float32
        assert (one - other).norm() < 0.05 * one.norm()


def test_what_a_page_says_is_no_control_token_of_the_prompt(make_policy: MakePolicy) -> None:
    policy = make_policy()
    control = policy.tokenizer.convert_tokens_to_ids("<|end|>")
    plain, hostile = (
        prompts.build(f'"{word}"\nbutton "{word}" [14]', f"Click {word}", prompts.Memory()) for word in ("x", "<|end|>")
    )
    usual, seen = (policy.act([Request(prompt)])[0].prompt_ids for prompt in (plain, hostile))
    assert list(seen).count(control) == list(usual).count(control)
    assert policy.tokenizer.encode("<|end|>", add_special_tokens=False) == [control]  # what it would be, unguarded


@BOTH
def test_what_prompts_begin_with_alike_is_read_once_and_they_go_on_as_alone(
    make_policy: MakePolicy, architecture: str
) -> None:
    policy = make_policy(architecture)
    ids = policy.prompt_ids(prompts.build(PAGE, "Choose yes").text)
    sequences = [ids, ids[:-3], ids[:-2] + ids[:7], ids + ids[5:9]]
    read: list[int] = []
    counting = policy._causal.decoder.register_forward_pre_hook(
        lambda module, inputs, named: read.append(named["input_ids"].numel()), with_kwargs=True
    )
    with torch.no_grad():
        together = DynamicReader(policy._causal)
        first = together.start(sequences, 8)
        count = sum(read)
        second = together.read([[token] for token in (3, 4, 5, 6)])
        counting.remove()
        for index, (sequence, token) in enumerate(zip(sequences, (3, 4, 5, 6), strict=True)):
            alone = DynamicReader(policy._causal)
            torch.testing.assert_close(first[index], alone.start([sequence], 8)[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(second[index], alone.read([[token]])[0], atol=1e-5, rtol=1e-5)
    padded = max(map(len, sequences)) * len(sequences)
    assert (count < padded / 2) == policy._causal.reads_chunks


@BOTH
def test_greedy_takes_the_most_probable_tokens(make_policy: MakePolicy, architecture: str) -> None:
    policy = make_policy(architecture)
    prompt = prompts.build(PAGE, "Choose yes")
    [greedy] = policy.act([Request(prompt)])
    drawn = policy.act([Request(prompt, np.random.default_rng(index)) for index in range(40)])
    first = [each.log_probs[0] for each in drawn]
    assert greedy.log_probs[0] == pytest.approx(max(first), abs=1e-5)


@pytest.mark.parametrize("action_format", ["label", "bid"])
def test_every_constrained_completion_is_an_action_of_the_page(make_policy: MakePolicy, action_format: str) -> None:
    policy = make_policy(policy={"action_format": action_format, "actions": ["click", "fill", "press", "scroll"]})
    prompt = prompts.build(PAGE, "Choose yes", action_format=action_format)
    completions = policy.act([Request(prompt, np.random.default_rng(seed)) for seed in range(60)])
    verbs = {read_action(each.text, prompt, action_format).verb for each in completions}
    assert {"click", "fill"} <= verbs


def test_sampling_follows_the_probabilities(make_policy: MakePolicy) -> None:
    policy = make_policy(policy={"actions": ["click"]})
    prompt = prompts.build(PAGE, "Choose yes")
    completions = policy.act([Request(prompt, np.random.default_rng(seed)) for seed in range(2000)])
    texts = [each.text for each in completions]
    for completion in {each.text: each for each in completions}.values():
        expected = float(np.exp(sum(completion.log_probs)))
        assert texts.count(completion.text) / 2000 == pytest.approx(expected, abs=0.04)


def test_forced_tokens_are_no_decisions(make_policy: MakePolicy) -> None:
    policy = make_policy(policy={"actions": ["click"]})
    [only] = policy.act([Request(prompts.build('button "ok" [3]', "go"))])
    assert only.text == 'click button "ok" [3]'
    assert only.decisions == ()


@pytest.mark.parametrize("action", [Action("click", "11"), Action("fill", "13", "no yes")])
def test_an_imitated_action_has_the_form_of_a_sampled_one(make_policy: MakePolicy, action: Action) -> None:
    policy = make_policy()
    prompt = prompts.build(PAGE, "Choose yes")
    imitated = policy.imitate(prompt, action)
    assert read_action(imitated.text, prompt, "label") == action
    assert imitated.decisions
    assert policy.log_probs([imitated]).shape == (len(imitated.decisions),)


def test_an_action_the_page_does_not_offer_cannot_be_imitated(make_policy: MakePolicy) -> None:
    policy = make_policy(policy={"actions": ["click"]})
    with pytest.raises(ValueError, match="not an action of this page"):
        policy.imitate(prompts.build(PAGE, "Choose yes"), Action("fill", "13", "yes"))
    with pytest.raises(ValueError, match="no element of the prompt"):  # the page was too long for it
        policy.imitate(prompts.build(PAGE, "Choose yes"), Action("click", "99"))


def test_a_target_that_matches_nothing_is_an_error(model_folder: Callable[..., object]) -> None:
    configuration = make_configuration("llama", lora={"targets": ["w1"]})
    with pytest.raises(ConfigurationError, match=r"no linear layer of this model is called 'w1'; there are down_proj"):
        load(configuration, model_folder("llama"))  # type: ignore[arg-type]


def test_all_linear_layers_of_lfm2_350m_are_adapted() -> None:
    shape = {"hidden_size": 1024, "num_hidden_layers": 16, "num_attention_heads": 16, "num_key_value_heads": 8}
    attention = [2, 5, 8, 10, 12, 14]
    published = Lfm2Config(
        vocab_size=65536, intermediate_size=6656, block_multiple_of=256, full_attn_idxs=attention, **shape
    )
    with torch.device("meta"):  # the architecture without its weights
        model = Lfm2ForCausalLM(published)
        assert sum(parameter.numel() for parameter in model.parameters()) == 354_483_968
        settings = configuration.load("lfm2_350m_local_lora.yaml")
        assert settings.lora is not None
        adapted = adapt(model, settings.lora)
    linear = [name for name, module in adapted.named_modules() if isinstance(module, torch.nn.Linear)]
    assert [name for name in linear if "lora_" not in name and "base_layer" not in name] == ["base_model.model.lm_head"]
    assert sum(parameter.numel() for parameter in trainable(adapted)) == 23_986_176


def test_auto_never_passes_over_a_gpu_that_pytorch_does_not_find(
    model_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_configuration(model={"name": "unused", "device": "auto"})
    monkeypatch.setattr(gpus, "present", lambda devices=None: ("0",))  # as the driver would show it
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(ConfigurationError, match=r"has a GPU \(0\), but PyTorch .* finds none") as raised:
        load(settings, model_folder("llama"))
    assert "\n" not in str(raised.value)
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert load(settings, model_folder("llama")).device.type == "cpu"


def test_the_check_at_load_consumes_no_random_state_and_counts_nothing(make_policy: MakePolicy) -> None:
    policy = make_policy("llama")
    states = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()
    self_check.check(policy)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (repr(np.random.get_state()), random.getstate())
    assert policy.sampler.generated_tokens == policy.sampler.prefilled_tokens == 0
    assert set(policy.sampler.seconds.values()) == {0.0}


def test_a_policy_whose_trainer_reads_otherwise_than_its_model_is_refused(make_policy: MakePolicy) -> None:
    policy = make_policy("mistral")
    whole = copy.deepcopy(policy._causal.config)
    whole.sliding_window = None  # as a configuration that keeps quiet about the model's window
    policy._causal = replace(policy._causal, config=whole)
    with pytest.raises(
        ConfigurationError, match=r"of the trainer differ from those of the model alone by 0\."
    ) as raised:
        self_check.check(policy)
    assert "\n" not in str(raised.value)
