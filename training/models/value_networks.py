"""Action-value networks, in plain torch; their policies are greedy.

B visits, C candidates, K slots. Like ``RecommenderNetwork``'s and ``UserNetwork``'s, their first
output is what actions are made from, so policies are saved, loaded and played alike.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recenv.config import GameConfig
from recenv.sim.rewards import own_share
from recenv.world import World
from training.config.network import NetworkConfig
from training.config.values import ValueConfig
from training.models.networks import (
    Answered,
    Observation,
    RecommenderNetwork,
    Scored,
    UserNetwork,
)
from training.models.slate_search import click_probabilities, ranked, search_slates

IMPOSSIBLE = -1e9
"""Logit of an answer that a greedy user never gives."""
_PURCHASES = 0.3
"""Share of clicks that are purchases, before anything is learned: the fit's own prior."""


class ItemValues(NamedTuple):
    """Item values: the value of a click on each candidate, and its appeal.

    A slate's value is ``idle + sum_k P(click k) (reward + future)``.
    """

    appeal: Tensor  # (B, C) log-odds of a click
    reward: Tensor  # (B, C) this round's reward of a click
    future: Tensor  # (B, C) what a click adds to all that follows
    idle: Tensor  # (B,) value of a round without clicks

    @property
    def click(self) -> Tensor:
        """(B, C) value of a click on each candidate, beyond no click."""
        return self.reward + self.future


class SlateQNetwork(RecommenderNetwork):
    """Values of single items, and a model of the user's choice among them.

    The choice model is the ``RecommenderNetwork``, whose scores are log-odds of clicks; it begins
    as its seeds rank. A click's reward is a network of each candidate's features plus ``<u T, v>``
    with a learned map T of the tables' rows; what follows a click is linear in the features. They
    begin as constants, so the first slates are those likeliest to be clicked.

    Args:
        world, game, config: see ``RecommenderNetwork``.
        values: see ``ValueConfig``.
        seeded: see ``RecommenderNetwork``.
    """

    def __init__(
        self,
        world: World,
        game: GameConfig,
        config: NetworkConfig,
        values: ValueConfig,
        *,
        seeded: bool = True,
    ) -> None:
        super().__init__(world, game, config.replace(slates="greedy"), seeded=seeded)
        self.values = values
        self.reward = _head(self.feature_size + 1, config.hidden, 1)
        self.future = _linear(self.feature_size + 1)
        vector = self.item_seed.shape[1]
        self.taste = nn.Parameter(torch.zeros(vector, vector))
        self.idle = _head(self.context_size, config.hidden, 1)
        self.position = nn.Parameter(torch.zeros(game.slate_size - 1))
        with torch.no_grad():
            list(self.reward.parameters())[-1].fill_(_expected_click(game))

    @property
    def examination(self) -> Tensor:
        """(K,) attention that each slot gets; the first one's is 1."""
        return torch.cat([self.position.new_ones(1), torch.sigmoid(self.position)])

    def forward(self, observation: Observation) -> Scored:
        """Scores whose K best are the best slate found; see ``RecommenderNetwork.forward``."""
        scored, worth = self._worth(observation)
        merit = torch.sigmoid(worth.appeal) * worth.click
        return Scored(ranked(self.slates(worth), merit), scored.context, scored.features)

    def worth(self, observation: Observation) -> ItemValues:
        """Item values of each candidate of (B, ...) observations."""
        return self._worth(observation)[1]

    def slates(self, worth: ItemValues) -> Tensor:
        """(B, K) slates, searched for as ``ValueConfig.search`` says."""
        return search_slates(
            worth.appeal,
            worth.click,
            self.examination,
            self.values.choice,
            self.values.search,
        )

    def clicks(self, worth: ItemValues, slates: Tensor) -> Tensor:
        """(B, K) probability of a click in each slot of (B, K) slates."""
        appeal = worth.appeal.gather(-1, slates)
        return click_probabilities(appeal, self.examination, self.values.choice)

    def value(self, worth: ItemValues, slates: Tensor) -> Tensor:
        """(B,) value of (B, K) slates."""
        return worth.idle + (self.clicks(worth, slates) * worth.click.gather(-1, slates)).sum(-1)

    def _worth(self, observation: Observation) -> tuple[Scored, ItemValues]:
        scored = super().forward(observation)
        appeal = scored.scores
        features = torch.cat([scored.features, appeal[..., None]], -1).detach()
        interest = scored.context[:, : len(self.taste)]  # the context begins with it
        vectors = self._vectors(observation["candidates"].long()).detach()
        reward = self.reward(features)[..., 0] + torch.einsum(
            "bp,bcp->bc", interest @ self.taste, vectors
        )
        future, idle = self.future(features)[..., 0], self.idle(scored.context)[:, 0]
        return scored, ItemValues(appeal, reward, future, idle)


