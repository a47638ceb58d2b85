"""Recovery: does every estimator find planted parameters?"""
