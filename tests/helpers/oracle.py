"""The game once more, as slow float64 Python written from the rules: what the kernel must do."""

from __future__ import annotations

import math

import numpy as np

from recenv.config import GameConfig
from recenv.world import World


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class OracleVisit:
    """One visit of one user. Candidates are given: the rules say nothing of how they come."""

    def __init__(self, world: World, game: GameConfig, user: int) -> None:
        self.m, self.game, self.world, self.user = world.user_model, game, world, user
        self.interest = self.m.user_vectors[user].astype(float)
        self.boredom = np.zeros(len(world.catalog.category_names))
        self.satisfaction = 0.0
        self.round = 0
        self.ended = ""
        price = world.catalog.price.astype(float)
        self.price = price / price.mean() if price.mean() > 0 else price

    def show(self, slate: list[int], candidates: np.ndarray) -> None:
        items: list[int | None] = []
        for index in slate:
            item = int(candidates[index])
            items.append(None if item in items else item)
        self.items = items
        d = self.m.dynamics
        self.click = np.zeros(len(items))
        self.buy = np.zeros(len(items))
        bored = []
        for k, item in enumerate(items):
            if item is None:
                continue
            product = self.interest * self.m.item_vectors[item]
            b = self.boredom[self.world.catalog.category[item]]
            bored.append(b)
            self.click[k] = self.m.examination[k] * sigmoid(
                product @ self.m.click_weight
                + self.m.user_click_bias[self.user]
                + self.m.item_click_bias[item]
                - d.boredom_weight * b
            )
            self.buy[k] = sigmoid(
                product @ self.m.purchase_weight
                + self.m.user_purchase_bias[self.user]
                + self.m.item_purchase_bias[item]
            )
        self.leave = sigmoid(
            d.leave_intercept
            + d.leave_length * self.round
            - d.leave_satisfaction * self.satisfaction
            + d.leave_boredom * (np.mean(bored) if bored else 0)
        )

    def respond(self, answer: list[int]) -> tuple[float, float]:
        r, d = self.game.reward, self.m.dynamics
        *responses, left = answer
        recommender = -r.leave_cost * left
        own = 0.0
        log_p = math.log(max(self.leave if left else 1 - self.leave, 1e-8))
        gain = 0.0
        self.boredom *= d.boredom_decay
        for k, item in enumerate(self.items):
            if item is None:
                continue
            response, c, p = responses[k], self.click[k], self.buy[k]
            log_p += math.log(max([1 - c, c * (1 - p), c * p][response], 1e-8))
            utility = 2 * p - 1
            own -= r.effort * (1 if response else self.m.examination[k])
            if response:
                recommender += r.click
                own += r.click_utility * utility
                gain += utility
                self.boredom[self.world.catalog.category[item]] += d.boredom_gain
                self.interest += d.drift_rate * (self.m.item_vectors[item] - self.interest)
            if response == 2:
                recommender += r.purchase * (self.price[item] if r.purchase_by_value else 1)
                own += r.purchase_utility * utility - r.price_sensitivity * self.price[item]
        own += r.behaviour_weight * log_p
        self.satisfaction = d.satisfaction_decay * self.satisfaction + gain
        self.round += 1
        self.ended = "left" if left else "limit" if self.round >= self.game.max_rounds else ""
        c = r.cooperation
        keep = 1 - abs(c) / 2
        return keep * recommender + c / 2 * own, keep * own + c / 2 * recommender
