"""Command ``python -m recenv.studies.foreign``."""

import sys

from recenv.studies.foreign.study import main

if __name__ == "__main__":
    sys.exit(main())
