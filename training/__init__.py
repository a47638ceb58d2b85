"""Training of both agents with RLlib; what it makes loads without it."""
