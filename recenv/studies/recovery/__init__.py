"""Study of parameter recovery: every estimator on planted logs."""
