"""Report of the study of foreign worlds: JSON and a page of tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recenv.benchmark.tables import markdown, write_study
from recenv.studies.foreign.cells import ForeignConfig
from recenv.studies.foreign.estimators import NAMES
from recenv.studies.foreign.logs import Setting
from recenv.studies.policy_ranking.agreement import regret, sure_tau, surely_ranked

Result = Mapping[str, Any]
ERRORS = 2.0
"""Two policies are surely ranked when they differ by this many standard errors."""
TAU, REGRET, LENGTH = 0.8, 0.02, 0.1
"""Targets: least tau, greatest share lost, greatest relative error of a visit's length."""


def judged(values: Sequence[float], truth: Result) -> dict[str, Any]:
    """How a ranking by some values agrees with the truth.

    Args:
        values: of each policy; NaN is none.
        truth: see ``logs.true_values``.

    Returns:
        tau over the surely ranked pairs; regret, the share of the best policy's value lost by
        choosing the favourite; favourite, its name.
    """
    own, true = np.array(values, float), np.array(truth["value"])
    known = np.where(np.isnan(own), -np.inf, own)
    return {
        "tau": sure_tau(own, true, _sure(truth)),
        "regret": regret(known, true) / float(true.max()),
        "favourite": truth["policies"][int(known.argmax())],
    }


def summary(setting: Setting, truth: Result, log: Result, fits: Sequence[Result]) -> dict[str, Any]:
    """One setting: what was measured, and how each ranking agrees with the truth."""
    return {
        "setting": setting.to_dict(),
        "name": setting.name,
        "log": log,
        "truth": truth,
        "sure_pairs": int(np.triu(_sure(truth), 1).sum()),
        "fits": [one if "error" in one else {**one, **judged(one["value"], truth)} for one in fits],
        "estimators": {name: judged(log["estimates"][name], truth) for name in NAMES},
    }


def _sure(truth: Result) -> npt.NDArray[np.bool_]:
    true, error = np.array(truth["value"]), np.array(truth["error"])
    return surely_ranked(true[:, None], error, errors=ERRORS)


def write_foreign_report(
    out: Path, summaries: Sequence[Result], config: ForeignConfig, command: str, code: str
) -> str:
    """Write ``foreign.json`` and ``foreign.md`` into a folder.

    Args:
        out: the folder.
        summaries: see ``summary``.
        config: sizes of the measurements.
        command: that made the results, after ``python -m recenv.studies.``.
        code: hash of the code that fits and simulates.

    Returns:
        The page's text.
    """
    text = "\n\n".join(
        [
            _how(config),
            "## Rankings",
            _rankings(summaries),
            "## Estimators from the log alone",
            _estimators(summaries),
            "## Under the logging policy",
            _lengths(summaries),
            _rates(summaries),
            "## Policies",
            *(_policies(one) for one in summaries),
            "## Made with",
            f"- Code of fit and simulator: {code}\n"
            "- Every figure, and notes of the fitted worlds: `foreign.json`.",
        ]
    )
    record = {"command": command, "code": code, "config": config.to_dict()}
    title = "Worlds that others wrote"
    write_study(out, "foreign", title, text, record | {"settings": _plain(summaries)}, command)
    return text


def _how(config: ForeignConfig) -> str:
    return "\n".join(
        [
            "RecSim and RecoGym, other authors' simulators, leave logs. Users are fitted to a log "
            "with recenv's defaults, and the same policies play there and in the fitted world. "
            "Which is best, and does the fitted world know?",
            "",
            "- The packages are played as they are: RecSim (without TensorFlow) interest evolution "
            "and interest exploration, the value being clicks, and RecoGym's reco-gym-v1. Items "
            "do not change, and all are candidates in every round. RecSim's long-term "
            "satisfaction is left out: its users click the first item in all of 60 rounds, "
            "whatever is shown.",
            "- The log: whole visits under a known logging policy, uniform or half by popularity. "
            "The fit reads impressions, clicks, slots, propensities, visits, and what the "
            "simulator itself shows a platform of the items. Views of RecoGym's users on their "
            "own are kept beside the log and not read by the fit; three of the policies read "
            "them.",
            "- A policy knows the log and what happened in the visit. Its value is the mean "
            "number of clicks per visit, true: in the simulator, from its own probabilities; "
            f"fitted: over {config.visits} visits in the fitted world. A visit ends by the "
            "simulator's or the fitted laws, or where the platform ends it.",
            f"- τ is over pairs of policies whose true values differ by {ERRORS:g} standard "
            "errors of the difference, paired by user: concordant minus discordant over all. "
            "Regret is the share of the best policy's value that is lost by taking the favourite.",
            "- The estimators take the same log. Theirs is the value of a slot, times the slots of "
            "a mean logged visit: what is shown may decide how long a visit lasts, and they do "
            "not know. Tables and models are cross-fitted over halves of the rounds.",
        ]
    )


