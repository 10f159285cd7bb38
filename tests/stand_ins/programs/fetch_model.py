import os
import sys

import stand_ins
from browser_control.programs.fetch_model import main

chosen = stand_ins.arguments("fetch_model")
if "fetch_model=for-real" in os.environ.get("STAND_IN", ""):
    where = ["--config-file-name", chosen.config_file_name, "--run-directory", str(chosen.run_directory)]
    sys.exit(main(where))
print("/nowhere/model")
