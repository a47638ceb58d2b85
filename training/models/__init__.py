"""Networks of both sides, their parts, and their RLlib modules."""
