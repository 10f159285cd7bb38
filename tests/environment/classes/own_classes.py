"""A package with classes of BrowserGym's, as somebody else would write it."""

import os
from pathlib import Path
from types import SimpleNamespace

from browsergym.core.registration import register_task
from browsergym.core.task import AbstractBrowserTask
from playwright.sync_api import Error

print("a package may print what it wants")


class Notes(AbstractBrowserTask):
    """Fill in a note; what the page of an episode before left is shown."""

    def __init__(self, seed, words=("lorem",), litter=""):
        super().__init__(seed)
        self.viewport, self.timeout = {"width": 500, "height": 300}, 2000
        self.word, self.litter = self.random.choice(words), litter

    def setup(self, page):
        page.goto(f"{os.environ['MINIWOB_URL']}click-test.html")
        found = "typeof left + [localStorage.note, document.cookie, window.name, history.length, innerWidth].join()"
        found = page.evaluate(found)
        page.evaluate(
            """found => { document.body.innerHTML = `<p>${found}</p><label>Note <input id=note></label>
            <a href=about:blank target=_blank>window</a>`; }""",
            found,
        )
        if self.litter == "page":
            page.evaluate("localStorage.note = document.cookie = window.name = 'left'; history.pushState(1, '', '?1')")
        elif self.litter == "context":
            page.context.add_init_script("window.left = 1")
        page.evaluate("window.mine = 1")
        return [{"type": "text", "text": "Write"}, {"type": "text", "text": self.word}], {}

    def validate(self, page, chat_messages):
        said = [each["message"] for each in chat_messages if each["role"] in ("assistant", "infeasible")]
        if "raise" in said:
            raise RuntimeError("no judgement\nof this")
        if "die" in said:
            os._exit(3)
        written = page.evaluate("document.getElementById('note')?.value")
        return float(written == self.word) / 2 + ("pay" in said) / 2, written == self.word, "and now?", {}

    def teardown(self):
        with Path(os.environ["TORN_DOWN"]).open("a") as file:
            file.write(f"{self.word}\n")


class Network(Notes):
    """A network of the machine comes while its first page is loaded."""

    tried = False

    def setup(self, page):
        if not Network.tried:
            Network.tried = True
            raise Error("Page.goto: net::ERR_NETWORK_CHANGED at http://miniwob/miniwob/click-test.html")
        return super().setup(page)


class Half(Notes):
    """A network of the machine comes while a script of its first page is loaded, which the class then misses."""

    tried = False

    def setup(self, page):
        if Half.tried:
            return super().setup(page)
        Half.tried = True
        page._impl_obj.emit("requestfailed", SimpleNamespace(failure="net::ERR_NETWORK_CHANGED"))
        return page.evaluate("core"), {}


class NoServer(Notes):
    def setup(self, page):
        assert os.environ.get("NOTES_URL"), "Environment variable NOTES_URL missing.\nPlease set it to the server's."


register_task("notes.plain", Notes, task_kwargs={"words": ("lorem", "ipsum")})
register_task("notes.page", Notes, task_kwargs={"litter": "page"})
register_task("notes.context", Notes, task_kwargs={"litter": "context"})
register_task("notes.window", Notes)
register_task("notes.network", Network)
register_task("notes.half", Half)
register_task("notes.no-server", NoServer)
