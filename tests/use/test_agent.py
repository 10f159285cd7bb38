"""An adapter as an agent of BrowserGym: in BrowserGym's own loop, on pages as BrowserGym observes them."""

import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from browser_control.environment.chromium import find_chromium
from browser_control.errors import BrowserNotFound, ModelUnavailable
from browser_control.policy.policy import Policy, trainable
from browser_control.use import adapter
from browser_control.use.agent import AdapterArgs

LOOP = Path(__file__).with_name("browsergym_loop.py")


def run(*arguments: str) -> Any:
    try:
        find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(LOOP), *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_an_adapter_acts_in_browsergyms_own_loop(trained: Callable[..., tuple[str, Policy]], tmp_path: Path) -> None:
    url, _ = trained(policy={"actions": ["click", "click-at", "fill"]})
    result = run("loop", url, str(tmp_path / "results"))
    assert result["error"] is None
    first = result["steps"][0]
    assert first["page"].splitlines()[-1].startswith('button "Click Me!"')
    for step in result["steps"]:
        assert step["think"].startswith("click button")  # which the page offers, and nothing else
        assert step["action"].startswith("click('")
    assert result["reward"] == 1.0  # there is one button


def test_an_adapter_is_loaded_once_for_all_episodes_of_a_study(trained: Callable[..., tuple[str, Policy]]) -> None:
    url, _ = trained(policy={"actions": ["click", "click-at", "fill"]})
    one, other = (AdapterArgs(adapter=url).make_agent() for _ in range(2))
    assert one is not other and one.policy is other.policy
    assert one.policy.settings.actions == ("click", "fill")  # BrowserGym has no call for the third


def test_what_a_study_sends_to_its_processes_holds_no_model(trained: Callable[..., tuple[str, Policy]]) -> None:
    url, _ = trained()
    arguments = AdapterArgs(adapter=url)
    agent = arguments.make_agent()
    sent = pickle.dumps(arguments)
    assert len(sent) < 1000 + len(url)
    assert pickle.loads(sent) == arguments
    assert pickle.loads(sent).make_agent().policy is agent.policy


def test_an_adapter_that_is_another_one_by_now_is_loaded_anew(
    trained: Callable[..., tuple[str, Policy]], tmp_path: Path
) -> None:
    url, _ = trained()
    run = str(tmp_path / "runs" / "tiny-run")  # the archive's, whose newest checkpoint counts

    def policies() -> list[Policy]:
        return [AdapterArgs(adapter=place).make_agent().policy for place in (url, run)]

    def weights(policy: Policy) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in trainable(policy.model)]

    before = policies()
    assert all(one is other for one, other in zip(before, policies(), strict=True))
    shutil.rmtree(url)
    shutil.rmtree(tmp_path / "base")
    _, other = trained(seed=2)
    after = policies()
    for old, new in zip(before, after, strict=True):
        assert new is not old
        assert all(torch.equal(*pair) for pair in zip(weights(new), weights(other), strict=True))
        assert not all(torch.equal(*pair) for pair in zip(weights(new), weights(old), strict=True))


def test_an_adapter_that_was_trained_in_bfloat16_computes_in_float32_on_a_cpu(
    trained: Callable[..., tuple[str, Policy]],
) -> None:
    found = adapter.find(trained()[0], "")
    half = found.settings.model.model_copy(update={"dtype": "bfloat16", "device": "cpu"})
    on_gpu = dataclasses.replace(found, settings=found.settings.model_copy(update={"model": half}))
    assert {each.dtype for each in adapter.load(on_gpu).model.parameters()} == {torch.float32}


def test_whoever_has_the_base_model_elsewhere_is_told_how_to_say_so(trained: Callable[..., tuple[str, Policy]]) -> None:
    found = adapter.find(trained()[0], "")
    moved = found.settings.model.model_copy(update={"name": f"{found.settings.model.name}.gguf"})
    elsewhere = dataclasses.replace(found, settings=found.settings.model_copy(update={"model": moved}))
    with pytest.raises(ModelUnavailable, match=r"there is no GGUF file .*: where it is on this machine, --base says"):
        adapter.load(elsewhere)


def test_pages_are_read_out_of_browsergyms_observation_as_our_service_lists_them() -> None:
    for web_task, listed in run("pages").items():
        assert listed["agent"] == listed["service"], web_task
