"""Policy networks of both agents, in plain torch, without RLlib.

B visits, C candidates, K slots, H history, P dimensions of the platform's vectors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recenv.config import GameConfig
from recenv.world import World
from training.config.network import NetworkConfig
from training.models.history import make_encoder
from training.models.initial_tables import blank_seeds, make_seeds
from training.models.tables import category_table, popularity_table, unwritten

Observation = dict[str, Tensor]


# RLlib has torch use deterministic algorithms where a seed is given. Torch then also fills what it
# allocates, to show up who reads memory that was never written: nothing here does; it takes time.
_deterministic: Any = torch.utils.deterministic
_deterministic.fill_uninitialized_memory = False

_LEAN = 2.0  # standard deviations of a score: how far a slot of its own leans to its place
_LEAST_PROBABILITY = 1e-8  # the simulator's own floor inside logarithms
_BOREDOM_MEMORY = 0.8  # per round: how long consumed categories are remembered as a feature


def top_slots(scores: Tensor, slots: int) -> Tensor:
    """(..., C) scores to (..., slots) indices of the best, best first."""
    return torch.topk(scores, slots, dim=-1).indices


class Scored(NamedTuple):
    """Outputs of the recommender's network for B visits."""

    scores: Tensor  # (B, C) log-odds-like scores, or (B, K * C) by slot if slots are independent
    context: Tensor  # (B, F) what a critic reads
    features: Tensor  # (B, C, E) of each candidate


