"""Learning algorithms: for each, its learner and how its settings configure RLlib."""
