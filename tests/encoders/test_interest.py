"""Interest vectors: histories against brute force, the maps against planted worlds."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recenv.config import InterestConfig, SplitConfig
from recenv.data import Split, load, make_split
from recenv.encoders import (
    HashingEncoder,
    InterestVectors,
    fit_interests,
    history_weights,
    user_means,
)
from recenv.encoders.history import Histories
from recenv.errors import ArtifactError, MissingDependencyError, SchemaError
from recenv.schema import InteractionLog

SMALL = InterestConfig(dim=4, epochs=10, min_updates=150, batch_size=512, content_dim=2)


def _log(user: np.ndarray, item: np.ndarray, response: np.ndarray, num: int) -> InteractionLog:
    frame = pd.DataFrame(
        {
            "user": user.astype(np.int32),
            "item": item.astype(np.int32),
            "time": np.arange(len(user), dtype=np.float64),
            "response": response.astype(np.int8),
        }
    )
    return InteractionLog(frame, np.array([str(u) for u in range(num)], dtype=object))


def _random_log(num: int = 9) -> InteractionLog:
    rng = np.random.default_rng(1)
    user, item = rng.integers(0, num, 200), rng.integers(0, 12, 200)
    return _log(user, item, rng.integers(0, 3, 200), num)


def _two_clusters() -> tuple[InteractionLog, np.ndarray, np.ndarray]:
    """Users of kind k consume items of kind k; the kind shows in 2 of 16 noisy values."""
    rng = np.random.default_rng(0)
    kind_of_user, kind_of_item = np.arange(80) % 2, np.arange(40) % 2
    user = np.repeat(np.arange(80), 20)
    item = 2 * rng.integers(0, 20, len(user)) + kind_of_user[user]
    stray = rng.random(len(user)) < 0.1
    item = np.where(stray, rng.integers(0, 40, len(user)), item)
    order = rng.permutation(len(user))
    log = _log(user[order], item[order], np.ones(len(user)), 80)
    vectors = 0.3 * rng.normal(size=(40, 16)).astype(np.float32)
    vectors[:, :2] += 2 * np.eye(2)[kind_of_item]
    return log, vectors, kind_of_user[:, None] == kind_of_item[None, :]


def _fit(log: InteractionLog, split: Split, vectors: np.ndarray, **changes: int) -> InterestVectors:
    return fit_interests(
        log,
        split,
        vectors.astype(np.float32),
        SMALL.replace(**changes),
        encoder="test",
        is_language_model=False,
        progress=False,
    )


def test_weights_against_brute_force() -> None:
    log = _random_log()
    rows = np.random.default_rng(2).random(len(log)) < 0.7
    got = history_weights(log, rows, half_life_events=3.0)
    user, response = log.column("user"), log.column("response")
    for k in range(len(log)):
        later = sum(
            rows[j] and response[j] >= 1 and user[j] == user[k] for j in range(k + 1, len(log))
        )
        want = {0: 0.0, 1: 1.0, 2: 2.0}[int(response[k])] * 0.5 ** (later / 3.0) * rows[k]
        assert got[k] == pytest.approx(want, rel=1e-5)


def test_leave_one_out_against_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recenv.encoders.history.BLOCK", 7)  # blocks cut through users
    log = _random_log()
    vectors = np.random.default_rng(3).normal(size=(12, 5)).astype(np.float32)
    weights = history_weights(log, np.ones(len(log), dtype=bool), 20.0)
    histories = Histories.of(log, weights, vectors)
    user, item = log.column("user"), log.column("item")
    means = user_means(log, weights, vectors)
    without = histories.means_without(user, item)
    for k in range(len(log)):
        mine = user == user[k]
        np.testing.assert_allclose(
            means[user[k]],
            np.average(vectors[item[mine]], axis=0, weights=weights[mine]),
            atol=1e-5,
        )
        rest = mine & (item != item[k])  # every event on the item is left out, not one alone
        np.testing.assert_allclose(
            without[k], np.average(vectors[item[rest]], axis=0, weights=weights[rest]), atol=1e-5
        )


def test_histories_of_one_item_and_of_none() -> None:
    log = _log(np.array([0, 0, 1]), np.array([2, 2, 1]), np.array([1, 2, 0]), 3)
    weights = history_weights(log, np.ones(3, dtype=bool), 50.0)
    histories = Histories.of(log, weights, np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(histories.means()[0], [0, 0, 1], atol=1e-6)
    assert not histories.means()[1:].any()
    assert not histories.means_without(np.array([0, 1]), np.array([2, 1])).any()


def test_two_clusters_are_recovered() -> None:
    log, vectors, matches = _two_clusters()
    split = make_split(log, SplitConfig())
    made = _fit(log, split, vectors)
    scores = made.users @ made.items.T  # (U, N)
    held = split.heldout
    assert held.any()
    right = scores[held][matches[held]].mean() - scores[held][~matches[held]].mean()
    # 95 % of events are on the user's own kind, so the log-probabilities differ by log(95 / 5)
    assert right == pytest.approx(np.log(19), abs=0.4)
    best = scores[held].argmax(axis=1)
    assert matches[np.flatnonzero(held), best].mean() > 0.9


def test_lengths_are_even_and_result_repeats() -> None:
    log, vectors, _ = _two_clusters()
    split = make_split(log, SplitConfig())
    made = _fit(log, split, vectors)
    assert made.users.shape == (80, 4)
    assert made.items.shape == (40, 4)
    assert made.users.dtype == made.items.dtype == np.float32
    assert made.content_dim == 2
    fitted = made.users[~split.heldout]
    lengths = [float(np.square(v[:, :2]).sum(axis=1).mean()) for v in (fitted, made.items)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-4)
    # the content of an item fades as 2 / (2 + events)
    count = np.bincount(log.column("item")[split.rows("train", "train")], minlength=40)
    content = made.items[:, 2:] * (2 + count[:, None]) / 2
    lengths = [float(np.square(v).sum(axis=1).mean()) for v in (fitted[:, 2:], content)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-3)
    again = _fit(log, split, vectors)
    assert np.array_equal(made.users, again.users)
    assert np.array_equal(made.items, again.items)
    assert not np.array_equal(made.users, _fit(log, split, vectors, seed=1).users)


def test_nothing_held_out_is_learned_from() -> None:
    """Held-out users' events, and what comes after the train part, change no item vector."""
    log, vectors, _ = _two_clusters()
    split = make_split(log, SplitConfig())
    seen = split.rows("train") | split.rows("valid")
    events = log.events.copy()
    events.loc[~seen, "item"] = (events.loc[~seen, "item"] + 7) % 40
    changed = dataclasses.replace(log, events=events)
    a, b = _fit(log, split, vectors), _fit(changed, split, vectors)
    assert np.array_equal(a.items, b.items)
    fitted = ~split.heldout
    assert np.array_equal(a.users[fitted], b.users[fitted])
    assert not np.array_equal(a.users, b.users)