class RecommenderNetwork(nn.Module):
    """Scores every candidate against the user's interest vector.

    ``score = interest_weight * <u, v> + popularity_weight * z(log popularity)
    + <u A + w B + h D, v> + bias + MLP(features)``, where z standardises, u and v are rows of the
    user and item tables (``training.models.initial_tables`` plus learned offsets), w is the mean
    vector of what was clicked in this visit and h the encoded visit, if ``config.history`` encodes
    it. The learned terms are zero before training: every network then ranks as its seeds do. The
    bilinear maps and the MLP are shared, so they serve users never trained on.

    If slots are independent each has scores of its own: ``score + <u A_k + w B_k, v>``, zero
    before training, and a learned lean of slot k toward the candidates in place 1, 2, ... by
    score. Before training it leans toward place k: slots that begin alike would all show the same.

    Args:
        world: seeds of the tables.
        game: sizes.
        config: see ``NetworkConfig``.
        seeded: False leaves the tables that the weights hold at zero, for weights to be loaded.
    """

    user_seed: Tensor
    item_seed: Tensor
    visit_scale: Tensor
    popularity: Tensor
    category: Tensor
    memory: Tensor

    def __init__(
        self, world: World, game: GameConfig, config: NetworkConfig, *, seeded: bool = True
    ) -> None:
        super().__init__()
        self._seed_tables(world, config, seeded)
        u, (n, p) = world.num_users, self.item_seed.shape
        self.register_buffer("popularity", popularity_table(world), persistent=False)
        self.register_buffer("category", category_table(world), persistent=False)
        self.rate = config.table_rate
        self.user_offset = _zero_table(u, p) if self.rate else None
        self.item_offset = _zero_table(n, p) if self.rate else None
        self.item_bias = _zero_table(n, 1) if self.rate else None
        self.weights = nn.Parameter(
            torch.tensor([config.interest_weight, config.popularity_weight])
        )
        self.bilinear = _zero_map(2 * p, p)
        self.max_rounds = game.max_rounds
        self.slots = game.slate_size
        ages = torch.arange(game.history_length) // game.slate_size  # rounds, if slates are full
        self.register_buffer("memory", _BOREDOM_MEMORY ** ages.float(), persistent=False)
        self.feature_size = features = 8
        self.mlp = mlp(features, config.hidden // 2, 1)
        self.encoder = make_encoder(config.history, p, config.hidden, game.history_length)
        encoded = self.encoder.width if self.encoder else 0
        self.encoded_map = _zero_map(encoded, p) if encoded else None
        self.independent = config.slates == "independent" and self.slots > 1
        if self.independent:
            self.slot_map = _zero_map(2 * p, self.slots * p)
            self.slot_lean = nn.Parameter(_LEAN * torch.eye(self.slots))
        self.context_size = 2 * p + encoded + features + 2

    def forward(self, observation: Observation) -> Scored:
        """Scores of (B, ...) observations with the leaves ``RECOMMENDER_LEAVES``."""
        user = observation["user"].long()[:, 0]
        items = observation["candidates"].long()
        history = observation["history_items"].long()  # (B, H), -1 where empty
        responses = observation["history_responses"].long()
        clicked = (responses > 0).float()
        interest = self.user_seed[user]
        if self.user_offset is not None:
            interest = interest + self.rate * self.user_offset(user)
        vectors = self._vectors(items)
        past = self._vectors(history.clamp(min=0)) if self._reads_past else None
        visit = self._visit(observation["visit_interest"], past, clicked)
        known = torch.cat([interest, visit], -1)
        query, seen = self.bilinear(known), [known]
        if self.encoder is not None and self.encoded_map is not None:
            encoded = self.encoder(past, history, responses)
            query = query + self.encoded_map(encoded)
            seen.append(encoded)
        # all products with the vectors at once: their gradients, too, are one matrix product
        queries = torch.stack([interest, visit, query], -1)
        interest_product, visit_product, query_product = torch.bmm(vectors, queries).unbind(-1)
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
        scores = (
            self.weights[0] * interest_product
            + self.weights[1] * popularity
            + query_product
            + self.mlp(features)[..., 0]
        )
        if self.item_bias is not None:
            scores = scores + self.item_bias(items)[..., 0]
        best, at = scores.detach().topk(self.slots, -1)
        shown = features.gather(1, at[..., None].expand(-1, -1, features.shape[-1])).mean(1)
        spread = scores.detach().std(-1, keepdim=True)
        context = torch.cat([*seen, shown, best.mean(-1, keepdim=True), spread], -1)
        if self.independent:
            scores = self._by_slot(scores, known, vectors, at)
        return Scored(scores, context.detach(), features)

    def best_slates(self, scores: Tensor, slots: int) -> Tensor:
        """(B, slots) candidates of the likeliest slates, from the scores that ``forward`` gives."""
        if self.independent:
            return scores.unflatten(-1, (self.slots, -1)).argmax(-1)[:, :slots]
        return top_slots(scores, slots)

    @property
    def _reads_past(self) -> bool:
        return self.encoder is not None or self.platform < self.item_seed.shape[1]

    def _vectors(self, items: Tensor) -> Tensor:
        """(..., P) rows of the item table."""
        if self.item_offset is None:
            return self.item_seed[items]
        exporting = torch.compiler.is_exporting()  # what is exported takes any batch
        if not exporting and len(self.item_seed) < items.numel():  # fewer to add up, the same bits
            table = self.item_seed + self.rate * self.item_offset.weight
            return nn.functional.embedding(items, table)
        return self.item_seed[items] + self.rate * self.item_offset(items)

    def _visit(self, observed: Tensor, past: Tensor | None, clicked: Tensor) -> Tensor:
        """(B, P) mean vector of what the visit clicked.

        In the world's own vectors the platform observes it; in others, it is the mean over the
        remembered events.

        Args:
            observed: (B, ...) mean of the world's vectors.
            past: (B, H, P) rows of the remembered items, if anything needs them.
            clicked: (B, H) 1 where clicked.
        """
        own = observed * self.visit_scale
        if past is None or self.platform == past.shape[-1]:
            return own
        share = clicked / clicked.sum(-1, keepdim=True).clamp(min=1)
        rest = torch.einsum("bh,bhp->bp", share, past[..., self.platform :])
        return torch.cat([own, rest], -1) if self.platform else rest

    def _by_slot(self, scores: Tensor, known: Tensor, vectors: Tensor, best: Tensor) -> Tensor:
        """(B, K * C) scores of independent slots.

        Args:
            scores: (B, C) for all slots.
            known: (B, 2P) interest and visit.
            vectors: (B, C, P) of the candidates.
            best: (B, K) candidates by score.
        """
        batch, k = best.shape
        queries = self.slot_map(known).unflatten(-1, (k, -1))
        slots = scores[:, None] + torch.einsum("bkp,bcp->bkc", queries, vectors)
        places = best[:, None].expand(batch, k, k)
        return slots.scatter_add(2, places, self.slot_lean.expand(batch, k, k)).flatten(1)

    def _seed_tables(self, world: World, config: NetworkConfig, seeded: bool) -> None:
        """The seeds; what the world does not hold goes with the weights."""
        own = config.init == "lm"
        if own:  # the same for every network
            seeds = world.derive(("seeds", config.init), lambda: make_seeds(world, config))
        else:
            seeds = make_seeds(world, config) if seeded else blank_seeds(world, config)
        self._table("user_seed", seeds.users, own)
        self._table("item_seed", seeds.items, own)
        self._table("visit_scale", seeds.scale, own)
        self.platform = seeds.platform

    def _table(self, name: str, table: np.ndarray, in_world: bool = True) -> None:
        """A fixed table; one that the world holds is in no checkpoint, and shared."""
        array = np.ascontiguousarray(table, np.float32)
        tensor = unwritten(array) if in_world else torch.from_numpy(array.copy())
        self.register_buffer(name, tensor, persistent=not in_world)


class Answered(NamedTuple):
    """Outputs of the user's network for B visits."""

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
        self.register_buffer("category", category_table(world), persistent=False)
        self.slots = game.slate_size
        self.max_rounds = game.max_rounds
        slot_features, visit_features = 8, 7
        self.respond = mlp(slot_features + visit_features, config.hidden, 3)
        self.leave = mlp(visit_features + 4, config.hidden // 2, 2)
        self.context_size = visit_features + slot_features

    def forward(self, observation: Observation) -> Answered:
        """Logits of (B, ...) observations with the leaves ``USER_LEAVES``."""
        response, leaving = self._fitted(observation)
        answer, leave, context = self._learned(observation, response, leaving)
        return Answered(self._logits(response + answer, leaving + leave), context)

    def _learned(
        self, observation: Observation, response: Tensor, leaving: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, K, 3) and (B, 2) what is learned of each answer, and the (B, F) context.

        Args:
            observation: as for ``forward``.
            response: (B, K, 3) log-probabilities of the fitted user, which are features too.
            leaving: (B, 2) the same of staying and leaving.
        """
        k = self.slots
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
                position.expand(slate.shape[0], k),  # len() fixes it in an export
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
        leave = self.leave(torch.cat([visit, pooled[:, :4]], -1))
        return self.respond(each), leave, torch.cat([visit, pooled], -1)

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


def _zero_map(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.zeros_(linear.weight)
    return linear


def _zero_table(rows: int, columns: int) -> nn.Embedding:
    return nn.Embedding.from_pretrained(torch.zeros(rows, columns), freeze=False)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """One hidden layer; the last layer is zero."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), last)
