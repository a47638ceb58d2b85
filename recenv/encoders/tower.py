"""Two-tower model of the next event: the inner product of a history's and an item's vector.

A user after ``n`` events is a point

    u = b + f(n) + sum_s m_s * mean_w(s)(t[item] * c[response])

with two means of the history, one over many events and one over few (their half-lives are
learned), ``t`` a vector per item, ``c`` a scale per dimension and kind of response, and ``f`` a
piecewise linear function of ``log(1 + n)``: what users consume first is not what they consume
later. An item is a point ``v``. Both ``t`` and ``v`` are hybrid: a linear map of the encoder's
vector plus a free vector per item. ``u . v`` is log P(the next new item is this one), up to a
constant per user.

A content block without learned parameters is added: the whitened leading principal components of
the encoder's vectors, and their mean over the history. It serves items with few events, and its
weight falls with an item's number of events: trained jointly, the learned part would cancel it, and
new items would suffer.

Sources: Kabbur, Ning & Karypis 2013, "FISM: Factored Item Similarity Models for Top-N
Recommender Systems", KDD (a user as a mean of item vectors); Yi et al. 2019, "Sampling-Bias-
Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys (sampled softmax).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recenv.config import InterestConfig
from recenv.progress import Progress
from recenv.schema import PURCHASE

BLOCK = 32
"""Events of one user that an update learns from, at most."""

WINDOW = 256
"""Events before them that a history reaches back, at most."""

FULL = 4096
"""Up to so many items the softmax runs over the whole catalogue; beyond, over as many drawn."""

CLICK_SCALE, PURCHASE_SCALE = 0.5, 1.0
"""What an event counts in a mean of the history, before learning."""

_SHORT = 5.0  # events, half-life of the short mean before learning
_KNOTS = np.linspace(0, 6, 6)  # log(1 + events); the last is 402 events
_SHRINK = 2.0  # events that a vector predicted from content weighs as much as
_TRUST = 20.0  # events after which an item's vector counts half in that prediction
_RIDGES = (30.0, 100.0, 300.0)
WHITEN = 0.3  # share of the largest variance that is added to all
_CHECKED = 512  # users at most that judge an epoch


class Sequences(NamedTuple):
    """Events of all users, sorted by user, each user's in the log's order.

    Attributes:
        item: (n,) int64 codes.
        response: (n,) int8, CLICK or PURCHASE.
        start: (U + 1,) int64, user u's events are rows ``start[u]`` up to ``start[u + 1]``.
        learned: (U,) int64 how many of a user's events are learned from; the others, which
            come after them, judge the epochs.
    """

    item: npt.NDArray[np.int64]
    response: npt.NDArray[np.int8]
    start: npt.NDArray[np.int64]
    learned: npt.NDArray[np.int64]


class _Batch(NamedTuple):
    """G stretches of histories, padded to L events, with R targets each."""

    item: Tensor  # (G, L) code, -1 is padding
    response: Tensor  # (G, L)
    known: Tensor  # (G, R) number of events (of this stretch) before the target
    before: Tensor  # (G, R) number of events of the user before the target
    target: Tensor  # (G, R) code, -1 is padding
    weight: Tensor  # (G, R)


class Tower:
    """Parameters and training.

    Args:
        vectors: (N, E) float32, centred, of unit mean square per value.
        count: (N,) events to learn from on each item.
        config: see ``InterestConfig``.
        purchase_weight: what a purchase counts as a target, a click counts 1.
    """

    def __init__(
        self,
        vectors: npt.NDArray[np.float32],
        count: npt.NDArray[np.integer],
        config: InterestConfig,
        *,
        purchase_weight: float,
    ) -> None:
        self.config, self.purchase_weight, self.count = config, purchase_weight, count
        self._rng = np.random.default_rng(config.seed)
        self.vectors = torch.from_numpy(vectors)
        content_dim = min(config.content_dim, config.dim // 2, min(vectors.shape))
        self.content = content_axes(vectors, count, content_dim)  # (N, P)
        self.content_weight = 1.0
        dim, size = config.dim - content_dim, vectors.shape[1]
        chance = (count + 1) / (count + 1).sum()
        self._chance = chance
        self._log_chance = torch.from_numpy(np.log(chance).astype(np.float32))
        generator = torch.Generator().manual_seed(config.seed)
        # The same start on both sides: at first, near is what the encoder calls near.
        start = torch.randn(size, dim, generator=generator) * size**-0.5 * dim**-0.25
        popularity = np.log1p(count)
        popularity = (popularity - popularity.mean()) / max(popularity.std(), 1e-6)
        bias, own = torch.zeros(dim), torch.zeros(len(vectors), dim)
        bias[0] = 1.0
        out = own.clone()
        out[:, 0] = torch.from_numpy(popularity.astype(np.float32))
        self.parameters = {
            "map in": start,
            "map out": start.clone(),
            "item in": own,
            "item out": out,
            "bias": bias,
            "length": torch.zeros(len(_KNOTS), dim),
            "response": torch.tensor([[CLICK_SCALE], [PURCHASE_SCALE]]).repeat(1, dim),
            "mix": torch.tensor([1.0, 0.3]),
            "log half-life": torch.tensor([config.half_life_events, _SHORT]).log(),
        }
        for parameter in self.parameters.values():
            parameter.requires_grad_()

    def fit(
        self, sequences: Sequences, users: npt.NDArray[np.integer], *, progress: bool | None
    ) -> None:
        """Learn from the given users; keep the epoch that is best on what they did later."""
        config = self.config
        decayed = ("map in", "map out", "item in", "item out")
        rest = [v for k, v in self.parameters.items() if k not in decayed]
        optimizer = torch.optim.AdamW(
            [
                {"params": [self.parameters[k] for k in decayed]},
                {"params": rest, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        learned = np.minimum(sequences.learned, np.diff(sequences.start))
        users = users[learned[users] > 0]
        self._scale_content(sequences, users, learned)
        size = max(config.batch_size // BLOCK, 1)
        updates = max(-(-len(users) // size), 1)
        epochs = max(config.epochs, -(-config.min_updates // updates))
        epochs = max(min(epochs, config.max_updates // updates), 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda k: 0.5 * (1 + math.cos(math.pi * min(k / (epochs * updates), 1)))
        )
        judged = users[np.diff(sequences.start)[users] > learned[users]]
        judged = self._rng.permutation(judged)[:_CHECKED]
        best, kept = math.inf, None
        bar = Progress("interests", epochs, unit="epochs", shown=progress)
        for _ in bar.of(range(epochs)):
            order = self._rng.permutation(users)
            for at in range(0, len(order), size):
                optimizer.zero_grad(set_to_none=True)
                ends = learned[order[at : at + size]]
                self._loss(self._batch(sequences, order[at : at + size], ends * 0, ends)).backward()
                optimizer.step()
                schedule.step()
            if len(judged) == 0:
                continue
            with torch.no_grad():
                losses = []
                for at in range(0, len(judged), size):
                    some = judged[at : at + size]
                    ends = np.diff(sequences.start)[some]
                    batch = self._batch(sequences, some, learned[some], ends, first=True)
                    losses.append(float(self._loss(batch)) * len(some))
            loss = sum(losses) / len(judged)
            bar.say(f"valid {loss:.4f}")
            if loss < best:
                best = loss
                kept = {k: v.detach().clone() for k, v in self.parameters.items()}
        if kept is not None:
            self.parameters = kept

    @torch.no_grad()
    def tables(self) -> tuple[Tensor, Tensor]:
        """(N, D - P) vectors of items in a history, and of items as answers.

        What content predicts (ridge regression of the learned vectors on the encoder's, its
        penalty chosen by leave-one-out error) stands in for an item without events, and is
        mixed in for an item with few.
        """
        raw = [t.numpy() for t in self._raw()]
        predicted = ridge_prediction(self.vectors.numpy(), np.concatenate(raw, axis=1), self.count)
        share = (self.count / (self.count + _SHRINK))[:, None].astype(np.float32)
        mixed = predicted + share * (np.concatenate(raw, axis=1) - predicted)
        inside, answer = np.split(mixed.astype(np.float32), 2, axis=1)
        return torch.from_numpy(inside.copy()), torch.from_numpy(answer.copy())

    @torch.no_grad()
    def users(self, histories: Sequences, tables: tuple[Tensor, Tensor]) -> npt.NDArray[np.float32]:
        """(U, D) every user after all of their events."""
        out = []
        lengths = np.diff(histories.start)
        for at in range(0, len(lengths), 256):
            some = np.arange(at, min(at + 256, len(lengths)))
            batch = self._batch(histories, some, lengths[some], lengths[some] + 1, first=True)
            both = [self._points(tables[0], batch), self._tastes(batch)]
            out.append(torch.cat(both, dim=2)[:, 0])
        return torch.cat(out).numpy()

    def items(self, tables: tuple[Tensor, Tensor]) -> npt.NDArray[np.float32]:
        """(N, D)."""
        share = (_SHRINK / (self.count + _SHRINK))[:, None].astype(np.float32)
        return np.concatenate([tables[1].numpy(), share * self.content_vectors()], axis=1)

    def content_vectors(self) -> npt.NDArray[np.float32]:
        """(N, P) content block of the items as if none had any events."""
        return self.content.numpy() * np.float32(self.content_weight)

    def _raw(self) -> tuple[Tensor, Tensor]:
        p = self.parameters
        return (
            self.vectors @ p["map in"] + p["item in"],
            self.vectors @ p["map out"] + p["item out"],
        )

    def _scale_content(
        self, sequences: Sequences, users: npt.NDArray[np.integer], learned: npt.NDArray[np.int64]
    ) -> None:
        """Let the content block's log-probabilities have the configured standard deviation."""
        if self.content.shape[1] == 0 or len(users) == 0:
            return
        some = users[:_CHECKED]
        with torch.no_grad():
            batch = self._batch(sequences, some, learned[some], learned[some] + 1, first=True)
            spread = float((self._tastes(batch)[:, 0] @ self.content.T).std())
        self.content_weight = self.config.content_spread / max(spread, 1e-6)

    def _batch(
        self,
        sequences: Sequences,
        users: npt.NDArray[np.integer],
        low: npt.NDArray[np.integer],
        high: npt.NDArray[np.integer],
        *,
        first: bool = False,
    ) -> _Batch:
        """A random stretch of targets among each user's events ``low`` to ``high``.

        With ``first``, the stretch begins at ``low``. A target past the last event is padding.
        """
        room = np.maximum(high - low - BLOCK, 0)
        begin = low if first else low + self._rng.integers(0, room + 1)
        begin, end = begin, np.minimum(begin + BLOCK, high)
        reach = np.maximum(begin - WINDOW, 0)
        length = np.diff(sequences.start)[users]
        columns = np.arange(int((np.minimum(end, length) - reach).max(initial=1)))
        at = sequences.start[users][:, None] + reach[:, None] + columns
        real = (reach[:, None] + columns) < np.minimum(end, length)[:, None]
        at = np.minimum(at, max(len(sequences.item) - 1, 0))
        rows = begin[:, None] + np.arange(int((end - begin).max(initial=1)))  # (G, R)
        there = rows < np.minimum(end, length)[:, None]
        goal = np.minimum(sequences.start[users][:, None] + rows, len(sequences.item) - 1)
        liked = sequences.response[goal] == PURCHASE
        # every user weighs as the square root of the number of events in this stretch
        share = np.maximum(there.sum(axis=1, keepdims=True), 1) ** -0.5
        weight = np.where(liked, self.purchase_weight, 1.0) * share * there
        return _Batch(
            torch.from_numpy(np.where(real, sequences.item[at], -1)),
            torch.from_numpy((sequences.response[at] == PURCHASE).astype(np.int64)),
            torch.from_numpy(rows - reach[:, None]),
            torch.from_numpy(rows),
            torch.from_numpy(np.where(there, sequences.item[goal], -1)),
            torch.from_numpy(weight.astype(np.float32)),
        )

    def _points(self, inside: Tensor, batch: _Batch) -> Tensor:
        """(G, R, D - P) users before each target, what is learned of them."""
        p = self.parameters
        learned = inside[batch.item.clamp(min=0)] * p["response"][batch.response]
        age, seen = _ages(batch)
        total = torch.zeros(())
        for k in range(2):
            weight = _recency(age, seen, p["log half-life"][k].exp())
            total = total + p["mix"][k] * torch.bmm(weight, learned)
        steps = torch.log1p(batch.before.float())[..., None] - torch.from_numpy(_KNOTS).float()
        hats = torch.relu(1 - steps.abs() / float(_KNOTS[1]))
        return total + p["bias"] + hats @ p["length"]

    def _tastes(self, batch: _Batch) -> Tensor:
        """(G, R, P) means of the content block over the history."""
        scale = torch.tensor([CLICK_SCALE, PURCHASE_SCALE])[batch.response]
        content = self.content[batch.item.clamp(min=0)] * scale[..., None]
        half_life = torch.tensor(self.config.half_life_events)
        return torch.bmm(_recency(*_ages(batch), half_life), content)

    def _loss(self, batch: _Batch) -> Tensor:
        """Weighted mean of -log P(target) among the items that are new to the user."""
        inside, answer = self._raw()
        real = batch.target >= 0
        points = self._points(inside, batch)[real]  # (n, D - P)
        target, weight = batch.target[real], batch.weight[real]
        right = (points * answer[target]).sum(1)
        if len(answer) <= FULL:
            column = torch.arange(len(answer))
            offset = torch.zeros(len(answer))
        else:  # importance sampling: divided by how often they are expected, they estimate the sum
            drawn = self._rng.choice(len(answer), FULL, p=self._chance)
            column = torch.from_numpy(drawn)
            offset = self._log_chance[column] + math.log(FULL)
        logits = points @ answer[column].T - offset
        wrong = column[None, :] != target[:, None]
        if len(answer) <= FULL:
            stretch, row = torch.nonzero(real, as_tuple=True)
            past = torch.arange(batch.item.shape[1]) < batch.known[stretch, row][:, None]
            at, position = torch.nonzero(past & (batch.item[stretch] >= 0), as_tuple=True)
            wrong[at, batch.item[stretch[at], position]] = False
        logits = logits.masked_fill(~wrong, -torch.inf)
        losses = torch.logsumexp(torch.cat([right[:, None], logits], dim=1), dim=1) - right
        return (weight * losses).sum() / weight.sum().clamp(min=1e-9)


