"""Command ``python -m recenv.studies.next_item``."""

from recenv.studies.next_item.study import main

if __name__ == "__main__":
    main()
