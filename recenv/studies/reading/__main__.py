"""Command ``python -m recenv.studies.reading``."""

from recenv.studies.reading.study import main

if __name__ == "__main__":
    main()
