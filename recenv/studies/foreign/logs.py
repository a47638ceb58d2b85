"""Logs of other simulators: settings, emission by a worker, and the tables that policies read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock

from recenv.config import Config, content_hash
from recenv.data.table import read_table
from recenv.schema import Catalog, InteractionLog
from recenv.studies import simulators
from recenv.studies.cells import sources_hash
from recenv.studies.foreign import policies

Floats = npt.NDArray[np.float64]
Arrays = dict[str, np.ndarray]

WORKER = Path(__file__).with_name("worker.py")
COLUMNS = ("user", "visit", "session", "round", "slot", "item", "propensity", "click")
"""Arrays of the worker with an entry for each slot shown."""
_LONGEST = 4 * 3600.0  # seconds that a worker may take
_START, _VISIT_SECONDS, _ROUND_SECONDS = 1_600_000_000, 7 * 86_400, 30  # times of the logs
_ENVIRONMENTS = {
    "recogym": "recogym",
    "interest_evolution": "recsim",
    "interest_exploration": "recsim",
}
"""Virtual environment of each simulator, a key of ``simulators.GROUPS``."""


@dataclass(frozen=True)
class Setting(Config):
    """One simulator at one size, and the log that it leaves.

    Attributes:
        simulator: RecoGym's reco-gym-v1, or an environment of RecSim.
        users: 1 or more, all of whom come.
        items: of the catalogue, all of them candidates in every round; 3 or more.
        slate: items that are shown at a time; RecoGym shows one.
        visits: of each user in the log, 1 or more.
        rounds: after which the platform itself ends a visit; 0: never, users leave.
        logging: uniform slates, or half of the slots by clicks in a pilot of uniform ones.
        seed: of the items, the users and all draws.
    """

    simulator: Literal["recogym", "interest_evolution", "interest_exploration"]
    users: int
    items: int
    slate: int = 1
    visits: int = 1
    rounds: int = 0
    logging: Literal["uniform", "popular"] = "uniform"
    seed: int = 0

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        self.require_counts("users", "items", "slate", "visits")
        self.require(self.items >= 3, "items", "at least 3")
        self.require(self.slate < self.items, "slate", "less than items")
        self.require(self.rounds >= 0, "rounds", "zero or more")
        alone = self.simulator != "recogym" or (self.slate, self.rounds) == (1, 0)
        self.require(alone, "slate", "1, without rounds, in RecoGym")
        endless = self.simulator == "interest_exploration" and self.rounds == 0
        self.require(not endless, "rounds", "positive: nobody leaves interest_exploration")
        self.require_seed()

    @property
    def name(self) -> str:
        """For reports."""
        kind = self.simulator.replace("_", " ").replace("recogym", "RecoGym")
        sizes = f"{self.users} users, {self.items} items, slates of {self.slate}"
        more = f", {self.visits} visits each" if self.visits > 1 else ""
        return f"{kind}: {sizes}{more}, {self.logging}" + (f", seed {self.seed}" * (self.seed > 0))

    @property
    def key(self) -> str:
        """Names its log; another worker or other pins make another log."""
        group = simulators.GROUPS[_ENVIRONMENTS[self.simulator]]
        pins = [group.package, *group.requirements]
        return content_hash(self.to_dict(), sources_hash("studies/foreign/worker.py"), pins)


def python_of(setting: Setting, folder: Path) -> Path:
    """The Python of a setting's simulator, in an environment that is made unless it is there.

    Raises:
        PeerError: it cannot be made.
    """
    return simulators.make_environment(folder, _ENVIRONMENTS[setting.simulator])


def emitted(setting: Setting, folder: Path, environments: Path) -> Arrays:
    """The log of a setting as the worker wrote it; read if ``folder`` holds it already.

    Args:
        setting: what to play.
        folder: of the logs; made if needed.
        environments: folder of the virtual environments.

    Raises:
        PeerError: the environment cannot be made, or the simulator fails.
    """
    path = folder / f"log-{setting.key}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".log-{setting.key}.lock"):  # several cells want it
        if not path.is_file():
            job = {"job": "log", "setting": setting.to_dict(), "out": str(path)}
            simulators.run_worker(WORKER, job, python_of(setting, environments), _LONGEST)
    return read_arrays(path)


def read_arrays(path: Path) -> Arrays:
    """Arrays of a file of the worker."""
    with np.load(path) as stored:
        return dict(stored)


def true_values(
    setting: Setting, tables: Arrays, visits: int, folder: Path, environments: Path
) -> dict[str, Any]:
    """Policies' values in the simulator itself, with errors of their differences.

    Args:
        setting: of the log that the tables were made of.
        tables: see ``tables_of``.
        visits: of every policy, over evenly chosen users.
        folder: for the worker's files.
        environments: folder of the virtual environments.

    Returns:
        policies, their names; value, (P,) mean clicks per visit; error, (P, P) standard error of
        differences, paired by user; clicks and rounds, (P,) means.
    """
    known, out = folder / f"tables-{setting.key}.npz", folder / f"truth-{setting.key}.npz"
    np.savez_compressed(known, allow_pickle=False, **tables)
    names = policies.names(tables)
    job = {
        "job": "truth",
        "setting": setting.to_dict(),
        "names": names,
        "tables": str(known),
        "visits": visits,
        "policies": str(Path(policies.__file__)),
        "out": str(out),
    }
    simulators.run_worker(WORKER, job, python_of(setting, environments), _LONGEST)
    told = read_arrays(out)
    for path in (known, out):
        path.unlink()
    return {
        "policies": names,
        "value": told["value"].mean(axis=1).tolist(),
        "error": paired_error(told["value"]).tolist(),
        "clicks": told["clicks"].mean(axis=1).tolist(),
        "rounds": told["rounds"].mean(axis=1).tolist(),
        "visits": visits,
    }


def paired_error(values: Floats) -> Floats:
    """(P, P) standard error of differences of means, of (P, V) paired visits."""
    out = np.zeros((len(values), len(values)))
    for i, own in enumerate(values):
        out[i] = (own - values).std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    return out


def read_log(setting: Setting, arrays: Arrays) -> tuple[InteractionLog, Catalog]:
    """A worker's log as recenv reads any table; views of their own are left out.

    Args:
        setting: of the log.
        arrays: see ``emitted``.
    """
    events = pd.DataFrame(
        {
            "user": [f"u{user:06d}" for user in arrays["user"]],
            "item": [f"i{item:05d}" for item in arrays["item"]],
            "time": _START + arrays["visit"] * _VISIT_SECONDS + arrays["round"] * _ROUND_SECONDS,
            "event": np.where(arrays["click"] > 0, "click", "impression"),
            "position": arrays["slot"] + 1,
            "propensity": arrays["propensity"],
            "session": arrays["session"],
        }
    )
    topic = [f"topic {code}" for code in arrays["category"]]
    number = np.arange(setting.items)
    items = pd.DataFrame(
        {
            "item": [f"i{item:05d}" for item in number],
            "text": [f"Item {item}. {name}" for item, name in zip(number, topic, strict=True)],
            "category": topic,
        }
    )
    log, catalog = read_table(events, items, name=setting.name, short_users="keep")
    if arrays["features"].shape[1]:
        catalog = dataclasses.replace(catalog, features=arrays["features"].astype(np.float32))
    return log, catalog.validate()


def read_views(setting: Setting, arrays: Arrays) -> pd.DataFrame:
    """Views of users on their own, as rows beside those of ``read_log``: ids, times and visits.

    They are history only: nobody chose to show them. Those between two slates share out the time
    between these, in their order.

    Args:
        setting: of the log.
        arrays: see ``emitted``.

    Returns:
        user, item, time, event (always "view") and session.
    """
    session, round_ = arrays["view_session"], arrays["view_round"]
    run = pd.Series(np.ones(len(session))).groupby([session, round_])
    place = (run.cumsum() / (run.transform("sum") + 1)).to_numpy()  # in (0, 1)
    start = _START + session // setting.users * _VISIT_SECONDS
    return pd.DataFrame(
        {
            "user": [f"u{user:06d}" for user in arrays["view_user"]],
            "item": [f"i{item:05d}" for item in arrays["view_item"]],
            "time": start + (round_ - 1 + place) * _ROUND_SECONDS,
            "event": "view",
            "session": session,
        }
    )


def users_of(log: InteractionLog) -> npt.NDArray[np.int64]:
    """(U,) the worker's number of each user of a log that ``read_log`` read."""
    return np.array([int(name[1:]) for name in log.user_ids])


