"""Command ``python -m recenv.studies.speed``."""

from recenv.studies.speed.study import main

if __name__ == "__main__":
    main()
