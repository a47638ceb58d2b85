"""Command ``python -m recenv.studies.baskets``."""

import sys

from recenv.studies.baskets.study import main

if __name__ == "__main__":
    sys.exit(main())
