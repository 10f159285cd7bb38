import sys
from pathlib import Path

import stand_ins
from browser_control.programs.health_gate import main

directory = Path(sys.argv[sys.argv.index("--run-directory") + 1])
told = dict(part.split("=") for part in stand_ins.said_to(directory).split(",") if part)
stand_ins.misbehave(told.get("health_gate"), directory=directory)
sys.exit(main())
