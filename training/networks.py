"""Both agents' networks, in plain torch: what they compute, without RLlib.

B visits, C candidates, K slots, H history, P dimensions of the platform's vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recenv.config import GameConfig
from recenv.world import World
from training.config import NetworkConfig

Observation = dict[str, Tensor]

RECOMMENDER_LEAVES = (
    "user",
    "candidates",
    "history_items",
    "history_responses",
    "visit_interest",
    "round",
)
"""Entries of the recommender's observation that the network reads: the rest it looks up."""
USER_LEAVES = (
    "boredom",
    "satisfaction",
    "spent",
    "slate",
    "prices",
    "utility",
    "behaviour",
    "round",
)
"""Entries of the user's observation that the network reads."""

_LEAST_PROBABILITY = 1e-8  # the simulator's own floor inside logarithms
_BOREDOM_MEMORY = 0.8  # per round: how long consumed categories are remembered as a feature


def top_slots(scores: Tensor, slots: int) -> Tensor:
    """(..., C) scores to (..., slots) indices of the best, best first."""
    return torch.topk(scores, slots, dim=-1).indices


class Scored(NamedTuple):
    """What the recommender's network says of B visits."""

    scores: Tensor  # (B, C) log-odds-like scores
    context: Tensor  # (B, F) what a critic reads


