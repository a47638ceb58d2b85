"""Command ``python -m recenv.studies.recovery``."""

import sys

from recenv.studies.recovery.study import main

if __name__ == "__main__":
    sys.exit(main())