def _rankings(summaries: Sequence[Result]) -> str:
    header = ["setting", "clicks", "sure pairs", "τ by fit", "regret by fit", "best estimator: τ",
              "its regret", "reached"]  # fmt: skip
    lines = []
    for one in summaries:
        fits = [fit for fit in one["fits"] if "error" not in fit]
        best, told = max(one["estimators"].items(), key=lambda e: _sortable(e[1]["tau"]))
        lines.append(
            [
                one["name"],
                str(one["log"]["clicks"]),
                str(one["sure_pairs"]),
                ", ".join(_tau(fit["tau"]) for fit in fits) or "none",
                ", ".join(f"{fit['regret']:.1%}" for fit in fits) or "none",
                f"{best}: {_tau(told['tau'])}",
                f"{told['regret']:.1%}",
                "yes" if _reached(one) else "no",
            ]
        )
    refused = [
        f"- {one['name']}, fit {fit['seed']}: {fit['error']}"
        for one in summaries
        for fit in one["fits"]
        if "error" in fit
    ]
    aim = (
        f"Reached: every fit has τ of at least {TAU} and a regret of at most {REGRET:.0%}, and no "
        "estimator from the log alone has a greater τ."
    )
    said = ["Refused to be fitted:\n\n" + "\n".join(refused)] if refused else []
    return "\n\n".join([markdown(header, lines), aim, *said])


def _reached(one: Result) -> bool:
    best = max(_sortable(told["tau"]) for told in one["estimators"].values())
    return all(
        "error" not in fit and fit["tau"] >= max(TAU, best) and fit["regret"] <= REGRET
        for fit in one["fits"]
    )


def _estimators(summaries: Sequence[Result]) -> str:
    header = ["setting", *(f"{name}: τ, regret" for name in NAMES)]
    lines = [
        [
            one["name"],
            *(f"{_tau(told['tau'])}, {told['regret']:.1%}" for told in one["estimators"].values()),
        ]
        for one in summaries
    ]
    return markdown(header, lines)


def _lengths(summaries: Sequence[Result]) -> str:
    header = ["setting", "fit", "rounds logged", "simulated", "off by", "fifths of users: logged",
              "simulated", "furthest off"]  # fmt: skip
    lines = []
    for one, fit in _fits(summaries):
        rounds, fifths = fit["logging"]["rounds"], fit["logging"]["fifths"]
        lines.append(
            [
                one["name"],
                str(fit["seed"]),
                *(f"{rounds[k]:.1f}" for k in ("logged", "simulated")),
                f"{rounds['simulated'] / rounds['logged'] - 1:+.0%}",
                *(", ".join(f"{f[k]:.1f}" for f in fifths) for k in ("logged", "simulated")),
                f"{max((f['simulated'] / f['logged'] - 1 for f in fifths), key=abs):+.0%}",
            ]
        )
    words = (
        f"Wanted: within {LENGTH:.0%}. Fifths are of users by their simulated mean, and told by "
        "other visits than they were chosen by."
    )
    return f"{markdown(header, lines)}\n\n{words}"


def _rates(summaries: Sequence[Result]) -> str:
    header = ["setting", "fit", "slope of later item rates", "loss", "of empirical-Bayes rates",
              "two clicks: logged", "simulated", "by neighbour's strength: logged",
              "simulated"]  # fmt: skip
    lines = []
    for one, fit in _fits(summaries):
        told = fit["logging"]
        rates, near = told["item_rates"], told["neighbour"]
        lines.append(
            [
                one["name"],
                str(fit["seed"]),
                f"{rates['slope']:.2f} ± {rates['slope_error']:.2f}",
                f"{rates['loss_simulated']:.5f}",
                f"{rates['loss_item_rates']:.5f}",
                *(
                    (f"{told['two_clicks'][k]:.2%}" if near else "")
                    for k in ("logged", "simulated")
                ),
                *(
                    (", ".join(f"{v:.2f}" for v in near[k]) if near else "")
                    for k in ("logged", "simulated")
                ),
            ]
        )
    words = (
        "Slope: of items' click rates in a later log of the same users and policy on simulated "
        "ones; 1 is right. Loss: nats per later impression, by simulated item rates and by the "
        "log's own. Neighbour's strength: clicks over what the item's rate lets expect, by thirds "
        "of the mean rate of the others on the slate, weak to strong."
    )
    return f"{markdown(header, lines)}\n\n{words}"


def _policies(one: Result) -> str:
    truth, log = one["truth"], one["log"]
    fits = [fit for fit in one["fits"] if "error" not in fit]
    header = ["policy", "true", "rounds", "fitted", "rounds", *NAMES]
    lines = []
    for p in np.argsort(truth["value"])[::-1]:
        lines.append(
            [
                truth["policies"][p],
                f"{truth['value'][p]:.3f}",
                f"{truth['rounds'][p]:.1f}",
                _mean("{:.3f}", [fit["value"][p] for fit in fits]),
                _mean("{:.1f}", [fit["rounds"][p] for fit in fits]),
                *(_tau(log["estimates"][name][p], 3) for name in NAMES),
            ]
        )
    words = (
        f"{log['users']} users, {log['visits']} visits of {log['rounds']:.1f} rounds, "
        f"{log['impressions']} impressions, {log['clicks']} clicks, {log['views']} views. True: "
        f"over {truth['visits']} visits. Fitted: mean over the fits."
    )
    return f"### {one['name']}\n\n{words}\n\n{markdown(header, lines)}"


def _fits(summaries: Sequence[Result]) -> list[tuple[Result, Result]]:
    return [(one, fit) for one in summaries for fit in one["fits"] if "error" not in fit]


def _mean(form: str, values: Sequence[float]) -> str:
    return form.format(np.mean(values)) if values else ""


def _sortable(tau: float) -> float:
    return -math.inf if math.isnan(tau) else tau


def _tau(value: float, places: int = 2) -> str:
    return "none" if math.isnan(value) else f"{value:.{places}f}"


def _plain(value: Any) -> Any:
    """JSON without NaN, rounded."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
