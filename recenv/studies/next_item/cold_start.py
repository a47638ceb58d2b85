"""Cold-start predictions: the mixture of all fitted users, weighted by their share of the event.

A user without a history is not the mean user. That someone clicked a rare film says that they
are of those who click such films, and these like it. So P(purchase | a click on item i) of a user
without events is the mean of all users' probabilities, weighted by how many clicks on i each of
them would make: ``a_u P_u(click i) / sum over items of P_u(click)``, with the user's activity
``a_u``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit

from recenv.errors import SchemaError
from recenv.schema import CLICK, PURCHASE, InteractionLog
from recenv.users.clipping import clipped
from recenv.users.model import UserModel

_MOST_USERS = 1000
_TINY = 1e-6


def cold_start_purchase_probs(
    model: UserModel, log: InteractionLog, items: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """(n,) P(purchase | click) of a user without events, for (n,) item codes.

    The mixture has the level of the log: fitted users stand at the end of their histories, which
    a user without events does not.

    Args:
        model: fitted users.
        log: what they were fitted to; users count by their clicks in it.
        items: codes, repeats allowed.

    Raises:
        SchemaError: the log has no click, or there is no such item.
    """
    taken = log.column("response") >= CLICK
    activity = np.bincount(log.column("user")[taken], minlength=len(model.user_vectors))
    if not taken.any():
        raise SchemaError(
            "A cold-start prediction mixes the users who click, but the log has no click."
        )
    users = np.flatnonzero(activity)
    if len(users) > _MOST_USERS:
        rng = np.random.default_rng(0)
        users = np.sort(rng.choice(users, _MOST_USERS, replace=False))
    size = len(model.item_vectors)
    every = np.arange(size)
    share, odds = np.empty((len(users), size)), np.empty((len(users), size))
    for row, user in enumerate(users):
        codes = np.full(size, user)
        click = model.click_probs(codes, every).astype(np.float64)
        share[row] = activity[user] * click / max(click.sum(), _TINY)
        p = model.purchase_probs(codes, every).astype(np.float64)
        odds[row] = logit(clipped(p))
    share /= share.sum(axis=0)
    count = np.bincount(log.column("item")[taken], minlength=size)
    rate = float((log.column("response")[taken] == PURCHASE).mean())

    def mixed(level: float) -> npt.NDArray[np.float64]:
        return (share * expit(odds + level)).sum(axis=0)

    level = 0.0
    if 0 < rate < 1:
        gap = lambda b: float(np.average(mixed(b), weights=count)) - rate  # noqa: E731
        level = float(np.asarray(brentq(gap, -30, 30)).item())
    wanted = np.atleast_1d(np.asarray(items, np.int64))
    bad = (wanted < 0) | (wanted >= size)
    if bad.any():
        raise SchemaError(
            f"There is no item {wanted[bad][0]}; this model has items 0 to {size - 1}."
        )
    return mixed(level)[wanted]