def test_users_without_history_are_where_users_begin() -> None:
    log, vectors, _ = _two_clusters()
    lost = log.column("user") >= 78
    events = log.events.assign(response=np.where(lost, 0, 1).astype(np.int8))
    log = dataclasses.replace(log, events=events)
    split = make_split(log, SplitConfig())
    made = _fit(log, split, vectors)
    np.testing.assert_array_equal(made.users[78], made.users[79])
    # without a history, the prediction is how often users begin with each kind: half and half
    scores = made.users[78] @ made.items.T
    kinds = [float(np.exp(scores[np.arange(40) % 2 == k]).sum()) for k in (0, 1)]
    assert abs(np.log(kinds[0] / kinds[1])) < 0.7


def test_new_items_are_known_by_their_content() -> None:
    """Items that no train event is on: their kind shows in the encoder's vector alone."""
    log, vectors, matches = _two_clusters()
    new = np.arange(40) >= 32
    log = log.take(~new[log.column("item")])
    split = make_split(log, SplitConfig())
    made = _fit(log, split, vectors)
    scores = (made.users @ made.items.T)[split.heldout][:, new]
    right = matches[split.heldout][:, new]
    assert scores[right].mean() > scores[~right].mean() + 0.5


def test_content_axes_are_a_regularised_discriminant() -> None:
    """With all axes, inner products are x' (C + r I)^-1 y, with r a share of C's largest value."""
    from recenv.encoders.tower import WHITEN, content_axes

    rng = np.random.default_rng(0)
    x = (rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))).astype(np.float32)
    count = rng.integers(0, 30, 50)
    weight = np.sqrt(count) / np.sqrt(count).sum()
    moment = sum(w * np.outer(row, row) for w, row in zip(weight, x.astype(float), strict=True))
    ridge = WHITEN * np.linalg.eigvalsh(moment).max()
    want = x @ np.linalg.solve(moment + ridge * np.eye(4), x.T)
    whole = content_axes(x, count, 4).numpy()
    np.testing.assert_allclose(whole @ whole.T, want, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(content_axes(x, count, 2).numpy(), whole[:, :2])
    assert np.isfinite(content_axes(x, np.zeros(50, int), 2).numpy()).all()


def test_large_catalogues_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampled softmax finds what the whole one finds."""
    monkeypatch.setattr("recenv.encoders.tower.FULL", 16)
    log, vectors, matches = _two_clusters()
    split = make_split(log, SplitConfig())
    made = _fit(log, split, vectors)
    scores = (made.users @ made.items.T)[split.heldout]
    right = matches[split.heldout]
    assert scores[right].mean() - scores[~right].mean() == pytest.approx(np.log(19), abs=0.8)


def test_updates_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    from recenv.encoders.tower import Tower

    log, vectors, _ = _two_clusters()
    split = make_split(log, SplitConfig(heldout_users=0.0, valid_fraction=0.0))
    calls = []
    loss = Tower._loss
    monkeypatch.setattr(Tower, "_loss", lambda self, batch: calls.append(1) or loss(self, batch))
    few = {"batch_size": 320, "min_updates": 1, "epochs": 10}  # 80 users, 10 a batch
    for most, updates in ((1000, 80), (20, 16), (3, 8)):  # whole epochs, one at least
        calls.clear()
        _fit(log, split, vectors, max_updates=most, **few)
        assert len(calls) == updates


def test_ridge_prediction_against_refits() -> None:
    """The closed-form leave-one-out choice against leaving each item out in turn."""
    from recenv.encoders.tower import ridge_prediction

    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 6)).astype(np.float32)
    y = (x @ rng.normal(size=(6, 2)) + 0.5 * rng.normal(size=(30, 2))).astype(np.float32)
    count = np.full(30, 50)
    weight = np.full(30, 1 / 30)
    z = (x - weight @ x).astype(np.float64)
    z /= np.sqrt(np.square(z).sum(axis=1).mean())
    target = y - weight @ y

    def solve(rows: np.ndarray, ridge: float) -> np.ndarray:
        a = z[rows]
        return np.linalg.solve(a.T @ a + ridge * np.eye(6), a.T @ target[rows])

    def left_out(ridge: float) -> float:
        keep = [np.delete(np.arange(30), k) for k in range(30)]
        return sum(np.square(target[k] - z[k] @ solve(keep[k], ridge)).sum() for k in range(30))

    grid = (0.01, 1.0, 100.0)
    best = min(grid, key=left_out)
    want = z @ solve(np.arange(30), best) + weight @ y
    np.testing.assert_allclose(ridge_prediction(x, y, count, grid), want, atol=1e-4)


def test_history_is_what_came_before() -> None:
    """A user's point before an event depends on no later event, nor on the event itself."""
    import torch

    from recenv.encoders.tower import Sequences, Tower

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 5)).astype(np.float32)
    tower = Tower(vectors, np.full(12, 3), SMALL, purchase_weight=2.0)
    item = rng.permutation(12)[:10].astype(np.int64)
    response = np.full(10, 1, np.int8)
    table = torch.from_numpy(rng.normal(size=(12, 2)).astype(np.float32))
    start, users = np.array([0, 10]), np.array([0])
    with torch.no_grad():
        whole = Sequences(item, response, start, np.array([10]))
        batch = tower._batch(whole, users, np.array([0]), np.array([10]), first=True)
        points = tower._points(table, batch)[0].numpy()
        assert batch.target[0].tolist() == item.tolist()
        for k in range(10):
            prefix = Sequences(item[:k], response[:k], np.array([0, k]), np.array([k]))
            if k == 0:
                prefix = Sequences(item[:1], response[:1], np.array([0, 0]), np.array([0]))
            one = tower.users(prefix, (table, table))
            np.testing.assert_allclose(points[k], one[0, :2], atol=1e-5)


