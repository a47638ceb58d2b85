"""Learning algorithms: the learner of each, and its RLlib configuration."""
