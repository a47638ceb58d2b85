"""Promotion ratios on a planted shop, against counting every offer one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recenv.data.promotions import WEEKS, Promotions
from recenv.schema import InteractionLog
from recenv.studies.baskets.promotion_lift import promotion_lift


def test_planted() -> None:
    """Promotion doubles every purchase; a popular item is promoted more: raw far above two."""
    rng = np.random.default_rng(0)
    stores, items, visits = np.array([30, 40]), 6, 20_000
    base = np.array([0.3, 0.25, 0.02, 0.02, 0.01, 0.01])
    often = np.array([0.8, 0.8, 0.1, 0.1, 0.1, 0.1])
    on = rng.random((2, 11, items)) < often  # store, week, item
    on[:, 0] = False
    store, week = rng.integers(3, size=visits), rng.integers(1, 11, visits)
    known = store < 2  # the third store has no records
    seen = np.where(known[:, None], on[np.minimum(store, 1), week], False)  # (V, N)
    bought = rng.random((visits, items)) < base * np.where(seen, 2, 1)
    session, item = np.nonzero(bought)
    table = pd.DataFrame({"store": np.array([30, 40, 99])[store], "week": week})
    events = pd.DataFrame(
        {"session": session, "item": item, "promotion": seen[session, item].astype(np.int8)}
    )
    rows = np.argwhere(on)
    keys = (rows[:, 0] * WEEKS + rows[:, 1]) * items + rows[:, 2]
    promotions = Promotions(stores, items, keys, np.ones(len(keys), np.int8))
    log = InteractionLog(events, np.array(["one"], dtype=object))
    made = promotion_lift(log, table, promotions)
    told, taken = seen[known], bought[known]
    assert made.offers == told.size
    assert made.promoted == pytest.approx(told.mean())
    assert made.raw == pytest.approx(taken[told].mean() / taken[~told].mean())
    assert made.raw > 6
    assert made.within_item == pytest.approx(2, abs=0.2)
    assert made.within_item_and_store == pytest.approx(2, abs=0.2)