def logged_rounds(arrays: Arrays) -> tuple[policies.Facts, Arrays]:
    """The (R,) rounds of a log in order: what was known before each, and (R, K) what came.

    Returns:
        Facts; and item, click, propensity, (R, K) each, and session, (R,).
    """
    slots = int(arrays["slot"].max()) + 1
    order = np.lexsort((arrays["slot"], arrays["round"], arrays["session"]))
    wide = {n: arrays[n][order].reshape(-1, slots) for n in ("item", "click", "propensity")}
    session, round_ = (arrays[n][order][::slots] for n in ("session", "round"))
    click, item, first = wide["click"] > 0, wide["item"], round_ == 0
    clicked = click.any(axis=1)
    slot = slots - 1 - click[:, ::-1].argmax(axis=1)
    number = np.arange(len(session))
    latest = np.maximum.accumulate(np.where(clicked, number, -1))  # row of the last click so far
    before = np.concatenate([[-1], latest[:-1]])
    start = np.maximum.accumulate(np.where(first, number, 0))  # row where the visit began
    last = np.where(before >= start, item[before, slot[before]], -1)
    shown = np.where(first[:, None], -1, np.roll(item, 1, axis=0))
    facts = policies.Facts(
        user=arrays["user"][order][::slots],
        round=round_,
        last_click=last,
        last_slate=shown,
        clicked=np.where(first, False, np.roll(clicked, 1)),
    )
    return facts, {**wide, "click": click, "session": session}


