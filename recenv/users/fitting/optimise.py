"""Stochastic optimisation of the click and purchase laws (Adam, cosine schedule)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import brentq
from scipy.special import expit

from recenv.config import UserModelConfig
from recenv.progress import Progress
from recenv.schema import CLICK, PURCHASE
from recenv.users.fitting.network import Batch, LawsNetwork
from recenv.users.fitting.training_rows import Negatives, Rows, with_past
from recenv.users.repeat_law import feature


class Problem(NamedTuple):
    """The rows of one fit, and how to draw what they are contrasted with."""

    rows: Rows
    negatives: Negatives | None
    redraw: bool  # whether the contrast is drawn anew each epoch
    recalls: bool  # whether the personal past counts
    num_items: int
    mean_tenure: npt.NDArray[np.float64]  # (U,) what tenure is counted from
    by_propensity: bool  # whether rows count by their inverse propensity

    def draw(self, rng: np.random.Generator) -> Rows:
        """Rows with their contrast, and the features that depend on it."""
        rows = self.rows
        if self.negatives is not None:
            rows = rows._replace(offset=rows.offset + self.negatives.offset())
            rows = rows.add(self.negatives.draw(rows, rng))
        return self.past(rows)

    def past(self, rows: Rows) -> Rows:
        """Rows with their users' personal past, if it counts."""
        return with_past(rows, self.num_items) if self.recalls else rows

    def batch(self, rows: Rows) -> Batch:
        """Rows as tensors."""
        # an epoch penalises each item once, and each user once for each of its copies
        per_user = rows.weight / np.bincount(rows.user)[rows.user].astype(np.float32)
        per_item = 1 / np.bincount(rows.item)[rows.item].astype(np.float32)
        columns = (
            rows.user,
            rows.item,
            rows.response,
            rows.slot,
            rows.offset,
            rows.weight * rows.importance if self.by_propensity else rows.weight,
            (rows.tenure - self.mean_tenure[rows.user]).astype(np.float32),
            feature(rows.past).astype(np.float32),
            per_user,
            per_item,
        )
        return Batch(*(torch.from_numpy(np.ascontiguousarray(c)) for c in columns))


def settle(network: LawsNetwork, problem: Problem, seed: int) -> None:
    """Set the intercepts to where the rows' mean probabilities are their rates.

    That is where the unpenalised intercepts end. Before a fit: a click rate of a thousandth is
    too far from log-odds of 0 for a few hundred small steps; after it, for what they left.
    """
    if problem.rows.size == 0:
        return
    batch = problem.batch(problem.draw(np.random.default_rng(seed)))
    with torch.no_grad():
        parts = [network.logits(batch.take(rows)) for rows in _blocks(batch)]
    logits = torch.cat(parts).numpy().astype(np.float64)
    clicked, bought = ((batch.response >= r).numpy() for r in (CLICK, PURCHASE))
    looked, weight = network.examination.detach().numpy()[batch.slot.numpy()], batch.weight.numpy()
    click = level(clicked, logits[:, 0], looked, weight)
    every = np.ones(int(clicked.sum()))
    purchase = level(bought[clicked], logits[clicked, 1], every, weight[clicked])
    with torch.no_grad():
        found = torch.tensor([click, purchase if network.fit_purchase else 0.0])
        network.intercept.copy_(network.intercept + found)


def level(
    hit: npt.NDArray[np.bool_],
    offset: npt.NDArray[np.floating],
    looked: npt.NDArray[np.floating],
    weight: npt.NDArray[np.floating],
) -> float:
    """The b at which the weighted mean of ``looked * logistic(b + offset)`` is that of ``hit``.

    0 where all or none hit: no level is told then.
    """
    if weight.sum() <= 0 or hit.all() or not hit.any():
        return 0.0
    rate = float(np.average(hit, weights=weight))
    rate = min(rate, 0.99 * float(np.average(looked, weights=weight)))

    def gap(b: float) -> float:
        return float(np.average(looked * expit(b + offset), weights=weight)) - rate

    return float(np.asarray(brentq(gap, -50, 50)).item())


def optimise(
    network: LawsNetwork,
    problem: Problem,
    config: UserModelConfig,
    bar: Progress,
    *,
    share: float = 1.0,
) -> None:
    """Minimise the penalised negative log-likelihood, and settle the level.

    Args:
        network: changed in place; parameters that do not require gradients stay.
        problem: what to fit on.
        config: epochs, batches, rates, penalties.
        bar: gets one step per epoch.
        share: of the updates that a whole fit takes, with a learning rate scaled alike.
    """
    if problem.rows.size == 0:
        return
    rng = np.random.default_rng(config.seed)
    shared = network.intercept.requires_grad
    if shared:
        settle(network, problem, config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    data = problem.batch(problem.draw(rng))
    per_epoch = math.ceil(len(data.user) / config.batch_size)
    wanted = np.clip(config.epochs * per_epoch, config.min_updates, config.max_updates)
    updates = max(1, round(share * wanted))
    epochs = math.ceil(updates / per_epoch)
    bar.extend(epochs)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=share**0.5 * config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * per_epoch + 1)
    for epoch in range(epochs):
        if epoch > 0 and problem.redraw:
            data = problem.batch(problem.draw(rng))
        order = torch.randperm(len(data.user), generator=generator)
        total = 0.0
        for rows in order.split(config.batch_size):
            loss = network.loss(data.take(rows), config, 1 / len(order))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        bar.update(note=f"loss {total / len(order):.4f}")
    if shared:
        settle(network, problem, config.seed)


@torch.no_grad()
def mean_loss(network: LawsNetwork, batch: Batch) -> float:
    """Weighted mean negative log-likelihood, without penalties."""
    parts = [
        network.negative_log_likelihood(batch.take(rows)).double().sum() for rows in _blocks(batch)
    ]
    return float(torch.stack(parts).sum() / batch.weight.sum())


def _blocks(batch: Batch) -> tuple[torch.Tensor, ...]:
    return torch.arange(len(batch.user)).split(1 << 16)
