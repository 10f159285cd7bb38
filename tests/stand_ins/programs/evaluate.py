"""Success is the skill that a checkpoint says it has: of ten episodes a web task, the first so many succeed."""

import json
import zipfile
from pathlib import Path

import stand_ins
from browser_control.integrity import file_digest, write_sealed

chosen = stand_ins.arguments("evaluate")
checkpoints = chosen.run_directory / "checkpoints"
stages = {
    "base": Path("base"),
    "warm-start": checkpoints / "warm-start",
    "latest": max(checkpoints.glob("step-*"), default=Path("base")),
}
folder = stages.get(chosen.checkpoint, Path(chosen.checkpoint))
skill = stand_ins.skill(folder)
web_tasks = ["click-button", "enter-text"]
rate = {"successes": skill, "rate": skill / 10}
score = {"pages": 10, "unscorable": 0, "strict": rate, "success": rate, "exempt": False}
both = {"successes": 2 * skill, "rate": skill / 10}
played = [
    {"web_task": web_task, "seed": number, "page": f"{chosen.lot} {number}", "strict": won, "success": won}
    for web_task in web_tasks
    for number in range(10)
    for won in [number < skill]
]
evaluation = {
    "checkpoint": folder.name,
    "pages": chosen.pages,
    "lot": chosen.lot,
    "overall": {**score, "pages": 20, "strict": both, "success": both},
    "web_tasks": dict.fromkeys(web_tasks, score),
    "episodes": played,
}
transcripts = chosen.output.with_suffix(".episodes.jsonl")
transcripts.parent.mkdir(parents=True, exist_ok=True)
transcripts.write_text(
    "".join(
        json.dumps({**each, "truncated": False, "unscorable": "", "turns": [{"said": "click"}]}) + "\n"
        for each in [{key: each[key] for key in ("web_task", "seed", "strict", "success")} for each in played]
    )
)
write_sealed(chosen.output, {**evaluation, "transcripts": file_digest(transcripts)})
if chosen.pictures:
    zipfile.ZipFile(chosen.output.with_suffix(".pictures.zip"), "w").close()