def shrunk(hits: Floats, wanted: Floats) -> Floats:
    """Ratios of counts to what was expected, shrunk to 1 by their own spread.

    The ratios are given a gamma prior of mean 1 whose variance is what the counts vary by beyond
    Poisson's (empirical Bayes: Robbins 1956; by moments, as in Clayton & Kaldor 1987).
    """
    spread = ((hits - wanted) ** 2 - wanted).sum() / max((wanted**2).sum(), 1e-12)
    prior = 1 / max(spread, 1e-6)
    return (hits + prior) / (wanted + prior)


def item_rates(item: npt.NDArray[np.int64], click: npt.NDArray[np.bool_], items: int) -> Floats:
    """(N,) empirical-Bayes click rates, of impressions of any shape."""
    shown = np.bincount(item.ravel(), minlength=items)
    hits = np.bincount(item.ravel(), weights=click.ravel(), minlength=items).astype(np.float64)
    rate = click.mean()
    return rate * shrunk(hits, rate * shown)


def tables_of(setting: Setting, arrays: Arrays) -> Arrays:
    """What the policies know, from the log alone; see ``policies``.

    Users have the worker's numbers. Similarities are cosines of co-clicks (Sarwar et al. 2001) of
    users who clicked both, and of co-views where the log has views.
    """
    users, items, category = setting.users, setting.items, arrays["category"]
    clicks = _counts(arrays["user"], arrays["item"], arrays["click"], (users, items))
    similar = _cosines(clicks)
    shown = _counts(arrays["user"], arrays["item"], np.ones(len(arrays["user"])), (users, items))
    rate = item_rates(arrays["item"], arrays["click"] > 0, items)
    member = (category[:, None] == np.arange(category.max() + 1)).astype(float)
    lift = shrunk((clicks @ member).ravel(), ((shown * rate) @ member).ravel())
    tables = {
        "users": np.unique(arrays["user"]),
        "category": category,
        "rate": rate,
        "clicks": clicks.sum(axis=0),
        "similar": similar + 1e-3 * rate,  # breaks ties
        "personal": clicks @ similar + 1e-3 * rate,
        "taste": rate * lift.reshape(users, -1)[:, category],
    }
    if len(arrays["view_user"]):
        viewed = arrays["view_user"], arrays["view_item"], np.ones(len(arrays["view_user"]))
        views = _counts(*viewed, (users, items))
        share = views.sum(axis=0) / views.sum()
        tables["views"] = views + share  # a user without any is shown what others view
        near = _cosines(views)
        np.fill_diagonal(near, 1)
        tables["co_views"] = views @ near + share
    return tables


def _counts(
    user: np.ndarray, item: np.ndarray, weight: np.ndarray, shape: tuple[int, int]
) -> Floats:
    code = user * shape[1] + item
    counts = np.bincount(code, weights=weight, minlength=shape[0] * shape[1])
    return counts.astype(np.float64).reshape(shape)


def _cosines(counts: Floats) -> Floats:
    """(N, N) cosines of the columns of (U, N) counts, 0 with itself."""
    length = np.sqrt((counts**2).sum(axis=0))
    out = counts.T @ counts / np.maximum(np.outer(length, length), 1e-9)
    np.fill_diagonal(out, 0)
    return out
