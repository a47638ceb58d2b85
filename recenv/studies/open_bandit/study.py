"""Open Bandit study: the click rate of one policy, predicted by users fitted to the other's log.

``python -m recenv.studies.open_bandit`` prints, for campaign ``all`` and both directions, the
click-through rate (CTR) that users fitted to one log would have on the other one's impressions,
the same by a small click model of item and position, off-policy estimates of the same number,
and the CTR that the other log has. ``--folder`` takes the full data set. The fitted users' error
is of fits to bootstrap samples of the users.

The target policy's probability of a logged action, pi(item | position): 1 / number of items for
the random policy. Thompson sampling kept learning, so its logged probabilities drift; as its
choice does not depend on the user, its click rate over the week is that of its mean
probabilities, estimated by the share of each item among its impressions in that position. The
error of these shares is not in the intervals.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recenv.benchmark.tables import write_study
from recenv.config import WorldConfig
from recenv.data.formats import open_bandit
from recenv.data.split import Split
from recenv.evaluation.off_policy import PolicyValue
from recenv.progress import Progress
from recenv.schema import CLICK, Catalog, InteractionLog
from recenv.studies.open_bandit.click_rates import (
    SLOTS,
    Floats,
    Prediction,
    cells,
    off_policy,
    predict_ctr,
)
from recenv.users.fitting import fit_user_model
from recenv.world import fit_vectors

LIMIT = 2.0
"""Largest |z| with which a prediction passes."""

RESAMPLES = 20


def predict_by_users(
    train: InteractionLog,
    target: InteractionLog,
    catalog: Catalog,
    *,
    config: WorldConfig | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: bool | None = None,
) -> Prediction:
    """CTR on the target's impressions, of users fitted to the training log alone.

    Of the target only which item stood in which position before which user is read.

    Args:
        train: impressions with positions and propensities.
        target: the same of another policy; its users are known by their ids.
        catalog: items of both.
        config: of the fit; its split is not used.
        resamples: bootstrap samples of the users, for the standard error.
        seed: of these.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        SchemaError: the training log has no click.
    """
    config = config or WorldConfig()
    ids = np.unique(np.concatenate([train.user_ids, target.user_ids]).astype(str))
    codes = [np.searchsorted(ids, log.user_ids.astype(str)) for log in (train, target)]
    user = codes[0][train.column("user")].astype(np.int32)
    known = dataclasses.replace(
        train, events=train.events.assign(user=user), user_ids=ids.astype(object)
    )
    everything = Split(np.zeros(len(known), np.int8), user, np.zeros(len(ids), bool), known.hash)
    interests = fit_vectors(known, catalog, everything, config, progress=progress)
    asked, slot = codes[1][target.column("user")], target.column("position").astype(np.int64) - 1

    def rate(weight: Floats | None) -> float:
        model = fit_user_model(
            known, catalog, interests, config.user_model, weight=weight, progress=False
        )
        click = model.click_probs(asked, target.column("item"))
        return float((model.examination[slot] * click).mean())

    rng = np.random.default_rng(seed)
    drawn: list[float] = []
    stage = Progress("bootstrap", resamples, unit="fits", shown=progress)
    for _ in stage.of(range(resamples)):
        copies = np.bincount(rng.integers(len(ids), size=len(ids)), minlength=len(ids))
        drawn.append(rate(copies.astype(float)))
    return Prediction(rate(None), float(np.std(drawn, ddof=1)))


class PolicyCheck(NamedTuple):
    """One direction: a log, the policy whose CTR is wanted, and what each method says of it."""

    log: str
    target: str
    clicks: int
    impressions: int
    actual: Prediction
    users: Prediction
    model: Prediction
    estimates: dict[str, PolicyValue]

    def z(self, predicted: Prediction | PolicyValue) -> float:
        """Difference from the actual CTR in standard errors of that difference."""
        error = math.hypot(predicted.standard_error, self.actual.standard_error)
        return (predicted.value - self.actual.value) / error

    @property
    def passed(self) -> bool:
        """Whether the |z| of the fitted users is at most ``LIMIT``."""
        return abs(self.z(self.users)) <= LIMIT


def check(
    folder: str | Path | None = None,
    *,
    campaign: open_bandit.Campaign = "all",
    seed: int = 0,
    resamples: int = RESAMPLES,
    progress: bool | None = None,
) -> list[PolicyCheck]:
    """Both directions of one campaign; errors as in ``recenv.data.formats.open_bandit.load``."""
    logs: dict[str, InteractionLog] = {}
    catalogs: list[Catalog] = []
    for policy in open_bandit.POLICIES:
        logs[policy], catalog = open_bandit.load(folder, campaign=campaign, policy=policy)
        catalogs.append(catalog)
    num_items = len(catalogs[0])
    shown = {policy: cells(log, num_items)[0] for policy, log in logs.items()}
    wanted = {
        "random": np.full((num_items, SLOTS), 1 / num_items),
        "bts": shown["bts"] / np.maximum(shown["bts"].sum(0), 1),
    }
    made = []
    for source, target in (("random", "bts"), ("bts", "random")):
        clicks = int((logs[target].column("response") >= CLICK).sum())
        rate = clicks / len(logs[target])
        made.append(
            PolicyCheck(
                log=source,
                target=target,
                clicks=clicks,
                impressions=len(logs[target]),
                actual=Prediction(rate, math.sqrt(rate * (1 - rate) / len(logs[target]))),
                users=predict_by_users(
                    logs[source],
                    logs[target],
                    catalogs[0],
                    resamples=resamples,
                    seed=seed,
                    progress=progress,
                ),
                model=predict_ctr(logs[source], logs[target], num_items),
                estimates=off_policy(logs[source], wanted[target], seed=seed),
            )
        )
    return made


def table(checks: Sequence[PolicyCheck]) -> str:
    """Markdown: CTR in percent with 95 % intervals."""
    lines = [
        "| log | target | method | CTR % | 95 % interval | z | effective sample | max weight |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in checks:
        actual = one.actual
        rows: list[tuple[str, Prediction | PolicyValue]] = [
            (f"the target's own log ({one.clicks} clicks in {one.impressions})", actual),
            ("fitted users", one.users),
            ("click model of item and position", one.model),
            *one.estimates.items(),
        ]
        for name, it in rows:
            half = 1.96 * it.standard_error
            interval = f"{100 * (it.value - half):.3f} to {100 * (it.value + half):.3f}"
            z = "" if it is actual else f"{one.z(it):+.2f}"
            sample = weight = ""
            if name == "DM":
                interval = z = ""
            elif isinstance(it, PolicyValue):
                sample, weight = f"{it.effective_sample_size:.0f}", f"{it.max_weight:.1f}"
            lines.append(
                f"| {one.log} | {one.target} | {name} | {100 * it.value:.3f} | {interval} | {z} | "
                f"{sample} | {weight} |"
            )
    return "\n".join(lines)


def caveats(checks: Sequence[PolicyCheck]) -> list[str]:
    """Limitations of the figures, one sentence or two each."""
    clicks = " and ".join(f"{one.clicks} of {one.target}" for one in checks)
    wide = max(1.96 * one.actual.standard_error / one.actual.value for one in checks)
    blind = max(
        LIMIT * math.hypot(one.users.standard_error, one.actual.standard_error) / one.actual.value
        for one in checks
    )
    return [
        f"With the clicks there are ({clicks}), a log's own CTR is known to within "
        f"{100 * wide:.0f} % of itself, and the fitted users fail only when they are off by "
        f"more than {100 * blind:.0f} %: agreement means that there is no gross error.",
        "The average CTR alone is compared: neither single items nor positions nor users' tastes "
        "are validated.",
        "Each row is one slot of a page of three: nothing is said about whole slates, about users' "
        "visits or about purchases.",
        "DM's spread over the contexts is not an error of its value, so it has no interval here. "
        "Where the effective sample is small, the intervals of IPS, SNIPS and DR are too short.",
    ]


def results(checks: Sequence[PolicyCheck]) -> list[dict[str, Any]]:
    """The same as JSON-able values; CTRs as shares."""
    return [
        {
            "log": one.log,
            "target": one.target,
            "clicks": one.clicks,
            "impressions": one.impressions,
            "actual": one.actual._asdict(),
            "users": one.users._asdict() | {"z": one.z(one.users), "passed": one.passed},
            "model": one.model._asdict() | {"z": one.z(one.model)},
            "estimates": {
                k: v._asdict() | ({} if k == "DM" else {"z": one.z(v)})
                for k, v in one.estimates.items()
            },
        }
        for one in checks
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if the fitted users miss a CTR by more than ``LIMIT`` errors."""
    parser = argparse.ArgumentParser(prog="python -m recenv.studies.open_bandit", description=(
        "Predict one logging policy's click-through rate from the other one's log."
    ))  # fmt: skip
    parser.add_argument("--folder", type=Path, help="the full data set; default: the sample")
    parser.add_argument("--campaign", choices=("all", "men", "women"), default="all")
    parser.add_argument("--seed", type=int, default=0, help="of the cross-fitting folds")
    parser.add_argument("--out", type=Path, help="folder for open-bandit.json and .md")
    parser.add_argument(
        "--resamples", type=int, default=RESAMPLES, help="of the users, for the error of the fit"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    given = parser.parse_args(arguments)
    checks = check(
        given.folder,
        campaign=given.campaign,
        seed=given.seed,
        resamples=given.resamples,
        progress=not given.quiet,
    )
    lines = "\n".join(f"- {line}" for line in caveats(checks))
    limit = f"The fitted users pass with |z| <= {LIMIT:g}. What this cannot show:"
    text = f"{table(checks)}\n\n{limit}\n\n{lines}"
    print(text)
    if given.out is not None:
        report = {"campaign": given.campaign, "seed": given.seed, "limit": LIMIT}
        title = "Open Bandit: one policy's click rate from the other's log"
        write_study(given.out, "open-bandit", title, text, report | {"checks": results(checks)})
    return 0 if all(one.passed for one in checks) else 1
