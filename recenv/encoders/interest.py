"""User-interest vectors: histories and items mapped into one space.

A user is the recency-weighted mean of the encoder vectors of what they consumed; an item is its
encoder vector and the logarithm of its number of train events. Two linear maps take users and
items to ``dim`` values each, such that the inner product says what a user consumes next.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from recenv import artifacts
from recenv.config import InterestConfig
from recenv.data.split import Split
from recenv.encoders.history import Histories, event_weights, history_weights
from recenv.errors import MissingDependencyError, SchemaError
from recenv.schema import CLICK, InteractionLog

if TYPE_CHECKING:
    import torch

_KIND = "interests"
_VALID_BATCHES = 16  # at most so many batches judge an epoch


@dataclass(frozen=True)
class InterestVectors:
    """Users and items in one space.

    ``users @ items.T`` estimates log P(the user's next event is on this item), up to a constant
    per user.

    Attributes:
        items: (N, D) float32.
        users: (U, D) float32; those fitted on have the same mean squared length as ``items``.
        is_language_model: whether the items' vectors came from a language model.
        encoder: its name, for reports.
    """

    items: npt.NDArray[np.float32]
    users: npt.NDArray[np.float32]
    is_language_model: bool
    encoder: str

    def save(self, folder: Path) -> Path:
        """Write as an artifact."""
        meta = {"is_language_model": self.is_language_model, "encoder": self.encoder}
        return artifacts.save(folder, _KIND, {"items": self.items, "users": self.users}, meta)

    @classmethod
    def load(cls, folder: Path) -> InterestVectors:
        """Read what ``save`` wrote.

        Raises:
            ArtifactError: missing or damaged.
        """
        arrays, meta = artifacts.load(folder, _KIND)
        return cls(arrays["items"], arrays["users"], meta["is_language_model"], meta["encoder"])


def fit_interests(
    log: InteractionLog,
    split: Split,
    item_vectors: npt.NDArray[np.float32],
    config: InterestConfig,
    *,
    encoder: str,
    is_language_model: bool,
    progress: bool = True,
) -> InterestVectors:
    """Learn both maps from the train part of the users who are not held out.

    Each train event asks: which item is it, given the rest of the user's history? The item
    itself is left out of that history, so that the maps cannot learn to recognise it. The other
    items of the batch are the wrong answers, corrected for their unequal chances to be in it
    (Bengio and Senécal 2008, "Adaptive Importance Sampling to Accelerate Training of a Neural
    Probabilistic Language Model", IEEE TNN; for two towers Yi et al. 2019, "Sampling-Bias-
    Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys, but the right item,
    whose chance is 1, is not corrected). A purchase counts twice a click. The epoch with the
    lowest loss on the same users' validation part is kept.

    An item's popularity is an input beside its text because text tells it badly: without it the
    vectors rank held-out users' next purchases worse than popularity alone. An item without
    train events is mapped as the least popular.

    Then all users, held-out ones too, are mapped from their train part; a user without a click
    there gets the mean of those fitted on. Time is linear in events, memory (U, E) floats.

    Args:
        log: sorted by time.
        split: which events are train, and who is held out.
        item_vectors: (N, E) from an encoder.
        config: sizes and learning.
        encoder: name to report.
        is_language_model: whether it is one.
        progress: whether to show a bar on stderr.

    Raises:
        MissingDependencyError: torch is not installed.
        SchemaError: the item vectors do not fit the log.
    """
    user, item, response = (log.column(c) for c in ("user", "item", "response"))
    if item_vectors.ndim != 2 or len(item_vectors) <= item.max():
        raise SchemaError(
            f"item_vectors must be (N, E) with N above the largest item code {item.max()}, but "
            f"has shape {item_vectors.shape}. Encode the catalogue that belongs to the log."
        )
    # centred, and of unit mean square per value: one learning rate then suits every encoder
    vectors = item_vectors - item_vectors.mean(axis=0, dtype=np.float64)
    vectors = (vectors / max(np.sqrt(np.square(vectors).mean()), 1e-12)).astype(np.float32)
    weights = history_weights(log, split.rows("train", "all"), config.half_life_events)
    histories = Histories.of(log, weights, vectors)
    clicked = response >= CLICK
    fit = np.flatnonzero(split.rows("train", "train") & clicked)
    check = np.flatnonzero(split.rows("valid", "train") & clicked)
    weight = event_weights(response)
    # scales, too, are learned from the users fitted on alone
    fitted = ~split.heldout & (histories.total > 0)
    towers = _Towers(
        histories,
        fitted,
        np.bincount(item[fit], minlength=len(vectors)),
        config,
        progress=progress,
    )
    with one_thread():
        towers.fit(
            _Events(user[fit], item[fit], weight[fit]),
            _Events(user[check], item[check], weight[check]),
        )
        users, items = towers.vectors()
    users[histories.total == 0] = users[fitted].mean(axis=0)
    # user * c and item / c have the same inner products; c evens out their lengths
    lengths = [_mean_square(users[fitted]), _mean_square(items)]
    c = (lengths[1] / lengths[0]) ** 0.25 if min(lengths) > 0 else 1.0
    return InterestVectors(
        items=(items / c).astype(np.float32),
        users=(users * c).astype(np.float32),
        is_language_model=is_language_model,
        encoder=encoder,
    )


def _mean_square(vectors: npt.NDArray[np.float32]) -> float:
    """Mean squared length of the rows."""
    return float(np.square(vectors, dtype=np.float64).sum(axis=1).mean())


@dataclass(frozen=True)
class _Events:
    """(n,) each: user code, item code, weight in the loss."""

    user: npt.NDArray[np.integer]
    item: npt.NDArray[np.integer]
    weight: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: npt.NDArray[np.integer]) -> _Events:
        return _Events(self.user[rows], self.item[rows], self.weight[rows])


def one_thread() -> AbstractContextManager[object]:
    """Torch on one thread, so that sums have one order on any machine.

    It costs little: the matrices are small. (``torch.set_num_threads`` there and back left later
    matrix products up to 30 times slower, measured with torch 2.13.)

    Raises:
        MissingDependencyError: threadpoolctl is not installed.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingDependencyError("threadpoolctl", "lm", "Fitting") from error
    return threadpool_limits(limits=1)


class _Towers:
    """Both linear maps, and their training."""

    def __init__(
        self,
        histories: Histories,
        fitted: npt.NDArray[np.bool_],
        item_count: npt.NDArray[np.integer],
        config: InterestConfig,
        *,
        progress: bool,
    ) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingDependencyError("torch", "lm", "Learning interest vectors") from error
        self.histories, self.config, self.progress = histories, config, progress
        chance = np.maximum(item_count, 1) / max(int(item_count.sum()), 1)
        self.log_chance = torch.from_numpy(np.log(chance).astype(np.float32))  # (N,)
        popularity = np.log1p(item_count)
        popularity = (popularity - popularity.mean()) / max(popularity.std(), 1e-6)
        inputs = np.column_stack([histories.vectors, popularity]).astype(np.float32)
        self.items = torch.from_numpy(inputs)  # (N, E + 1)
        means = histories.means()[fitted]
        self.user_scale = 1.0 / max(float(np.sqrt(np.square(means).mean())), 1e-6)
        # The same start on both sides: at first, near is what the encoder calls near. Its size
        # gives logits of about 1. The first axis of the users' bias meets popularity.
        size, dim = histories.vectors.shape[1], config.dim
        generator = torch.Generator().manual_seed(config.seed)
        start = torch.randn(size, dim, generator=generator) * size**-0.5
        start *= config.temperature**0.5 * dim**-0.25
        bias = torch.zeros(dim)
        bias[0] = config.temperature**0.5
        self.parameters = {
            "user": start,
            "item": torch.cat([start, torch.zeros(1, dim)]),
            "user bias": bias,
            "item bias": torch.zeros(dim),
        }
        for parameter in self.parameters.values():
            parameter.requires_grad_()

    def fit(self, events: _Events, check: _Events) -> None:
        """Train; keep the epoch that is best on ``check``, or the last where that is empty."""
        import torch

        config = self.config
        optimizer = torch.optim.AdamW(
            list(self.parameters.values()),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        rng = np.random.default_rng(config.seed)
        sample = rng.permutation(len(check))[: _VALID_BATCHES * config.batch_size]
        best, kept = np.inf, None
        updates = max(-(-len(events) // config.batch_size), 1)  # of one epoch
        count = max(config.epochs, -(-config.min_updates // updates))
        epochs = tqdm(range(count), desc="interests", disable=not self.progress)
        for _ in epochs:
            order = rng.permutation(len(events))
            for rows in self._batches(order):
                optimizer.zero_grad(set_to_none=True)
                loss = self._loss(events.take(rows))
                loss.backward()
                optimizer.step()
            if len(sample) == 0:
                continue
            with torch.no_grad():
                losses = [float(self._loss(check.take(rows))) for rows in self._batches(sample)]
            epochs.set_postfix(valid=f"{np.mean(losses):.4f}")
            if np.mean(losses) < best:
                best = np.mean(losses)
                kept = {k: v.detach().clone() for k, v in self.parameters.items()}
        if kept is not None:
            self.parameters = kept

    def vectors(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """(U, D) users and (N, D) items; their inner products are log-probabilities."""
        import torch

        scale = self.config.temperature**-0.5
        with torch.no_grad():
            users = self._map("user", torch.from_numpy(self.histories.means() * self.user_scale))
            items = self._map("item", self.items)
        return (users * scale).numpy(), (items * scale).numpy()

    def _batches(self, order: npt.NDArray[np.integer]) -> list[npt.NDArray[np.integer]]:
        size = self.config.batch_size
        return [order[i : i + size] for i in range(0, len(order), size)]

    def _map(self, side: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self.parameters[side] + self.parameters[f"{side} bias"]

    def _loss(self, events: _Events) -> torch.Tensor:
        """Sampled softmax over the batch's items, weighted mean over its events."""
        import torch

        means = self.histories.means_without(events.user, events.item) * self.user_scale
        item = torch.from_numpy(events.item.astype(np.int64))
        weight = torch.from_numpy(events.weight)
        users = self._map("user", torch.from_numpy(means))
        logits = users @ self._map("item", self.items[item]).T / self.config.temperature
        # Importance sampling: divided by how often they are expected in the batch, the wrong
        # answers estimate the sum over the catalogue; the right one is always there.
        offset = self.log_chance[item] + math.log(max(len(item) - 1, 1))
        offset = offset.repeat(len(item), 1).fill_diagonal_(0.0)
        # another event on the same item is not a wrong answer
        same = (item[:, None] == item[None, :]).fill_diagonal_(False)
        logits = (logits - offset).masked_fill(same, -torch.inf)
        right = torch.arange(len(item))
        losses = torch.nn.functional.cross_entropy(logits, right, reduction="none")
        return (weight * losses).sum() / weight.sum()
