"""What a program says of its progress: lines on stdout that a person can read past and the flow understands.

`progress {"stage": "train", "done": 12, "total": 40, "success": 0.81, "message": "..."}`
"""

import json


def report(stage: str, done: int, total: int, success: float | None = None, message: str = "") -> None:
    """Prints one progress line."""
    print(
        "progress "
        + json.dumps({"stage": stage, "done": done, "total": total, "success": success, "message": message}),
        flush=True,
    )