class RecommenderNetwork(nn.Module):
    """Scores every candidate against the user's interest vector.

    ``score = interest_weight * z(<u, v>) + popularity_weight * z(log popularity)
    + <u A + w B, v> + bias + MLP(features)``, where z standardises, u and v are rows of the
    user and item tables (seeds from the world's language-model vectors plus learned offsets), w
    is the mean vector of what was clicked in this visit, and the learned terms are zero before
    training. The bilinear map A and the MLP are shared, so they serve users never trained on.

    Args:
        world: seeds of the tables.
        game: sizes.
        config: see ``NetworkConfig``.
    """

    user_seed: Tensor
    item_seed: Tensor
    popularity: Tensor
    category: Tensor
    memory: Tensor

    def __init__(self, world: World, game: GameConfig, config: NetworkConfig) -> None:
        super().__init__()
        users, items = world.interests.users, world.interests.items
        centred = items - items.mean(0)
        products = users[~world.heldout] @ centred.T
        scale = float(np.sqrt(max(products.std(), 1e-6)))
        popularity = world.log_popularity
        spread = max(float(popularity.std()), 1e-6)
        u, (n, p) = len(users), items.shape
        self._seed("user_seed", users / scale)
        self._seed("item_seed", centred / scale)
        self._seed("popularity", (popularity - popularity.mean()) / spread)
        self.register_buffer(
            "category",
            torch.as_tensor(world.catalog.category, dtype=torch.long),
            persistent=False,
        )
        self.rate = config.table_rate
        self.user_offset = _zero_table(u, p) if self.rate else None
        self.item_offset = _zero_table(n, p) if self.rate else None
        self.item_bias = _zero_table(n, 1) if self.rate else None
        self.weights = nn.Parameter(
            torch.tensor([config.interest_weight, config.popularity_weight])
        )
        self.bilinear = nn.Linear(2 * p, p, bias=False)
        nn.init.zeros_(self.bilinear.weight)
        self.max_rounds = game.max_rounds
        self.slots = game.slate_size
        ages = torch.arange(game.history_length) // game.slate_size  # rounds, if slates are full
        self.register_buffer("memory", _BOREDOM_MEMORY ** ages.float(), persistent=False)
        self.visit_scale = 1 / scale
        features = 8
        self.mlp = mlp(features, config.hidden // 2, 1)
        self.context_size = 2 * p + features + 2

    def forward(self, observation: Observation) -> Scored:
        """Scores of (B, ...) observations with the leaves ``RECOMMENDER_LEAVES``."""
        user = observation["user"].long()[:, 0]
        items = observation["candidates"].long()
        history = observation["history_items"].long()  # (B, H), -1 where empty
        clicked = (observation["history_responses"] > 0).float()
        visit = observation["visit_interest"] * self.visit_scale  # (B, P)
        interest, vectors = self.user_seed[user], self.item_seed[items]
        if self.user_offset is not None and self.item_offset is not None:
            interest = interest + self.rate * self.user_offset(user)
            vectors = vectors + self.rate * self.item_offset(items)
        interest_product = torch.einsum("bp,bcp->bc", interest, vectors)
        visit_product = torch.einsum("bp,bcp->bc", visit, vectors)
        popularity = self.popularity[items]

        same = history[:, None, :] == items[:, :, None]  # (B, C, H)
        alike = self.category[history.clamp(min=0)][:, None, :] == self.category[items][:, :, None]
        bored = (alike * (clicked * self.memory)[:, None, :]).sum(-1)  # (B, C)
        rounds = observation["round"].float().clamp(max=self.max_rounds - 1) / self.max_rounds
        clicks = clicked.mean(-1, keepdim=True)
        c = items.shape[1]
        features = torch.stack(
            [
                interest_product,
                visit_product,
                popularity,
                bored,
                same.any(-1).float(),
                (same & (clicked > 0)[:, None, :]).any(-1).float(),
                rounds.expand(-1, c),
                clicks.expand(-1, c),
            ],
            -1,
        )  # (B, C, 8)
        query = self.bilinear(torch.cat([interest, visit], -1))
        scores = (
            self.weights[0] * interest_product
            + self.weights[1] * popularity
            + torch.einsum("bp,bcp->bc", query, vectors)
            + self.mlp(features)[..., 0]
        )
        if self.item_bias is not None:
            scores = scores + self.item_bias(items)[..., 0]
        best, at = scores.detach().topk(self.slots, -1)
        shown = features.gather(1, at[..., None].expand(-1, -1, features.shape[-1])).mean(1)
        spread = scores.detach().std(-1, keepdim=True)
        context = torch.cat([interest, visit, shown, best.mean(-1, keepdim=True), spread], -1)
        return Scored(scores, context.detach())

    def _seed(self, name: str, table: np.ndarray) -> None:
        """A fixed table that no checkpoint holds: it comes from the world."""
        tensor = torch.as_tensor(np.ascontiguousarray(table), dtype=torch.float32)
        self.register_buffer(name, tensor, persistent=False)


class Answered(NamedTuple):
    """What the user's network says of B visits."""

    logits: Tensor  # (B, 3K + 2), or (B, 6) joint for K = 1
    context: Tensor  # (B, F) what a critic reads


class UserNetwork(nn.Module):
    """The fitted user plus a learned residual.

    Logits are the log of ``behaviour`` plus a network of each slot's features, shared across
    slots, whose last layer is zero before training: it starts as the fitted user.

    Args:
        world: the items' categories.
        game: sizes.
        config: see ``NetworkConfig``.
    """

    category: Tensor

    def __init__(self, world: World, game: GameConfig, config: NetworkConfig) -> None:
        super().__init__()
        category = torch.as_tensor(world.catalog.category, dtype=torch.long)
        self.register_buffer("category", category, persistent=False)
        self.slots = game.slate_size
        self.max_rounds = game.max_rounds
        slot_features, visit_features = 8, 7
        self.respond = mlp(slot_features + visit_features, config.hidden, 3)
        self.leave = mlp(visit_features + 4, config.hidden // 2, 2)
        self.context_size = visit_features + slot_features

    def forward(self, observation: Observation) -> Answered:
        """Logits of (B, ...) observations with the leaves ``USER_LEAVES``."""
        k = self.slots
        response, leaving = self._fitted(observation)
        slate = observation["slate"].long()
        shown = (slate >= 0).float()
        boredom = observation["boredom"].gather(1, self.category[slate.clamp(min=0)]) * shown
        position = torch.arange(k, dtype=torch.float32, device=slate.device) / k
        slot = torch.stack(
            [
                observation["utility"],
                observation["prices"],
                boredom,
                shown,
                position.expand(len(slate), k),
                *(response.clamp(min=-8) / 4).unbind(-1),
            ],
            -1,
        )  # (B, K, 8)
        visit = torch.cat(
            [
                observation["round"].float().clamp(max=self.max_rounds - 1) / self.max_rounds,
                observation["satisfaction"] / k,
                observation["spent"] / k,
                leaving.clamp(min=-8) / 4,
                observation["boredom"].mean(-1, keepdim=True),
                observation["utility"].mean(-1, keepdim=True),
            ],
            -1,
        )  # (B, 7)
        each = torch.cat([slot, visit[:, None].expand(-1, k, -1)], -1)
        pooled = slot.mean(1)
        answer = response + self.respond(each)
        leave = leaving + self.leave(torch.cat([visit, pooled[:, :4]], -1))
        return Answered(self._logits(answer, leave), torch.cat([visit, pooled], -1))

    def fitted_logits(self, observation: Observation) -> Tensor:
        """The fitted user's logits, as ``forward`` gives them before training."""
        return self._logits(*self._fitted(observation))

    def _fitted(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """(B, K, 3) and (B, 2) log-probabilities of the fitted user."""
        behaviour = observation["behaviour"].clamp(min=_LEAST_PROBABILITY).log()
        return behaviour[:, :-2].reshape(-1, self.slots, 3), behaviour[:, -2:]

    def _logits(self, answer: Tensor, leave: Tensor) -> Tensor:
        if self.slots == 1:
            joint = torch.log_softmax(answer[:, 0], -1)[:, :, None]
            return (joint + torch.log_softmax(leave, -1)[:, None, :]).reshape(-1, 6)
        return torch.cat([answer.flatten(1), leave], -1)


def _zero_table(rows: int, columns: int) -> nn.Embedding:
    return nn.Embedding.from_pretrained(torch.zeros(rows, columns), freeze=False)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """One hidden layer; the last layer is zero."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), last)
