import stand_ins
from browser_control.integrity import line, write_sealed

chosen = stand_ins.arguments("fine_tune_local")
continued_from = sorted(path.name for path in (chosen.run_directory / "checkpoints").glob("step-*"))
skill = stand_ins.learned(chosen.run_directory)
for step in (1, 2):
    stand_ins.report("train", step, 2)
    folder = chosen.run_directory / "checkpoints" / f"step-{step:06d}"
    stand_ins.write_checkpoint(folder, b"trained" * step, skill, chosen.seeds_drawn + 2 * step)
print("a line for the log")
(chosen.run_directory / "metrics.jsonl").write_text(line({"update": 1, "strict/all": 0.5}))
result = {"updates": 2, "initial": chosen.initial_adapter, "continued_from": continued_from}
write_sealed(chosen.run_directory / "result.json", result)
