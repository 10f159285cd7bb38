"""Which frames of a window are on their way to another document, and which of them never leave.

A page that is about to be left is waited for (page_time.js). Where the server answers with 204 or a download, it stays,
and no event of the page's own tells it so; the browser does.
"""

from browser_control.environment.devtools import Message

_SAME = ("sameDocument", "historySameDocument")


class Departures:
    """Of one window.

    Which frame within the page is meant, the page is not told: they are all said to stay as soon as none is on its way.

    Args:
        main: the frame of the page itself, by the browser's name.
    """

    def __init__(self, main: str) -> None:
        self._main = main
        self._asked: set[str] = set()  # frames of which a navigation is asked for that has not begun
        self._begun: set[str] = set()
        self._owed = False  # whether frames within are to be told that they stay

    def heard(self, method: str, params: Message) -> str:
        """Takes an event of the browser's; what the page is to be told then, in JavaScript, or empty."""
        frame = params.get("frameId", "")
        told = ""
        match method:
            case "Page.frameRequestedNavigation" if params["disposition"] == "currentTab":
                self._asked.add(frame)
            case "Page.frameStartedNavigating" if params["navigationType"] not in _SAME:
                self._asked.discard(frame)
                self._begun.add(frame)
            case "Page.frameStoppedLoading" if frame in self._begun - self._asked:  # asked: another took its place
                self._begun.discard(frame)
                self._owed = True  # frames within were about to be left with the page
                told = "globalThis.browserControl?.stays?.();" if frame == self._main else ""
            case "Page.frameNavigated" | "Page.frameDetached":
                gone = params["frame"]["id"] if method == "Page.frameNavigated" else frame
                self._asked.discard(gone)
                self._begun.discard(gone)
        if self._owed and not (self._asked | self._begun) - {self._main}:
            self._owed = False
            told += "globalThis.browserControl?.framesStay?.()"
        return told
