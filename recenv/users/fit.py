"""Fitting of the click and purchase laws by penalised maximum likelihood, with torch.

Model: ``logit P(click | looked at) = sum_d w_d theta_ud v_id + a + b_u + b_i`` and the same
form, with weights and biases of its own, for ``P(purchase | click)``. Users and items are
hybrid: ``theta_u`` and ``v_i`` are the language-model vectors plus a per-id residual that an
L2 penalty (a Gaussian prior, so that the fit is the posterior mode) holds at zero where the
log says little.

Where the log has no impressions, the clicks are contrasted with items drawn uniformly from
those the user never clicked (case-control sampling: Prentice & Pyke, Biometrika 1979). That
leaves every log-odds ratio intact and only the intercept undetermined; the intercept is then
set so that the mean click probability equals ``UserModelConfig.click_rate``. For the same
reason such a log tells no user's click level apart from how much was shown to that user, so
user click biases stay zero.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from recenv.config import UserModelConfig
from recenv.encoders.interest import one_thread
from recenv.errors import MissingDependencyError, SchemaError
from recenv.schema import CLICK, PURCHASE, Catalog, InteractionLog
from recenv.users.laws import examination_prior
from recenv.users.model import MAX_SLOTS, PRIOR_NOTES, Dynamics, Provenance, UserModel

if TYPE_CHECKING:
    from recenv.encoders.interest import InterestVectors
    from recenv.users.network import LawsNetwork


class _Rows(NamedTuple):
    """Events to fit on, one per row; ``negative`` rows are drawn anew each epoch."""

    user: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    response: npt.NDArray[np.int64]
    examined: npt.NDArray[np.float32]  # examination probability of the slot

    def take(self, rows: npt.NDArray[np.intp]) -> _Rows:
        return _Rows(self.user[rows], self.item[rows], self.response[rows], self.examined[rows])

    def add(self, other: _Rows) -> _Rows:
        return _Rows(
            np.concatenate([self.user, other.user]),
            np.concatenate([self.item, other.item]),
            np.concatenate([self.response, other.response]),
            np.concatenate([self.examined, other.examined]),
        )


def fit_user_model(
    log: InteractionLog,
    catalog: Catalog,
    interests: InterestVectors,
    config: UserModelConfig,
    *,
    folded: npt.NDArray[np.bool_] | None = None,
    progress: bool = True,
) -> UserModel:
    """See ``UserModel.fit``."""
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("torch", "lm", "Fitting a user model") from error
    from recenv.users.network import LawsNetwork

    num_users, num_items = log.num_users, len(catalog)
    if interests.users.shape[0] != num_users or interests.items.shape[0] != num_items:
        raise SchemaError(
            f"The interest vectors are of {interests.users.shape[0]} users and "
            f"{interests.items.shape[0]} items, but the log has {num_users} and {num_items}. "
            "Make them from the same log."
        )
    folded = np.zeros(num_users, bool) if folded is None else folded
    rows = _rows(log, config)
    own = ~folded[rows.user]
    if not (rows.response[own] >= CLICK).any():
        raise SchemaError(
            "No click is left to fit on outside the folded (held-out) users. Give more events, "
            "or hold out fewer users."
        )
    scale = _scale(interests, np.flatnonzero(~folded))
    network = LawsNetwork(
        torch.from_numpy(interests.users / scale),
        torch.from_numpy(interests.items / scale),
        fit_user_click_bias=log.has_impressions,
    )
    sampler = None if log.has_impressions else _Sampler(rows, num_users, num_items, config)
    with (
        one_thread(),
        tqdm(total=0, desc="user model", unit="epoch", disable=not progress) as bar,
    ):
        _optimise(network, rows.take(np.flatnonzero(own)), sampler, config, bar)
        if folded.any():
            network.freeze_shared()
            _optimise(network, rows.take(np.flatnonzero(~own)), sampler, config, bar)

    arrays = network.arrays()
    if not log.has_impressions:
        users = np.flatnonzero(~folded & (np.bincount(rows.user, minlength=num_users) > 0))
        arrays["item_click_bias"] += _level_shift(arrays, users, config)
    return UserModel(
        **arrays,
        examination=_examination(log, config),
        dynamics=Dynamics.from_config(config),
        laws=_provenance(log, config),
    )


def _examination(log: InteractionLog, config: UserModelConfig) -> npt.NDArray[np.float32]:
    """(MAX_SLOTS,) the prior; ones where impressions have no positions.

    There the fitted click law is already of what was shown, and a prior on top would put the
    click rate below the logged one.
    """
    if log.has_impressions and "position" not in log.events:
        return np.ones(MAX_SLOTS, np.float32)
    return examination_prior(MAX_SLOTS, config.examination_decay)


def _rows(log: InteractionLog, config: UserModelConfig) -> _Rows:
    response = log.column("response").astype(np.int64)
    examined = np.ones(len(response), np.float32)
    if log.has_impressions and "position" in log.events:
        slot = np.minimum(log.column("position"), MAX_SLOTS) - 1
        examined = _examination(log, config)[slot]
    rows = _Rows(
        log.column("user").astype(np.int64), log.column("item").astype(np.int64), response, examined
    )
    return rows if log.has_impressions else rows.take(np.flatnonzero(response >= CLICK))


class _Sampler:
    """Draws negatives: items that the user never clicked, uniformly."""

    def __init__(
        self, rows: _Rows, num_users: int, num_items: int, config: UserModelConfig
    ) -> None:
        self._items, self._count = num_items, config.negatives
        self._clicked = np.unique(rows.user * num_items + rows.item)
        self._full = np.bincount(self._clicked // num_items, minlength=num_users) >= num_items

    def draw(self, rows: _Rows, rng: np.random.Generator) -> _Rows:
        user = np.repeat(rows.user[~self._full[rows.user]], self._count)
        item = rng.integers(self._items, size=len(user))
        clash = np.arange(len(user))
        while len(clash := clash[self._is_clicked(user[clash], item[clash])]):
            item[clash] = rng.integers(self._items, size=len(clash))
        ones = np.ones(len(user), np.float32)
        return _Rows(user, item, np.zeros(len(user), np.int64), ones)

    def _is_clicked(
        self, user: npt.NDArray[np.int64], item: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        pair = user * self._items + item
        at = np.minimum(np.searchsorted(self._clicked, pair), len(self._clicked) - 1)
        return self._clicked[at] == pair


def _optimise(
    network: LawsNetwork,
    rows: _Rows,
    sampler: _Sampler | None,
    config: UserModelConfig,
    bar: tqdm,
) -> None:
    """Adam with a cosine schedule."""
    import torch

    if len(rows.user) == 0:
        return
    rng = np.random.default_rng(config.seed)
    per_row = 1 if sampler is None else 1 + config.negatives
    updates = math.ceil(len(rows.user) * per_row / config.batch_size)
    epochs = max(config.epochs, math.ceil(config.min_updates / updates))
    bar.total = (bar.total or 0) + epochs
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * updates + 1)
    for _ in range(epochs):
        epoch = rows if sampler is None else rows.add(sampler.draw(rows, rng))
        user_count = np.bincount(epoch.user)[epoch.user].astype(np.float32)
        item_count = np.bincount(epoch.item)[epoch.item].astype(np.float32)
        order = rng.permutation(len(epoch.user))
        total = 0.0
        for start in range(0, len(order), config.batch_size):
            at = order[start : start + config.batch_size]
            batch = epoch.take(at)
            loss = network.loss(
                torch.from_numpy(batch.user),
                torch.from_numpy(batch.item),
                torch.from_numpy(batch.response),
                torch.from_numpy(batch.examined),
                torch.from_numpy(1 / user_count[at]),
                torch.from_numpy(1 / item_count[at]),
                config,
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(at)
        bar.update()
        bar.set_postfix_str(f"loss {total / len(order):.4f}")


def _scale(interests: InterestVectors, users: npt.NDArray[np.intp]) -> np.float32:
    """What both tables are divided by, so that inner products have standard deviation 1."""
    rng = np.random.default_rng(0)
    users = rng.choice(users, size=10_000)
    items = rng.integers(len(interests.items), size=10_000)
    spread = np.std((interests.users[users] * interests.items[items]).sum(1))
    return np.float32(math.sqrt(max(float(spread), 1e-12)))


def _level_shift(
    arrays: dict[str, npt.NDArray[np.float32]],
    users: npt.NDArray[np.intp],
    config: UserModelConfig,
) -> np.float32:
    """What to add to every click logit so that the mean click probability is the stated one.

    The mean is over at most 500 users times 2000 items, drawn uniformly.
    """
    rng = np.random.default_rng(config.seed)
    items = np.arange(len(arrays["item_vectors"]))
    users = rng.choice(users, min(len(users), 500), replace=False)
    items = rng.choice(items, min(len(items), 2000), replace=False)
    weighted = arrays["user_vectors"][users] * arrays["click_weight"]
    logits = weighted @ arrays["item_vectors"][items].T + arrays["item_click_bias"][items]
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        rate = float(np.mean(1 / (1 + np.exp(-np.clip(logits + middle, -60, 60)))))
        low, high = (middle, high) if rate < config.click_rate else (low, middle)
    return np.float32((low + high) / 2)


def _provenance(log: InteractionLog, config: UserModelConfig) -> dict[str, Provenance]:
    clicks = int((log.column("response") >= CLICK).sum())
    purchases = int((log.column("response") == PURCHASE).sum())
    contrast = (
        f"{len(log) - clicks} impressions without a click"
        if log.has_impressions
        else f"{config.negatives} sampled items per click"
    )
    level = (
        Provenance("fitted", f"{clicks} clicks in {len(log)} impressions")
        if log.has_impressions
        else Provenance("prior", f"mean P(click given looked at) stated as {config.click_rate}")
    )
    if "position" in log.events and log.has_impressions:
        examination = f"position-based model, k ** -{config.examination_decay}; stated, not fitted"
    elif log.has_impressions:
        examination = "every slot counts as looked at: the log has no positions"
    else:
        examination = f"position-based model, k ** -{config.examination_decay}; no impressions"
    return {
        "examination": Provenance("prior", examination),
        "click": Provenance("fitted", f"{log.name}: {clicks} clicks against {contrast}"),
        "click level": level,
        "purchase": Provenance("fitted", f"{log.name}: {purchases} purchases in {clicks} clicks"),
    } | {law: Provenance("prior", note) for law, note in PRIOR_NOTES.items()}
