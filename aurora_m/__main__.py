"""`python -m aurora_m` is the command `aurora`."""

import sys

from aurora_m.cli.main import main

sys.exit(main())
