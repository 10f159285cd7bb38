"""Success is the skill that a checkpoint says it has: of ten episodes a web task, the first so many succeed."""

import json
from pathlib import Path

import stand_ins

chosen = stand_ins.arguments("evaluate")
checkpoints = chosen.run_directory / "checkpoints"
stages = {
    "base": Path("base"),
    "warm-start": checkpoints / "warm-start",
    "latest": max(checkpoints.glob("step-*"), default=Path("base")),
}
folder = stages.get(chosen.checkpoint, Path(chosen.checkpoint))
skill = stand_ins.skill(folder)
score = {"episodes": 10, "unscorable": 0, "successes": skill, "success": skill / 10}
web_tasks = ["click-button", "enter-text"]
evaluation = {
    "checkpoint": folder.name,
    "overall": {**score, "episodes": 20, "successes": 2 * skill},
    "web_tasks": dict.fromkeys(web_tasks, score),
    "episodes": [
        {"web_task": web_task, "seed": seed, "reward": float(seed < skill), "turns": 1}
        for web_task in web_tasks
        for seed in range(10)
    ],
}
chosen.output.parent.mkdir(parents=True, exist_ok=True)
chosen.output.write_text(json.dumps(evaluation))
