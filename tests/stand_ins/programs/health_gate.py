import sys

from browser_control.programs.health_gate import main

sys.exit(main())
