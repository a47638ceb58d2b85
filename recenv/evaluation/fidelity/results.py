"""A fidelity report: figures, checks and their verdict, as plain data."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast

Status = Literal["pass", "fail", "prior", "unknown"]


class Value(NamedTuple):
    """A number and its 95 % interval over users; NaN where there is none."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


NOTHING = Value()


@dataclass(frozen=True)
class Figure:
    """One figure of the report.

    Attributes:
        topic: section, as "click" or "visits".
        name: within the section.
        simulator: of the environment against the held-out log.
        trivial: of the simulator that knows only counts, against the same log.
        reference: what to compare with; ``reference_is`` says what it is.
        reference_is: "halves of the log", "if the simulator were right" or "".
        best: what a perfect simulator has, in words.
        note: why there is no number, or what to know.
    """

    topic: str
    name: str
    simulator: Value = NOTHING
    trivial: Value = NOTHING
    reference: Value = NOTHING
    reference_is: str = ""
    best: str = ""
    note: str = ""


@dataclass(frozen=True)
class Check:
    """One thing that a simulator must not get wrong.

    Attributes:
        name: as in ``docs/fidelity.md``.
        status: "pass"; "fail"; "prior": it rests on a stated law, so it is not judged;
            "unknown": the log cannot tell.
        value: what was measured.
        tolerance: what is allowed beside noise.
        error: standard error of ``value``.
        laws: whose parameters it tests.
        words: the finding in a sentence.
    """

    name: str
    status: Status
    value: float
    tolerance: float
    error: float
    laws: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class FidelityReport:
    """How far an environment's own output is from held-out reality.

    Attributes:
        world, world_hash, log, log_hash: what was compared with what.
        command: that made it.
        settings: of ``FidelityConfig``.
        counts: rows, visits and users that were looked at.
        figures, checks: see their classes.
        series: numbers of the plots by name.
        notes: what a reader has to know.
    """

    world: str
    world_hash: str
    log: str
    log_hash: str
    command: str
    settings: dict[str, Any]
    counts: dict[str, int]
    figures: tuple[Figure, ...]
    checks: tuple[Check, ...]
    series: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def broken(self) -> list[str]:
        """The failed checks, in words."""
        return [f"{c.name}: {c.words}" for c in self.checks if c.status == "fail"]

    @property
    def failed(self) -> list[str]:
        """Names of the failed checks."""
        return [c.name for c in self.checks if c.status == "fail"]

    @property
    def verdict(self) -> str:
        """One sentence."""
        count = {s: sum(c.status == s for c in self.checks) for s in ("pass", "fail", "prior")}
        judged = count["pass"] + count["fail"]
        unknown = len(self.checks) - judged - count["prior"]
        rest = (
            f"{count['prior']} rest on stated laws and are not judged; the log cannot tell "
            f"{unknown}."
        )
        if count["fail"]:
            return f"{count['fail']} of {judged} checks fail; {rest}"
        return f"All {judged} checks pass; {rest}"

    def check(self, name: str) -> Check:
        """A check by name."""
        return next(c for c in self.checks if c.name == name)

    def figure(self, topic: str, name: str) -> Figure:
        """A figure by topic and name."""
        return next(f for f in self.figures if (f.topic, f.name) == (topic, name))

    def to_dict(self) -> dict[str, Any]:
        """Plain data without NaN (None instead), fit for JSON."""
        plain = dataclasses.asdict(self)
        plain["figures"] = [
            {k: v._asdict() if isinstance(v, Value) else v for k, v in _fields(f).items()}
            for f in self.figures
        ]
        plain["checks"] = [{**_fields(c), "laws": list(c.laws)} for c in self.checks]
        plain |= {"verdict": self.verdict, "broken": self.broken}
        return cast(dict[str, Any], _without_nan(plain))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FidelityReport:
        """The inverse of ``to_dict``."""
        values = {k: v for k, v in values.items() if k not in ("verdict", "broken")}
        values["figures"] = tuple(_figure(f) for f in values["figures"])
        values["checks"] = tuple(
            Check(
                **{
                    **c,
                    "laws": tuple(c["laws"]),
                    **{k: _number(c[k]) for k in ("value", "tolerance", "error")},
                }
            )
            for c in values["checks"]
        )
        return cls(**{**values, "notes": tuple(values["notes"])})


def _figure(values: dict[str, Any]) -> Figure:
    parts = {
        name: Value(**{n: _number(x) for n, x in values[name].items()})
        for name in ("simulator", "trivial", "reference")
    }
    return Figure(**{**values, **parts})


def _fields(item: Figure | Check) -> dict[str, Any]:
    return {f.name: getattr(item, f.name) for f in dataclasses.fields(item)}


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
