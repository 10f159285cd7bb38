"""Run by a test in a process of its own, for Playwright wants one: the agent in BrowserGym's own loop.

`python tests/use/browsergym_loop.py loop ARCHIVE FOLDER` runs an experiment; `... pages` compares what the agent reads
with what our own service lists. Both print JSON.
"""

import json
import os
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "environment"))

WEB_TASKS = (
    "click-option", "enter-text", "login-user", "email-inbox", "click-tab-2", "click-collapsible", "read-table",
    "social-media", "choose-list", "enter-date",
)  # fmt: skip


def loop(archive: str, folder: str) -> None:
    from browser_control.environment import stock
    from browser_control.environment.chromium import find_chromium

    with stock.pages() as url, stock.playwright_browsers(find_chromium()) as browsers:
        os.environ |= {"MINIWOB_URL": url, "PLAYWRIGHT_BROWSERS_PATH": str(browsers)}
        import browsergym.experiments.loop as experiments
        import browsergym.miniwob  # noqa: F401  # registers its web tasks

        from browser_control.use.agent import AdapterArgs

        experiments.count_tokens = experiments.count_messages_token = len  # these would download an encoding
        arguments = experiments.EnvArgs("miniwob.click-test", task_seed=1, max_steps=3)
        experiment = experiments.ExpArgs(AdapterArgs(adapter=archive), arguments)
        experiment.prepare(folder)
        experiment.run()
        result = experiments.get_exp_result(experiment.exp_dir)
        steps = [result.get_step_info(number) for number in range(result.summary_info["n_steps"])]
        print(
            json.dumps(
                {
                    "error": result.summary_info["err_msg"],
                    "reward": result.summary_info["cum_reward"],
                    "steps": [
                        {"page": step.obs["page"], "action": step.action, "think": step.agent_info["think"]}
                        for step in steps
                    ],
                }
            )
        )


def pages(*web_tasks: str) -> None:
    from plain_browsergym import PlainBrowserGym, served_pages

    from browser_control.environment.chromium import find_chromium
    from browser_control.environment.client import Environments
    from browser_control.language import snapshot
    from browser_control.language.page import format_page
    from browser_control.use.playing import service

    found = {}
    with served_pages() as url, service(4) as ours, Environments([ours], 1, 4) as environments:
        gym = PlainBrowserGym(find_chromium(), url)
        for web_task in web_tasks or WEB_TASKS:
            gym.reset(web_task, 1)
            observed = gym.observation
            listed = format_page(snapshot.items(observed["dom_object"], observed["focused_element_bid"]))
            found[web_task] = {"agent": listed, "service": environments.reset(0, web_task, 1).result().text}
        gym.close()
    print(json.dumps(found))


if __name__ == "__main__":
    {"loop": loop, "pages": pages}[sys.argv[1]](*sys.argv[2:])
