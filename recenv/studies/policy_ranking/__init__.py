"""Study of policy ranking: agreement of a fitted simulator with the true world."""