class SlotValues(NamedTuple):
    """Values of slots, which add up to a slate's: ``idle + sum_k gain_k (own + rest)``."""

    own: Tensor  # (B, C) what a candidate's own slot earns this round
    rest: Tensor  # (B, C) what else it adds to the value
    idle: Tensor  # (B,) what belongs to no slot


class SlotQNetwork(RecommenderNetwork):
    """A value for each candidate that adds up over slots.

    The sum over slots is a value decomposition (Sunehag et al., AAMAS 2018) with slots for agents
    and a common term for the visit; the branches of Tavakoli et al. (AAAI 2018) are such too. The
    best slate is then the K best candidates: no search, and no repeats. A slot's gain scales what
    stands in it, so that values do not blur over positions; the first slot's is 1.

    Args:
        world, game, config: see ``RecommenderNetwork``.
        values: see ``ValueConfig``.
        seeded: see ``RecommenderNetwork``.
    """

    def __init__(
        self,
        world: World,
        game: GameConfig,
        config: NetworkConfig,
        values: ValueConfig,
        *,
        seeded: bool = True,
    ) -> None:
        super().__init__(world, game, config.replace(slates="greedy"), seeded=seeded)
        self.values = values
        self.own = _head(self.feature_size + 1, config.hidden, 1)
        self.rest = _linear(self.feature_size + 1)
        self.idle = _head(self.context_size, config.hidden, 1)
        self.scale = nn.Parameter(torch.full((1,), 0.25 * _expected_click(game)))
        self.position = nn.Parameter(torch.zeros(game.slate_size - 1))

    @property
    def gains(self) -> Tensor:
        """(K,) how much a slot counts; the first one's is 1."""
        return torch.cat([self.position.new_ones(1), torch.sigmoid(self.position)])

    def forward(self, observation: Observation) -> Scored:
        """Scores that are values; see ``RecommenderNetwork.forward``."""
        scored, slots = self._slot_values(observation)
        return Scored(slots.own + slots.rest, scored.context, scored.features)

    def slot_values(self, observation: Observation) -> SlotValues:
        """Values of (B, ...) observations."""
        return self._slot_values(observation)[1]

    def _slot_values(self, observation: Observation) -> tuple[Scored, SlotValues]:
        scored = super().forward(observation)
        features = torch.cat([scored.features, scored.scores[..., None]], -1).detach()
        own, rest = self.own(features)[..., 0], self.rest(features)[..., 0]
        own = own + self.scale * scored.scores
        return scored, SlotValues(own, rest, self.idle(scored.context)[:, 0])


class AnswerValues(NamedTuple):
    """Values of answers, which add up over branches: ``idle + sum_branches value``."""

    branches: list[Tensor]  # (B, K, 3) of slots and (B, 1, 2) of leaving; (B, 1, 6) if K = 1
    fitted: list[Tensor]  # the same of the fitted user's log-probabilities
    idle: Tensor  # (B,) what belongs to no branch


