"""Small logs with mistakes planted in them, and an independent judge of what a reader may do.

``writers`` makes a valid log of a format from a seed, ``planted`` the mistakes, ``judge`` and
``typed`` say what may come of the files, ``run`` reads them with recenv and compares. A case is
(format, mutations, seed); the judge sees the files alone.
"""
