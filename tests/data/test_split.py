"""The split: nothing leaks, nobody is lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recenv.config import SplitConfig
from recenv.data import Split, make_split, read_table, sessionize
from recenv.data.event_order import sort_by_time
from recenv.errors import ArtifactError, ConfigError, SchemaError
from recenv.schema import InteractionLog


def _log(users: list[int], times: list[int], responses: list[int] | None = None) -> InteractionLog:
    n, num = len(users), max(users) + 1
    frame = pd.DataFrame(
        {
            "user": np.array(users, np.int32),
            "item": np.arange(n, dtype=np.int32),
            "time": np.array(times, np.float64),
            "response": np.array(responses or [1] * n, np.int8),
        }
    )
    return InteractionLog(sort_by_time(frame), np.array([str(u) for u in range(num)], object))


@given(
    events=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), min_size=1, max_size=80),
    valid=st.floats(0, 0.45),
    test=st.floats(0, 0.45),
    heldout=st.floats(0, 0.9),
    seed=st.integers(0, 3),
)
def test_no_leak(
    events: list[tuple[int, int]], valid: float, test: float, heldout: float, seed: int
) -> None:
    log = _log([u for u, _ in events], [t for _, t in events])
    config = SplitConfig(valid_fraction=valid, test_fraction=test, heldout_users=heldout, seed=seed)
    try:
        split = make_split(log, config)
    except SchemaError:
        assume(False)
        raise
    split.check_no_leak(log)
    user, time = log.column("user"), log.column("time")
    for u in range(log.num_users):  # brute force, one user at a time
        mine = np.flatnonzero(user == u)
        part = split.part[mine]
        assert (np.diff(part) >= 0).all()
        if len(mine):
            assert part[0] == 0
            assert (part == 2).sum() == min(int(len(mine) * test + 0.5 + 1e-9), len(mine) - 1)
        for early, late in ((0, 1), (0, 2), (1, 2)):
            a, b = time[mine[part == early]], time[mine[part == late]]
            assert not len(a) or not len(b) or a.max() <= b.min()
    parts = ("train", "valid", "test")
    groups = ("train", "heldout")
    total = np.sum([split.rows(p, g) for p in parts for g in groups], axis=0)
    assert (total == 1).all()
    assert split.heldout.sum() <= int(heldout * log.num_users + 0.5 + 1e-9)
    for p in parts:
        assert not split.heldout[user[split.rows(p)]].any()


def test_sizes_and_repeatability() -> None:
    users = np.repeat(np.arange(50), 20).tolist()
    log = _log(users, list(range(1000)))
    split = make_split(log, SplitConfig())
    assert np.bincount(split.part).tolist() == [800, 100, 100]
    assert split.heldout.sum() == 10
    again = make_split(log, SplitConfig())
    assert np.array_equal(split.heldout, again.heldout)
    other = make_split(log, SplitConfig(seed=1))
    assert not np.array_equal(split.heldout, other.heldout)
    assert np.array_equal(split.part, other.part)


def test_one_event_per_user() -> None:
    log = _log([0, 1, 2], [1, 2, 3])
    split = make_split(log)
    assert not split.heldout.any()
    assert split.rows("train").all()
    assert not split.rows("test", "all").any()
    split.check_no_leak(log)


def test_no_click_left_to_fit() -> None:
    with pytest.raises(SchemaError, match="no click to fit on"):
        make_split(_log([0] * 10, list(range(10))), SplitConfig(heldout_users=0.9))
    ignored_first = _log([0] * 10, list(range(10)), [0] * 9 + [1])
    with pytest.raises(SchemaError, match="no click to fit on"):
        make_split(ignored_first, SplitConfig(heldout_users=0.0))


def test_leaks_are_told() -> None:
    log = _log([0, 0, 0, 1], [1, 2, 3, 4])
    heldout = np.zeros(2, bool)

    def split(part: list[int], held: np.ndarray = heldout) -> Split:
        return Split(np.array(part, np.int8), log.column("user"), held, log.hash)

    split([0, 1, 2, 0]).check_no_leak(log)
    with pytest.raises(SchemaError, match=r"User '0' has a train event at 3.0 s, after a test"):
        split([2, 0, 0, 0]).check_no_leak(log)
    with pytest.raises(SchemaError, match=r"User '0' has a valid event"):
        split([0, 2, 1, 0]).check_no_leak(log)
    with pytest.raises(SchemaError, match=r"User '1' is held out but has no"):
        split([0, 1, 2, 0], np.array([False, True])).check_no_leak(log)
    with pytest.raises(SchemaError, match="no click to fit on"):
        split([0, 1, 2, 1], np.array([True, True])).check_no_leak(log)
    with pytest.raises(SchemaError, match="another log"):
        split([0, 1, 2, 0]).check_no_leak(_log([0, 0, 1, 1], [1, 2, 3, 4]))
    with pytest.raises(SchemaError, match="0, 1 or 2"):
        split([0, 1, 3, 0]).check_no_leak(log)
    with pytest.raises(ConfigError, match="part must be"):
        split([0, 1, 2, 0]).rows("tset")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="users must be"):
        split([0, 1, 2, 0]).rows("test", "held")  # pyright: ignore[reportArgumentType]


def test_save_and_load(tmp_path: Path) -> None:
    log = _log([0] * 10 + [1] * 10, list(range(20)))
    split = make_split(log, SplitConfig(heldout_users=0.5))
    split.save(tmp_path / "split")
    again = Split.load(tmp_path / "split")
    for field in dataclasses.fields(Split):
        assert np.array_equal(getattr(split, field.name), getattr(again, field.name))
    with pytest.raises(ArtifactError):
        Split.load(tmp_path / "none")


def test_sessionize() -> None:
    user = np.array([1, 0, 1, 1, 0])
    time = np.array([0.0, 5.0, 1801.0, 1800.0, 5000.0])
    assert sessionize(user, time).tolist() == [2, 0, 2, 2, 1]
    assert sessionize(user, time, gap=1000).tolist() == [2, 0, 3, 3, 1]


def test_table_to_split() -> None:
    frame = pd.DataFrame({"user": np.arange(100) % 4, "item": np.arange(100), "time": 1})
    log, _ = read_table(frame)
    make_split(log).check_no_leak(log)
