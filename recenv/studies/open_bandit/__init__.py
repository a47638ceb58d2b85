"""Open Bandit: what would the other policy have earned?"""
