"""Three of ten episodes of each subset are won, and three of four answers are actions."""

import json

import stand_ins

chosen = stand_ins.arguments("benchmark")
rate = {"successes": 3, "rate": 0.3, "low": 0.1, "high": 0.6}
score = {"count": 23, "episodes": 10, "seeds": 10, "unscorable": 0, "strict": rate, "success": rate, "mean_turns": 2.0}
scores = {
    "benchmark": "miniwob",
    "subset": chosen.subset,
    "at": "today",
    "valid_actions": 0.75,
    "subsets": {"PipelineRL's 23 held out": score},
    "families": {},
    "web_tasks": {"click-test": {**score, "count": 1}},
    "episodes": [],
}
chosen.output.write_text(json.dumps(scores))
