import sys

from browser_control.health_gate import main

sys.exit(main())
