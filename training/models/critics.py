"""Critics: value functions of the actor's observation, or of the full state (centralised).

A critic serves training alone; no saved policy holds one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recenv.config import GameConfig
from recenv.world import World
from training.models.networks import Observation, mlp
from training.models.observations import TRUE_INTEREST
from training.models.tables import category_table, unwritten, world_table


class Critic(nn.Module):
    """Critic on the actor's features.

    Args:
        context: F, width of those features.
        hidden: units of the hidden layers.
        slots: K for a recommender, whose slots are valued one by one; 0 for a user.
    """

    def __init__(self, context: int, hidden: int, slots: int) -> None:
        super().__init__()
        self.whole = mlp(context, hidden, 1)
        self.each = mlp(context, hidden, slots) if slots else None

    def forward(self, observation: Observation, context: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) expected discounted reward from here on, and (B, K) of this round, by slot."""
        features = self.features(observation, context)
        slots = features[:, :0] if self.each is None else self.each(features)
        return self.whole(features)[:, 0], slots

    def features(self, observation: Observation, context: Tensor) -> Tensor:
        """(B, F) what the values are computed from."""
        return context


class CentralCritic(Critic):
    """Values from both agents' observations and the user's true state.

    The critic of MAPPO (Yu et al., NeurIPS 2022) with centralised training and decentralised
    execution (Lowe et al., NeurIPS 2017). Beside the actor's features it reads the user's true
    interest, what each candidate is truly worth to it, its boredom, patience and spending, and
    the slate on screen with its fitted answer.

    Args:
        context: as in ``Critic``.
        hidden: as in ``Critic``.
        slots: as in ``Critic``.
        world: the true vectors of the items.
        game: sizes.
    """

    vectors: Tensor
    bias: Tensor
    category: Tensor

    def __init__(
        self, context: int, hidden: int, slots: int, world: World, game: GameConfig
    ) -> None:
        model = world.user_model
        extra = model.dim + 8 + 3 * game.slate_size + 3 * game.slate_size + 2
        super().__init__(context + extra, hidden, slots)
        vectors = world_table(world, "worth", lambda: model.item_vectors * model.click_weight)
        self.register_buffer("vectors", vectors, persistent=False)
        self.register_buffer("bias", unwritten(model.item_click_bias), persistent=False)
        self.register_buffer("category", category_table(world), persistent=False)
        self.slots = game.slate_size
        self.max_rounds = game.max_rounds

    def features(self, observation: Observation, context: Tensor) -> Tensor:
        """See ``Critic.features``."""
        k = self.slots
        interest, items = observation[TRUE_INTEREST], observation["candidates"].long()
        affinity = torch.einsum("bd,bcd->bc", interest, self.vectors[items]) + self.bias[items]
        boredom = observation["boredom"].gather(1, self.category[items])
        liked = affinity.topk(k, -1)
        visit = torch.stack(
            [
                liked.values.mean(-1),
                affinity.mean(-1),
                affinity.std(-1),
                boredom.gather(1, liked.indices).mean(-1),
                boredom.mean(-1),
                observation["satisfaction"][:, 0] / k,
                observation["spent"][:, 0] / k,
                observation["round"][:, 0].float().clamp(max=self.max_rounds - 1) / self.max_rounds,
            ],
            -1,
        )
        shown = (observation["slate"] >= 0).float()
        screen = [shown, observation["utility"], observation["prices"], observation["behaviour"]]
        return torch.cat([context, interest, visit, *screen], -1)
