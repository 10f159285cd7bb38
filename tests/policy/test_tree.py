"""What sequences begin with alike is read once, and each goes on as alone."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import torch

from browser_control.errors import ConfigurationError
from browser_control.language import prompts
from browser_control.policy import self_check, tree
from browser_control.policy.decoding import DynamicReader
from browser_control.policy.policy import Policy, trainable
from browser_control.policy.sampling import Request
from browser_control.policy.tree_reader import TreeReader

MakePolicy = Callable[..., Policy]
PAGE = 'button "yes" [11]\nbutton "no" [12]\ntextbox [13]\n"a few words to read"'


@contextmanager
def counting(policy: Policy) -> Iterator[list[int]]:
    """How many tokens each call of the model reads, padding counted."""
    read: list[int] = []
    hook = policy._causal.decoder.register_forward_pre_hook(
        lambda module, inputs, named: read.append(named["input_ids"].numel()), with_kwargs=True
    )
    yield read
    hook.remove()


def sequences(seed: int, count: int, longest: int) -> list[tuple[int, ...]]:
    """That begin alike for as long as their dice fall alike."""
    dice = random.Random(seed)
    return [tuple(dice.choice((7, 7, 7, 7, 7, 7, 8)) for _ in range(dice.randint(1, longest))) for _ in range(count)]


@pytest.mark.parametrize(("count", "longest", "row"), [(1, 3, 512), (30, 60, 512), (5, 700, 512), (40, 90, 10**6)])
def test_a_token_sees_the_nodes_above_it_and_no_other(count: int, longest: int, row: int) -> None:
    every, nodes = sequences(count, count, longest), tree.Tree()
    branches = [nodes.add(sequence) for sequence in every]
    assert len(nodes) == len({sequence[:end] for sequence in every for end in range(1, len(sequence) + 1)})
    above = {
        int(node): set(branch.path[: depth + 1].tolist())
        for branch in branches
        for depth, node in enumerate(branch.path)
    }
    first = 0
    for parts in tree.rows(branches, row):
        assert parts[0].begin == 0 and parts[-1].end <= row
        assert all(one.end == other.begin for one, other in pairwise(parts))
        for part in parts:
            for number, mask in enumerate(part.mask, start=first + part.begin):
                assert set(part.seen[mask == 0].tolist()) == above[number]
        first += parts[-1].end
    assert first == len(nodes)
    for sequence, branch in zip(every, branches, strict=True):
        assert [nodes.tokens[node] for node in branch.path] == list(sequence)
        assert [nodes.depths[node] for node in branch.path] == list(range(len(sequence)))


def test_what_goes_on_alike_is_one_branch() -> None:
    nodes = tree.Tree()
    trunk = nodes.add((1, 2))
    one, other = nodes.add((3, 4), trunk.path), nodes.add((3, 5), trunk.path)
    assert (one.new, other.new, len(nodes)) == (2, 1, 5)
    assert nodes.add((1, 2, 3, 4)).path.tolist() == one.path.tolist()


def test_each_sequence_goes_on_as_alone_and_nothing_is_read_twice(make_policy: MakePolicy) -> None:
    policy = make_policy()
    ids = policy.prompt_ids(prompts.build(PAGE, "Choose yes").text)
    asked = [ids, ids[:-3], ids[:-2] + ids[:7], ids, (ids[0], *range(10, 60)) * 12]
    reader, tokens = TreeReader(policy._causal), [[3, 9], [4], [5], [3, 9], [6]]
    with torch.inference_mode(), counting(policy) as read:
        found = [reader.start(asked, 8).clone(), reader.read(tokens).clone()]
        reader.keep([2, 0])
        found.append(reader.read([[7], [8]]))
        assert sum(read) == len({each[:end] for each in asked for end in range(1, len(each) + 1)}) + 5 + 2
        del read[:]
        torch.testing.assert_close(reader.start(asked[:2], 8), found[0][:2], atol=1e-6, rtol=1e-6)
        assert not read
        reader.forget()
        reader.start(asked[:1], 8)
        assert sum(read) == len(ids)
        for index, (sequence, more) in enumerate(zip(asked, tokens, strict=True)):
            alone = DynamicReader(policy._causal)
            torch.testing.assert_close(found[0][index], alone.start([sequence], 8)[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(found[1][index], alone.read([more])[0], atol=1e-5, rtol=1e-5)
            if index in (2, 0):
                last = found[2][[2, 0].index(index)]
                torch.testing.assert_close(last, alone.read([[7 if index == 2 else 8]])[0], atol=1e-5, rtol=1e-5)


def test_what_has_no_room_is_forgotten(make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy()
    monkeypatch.setattr("browser_control.policy.tree_reader._BYTES", 1)
    reader = TreeReader(policy._causal)
    with torch.inference_mode(), counting(policy) as read:
        first = reader.start([(5, 6, 7)], 2).clone()
        reader.start([(5, 6, 8, 9)], 2)
        assert torch.equal(reader.start([(5, 6, 7)], 2), first)
        assert sum(read) == 3 + 4 + 3


def test_what_was_not_read_to_its_end_is_read_anew(make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy()
    reader = TreeReader(policy._causal)
    with torch.inference_mode():
        expected = reader.start([(5, 6, 7, 8)], 2).clone()
        reader.forget()
        reader.start([(5, 6)], 2)
        assert reader._kept is not None
        monkeypatch.setattr(reader._kept, "read", lambda nodes, parts: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            reader.start([(5, 6, 7)], 2)
        torch.testing.assert_close(reader.start([(5, 6, 7, 8)], 2), expected, atol=1e-6, rtol=1e-6)


def test_what_is_known_needs_no_room(make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy()
    monkeypatch.setattr("browser_control.policy.tree_reader._BYTES", 1)
    reader = TreeReader(policy._causal)
    with torch.inference_mode(), counting(policy) as read:
        for _ in range(3):
            reader.start([tuple(range(5, 25))], 2)
        assert sum(read) == 20


def test_other_weights_read_anew(make_policy: MakePolicy) -> None:
    policy = make_policy()
    prompt = Request(prompts.build(PAGE, "Choose yes"))
    with counting(policy) as read:
        before = policy.act([prompt])[0]
        begun = len(read)
        assert policy.act([prompt])[0].log_probs == before.log_probs
        assert len(read) == begun
        with torch.no_grad():
            for weight in trainable(policy.model):
                weight += 0.05
        after = policy.act([prompt])[0]
        assert len(read) > begun
    policy.forget()
    assert policy.act([prompt])[0].log_probs == after.log_probs != before.log_probs


def test_a_tree_has_the_gradient_of_rows(make_policy: MakePolicy) -> None:
    policy = make_policy()
    asked = [prompts.build(PAGE, f"Choose {word}") for word in ("yes", "yes now", "no")]
    completions = policy.act([Request(asked[index % 3], np.random.default_rng(index)) for index in range(9)])
    completions = [each for each in completions if each.decisions]
    found = []
    for branches in (True, False):
        policy.branches = branches
        policy.model.zero_grad()
        values = policy.log_probs(completions)
        (values * torch.arange(1, len(values) + 1)).sum().backward()  # type: ignore[no-untyped-call]
        found.append([values.detach(), *(each.grad for each in trainable(policy.model))])
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)
    assert max(each.abs().max().item() for each in found[0][1:] if each is not None) > 1e-3


def test_a_model_that_knows_no_trees_is_read_plainly(make_policy: MakePolicy) -> None:
    policy = make_policy("lfm2")  # its convolutions see their neighbours in the row
    assert not policy.branches
    self_check.check(policy)
    policy.branches, policy.sampler.reader = True, TreeReader(policy._causal)
    with pytest.raises(ConfigurationError, match="not supported"):
        self_check.check(policy)
    assert policy.read_plainly()
    self_check.check(policy)
