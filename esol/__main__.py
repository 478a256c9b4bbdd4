"""``python -m esol`` and torchrun start here; the command line is ``esol.cli.main``."""

import sys

from esol.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
