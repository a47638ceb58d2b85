"""Baskets: what do households buy next, how much, and when do they return?"""
