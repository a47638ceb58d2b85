"""Next-item protocol: known ranks, no leak, and the baselines against their definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from recenv.errors import ConfigError
from recenv.schema import Catalog, InteractionLog
from recenv.studies.next_item.like_rate import auc, bias, ece, log_loss
from recenv.studies.next_item.rankers import (
    HALF_LIFE,
    Task,
    content,
    cosine,
    ease,
    liked,
    popularity,
)
from recenv.studies.next_item.study import (
    fold_log,
    fold_of,
    judge,
    pair_auc,
    queries,
    rank,
)


def _log() -> InteractionLog:
    """User 0 likes 0, 1, 3, 4 and rates 2 low; user 1 likes 1, 2; user 2 likes 1, 0, 5."""
    rows = [
        (0, 0, 2), (1, 1, 2), (0, 2, 1), (0, 1, 2), (2, 1, 2), (0, 3, 2),
        (2, 0, 2), (1, 2, 2), (0, 4, 2), (2, 5, 2), (0, 5, 1),
    ]  # fmt: skip
    user, item, response = (np.array(c) for c in zip(*rows, strict=True))
    events = pd.DataFrame(
        {
            "user": user.astype(np.int32),
            "item": item.astype(np.int32),
            "time": np.arange(len(rows), dtype=np.float64),
            "response": response.astype(np.int8),
            "session": np.zeros(len(rows), np.int64),
        }
    )
    return InteractionLog(events, np.array(["a", "b", "c"], dtype=object))


def _catalog(n: int) -> Catalog:
    return Catalog(
        item_ids=np.array([str(k) for k in range(n)], dtype=object),
        text=np.array([f"film {k}" for k in range(n)], dtype=object),
        category=np.zeros(n, np.int32),
        category_names=("film",),
        price=np.zeros(n, np.float32),
    )


def test_queries() -> None:
    log = _log()
    item = log.column("item")
    warm = queries(log, None, min_likes=3)
    assert [(q.user, q.target) for q in warm] == [(0, 4), (2, 5)]
    assert item[warm[0].history].tolist() == [0, 2, 1, 3]
    cold = queries(log, 1, min_likes=3)
    assert [(q.user, q.target) for q in cold] == [(0, 1), (2, 0)]
    assert item[cold[0].history].tolist() == [0, 2]  # what was rated low in between is known
    with pytest.raises(ConfigError, match="min_likes"):
        queries(log, 5, min_likes=5)


def test_known_ranks() -> None:
    log = _log()
    warm = queries(log, None, min_likes=3)
    scores = np.array([[9, 9, 5, 9, 2, 1], [9, 9, 1, 1, 0, 1.0]])
    # user 0: candidates 2, 4, 5 (the low rating stays in), target 4 is second of three
    # user 2: candidates 2, 3, 4, 5; target 5 shares places 1 to 3
    got = judge(scores, warm, log)
    np.testing.assert_allclose(got["AUC"], [0.5, 1 - 1 / 3])
    np.testing.assert_allclose(got["NDCG@10"], [1 / np.log2(3), 1 / np.log2(3)])
    assert got["hit@10"].tolist() == [1, 1]
    easier = judge(scores, warm, log, unrated=True)
    np.testing.assert_allclose(easier["AUC"], [1.0, 1 - 1 / 3])
    far = np.arange(20.0)[::-1]
    assert rank(far, 10, np.ones(20, bool)) == (11, 20)


def test_pairs_by_hand() -> None:
    scores = np.array([[3.0, 2, 2, 1], [1, 1, 1, 1]])
    mine = np.array([[False, True, False, False], [True, True, True, True]])
    got = pair_auc(scores, mine, np.array([True, True, True, False]))
    np.testing.assert_allclose(got[0], 0.25)  # below one, level with the other
    assert np.isnan(got[1])


def test_folds_are_even() -> None:
    fold = fold_of(np.arange(13), 5, seed=0)
    assert sorted(np.bincount(fold).tolist()) == [2, 2, 3, 3, 3]


def test_nothing_of_the_tested_users_is_learned_from() -> None:
    log = _log()
    warm, cold = queries(log, None, min_likes=3), queries(log, 1, min_likes=3)
    known, heldout, codes = fold_log(log, [warm[:1], cold[:1]])
    user, item = known.column("user"), known.column("item")
    assert [c.tolist() for c in codes] == [[3], [4]]
    assert heldout.tolist() == [True, False, False, True, True]
    assert not (user == 0).any()
    assert item[user == 3].tolist() == [0, 2, 1, 3]  # neither the target nor what follows
    assert item[user == 4].tolist() == [0, 2]
    for other in (1, 2):
        assert (
            item[user == other].tolist() == log.column("item")[log.column("user") == other].tolist()
        )
    assert (np.diff(known.column("time")) >= 0).all()
    visits = known.events.groupby("session")["user"].nunique()
    assert (visits == 1).all()
    known.validate(_catalog(6))
    eye = np.eye(6, dtype=np.float32)
    task = Task(known, _catalog(6), eye, heldout, codes[0], eye)
    assert popularity(task).tolist() == [1, 2, 1, 0, 0, 1]  # likes of users 1 and 2 alone
    assert liked(task)[3].toarray().ravel().tolist() == [1, 1, 0, 1, 0, 0]


def test_history_means_by_hand() -> None:
    log = _log()
    text = np.array([[1.0, 0], [0, 1], [1, 1], [0, 2], [2, 0], [2, 3]], np.float32)
    nobody = np.zeros(3, bool)
    task = Task(log, _catalog(6), np.zeros((6, 3), np.float32), nobody, np.array([1, 2]), text)
    # user 1 likes 1, then 2; user 2 likes 1, 0, then 5: a like counts half after 50 others
    centred = text - text.mean(axis=0)
    half = 0.5 ** (1 / HALF_LIFE)
    of_1 = (half * centred[1] + centred[2]) / (half + 1)
    of_2 = (half**2 * centred[1] + half * centred[0] + centred[5]) / (half**2 + half + 1)
    got = content(task, text)
    np.testing.assert_allclose(got, np.stack([of_1, of_2]) @ centred.T, atol=1e-5)
    assert not content(task, task.vectors).any()
    mean = (half * text[1] + text[2]) / (half + 1)
    want = text[5] @ mean / np.linalg.norm(text[5]) / np.linalg.norm(mean)
    assert cosine(task)[0, 5] == pytest.approx(want, abs=1e-5)


def test_ease_is_a_ridge_regression_per_item() -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((40, 7)) < 0.4).astype(np.float32)
    got = ease(sparse.csr_matrix(x), 3.0)
    for k in range(7):
        rest = np.delete(np.arange(7), k)
        a = x[:, rest]
        want = np.linalg.solve(a.T @ a + 3.0 * np.eye(6), a.T @ x[:, k])
        np.testing.assert_allclose(got[rest, k], want, atol=1e-6)
        assert got[k, k] == 0


def test_like_metrics_by_hand() -> None:
    p = np.array([0.1, 0.4, 0.4, 0.8])
    liked_ = np.array([False, True, False, True])
    assert auc(p, liked_) == pytest.approx(3.5 / 4)
    assert log_loss(p, liked_) == pytest.approx(-np.log([0.9, 0.4, 0.6, 0.8]).mean())
    assert bias(p, liked_) == pytest.approx(0.425 / 0.5 - 1)
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    assert ece(p, rng.random(20_000) < p) < 0.02
    shifted = rng.random(20_000) < np.clip(p * 0.5, 0, 1)  # the observed rate is half as high
    assert ece(p, shifted) == pytest.approx(0.25, abs=0.02)