def _ages(batch: _Batch) -> tuple[Tensor, Tensor]:
    """(G, R, L) events between each event and the target, and whether it is known then.

    Events on the target itself are not.
    """
    age = batch.known[:, :, None] - 1 - torch.arange(batch.item.shape[1])
    seen = (age >= 0) & (batch.item >= 0)[:, None, :]
    seen &= batch.item[:, None, :] != batch.target[:, :, None]
    return age.clamp(min=0).float(), seen


def _recency(age: Tensor, seen: Tensor, half_life: Tensor) -> Tensor:
    """(G, R, L) weights of a mean, all 0 where nothing is known."""
    weight = torch.exp(-math.log(2) * age / half_life) * seen
    return weight / (weight.sum(-1, keepdim=True) + 1e-6)


def content_axes(
    vectors: npt.NDArray[np.float32], count: npt.NDArray[np.integer], size: int
) -> Tensor:
    """(N, size) leading principal components, shrunk towards equal variance.

    Each is divided by the root of its variance plus ``WHITEN`` times the largest one, so that an
    inner product is that of a linear discriminant with a regularised covariance (Friedman 1989,
    "Regularized Discriminant Analysis", JASA): what sets apart nearly all items says little of a
    taste. An item weighs as the square root of its events, and those without any not at all.
    """
    weight = np.sqrt(count) if count.any() else np.ones(len(vectors))
    x = vectors.astype(np.float64)
    variance, axes = np.linalg.eigh((x * (weight / weight.sum())[:, None]).T @ x)  # ascending
    variance, axes = variance[::-1][:size].clip(0), axes[:, ::-1][:, :size]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(size)] < 0, -1, 1)
    scale = np.sqrt(variance + WHITEN * variance.max(initial=1e-12))
    return torch.from_numpy((x @ (axes / scale)).astype(np.float32))


