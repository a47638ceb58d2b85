"""Learning by values: replayed steps, networks of action values, and their learners."""
