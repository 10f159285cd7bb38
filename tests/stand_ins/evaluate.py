import json

import stand_ins

chosen = stand_ins.arguments("evaluate")
successes = {"base": 3, "warm-start": 5, "latest": 9}[chosen.checkpoint]
score = {"episodes": 10, "unscorable": 0, "successes": successes}
chosen.output.parent.mkdir(parents=True, exist_ok=True)
chosen.output.write_text(json.dumps({"web_tasks": {"click-button": score, "enter-text": score}}))
