"""Next-item study: ranking of the next liked film of held-out users.

    python -m recenv.studies.next_item [--folds 5] [--out folder]

MovieLens-100K, users with at least ``MIN_LIKES`` likes (a like is a rating of 4 or 5), divided
into folds. A fold's users are unseen in training; their vectors come from their history alone.

- **warm**: all that the user did before the last like is known, and that like is the target.
- **cold**: all before the sixth like (five likes, and what was rated lower among them).
- **new items**: a share of the films with at least ``MIN_ITEM_LIKES`` likes is removed from every
  log, another for each fold; each of a held-out user's likes on them is ranked among those of
  them that the user did not like. Mean over pairs within a user, then over users.

Warm and cold rank the target among all films that the user has not liked before; the films that
were rated lower stay in. (``unrated`` in the JSON leaves those out as well, which is easier.) A
tie gets the middle rank. Events of equal time stand in random order
(``recenv.data.event_order``). Warm and cold are not comparable: first likes are popular films.

The second report, P(like | rated), is in ``recenv.studies.next_item.like_rate``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv.benchmark.tables import markdown, write_study
from recenv.config import WorldConfig
from recenv.data import load
from recenv.encoders.items import encode_items, item_source
from recenv.errors import ConfigError
from recenv.evaluation.statistics import Estimate, mean_interval
from recenv.progress import Progress
from recenv.schema import PURCHASE, Catalog, InteractionLog
from recenv.studies.next_item.rankers import Scores, Settings, Task, classical, ours

MIN_LIKES = 7
COLD_LIKES = 5
MIN_ITEM_LIKES = 10
TOP = 10


class Query(NamedTuple):
    """One question: the rows of a user's history, and the item that comes next."""

    user: int
    history: npt.NDArray[np.intp]  # rows of the log
    target: int


class Result(NamedTuple):
    """(n,) values of each query by metric; the user and fold of each."""

    user: npt.NDArray[np.int64]
    fold: npt.NDArray[np.int64]
    values: dict[str, npt.NDArray[np.float64]]


def queries(log: InteractionLog, likes: int | None, min_likes: int = MIN_LIKES) -> list[Query]:
    """One query for every user with at least ``min_likes`` likes.

    Args:
        log: sorted by time.
        likes: the target is the like after so many; None for the last one.
        min_likes: of a user's whole history.

    Raises:
        ConfigError: ``min_likes`` does not leave a target.
    """
    if min_likes <= (likes or 0):
        raise ConfigError(
            f"min_likes must be more than the {likes or 0} likes that are known, but is {min_likes}"
        )
    user, item, response = (log.column(c) for c in ("user", "item", "response"))
    order = np.argsort(user, kind="stable")
    out = []
    for rows in np.split(order, np.cumsum(np.bincount(user, minlength=log.num_users))[:-1]):
        at = np.flatnonzero(response[rows] == PURCHASE)
        if len(at) >= min_likes:
            place = at[-1 if likes is None else likes]
            out.append(Query(int(user[rows[0]]), rows[:place], int(item[rows[place]])))
    return out


