"""``python -m crosspt.cli``."""

import sys

from crosspt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
