"""Train, validation and test parts of a log, and the users held out from all fitting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from recenv import artifacts
from recenv.config import SplitConfig
from recenv.errors import ConfigError, SchemaError
from recenv.schema import CLICK, InteractionLog

TRAIN, VALID, TEST = 0, 1, 2
Part = Literal["train", "valid", "test"]
Users = Literal["train", "heldout", "all"]
_PARTS = {"train": TRAIN, "valid": VALID, "test": TEST}


@dataclass(frozen=True)
class Split:
    """How a log is divided.

    Attributes:
        part: (n,) int8 part of each event: 0 train, 1 validation, 2 test.
        user: (n,) int32 user code of each event.
        heldout: (U,) bool, users that nothing is fitted on. Their "train" part is the history
            that a platform would know of them.
        log_hash: content hash of the log that was divided.
    """

    part: npt.NDArray[np.int8]
    user: npt.NDArray[np.int32]
    heldout: npt.NDArray[np.bool_]
    log_hash: str

    def rows(self, part: Part, users: Users = "train") -> npt.NDArray[np.bool_]:
        """(n,) bool mask of the events of one part and one group of users.

        Args:
            part: which part of each user's history.
            users: "train" those fitted on, "heldout" the others, or "all".

        Raises:
            ConfigError: another word was given.
        """
        if part not in _PARTS:
            raise ConfigError(f"part must be one of {', '.join(_PARTS)}, but is {part!r}.")
        mask = self.part == _PARTS[part]
        if users == "all":
            return mask
        if users not in ("train", "heldout"):
            raise ConfigError(f"users must be train, heldout or all, but is {users!r}.")
        heldout = self.heldout[self.user]
        return mask & (heldout if users == "heldout" else ~heldout)

    def check_no_leak(self, log: InteractionLog) -> None:
        """Check that fitting on this split sees nothing of what it is tested on.

        Raises:
            SchemaError: the split belongs to another log; a user's train event is later than a
                validation or test event of the same user, or a validation event later than a
                test event; a held-out user has nothing to be tested on; or nobody is left to
                fit on.
        """
        if len(self.part) != len(log) or not np.array_equal(self.user, log.column("user")):
            raise SchemaError(
                f"The split was made for another log than {log.name!r} (its events have other "
                "users, or there are more or fewer). Make it again with make_split."
            )
        if len(self.heldout) != log.num_users or not np.isin(self.part, (0, 1, 2)).all():
            raise SchemaError(
                "A split needs one part of 0, 1 or 2 per event and one held-out flag per user. "
                "Make it again with make_split."
            )
        time = log.column("time")
        last = np.full((3, log.num_users), -np.inf)  # (parts, U) seconds
        first = np.full((3, log.num_users), np.inf)
        np.maximum.at(last, (self.part, self.user), time)
        np.minimum.at(first, (self.part, self.user), time)
        for early, late in ((TRAIN, VALID), (TRAIN, TEST), (VALID, TEST)):
            leaks = last[early] > first[late]
            if leaks.any():
                user = int(np.flatnonzero(leaks)[0])
                names = list(_PARTS)
                raise SchemaError(
                    f"User {log.user_ids[user]!r} has a {names[early]} event at "
                    f"{last[early, user]} s, after a {names[late]} event at "
                    f"{first[late, user]} s. Make the split again with make_split."
                )
        tested = np.zeros(log.num_users, dtype=bool)
        tested[self.user[self.part != TRAIN]] = True
        if (self.heldout & ~tested).any() and tested.any():
            user = int(np.flatnonzero(self.heldout & ~tested)[0])
            raise SchemaError(
                f"User {log.user_ids[user]!r} is held out but has no validation or test event. "
                "Hold out only users with one."
            )
        _check_fittable(self, log)

    def save(self, folder: Path) -> Path:
        """Write as an artifact."""
        arrays = {"part": self.part, "user": self.user, "heldout": self.heldout}
        return artifacts.save(folder, "split", arrays, {"log": self.log_hash})

    @classmethod
    def load(cls, folder: Path) -> Split:
        """Read what ``save`` wrote.

        Raises:
            ArtifactError: missing or damaged.
        """
        arrays, meta = artifacts.load(folder, "split")
        return cls(arrays["part"], arrays["user"], arrays["heldout"], meta["log"])


def make_split(log: InteractionLog, config: SplitConfig | None = None) -> Split:
    """Divide a log.

    By user, each user's events are cut in the log's order: the last ``test_fraction`` of them
    (rounded half up) are test, those before them validation, the rest train. Every user keeps at
    least one train event. Users whose events are too few for any validation or test event
    (always those with one event) are fitted on and never held out, unless both fractions are 0.
    Among
    the others, ``heldout_users`` of all users, rounded, are held out, drawn by ``config.seed``.
    A log where every user has one event is thus all train, with nobody held out.

    By time, the log is cut at two moments for all users alike. What was decided together stays
    together, in the earliest part that any of it falls into: a slate of a log with impressions,
    a visit of a log that exposes the catalogue.

    Args:
        log: events sorted by time.
        config: by default ``SplitConfig()``.

    Raises:
        SchemaError: no user who is fitted on has a click in the train part.
    """
    config = config or SplitConfig()
    user = log.column("user")
    n, num_users = len(user), log.num_users
    count = np.bincount(user, minlength=num_users)  # (U,) events
    order = np.argsort(user, kind="stable")
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    rank = np.empty(n, dtype=np.int64)  # (n,) place within the user's history
    rank[order] = np.arange(n) - np.repeat(start, count)
    left = np.maximum(count - 1, 0)
    test = np.minimum(_round(count * config.test_fraction), left)
    valid = np.minimum(_round(count * config.valid_fraction), left - test)
    later = count[user] - rank - 1  # (n,) later events of the same user
    part = np.full(n, TRAIN, dtype=np.int8)
    part[later < (test + valid)[user]] = VALID
    part[later < test[user]] = TEST
    if config.by == "time":
        part = _by_time(log.column("time"), config)
    part = _keep_whole(log, part)

    no_parts = config.test_fraction == config.valid_fraction == 0
    tested = np.bincount(user[part != TRAIN], minlength=num_users)
    eligible = np.flatnonzero((tested > 0) | (no_parts & (count > 0)))
    wanted = min(int(_round(np.array(config.heldout_users * num_users))), len(eligible))
    heldout = np.zeros(num_users, dtype=bool)
    rng = np.random.default_rng(config.seed)
    heldout[rng.permutation(eligible)[:wanted]] = True
    split = Split(part, user.astype(np.int32), heldout, log.hash)
    _check_fittable(split, log)
    return split


def _by_time(time: npt.NDArray[np.float64], config: SplitConfig) -> npt.NDArray[np.int8]:
    """(n,) parts, cut at the moments after which the wanted fractions of the events lie."""
    later = (config.valid_fraction + config.test_fraction, config.test_fraction)
    cuts = [np.quantile(time, 1 - share, method="lower") for share in later]
    part = np.full(len(time), TRAIN, dtype=np.int8)
    if later[0] > 0:
        part[time > cuts[0]] = VALID
    if later[1] > 0:
        part[time > cuts[1]] = TEST
    return part


def _keep_whole(log: InteractionLog, part: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Slates and baskets wholly in the earliest part that any of their rows lies in."""
    if "session" not in log.events or not (log.has_impressions or log.exposes_catalog):
        return part
    keys = [log.column("session")]
    if log.has_impressions:
        keys.append(log.column("time"))
    order = np.lexsort(keys[::-1])
    new = np.ones(len(order), bool)
    new[1:] = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(new) - 1
    earliest = np.full(int(new.sum()), TEST, np.int8)
    np.minimum.at(earliest, group, part)
    return earliest[group]


def _round(values: np.ndarray) -> npt.NDArray[np.int64]:
    """Half up; the small addend keeps 0.1 * 15 a half in spite of binary fractions."""
    return np.floor(values + 0.5 + 1e-9).astype(np.int64)


def _check_fittable(split: Split, log: InteractionLog) -> None:
    if not (log.column("response")[split.rows("train")] >= CLICK).any():
        raise SchemaError(
            f"The split of {log.name!r} leaves no click to fit on: {int((~split.heldout).sum())} "
            f"of {log.num_users} users are not held out, and none of them has a click in the "
            "train part. Give more events, or lower heldout_users or the fractions."
        )
