"""Which frames of a window are on their way to another document, and which of them never leave.

A page that is about to be left is waited for (page_time.js). Where the server answers with 204 or a download, it stays,
and no event of the page's own tells it so; the browser does.
"""

from browser_control.environment.devtools import Message

_SAME = ("sameDocument", "historySameDocument")


class Departures:
    """Of one window.

    What the page is told arrives later than what it does: a frame may be told that it stays when it has just begun to
    leave again. Then it is told so too.

    Attributes:
        doubted: whether that happened since the window was last waited for; then it is waited for again.
        untold: frames that could not be told, since a dialog was open.
    """

    doubted = False

    def __init__(self) -> None:
        self.untold: set[str] = set()
        self._asked: set[str] = set()  # frames that asked for a navigation which has not begun, and may never
        self._begun: set[str] = set()
        self._told: set[str] = set()  # frames that were told that they stay
        self._heard: set[str] = set()  # of these, who heard it before the window was waited for

    def leaves(self, frame: str) -> bool:
        """Whether it is on its way."""
        return frame in self._asked | self._begun

    def are_waited_for(self) -> None:
        """The window begins to be waited for."""
        self.doubted = False
        self._heard = self._told - self.untold

    def were_waited_for(self) -> None:
        """It was at rest: who leaves from now on does so after it was told that it stays."""
        self._told -= self._heard

    def heard(self, method: str, params: Message) -> str:
        """Takes an event of the browser's; the frame that is to be told then whether it leaves, or empty."""
        frame = str(params.get("frameId", ""))
        match method:
            case "Page.frameRequestedNavigation" if params["disposition"] == "currentTab":
                self._asked.add(frame)
                return self._after_all(frame)
            case "Page.frameStartedNavigating" if params["navigationType"] not in _SAME:
                self._asked.discard(frame)
                self._begun.add(frame)
                return self._after_all(frame)
            case "Page.frameStoppedLoading" if frame in self._begun - self._asked:  # asked: another took its place
                self._begun.discard(frame)
                self._told.add(frame)
                return frame
            case "Page.frameNavigated" | "Page.frameDetached":
                gone = params["frame"]["id"] if method == "Page.frameNavigated" else frame
                for each in (self._asked, self._begun, self._told, self._heard, self.untold):
                    each.discard(gone)
        return ""

    def _after_all(self, frame: str) -> str:
        if frame not in self._told:
            return ""
        self._told.discard(frame)
        self.doubted = True
        return frame
