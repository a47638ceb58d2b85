"""Command ``python -m recenv.studies.policy_ranking``."""

import sys

from recenv.studies.policy_ranking.study import main

if __name__ == "__main__":
    sys.exit(main())