def fold_of(users: npt.NDArray[np.integer], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """(n,) fold of each user, sizes equal up to one, drawn by ``seed``."""
    out = np.empty(len(users), np.int64)
    out[np.random.default_rng(seed).permutation(len(users))] = np.arange(len(users)) % folds
    return out


def fold_log(
    log: InteractionLog, tests: Sequence[Sequence[Query]]
) -> tuple[InteractionLog, npt.NDArray[np.bool_], list[npt.NDArray[np.int64]]]:
    """The log that a fold may know.

    The users of all queries lose their events; instead, every query becomes a user of its own
    with just that query's history.

    Returns:
        The log, (U',) who is held out, and the user codes of each list of queries.
    """
    user = log.column("user")
    tested = np.zeros(log.num_users, bool)
    tested[[q.user for test in tests for q in test]] = True
    kept = np.flatnonzero(~tested[user])
    rows, codes, made, after = [kept], [user[kept].astype(np.int64)], [], log.num_users
    for test in tests:
        made.append(np.arange(after, after + len(test)))
        rows += [q.history for q in test]
        codes += [np.full(len(q.history), after + k) for k, q in enumerate(test)]
        after += len(test)
    row, code = np.concatenate(rows), np.concatenate(codes)
    order = np.argsort(row, kind="stable")
    events = log.events.iloc[row[order]].reset_index(drop=True)
    events["user"] = code[order].astype(np.int32)
    if "session" in events:  # a visit belongs to one user
        visit = pd.MultiIndex.from_arrays([events["user"], events["session"]])
        events["session"] = pd.factorize(visit)[0].astype(np.int64)
    names = np.array([str(k) for k in range(after)], dtype=object)
    heldout = np.arange(after) >= log.num_users
    heldout[: log.num_users] = tested
    known = InteractionLog(
        events, names, log.name, log.has_impressions, log.notes, log.exposes_catalog
    )
    return known, heldout, made


def rank(scores: Scores, target: int, candidate: npt.NDArray[np.bool_]) -> tuple[float, int]:
    """(rank from 1, number of candidates); a tie gets the middle rank."""
    values = scores[candidate]
    equal = int((values == scores[target]).sum())  # the target itself is one
    return 1 + int((values > scores[target]).sum()) + (equal - 1) / 2, len(values)


def judge(
    scores: Scores, test: Sequence[Query], log: InteractionLog, *, unrated: bool = False
) -> dict[str, npt.NDArray[np.float64]]:
    """(n,) hit@10, NDCG@10 and AUC of each query.

    Args:
        scores: (n, N).
        test: n queries.
        log: that their histories are rows of.
        unrated: leave out everything that the user has rated, not only what was liked.
    """
    item, response = log.column("item"), log.column("response")
    ranks, sizes = np.empty(len(test)), np.empty(len(test))
    for k, query in enumerate(test):
        past = query.history if unrated else query.history[response[query.history] == PURCHASE]
        candidate = np.ones(scores.shape[1], bool)
        candidate[item[past]] = False
        candidate[query.target] = True
        ranks[k], sizes[k] = rank(scores[k], query.target, candidate)
    hit = ranks <= TOP
    return {
        "hit@10": hit.astype(np.float64),
        "NDCG@10": np.where(hit, 1 / np.log2(ranks + 1), 0.0),
        "AUC": 1 - (ranks - 1) / np.maximum(sizes - 1, 1),
    }


def pair_auc(
    scores: Scores, liked: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """(n,) P(a liked item scores above one not liked) within ``among``; NaN where there is none.

    Args:
        scores: (n, N).
        liked: (n, N) bool.
        among: (N,) bool.
    """
    out = np.full(len(scores), np.nan)
    for k in range(len(scores)):
        right, wrong = scores[k, liked[k] & among], scores[k, ~liked[k] & among]
        if len(right) and len(wrong):
            above = right[:, None] > wrong
            out[k] = (above + 0.5 * (right[:, None] == wrong)).mean()
    return out


def estimate(values: npt.NDArray[np.float64], user: npt.NDArray[np.integer]) -> Estimate:
    """Mean and interval over users, queries without a value left out."""
    real = ~np.isnan(values)
    return mean_interval(values[real], user[real])


class Runner:
    """All folds of one log; collects the values of every method."""

    def __init__(
        self,
        log: InteractionLog,
        catalog: Catalog,
        vectors: npt.NDArray[np.float32],
        settings: Settings,
        *,
        text: npt.NDArray[np.float32],
        folds: int,
        progress: bool | None = None,
    ) -> None:
        self.log, self.catalog, self.vectors, self.settings = log, catalog, vectors, settings
        self.text, self.folds, self.progress = text, folds, progress
        self.warm, self.cold = queries(log, None), queries(log, COLD_LIKES)
        users = np.array([q.user for q in self.warm])
        self.fold = fold_of(users, folds, settings.seed)
        self.parts: dict[tuple[str, str], list[tuple[int, np.ndarray, dict[str, Any]]]] = {}

    def next_items(self, fold: int) -> None:
        """Warm and cold, of one fold."""
        mine = np.flatnonzero(self.fold == fold)
        tests = {"warm": [self.warm[k] for k in mine], "cold": [self.cold[k] for k in mine]}
        log, heldout, codes = fold_log(self.log, list(tests.values()))
        asked = np.concatenate(codes)
        task = Task(log, self.catalog, self.vectors, heldout, asked, self.text)
        for name, scores in self._scores(task):
            for setting, test, at in zip(tests, tests.values(), np.split(scores, 2), strict=True):
                users = np.array([q.user for q in test])
                values = judge(at, test, self.log)
                self._keep(setting, name, fold, users, values)
                values = judge(at, test, self.log, unrated=True)
                self._keep(f"{setting}, unrated", name, fold, users, values)

    def new_items(self, fold: int) -> None:
        """New items of one fold, removed from every log."""
        item, likes = self.log.column("item"), self.log.column("response") == PURCHASE
        known = np.flatnonzero(
            np.bincount(item[likes], minlength=len(self.catalog)) >= MIN_ITEM_LIKES
        )
        new = np.zeros(len(self.catalog), bool)
        new[known[fold_of(known, self.folds, self.settings.seed + 1) == fold]] = True
        users = np.array([self.warm[k].user for k in np.flatnonzero(self.fold == fold)])
        liked = np.zeros((self.log.num_users, len(self.catalog)), bool)
        liked[self.log.column("user")[likes], item[likes]] = True
        heldout = np.zeros(self.log.num_users, bool)
        heldout[users] = True
        known_log = self.log.take(~new[item])
        task = Task(known_log, self.catalog, self.vectors, heldout, users, self.text)
        for name, scores in self._scores(task):
            values = {"AUC": pair_auc(scores, liked[users], new)}
            self._keep("new items", name, fold, users, values)

    def result(self, setting: str, name: str) -> Result:
        """All folds of one method, joined."""
        parts = self.parts[setting, name]
        user = np.concatenate([p[1] for p in parts])
        fold = np.concatenate([np.full(len(p[1]), p[0]) for p in parts])
        values = {m: np.concatenate([p[2][m] for p in parts]) for m in parts[0][2]}
        return Result(user, fold, values)

    def methods(self, setting: str) -> list[str]:
        """Names in the order they ran."""
        return [name for s, name in self.parts if s == setting]

    def _scores(self, task: Task) -> list[tuple[str, Scores]]:
        rows = [(name, score()) for name, score in classical(task, self.settings).items()]
        return rows + list(ours(task, self.settings, progress=self.progress).items())

    def _keep(
        self, setting: str, name: str, fold: int, users: np.ndarray, values: dict[str, Any]
    ) -> None:
        self.parts.setdefault((setting, name), []).append((fold, users, values))


def table(runner: Runner, settings: Sequence[str]) -> str:
    """Markdown: mean and 95 % interval over users of every metric."""
    names = {s: runner.result(s, runner.methods(s)[0]).values for s in settings}
    heads = [(s, metric) for s in settings for metric in names[s]]
    lines = []
    for name in runner.methods(settings[0]):
        cells = []
        for setting, metric in heads:
            result = runner.result(setting, name)
            e = estimate(result.values[metric], result.user)
            cells.append(f"{e.mean:.3f} ± {(e.high - e.low) / 2:.3f}")
        lines.append([name, *cells])
    return markdown(["scored by", *(f"{s} {m}" for s, m in heads)], lines)


def as_json(runner: Runner) -> dict[str, Any]:
    """Means, intervals over users, and the mean of every fold."""
    out: dict[str, Any] = {}
    for setting, name in runner.parts:
        result = runner.result(setting, name)
        for metric, values in result.values.items():
            folds = [float(np.nanmean(values[result.fold == f])) for f in np.unique(result.fold)]
            row = estimate(values, result.user)._asdict() | {"folds": folds}
            out.setdefault(setting, {}).setdefault(name, {})[metric] = row
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--folds", type=int, default=5, help="parts that the users fall into")
    parser.add_argument("--run", type=int, help="run only so many of the folds")
    parser.add_argument("--tables", nargs="+", default=["next", "new", "like"], help="what to run")
    parser.add_argument("--out", type=Path, help="folder for next-item.json and next-item.md")
    parser.add_argument("--config", type=Path, help="TOML of a WorldConfig; its split is not used")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options = parser.parse_args(arguments)

    began = time.monotonic()
    log, catalog = load("movielens-100k", progress=not options.quiet)
    config = WorldConfig() if options.config is None else WorldConfig.from_toml(options.config)
    source = item_source(catalog, config.encoder)
    settings = Settings(config.interest, config.user_model, source.name, source.is_language_model)
    vectors, text = (
        encode_items(catalog, encoder, progress=not options.quiet)
        for encoder in (config.encoder, config.encoder.replace(feature_share=0.0))
    )
    runner = Runner(log, catalog, vectors, settings, text=text, folds=options.folds, progress=False)
    count = options.folds if options.run is None else options.run
    steps = [(t, f) for t in ("next", "new") if t in options.tables for f in range(count)]
    report: list[str] = []
    stage = Progress("folds", len(steps), unit="folds", shown=not options.quiet)
    for kind, fold in stage.of(steps):
        runner.next_items(fold) if kind == "next" else runner.new_items(fold)
    if "next" in options.tables:
        report.append(table(runner, ("warm", "cold")))
    if "new" in options.tables:
        report.append(table(runner, ("new items",)))
    found: dict[str, Any] = as_json(runner)
    if "like" in options.tables:
        from recenv.studies.next_item.like_rate import like_rates, like_table

        rates = like_rates(log, catalog, vectors, settings, progress=not options.quiet)
        report.append(like_table(rates))
        found["P(like | rated)"] = rates
    found["settings"] = {
        "interest": settings.interest.to_dict(),
        "user_model": settings.user_model.to_dict(),
        "encoder": source.identity,
        "log": log.hash,
        "folds": count,
        "seconds": round(time.monotonic() - began),
    }
    text = "\n\n".join(report)
    print(text)
    if options.out is not None:
        title = "MovieLens-100K: the next liked film of users nothing was learned from"
        text = f"{count} folds. Mean ± half of a 95 % interval over users.\n\n{text}"
        write_study(options.out, "next-item", title, text, found)