def ridge_prediction(
    vectors: npt.NDArray[np.float32],
    learned: npt.NDArray[np.float32],
    count: npt.NDArray[np.integer],
    ridges: Sequence[float] = _RIDGES,
) -> npt.NDArray[np.float64]:
    """(N, K) what ridge regression on (N, E) vectors makes of the (N, K) learned ones.

    An item weighs ``count / (count + 20)``. The penalty is the one of ``ridges`` with the least
    weighted leave-one-out error, which has a closed form (Allen 1974, "The Relationship between
    Variable Selection and Data Augmentation and a Method for Prediction", Technometrics).
    """
    weight = count / (count + _TRUST)
    known = weight > 0
    if not known.any():
        return np.zeros(learned.shape)
    weight = weight[known] / weight[known].sum()
    centre = weight @ learned[known]
    origin = weight @ vectors[known]
    x = (vectors - origin).astype(np.float64)
    x /= max(float(np.sqrt(np.square(x).sum(axis=1).mean())), 1e-12)
    root = np.sqrt(weight * known.sum())[:, None]
    a, b = x[known] * root, (learned[known] - centre) * root
    left, values, right = np.linalg.svd(a, full_matrices=False)
    image = left.T @ b
    errors, maps = [], []
    for ridge in ridges:
        gain = values**2 / (values**2 + ridge)
        leverage = np.square(left) @ gain
        rest = (b - left @ (gain[:, None] * image)) / np.maximum(1 - leverage, 1e-6)[:, None]
        errors.append(float(np.square(rest).sum()))
        maps.append(right.T @ ((values / (values**2 + ridge))[:, None] * image))
    return x @ maps[int(np.argmin(errors))] + centre
