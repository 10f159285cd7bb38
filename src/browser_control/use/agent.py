"""An adapter as an agent of BrowserGym's loops, whose protocol AgentLab's share (`browsergym.experiments.agent.Agent`).

    from browsergym.experiments.loop import EnvArgs, ExpArgs
    from browser_control.use.agent import AdapterArgs

    experiment = ExpArgs(AdapterArgs(adapter="archives/RUN"), EnvArgs("miniwob.click-test", max_steps=10))
    experiment.prepare("results")
    experiment.run()

It reads the page out of BrowserGym's own observation (`language.snapshot`) and says only what the page offers. Verbs
that BrowserGym's action set has no call for, such as `click-at`, are left out.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from browser_control.language import prompts, snapshot
from browser_control.language.actions import VERBS, InvalidAction
from browser_control.language.page import format_page
from browser_control.use.benchmark import DEFAULT_CONFIG

if TYPE_CHECKING:
    from browsergym.core.action.highlevel import HighLevelActionSet

    from browser_control.policy.policy import Policy

# A study makes an agent for each of its episodes, of a few adapters in turn: what each was asked by, with its stamp.
_KEPT = 4
_LOADED: "OrderedDict[tuple[str, str, str, str], tuple[str, Policy]]" = OrderedDict()
_SUBSETS = ("bid", "coord")  # of BrowserGym's action set


@dataclass
class AdapterArgs:
    """What an agent is made of; can be pickled, as BrowserGym's `AgentArgs`.

    Attributes:
        adapter: an archive, the folder of a checkpoint or of a run, `promoted` or `base`.
        config: configuration that says which `promoted` and `base` are meant.
        models: where promotion is kept.
        base: another place of the base model; empty: where it was in training.
    """

    adapter: str = "promoted"
    config: str = DEFAULT_CONFIG
    models: str = "models"
    base: str = ""
    agent_name: str = "browser-control"

    def make_agent(self) -> "AdapterAgent":
        """Loads the adapter, once in a process as long as it is the same; raises UserError where it is not there.

        Of a run that goes on, or of `promoted`, the next episode may so have another; an archive stays what it is.
        """
        from browser_control.use.adapter import stamp

        asked = (self.adapter, self.config, self.models, self.base)
        now = stamp(*asked)
        loaded = _LOADED.pop(asked, None)
        if loaded is None or loaded[0] != now:
            loaded = None  # what is superseded goes before what replaces it comes
            loaded = (now, _policy(*asked))
        _LOADED[asked] = loaded
        if len(_LOADED) > _KEPT:
            _LOADED.popitem(last=False)
        return AdapterAgent(loaded[1])

    # What the loops call beside; nothing is to be done.

    def prepare(self) -> None: ...

    def close(self) -> None: ...

    def set_benchmark(self, benchmark: Any, demo_mode: Any) -> None: ...

    def set_reproducibility_mode(self) -> None: ...


def _policy(adapter: str, config: str, models: str, base: str) -> "Policy":
    """The adapter's policy, offering what BrowserGym's action set has a call for."""
    from browser_control.use.adapter import find, load

    found = find(adapter, config, models, base)
    policy = found.settings.policy
    offered = tuple(verb for verb in policy.actions if VERBS[verb].function in action_set().action_set)
    settings = found.settings.model_copy(update={"policy": policy.model_copy(update={"actions": offered})})
    return load(replace(found, settings=settings), device="auto")


class AdapterAgent:
    """One agent; an episode begins where BrowserGym names no last action."""

    def __init__(self, policy: "Policy") -> None:
        self.policy = policy
        self.action_set = action_set()
        self._memory = prompts.Memory()

    def obs_preprocessor(self, obs: dict[str, Any]) -> dict[str, Any]:
        """The observation with the page as text in place of snapshot and tree."""
        kept = {name: value for name, value in obs.items() if name not in ("dom_object", "axtree_object")}
        return {**kept, "page": format_page(snapshot.items(obs["dom_object"], obs["focused_element_bid"]))}

    def get_action(self, obs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The action, and what AgentLab shows of it.

        Args:
            obs: as `obs_preprocessor` returns it.
        """
        from browser_control.environment.client import Observation
        from browser_control.policy.sampling import Request
        from browser_control.training.rollout import build_prompt, read_action

        if not obs["last_action"]:
            self._memory = prompts.Memory()
        error = obs["last_action_error"]
        observation = Observation(obs["goal"], obs["page"], error, 0.0, False, False, 0.0)
        prompt = build_prompt(self.policy, observation, self._memory, error)
        said = self.policy.act([Request(prompt)])[0].text
        action_format = self.policy.settings.action_format
        try:
            action = read_action(said, prompt, action_format)
        except InvalidAction:
            self._memory.fail(said[:80])
            call = "noop()"
        else:
            self._memory.act(action, prompt.elements, action_format)
            call = action.to_browsergym()
        return call, {"think": said, "chat_messages": [prompt.text, said], "stats": {}, "extra_info": {"said": said}}


def action_set() -> "HighLevelActionSet":
    """BrowserGym's calls that the policy's actions become."""
    from browsergym.core.action.highlevel import HighLevelActionSet

    return HighLevelActionSet(subsets=list(_SUBSETS), multiaction=False, strict=True)