def test_one_event_per_user() -> None:
    rng = np.random.default_rng(0)
    log = _log(np.arange(30), rng.integers(0, 5, 30), np.ones(30), 30)
    made = _fit(log, make_split(log), rng.normal(size=(5, 6)))
    assert np.isfinite(made.users).all()
    assert np.isfinite(made.items).all()


def test_small_log_gets_enough_updates() -> None:
    log, vectors, matches = _two_clusters()
    some = log.take(np.arange(len(log)) < 400)
    split = make_split(some, SplitConfig())
    made = fit_interests(
        some, split, vectors, InterestConfig(), encoder="t", is_language_model=False, progress=False
    )
    scores = made.users @ made.items.T
    held = split.heldout
    assert scores[held][matches[held]].mean() > scores[held][~matches[held]].mean() + 0.5


@pytest.mark.slow
def test_beats_popularity_on_movielens() -> None:
    """AUC of held-out users' later purchases against all films not in their history."""
    log, catalog = load("movielens-100k", download=False)
    split = make_split(log, SplitConfig())
    made = fit_interests(
        log,
        split,
        HashingEncoder(256).encode([str(t) for t in catalog.text]),
        InterestConfig(epochs=4, min_updates=1, learning_rate=0.01),
        encoder="hashing",
        is_language_model=False,
        progress=False,
    )
    user, item = log.column("user"), log.column("item")
    popularity = np.bincount(item[split.rows("train")], minlength=len(catalog))
    history = split.rows("train", "heldout")
    later = split.rows("valid", "heldout") | split.rows("test", "heldout")
    later &= log.column("response") == 2
    aucs = []
    for u in np.unique(user[later]):
        scores = np.stack([popularity, made.items @ made.users[u]])  # (2, N)
        unseen = np.setdiff1d(np.arange(len(catalog)), item[history & (user == u)])
        right = scores[:, item[later & (user == u)], None]
        wrong = scores[:, None, unseen]
        aucs.append(((right > wrong) + 0.5 * (right == wrong)).mean(axis=(1, 2)))
    of_popularity, of_interest = np.mean(aucs, axis=0)
    assert 0.80 < of_popularity < of_interest - 0.02


def test_save_and_load(tmp_path: Path) -> None:
    items, users = np.ones((2, 3), np.float32), np.zeros((4, 3), np.float32)
    made = InterestVectors(items, users, True, "m", content_dim=1)
    made.save(tmp_path / "i")
    again = InterestVectors.load(tmp_path / "i")
    assert np.array_equal(again.items, made.items)
    assert np.array_equal(again.users, made.users)
    assert (again.is_language_model, again.encoder, again.content_dim) == (True, "m", 1)
    with pytest.raises(ArtifactError):
        InterestVectors.load(tmp_path / "none")


def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    log, vectors, _ = _two_clusters()
    split = make_split(log, SplitConfig())
    with pytest.raises(SchemaError, match=r"shape \(10, 16\)"):
        _fit(log, split, vectors[:10])
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"recenv\[lm\]"):
        _fit(log, split, vectors)
