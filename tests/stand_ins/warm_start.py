import stand_ins

chosen = stand_ins.arguments("warm_start")
folder = chosen.run_directory / "checkpoints" / "warm-start"
folder.mkdir(parents=True)
(folder / "adapter.bin").write_bytes(b"warm")
