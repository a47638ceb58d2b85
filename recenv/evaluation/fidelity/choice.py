"""Choice among distractors: does the simulated user choose what the real one chose?"""

from __future__ import annotations

from recenv.evaluation.fidelity import measures as m
from recenv.evaluation.fidelity.answers import RIGHT, Answers
from recenv.evaluation.fidelity.findings import Findings, Judge, untold
from recenv.evaluation.fidelity.results import Figure, Value

MIXES = (1, 3, 9)
"""Distractors for each real item."""

_TOPIC = "real item among distractors"


def choice(judge: Judge, asked: Answers) -> Findings:
    """Precision, recall and F1 of choosing real items, at each mix."""
    if not 0 < asked.outcome.sum() < len(asked.outcome):
        why = "nothing was chosen, or all"
        return untold(_TOPIC, [f"F1 at 1:{k}" for k in MIXES], [], why)
    return Findings(tuple(figure for k in MIXES for figure in _at(judge, asked, k)))


def _at(judge: Judge, asked: Answers, distractors: int) -> list[Figure]:
    own, trivial, right = (
        m.choice(p, real, distractors)
        for p, real in (
            (asked.own, asked.outcome),
            (asked.trivial, asked.outcome),
            (asked.own, asked.own),
        )
    )
    drawn = [judge.resampler.score(x["F1"], asked.user, asked.weight) for x in (own, trivial)]
    expected = Value(right["F1"](asked.weight))
    return [  # all three are equal: as many are expected to be chosen as are real
        Figure(
            _TOPIC,
            f"{what} at 1:{distractors}",
            drawn[0].interval,
            drawn[1].interval,
            expected,
            RIGHT,
            best="1",
            note=f"chance has {1 / (1 + distractors):.2f}",
        )
        for what in own
    ]
