"""OpenEnv's action, observation and state for BrowserGym, with the fields of its `browsergym_env`."""

from pydantic import Field

from browser_control.environment.openenv_core import Action, Observation, State


class BrowserGymAction(Action):  # type: ignore[misc]
    """One call of BrowserGym's action set."""

    action_str: str = Field(..., description="One action, such as click('14') or fill('21', 'Ada')")


class BrowserGymObservation(Observation):  # type: ignore[misc]
    """What the policy sees after a reset or a step."""

    text: str = Field(default="", description="The page as text, one line an item")
    url: str = Field(default="", description="URL of the page")
    screenshot: list[list[list[int]]] | None = Field(
        default=None, description="Unused: a screenshot, where asked for, is a PNG in metadata"
    )
    goal: str = Field(default="", description="What is to be done in this episode")
    axtree_txt: str = Field(default="", description="The page as BrowserGym spells its accessibility tree")
    pruned_html: str = Field(default="", description="The page as HTML, where the reset asked for pruned_html")
    error: str = Field(default="", description="Why the last action did nothing")
    last_action_error: bool = Field(default=False, description="Whether the last action failed")


class BrowserGymState(State):  # type: ignore[misc]
    """Where the episode stands."""

    benchmark: str = Field(default="miniwob", description="Benchmark name")
    task_name: str = Field(default="", description="Web task")
    task_id: str | None = Field(default=None, description="Unused for MiniWoB")
    goal: str = Field(default="", description="What is to be done in this episode")
    current_url: str = Field(default="", description="URL of the page")
    max_steps: int | None = Field(default=None, description="Steps after which an episode is truncated")
    cum_reward: float = Field(default=0.0, description="Sum of the rewards of this episode")
    start_seconds: float = Field(default=0.0, description="That a web task's own server may take at the first reset")
