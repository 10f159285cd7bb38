"""How long is an observation? Our text and BrowserGym's, of the same pages, in bytes and in a small model's tokens.

    python benchmarks/observation.py --seeds 2 --output observation.json

All 125 web tasks, the page after the reset. BrowserGym's text is `flatten_axtree_to_str` of plain BrowserGym's own
observation: with its defaults, and with what it takes to list clickable elements without a role. The tokenizer is the
base model's (SmolLM2, which `browser_control.programs.fetch_model` puts on this machine).
"""

import argparse
import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from environment import quantiles, service
from tokenizers import Tokenizer
from websockets.sync.client import connect

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "environment"))

from plain_browsergym import PlainBrowserGym, Seen

from browser_control.environment.chromium import find_chromium
from browser_control.environment.page_server import PageServer, bundle_folder
from browser_control.language.page import parse_page
from browser_control.web_tasks.miniwob import WEB_TASKS

CONFIG = "smollm2_135m_local_lora.yaml"
Row = dict[str, Any]


class TextOfBrowserGym(PlainBrowserGym):
    """Keeps the texts that BrowserGym makes of its last observation."""

    def _seen(self, observation: dict[str, Any]) -> Seen:
        from browsergym.utils.obs import flatten_axtree_to_str

        tree, extra = observation["axtree_object"], observation["extra_element_properties"]
        self.default = flatten_axtree_to_str(tree)
        self.clickable = flatten_axtree_to_str(tree, extra_properties=extra, with_clickable=True, skip_generic=False)
        return super()._seen(observation)


@contextmanager
def miniwob() -> Iterator[str]:
    """MiniWoB's pages over HTTP, from a thread."""
    loop = asyncio.new_event_loop()
    server = PageServer(bundle_folder())
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/miniwob/"
    loop.call_soon_threadsafe(server.stop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def tokenizer() -> Tokenizer:
    """The base model's, which is fetched if it is not here."""
    command = [sys.executable, "-m", "browser_control.programs.fetch_model", "--config-file-name", CONFIG]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Tokenizer.from_file(str(Path(done.stdout.splitlines()[-1]) / "tokenizer.json"))


def measure(seeds: range) -> list[Row]:
    """One row a page: our message's bytes, and the tokens of each text."""
    tokens = tokenizer()

    def count(text: str) -> int:
        return len(tokens.encode(text, add_special_tokens=False).ids)

    rows = []
    with miniwob() as url, service("--sessions", "1") as (ours, _):
        gym = TextOfBrowserGym(find_chromium(), url)
        try:
            with connect(ours.replace("http", "ws") + "/ws", max_size=None) as session:
                for web_task in WEB_TASKS:
                    for seed in seeds:
                        session.send(json.dumps({"type": "reset", "data": {"seed": seed, "task_name": web_task}}))
                        message = str(session.recv())
                        text = json.loads(message)["data"]["observation"]["text"]
                        gym.reset(web_task, seed)
                        elements = parse_page(text).elements
                        rows.append(
                            {
                                "web_task": web_task,
                                "seed": seed,
                                "message_bytes": len(message.encode()),
                                "ours": count(text),
                                "default": count(gym.default),
                                "with_clickable": count(gym.clickable),
                                "elements": len(elements),
                                "not_in_default": sum(f"[{element.bid}]" not in gym.default for element in elements),
                            }
                        )
        finally:
            gym.close()
    return rows


def table(rows: list[Row]) -> str:
    lines = ["| | median | p95 | longest |", "|---|---|---|---|"]
    for key, name in (
        ("ours", "tokens, ours"),
        ("default", "tokens, BrowserGym's default"),
        ("with_clickable", "tokens, BrowserGym's with clickable elements"),
        ("message_bytes", "bytes of our whole message"),
    ):
        found = quantiles([row[key] for row in rows])
        lines.append(f"| {name} | {found['p50']:.0f} | {found['p95']:.0f} | {max(row[key] for row in rows)} |")
    hidden, listed = (sum(row[key] for row in rows) for key in ("not_in_default", "elements"))
    pages = sum(row["not_in_default"] > 0 for row in rows)
    return "\n".join(
        [*lines, f"{hidden} of {listed} elements, on {pages} of {len(rows)} pages, are not in the default"]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="of each web task")
    parser.add_argument("--output", type=Path, help="where the rows go as JSON")
    options = parser.parse_args()
    rows = measure(range(options.seeds))
    print(table(rows))
    if options.output:
        options.output.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
