"""OpenEnv's own clients work against the service, unchanged.

BrowserGymEnv is loaded from a clone of OpenEnv where OPENENV_CLONE names one; the generic client is in its package.
"""

import asyncio
import importlib
import os
import re
import sys
import warnings
from typing import Any

import pytest
from service_process import Service

CLONE = os.environ.get("OPENENV_CLONE")


def openenv_module(name: str) -> Any:
    import browser_control.environment.openenv_core  # noqa: F401  # OpenEnv without gradio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def test_the_generic_client_plays_an_episode(service: Service) -> None:
    client_class = openenv_module("openenv.core.generic_client").GenericEnvClient

    async def play() -> None:
        async with client_class(base_url=service.url) as client:
            result = await client.reset(seed=1, task_name="browsergym/miniwob.click-test")
            assert result.observation["goal"] == "Click the button."
            assert (result.observation["axtree_txt"], result.observation["pruned_html"]) == (
                "[13] button 'Click Me!'",
                "",
            )
            result = await client.step({"action_str": "click('13')"})
            assert (result.reward, result.done) == (1.0, True)

    asyncio.run(play())


def test_a_session_may_ask_for_html_and_for_browsergyms_loose_reading(service: Service) -> None:
    client_class = openenv_module("openenv.core.generic_client").GenericEnvClient
    words = "First the name, then the button.\n```\nfill('{}', {!r})\nfill('{}', {!r})\nclick('{}')\n```"

    async def play() -> None:
        async with client_class(base_url=service.url) as client:
            result = await client.reset(seed=1, task_name="login-user", pruned_html=True, loose=True)
            html, goal = result.observation["pruned_html"], result.observation["goal"]
            assert '<button bid="' in html and "<script" not in html
            bids = re.findall(r"\[(\d+)\] (?:textbox|button)", result.observation["axtree_txt"])
            name, password = re.findall(r'"([^"]+)"', goal)
            said = words.format(bids[0], name, bids[1], password, bids[2])
            result = await client.step({"action_str": said})
            assert (result.reward, result.done, result.observation["error"]) == (1.0, True, "")
            await client.reset(seed=1, task_name="login-user")
            result = await client.step({"action_str": said})
            assert result.observation["error"] == "an action is exactly one call, such as click('12')"

    asyncio.run(play())


if CLONE:  # not on the package index: collected only where somebody has a clone

    def test_the_browsergym_client_plays_an_episode(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "path", [f"{CLONE}/envs", *sys.path])
        module = openenv_module("browsergym_env")

        async def play() -> None:
            async with module.BrowserGymEnv(base_url=service.url) as client:
                result = await client.reset(seed=1, task_name="click-test")
                assert result.observation.text == 'button "Click Me!" [13]'
                result = await client.step(module.BrowserGymAction(action_str="click('99')"))
                assert result.observation.last_action_error
                assert "no element has the bid" in result.observation.error
                result = await client.step(module.BrowserGymAction(action_str="click('13')"))
                assert (result.reward, result.done) == (1.0, True)
                state = await client.state()
                assert (state.task_name, state.step_count) == ("click-test", 2)

        asyncio.run(play())
