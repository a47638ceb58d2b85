"""Command ``python -m recenv.studies.open_bandit``."""

import sys

from recenv.studies.open_bandit.study import main

if __name__ == "__main__":
    sys.exit(main())
