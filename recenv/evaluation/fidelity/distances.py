"""Distances between logged visits and the same visits as simulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recenv.evaluation.fidelity import measures as m
from recenv.evaluation.fidelity.answers import Floats
from recenv.evaluation.fidelity.events import Events
from recenv.evaluation.fidelity.findings import Findings, Judge
from recenv.evaluation.fidelity.heldout import Ints
from recenv.evaluation.fidelity.resample import Compared
from recenv.evaluation.fidelity.results import Figure, Value

HALVES = "halves of the log's users"
_POINTS = 2000


@dataclass(frozen=True)
class Sides:
    """The same visits three times: as logged, as simulated, as the trivial simulator has them."""

    log: Events
    simulated: Events
    trivial: Events

    @property
    def all(self) -> tuple[Events, Events, Events]:
        """In that order."""
        return self.log, self.simulated, self.trivial

    def consumed(self, least: int) -> Sides:
        """Only the rows with at least this response."""
        return Sides(*(e.take(e.response >= least) for e in self.all))


def distribution(
    judge: Judge,
    topic: str,
    what: str,
    values: Sequence[Floats],
    users: Ints,
    laws: Sequence[str],
    *,
    check: str,
    note: str = "",
) -> Findings:
    """Distribution of a value per visit (or gap): KS and Wasserstein distance, and the check.

    Args:
        judge: tolerances and draws of users.
        topic, what: of the figures.
        values: (V,) each: logged, simulated, trivial.
        users: (V,) of the logged and of the simulated ones alike.
        laws: that make the distribution.
        check: name of the check.
        note: for the figures.
    """
    logged, own, trivial = values
    ks, wasserstein = (
        [paired(judge, measure, logged, other, users) for other in (own, trivial)]
        for measure in (m.kolmogorov_smirnov, m.wasserstein)
    )
    means = [Value(float(np.mean(v))) for v in values]
    found = ks[0]
    return Findings(
        (
            distance((topic, f"{what}: KS distance"), ks, note=note),
            distance((topic, f"{what}: Wasserstein distance"), wasserstein, note=note),
            beside_the_log((topic, f"{what}: mean"), means, note=note),
        ),
        (
            judge.check(
                check,
                found.value - found.noise,
                judge.config.distance,
                found.error,
                laws,
                f"mean {means[1].value:.3g} against {means[0].value:.3g} in the log; "
                f"KS {found.value:.3f}, of which chance {found.noise:.3f}",
                two_sided=False,
            ),
        ),
        {what: {"log": _thin(logged), "simulator": _thin(own), "trivial": _thin(trivial)}},
    )


def paired(
    judge: Judge, measure: Callable[[Floats], m.Measure], logged: Floats, other: Floats, users: Ints
) -> Compared:
    """A distance of (V,) logged and (V,) simulated values of the same users."""
    both_users = np.concatenate([users, users])
    simulated = np.arange(len(both_users)) >= len(users)
    joined = np.concatenate([logged, other])
    return judge.resampler.compare(measure(joined), both_users, simulated)


def distance(
    figure: tuple[str, str], found: Sequence[Compared], best: str = "0", note: str = ""
) -> Figure:
    """One distance between logged visits and those of the simulator, and of the trivial one."""
    own, trivial = found
    return Figure(*figure, own.interval, trivial.interval, own.halves, HALVES, best, note)


def beside_the_log(figure: tuple[str, str], values: Sequence[Value], note: str = "") -> Figure:
    """A number of the simulator and of the trivial one; ``values`` has the log's first."""
    log, own, trivial = values
    return Figure(*figure, own, trivial, log, "the log", "the log's", note)


def _thin(values: Floats) -> list[float]:
    """Quantiles that draw the same distribution."""
    ordered = np.sort(values)
    if len(ordered) > _POINTS:
        ordered = ordered[np.linspace(0, len(ordered) - 1, _POINTS).astype(int)]
    return [float(v) for v in ordered]
