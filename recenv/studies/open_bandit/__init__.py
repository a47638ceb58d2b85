"""Study of Open Bandit: off-policy prediction of click rates."""
