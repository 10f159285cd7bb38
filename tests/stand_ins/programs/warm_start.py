import stand_ins

chosen = stand_ins.arguments("warm_start")
stand_ins.write_checkpoint(chosen.run_directory / "checkpoints" / "warm-start", b"warm", 5, 0)