class AnswerQNetwork(UserNetwork):
    """Values of the user's answers: of each slot's, and of staying and leaving, added up.

    The branches are those of Tavakoli et al. (AAAI 2018), added up as by ``SlotQNetwork``; for
    K = 1 the six joint answers have values of their own. With a weight w > 0 of the KL to the
    fitted user the policy is the best one if a nat of divergence from the fitted user costs w: in
    each branch ``pi(x) ~ fitted(x) exp(Q(x) / w)`` (Fox, Pakman & Tishby, UAI 2016). With w = 0 it
    is greedy.

    Args:
        world, game, config: see ``UserNetwork``.
        values: see ``ValueConfig``.
    """

    def __init__(
        self, world: World, game: GameConfig, config: NetworkConfig, values: ValueConfig
    ) -> None:
        super().__init__(world, game, config)
        self.values = values
        self.idle = _head(self.context_size, config.hidden, 1)
        self.joint = _head(self.context_size, config.hidden, 6) if self.slots == 1 else None

    def forward(self, observation: Observation) -> Answered:
        """Logits of the policy; see ``UserNetwork.forward``."""
        answers, context = self._answers(observation)
        logits = [logits.flatten(1) for logits in self.policy(answers)]
        return Answered(torch.cat(logits, -1), context)

    def answers(self, observation: Observation) -> AnswerValues:
        """Values of (B, ...) observations."""
        return self._answers(observation)[0]

    def policy(self, answers: AnswerValues) -> list[Tensor]:
        """Logits of each branch; where the policy is greedy, all but the best are impossible."""
        weight = self.values.kl_weight
        if weight > 0:
            pairs = zip(answers.branches, answers.fitted, strict=True)
            return [fitted + value / weight for value, fitted in pairs]
        return [
            torch.full_like(value, IMPOSSIBLE).scatter(-1, value.argmax(-1, True), 0)
            for value in answers.branches
        ]

    def _answers(self, observation: Observation) -> tuple[AnswerValues, Tensor]:
        response, leaving = self._fitted(observation)
        answer, leave, context = self._learned(observation, response, leaving)
        idle = self.idle(context)[:, 0]
        if self.joint is None:
            branches = [answer, leave[:, None]]
            return AnswerValues(branches, [response, leaving[:, None]], idle), context
        joint = [
            (r[:, 0, :, None] + v[:, None]).flatten(1)
            for r, v in ((answer, leave), (response, leaving))
        ]
        values = joint[0] + self.joint(context)
        return AnswerValues([values[:, None]], [joint[1][:, None]], idle), context


def make_value_network(
    side: str,
    world: World,
    game: GameConfig,
    config: NetworkConfig,
    values: ValueConfig,
    *,
    seeded: bool = True,
) -> RecommenderNetwork | UserNetwork:
    """The network that acts for a side; see ``training.runs.load_policy.make_network``."""
    if values.kind == "soft":
        if side == "user":
            return UserNetwork(world, game, config)
        return RecommenderNetwork(
            world, game, config.replace(slates="plackett-luce"), seeded=seeded
        )
    if side == "user":
        return AnswerQNetwork(world, game, config, values)
    if values.kind == "slateq":
        return SlateQNetwork(world, game, config, values, seeded=seeded)
    return SlotQNetwork(world, game, config, values, seeded=seeded)


def _expected_click(game: GameConfig) -> float:
    """About what a click earns the recommender; 1 where it earns nothing."""
    reward = game.reward
    own = own_share(reward) * (reward.click + _PURCHASES * reward.purchase)
    return own if own > 0 else 1.0


def _linear(inputs: int) -> nn.Linear:
    """Begins at zero. For values that are learned from all that follows, whose noise is large
    beside what one item changes in it: a network of more freedom follows the noise."""
    linear = nn.Linear(inputs, 1)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """One hidden layer of rectified units, several times faster than tanh; the last is zero."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), last)
