"""Benchmarks: paired comparison of recommenders, or of users, on common random numbers.

>>> import tempfile
>>> from recenv.benchmark import Contender, compare, compare_users, print_table, write_report
>>> from recenv.config import GameConfig
>>> from recenv.plots import Curve
>>> from recenv.recommenders import PopularityRecommender, baselines
>>> from recenv.synthetic import planted_world
>>> from recenv.users.user_policy import FittedUser
>>> world, game = planted_world(), GameConfig(num_candidates=20)
>>> policy = PopularityRecommender("my policy")  # stands for a trained recommender
>>> seeded = PopularityRecommender("my policy, untrained")  # and for the same one before training
>>> comparison = compare(
...     world,
...     game,
...     [*baselines(world), Contender(seeded, "untrained"), Contender(policy, "trained")],
...     users="heldout",
...     episodes_per_user=2,
...     seed=0,
... )
>>> user = FittedUser()  # stands for a trained user: any recenv.users.user_policy.UserPolicy
>>> users = compare_users(world, game, policy, [user], users="heldout", episodes_per_user=2)
>>> rows = comparison.rows()  # one recenv.evaluation.Row per policy; print_table(rows) shows them
>>> curve = Curve("recommender_0", "my policy", [0, 1000, 2000], [1.0, 1.5, 1.7], seed=1)
>>> folder = tempfile.mkdtemp()
>>> report = write_report(
...     folder,
...     comparison,
...     title="My policy on Toy",
...     users=[users],
...     curves=[curve],
...     command="recenv evaluate ...",
...     seeds={"training": [1], "evaluation": 0},
...     config_hash="0123456789abcdef",
...     notes=["A toy: nothing here says anything about people."],
... )
>>> sorted(path.name for path in report.parent.iterdir())
['comparison.png', 'learning_curve.png', 'report.md', 'results.json']

A trained recommender against a trained user: ``compare(..., user_policy=user)``; its report is
``write_report(..., more=[that comparison])``. Names must differ, as they name the table's rows.
"""

from recenv.benchmark.comparison import (
    POOL_WORDS,
    Comparison,
    Contender,
    UserComparison,
    compare,
    compare_users,
)
from recenv.benchmark.report import FOLDER as REPORT_FOLDER
from recenv.benchmark.report import print_table, write_report

__all__ = [
    "POOL_WORDS",
    "REPORT_FOLDER",
    "Comparison",
    "Contender",
    "UserComparison",
    "compare",
    "compare_users",
    "print_table",
    "write_report",
]
