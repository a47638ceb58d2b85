"""Evaluation of a run on held-out users: ``recenv evaluate RUN``.

Every baseline, the same network before training, what was trained, and the greedy oracle play
the same visits of held-out users. Writes ``report.md``, ``results.json`` and plots to
``RUN/report`` (``RUN/report-best`` with ``--checkpoint best``, ``RUN/report-member-1`` with
``--member 1``) and prints the table. Needs no Ray.
"""

from __future__ import annotations

from training import command  # first: it tells what is missing, and takes signals

# isort: split
import argparse
import sys
from pathlib import Path

import numpy as np

from recenv.arguments import Parser
from recenv.benchmark import (
    POOL_WORDS,
    REPORT_FOLDER,
    Comparison,
    Contender,
    UserComparison,
    compare,
    compare_users,
    print_table,
    write_report,
)
from recenv.config import GameConfig
from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.errors import ConfigError
from recenv.evaluation import Pool
from recenv.plots import Curve
from recenv.recommenders import PrivilegedRecommender, Recommender, baselines, left_out
from recenv.world import World
from training.config import TrainConfig
from training.models.networks import RecommenderNetwork
from training.runs.folder import RunFolder, Which, seed_runs
from training.runs.load_policy import NetworkRecommender, load, load_user, make_network
from training.runs.opponents import make_fixed_user, make_opponent


def evaluate(
    path: Path,
    *,
    users: Pool = "heldout",
    episodes_per_user: int = 10,
    seed: int = 0,
    checkpoint: Which | None = None,
    member: int | None = None,
    progress: bool | None = None,
) -> Path:
    """Compare a run's policies (or those of all its seeds) with baselines; write the report.

    Args:
        path: folder of a run, or of a run with several seeds.
        users: whose visits; "heldout" users had no part in training.
        episodes_per_user: visits of each.
        seed: of the visits.
        checkpoint: the policies of the "best" or "last" checkpoint instead of the final ones.
        member: of the world's ensemble; by default ``TrainConfig.evaluation_member``.
        progress: False for silence; see ``recenv.progress``.

    Returns:
        Path of ``report.md``.

    Raises:
        ArtifactError: there is no run, or it was not trained to its end (or has no checkpoint).
        ConfigError: an argument is out of range, or the report's folder holds another's files.
        MissingDependencyError: matplotlib is not installed.
    """
    check_report()
    runs = [(run, run.config()) for run in seed_runs(path)]
    REPORT_FOLDER.check(path / _report_name(checkpoint, member))
    for name, why in left_out().items():
        print(f"{name} is left out. {why}", file=sys.stderr)
    config = runs[0][1]
    world, game = config.resolve_evaluation()
    if member is not None:
        game = game.replace(member=member)
    trained = [_name(config, "recommender", len(runs) > 1, c.seed) for _, c in runs]
    contenders: list[Recommender | PrivilegedRecommender | Contender] = [*baselines(world)]
    ours: list[Recommender] = []
    if "recommender" in config.trained:
        seeded = _seeded(world, game, config)
        contenders.append(Contender(seeded, "untrained"))
        pairs = zip(runs, trained, strict=True)
        ours = [load(run.path, world, checkpoint=checkpoint, name=name) for (run, _), name in pairs]
        contenders += [Contender(policy, "trained") for policy in ours]

    def versus(user_policy: object = None) -> Comparison:
        fair = [c for c in contenders if not isinstance(c, PrivilegedRecommender)]
        return compare(
            world,
            game,
            contenders if user_policy is None else fair,
            users=users,
            episodes_per_user=episodes_per_user,
            seed=seed,
            user_policy=user_policy,  # type: ignore[arg-type]
            progress=progress,
        )

    if progress is not False:
        tell_left_out()
    main = versus()
    print(f"Recommenders before the fitted user ({main.visitors}):")
    print_table(main.rows())
    more: list[Comparison] = []
    compared: list[UserComparison] = []
    fixed_user = make_fixed_user(config.fixed_user, world, game)
    if fixed_user is not None:
        more.append(versus(fixed_user))
    if "user" in config.trained:
        for number, (run, own) in enumerate(runs):
            label = _name(own, "user", len(runs) > 1, own.seed)
            user = load_user(run.path, world, checkpoint=checkpoint, name=label)
            against = ours[number] if ours else make_opponent(own.opponent, world, game)
            result = compare_users(
                world,
                game,
                against,
                [user],
                users=users,
                episodes_per_user=episodes_per_user,
                seed=seed,
                progress=progress,
            )
            print(f"Users before {result.recommender} ({result.visitors}):")
            print_table(result.rows())
            compared.append(result)
            if ours and number == 0:
                more.append(versus(user))
    report = write_report(
        path / _report_name(checkpoint, member),
        main,
        title=f"{config.algorithm.upper()} in {config.env}: {config.train} trained",
        more=more,
        users=compared,
        curves=_curves(runs, POOL_WORDS[game.users]),
        command=f"recenv evaluate {path} --users {users} "
        f"--episodes-per-user {episodes_per_user} --seed {seed}"
        + (f" --checkpoint {checkpoint}" if checkpoint else "")
        + (f" --member {member}" if member is not None else ""),
        seeds={"training": [c.seed for _, c in runs], "evaluation": seed},
        config_hash=config.hash,
        notes=[
            f"Trained on member {config.resolve()[1].member} of the world's ensemble of users, "
            f"evaluated on member {game.member}.",
            f"The learning curve is of the current policies on users of the pool {game.users!r}, "
            f"which trained; the tables are of the pool {users!r}."
            + (
                " Its users had no part in training."
                if (game.users, users) == ("train", "heldout")
                else " THE POOLS OVERLAP: the tables are of users met in training."
            ),
            *opponent_notes(config),
        ],
    )
    print(f"Report: {report}")
    for picture in sorted(report.parent.glob("*.png")):
        print(f"Picture: {picture}")
    return report


def check_report(instead: str = "") -> None:
    """Raise MissingDependencyError unless a report can be drawn.

    Args:
        instead: how to do without one, in a sentence.
    """
    command.require("matplotlib", extra="plots", purpose=f"{instead} A report".strip())


def tell_left_out() -> None:
    """Say on stderr which baselines are left out for want of a package."""
    if not command.installed("implicit"):
        print(
            "Left out: ALS, which needs the package 'implicit': pip install 'recenv[benchmark]'",
            file=sys.stderr,
        )


def opponent_notes(config: TrainConfig) -> list[str]:
    """Whom each side played in training, where that is not whom it plays in the tables."""
    if config.train != "both":
        return []
    return [
        "Both sides learned: in training (on the screen, in `metrics.parquet` and in the learning "
        "curve) each plays the other as it was then. In the tables the fitted user answers, unless "
        "a heading says otherwise, so the two kinds of rewards are not the same quantity."
    ]


def _report_name(checkpoint: Which | None, member: int | None) -> str:
    suffix = "" if member is None else f"-member-{member}"
    return (f"report-{checkpoint}" if checkpoint else "report") + suffix


def _name(config: TrainConfig, side: str, several: bool, seed: int) -> str:
    return f"{config.algorithm.upper()} {side}" + (f" #{seed}" if several else "")


def _seeded(world: World, game: GameConfig, config: TrainConfig) -> NetworkRecommender:
    network = make_network("recommender", world, game, config.network)
    assert isinstance(network, RecommenderNetwork)
    return NetworkRecommender(network, "seeded, untrained")


def _curves(runs: list[tuple[RunFolder, TrainConfig]], users: str) -> list[Curve]:
    """Evaluations during training, or the training rewards if there were none."""
    out: list[Curve] = []
    for run, config in runs:
        rows = run.read_metrics()
        for side, agent in (("recommender", RECOMMENDER_AGENT), ("user", USER_AGENT)):
            for key in (f"evaluation_{side}_reward", f"{side}_reward"):
                points = np.array([(r["rounds"], r[key]) for r in rows if key in r])
                if len(points) > 1:
                    label = f"{config.algorithm.upper()}, {config.train}"
                    x, y = points.T
                    out.append(Curve(agent, label, x, y, config.seed, users))
                    break
    return out


def main(argv: list[str] | None = None) -> int:
    """The command; see ``--help``. Returns the exit code."""
    parser = Parser("recenv evaluate", __doc__ or "")
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_choice(
        "--users", ("heldout", "train", "all"), default="heldout", help="who visits [heldout]"
    )
    parser.add_argument("--episodes-per-user", type=int, default=10, help="visits of each [10]")
    parser.add_argument("--seed", type=int, default=0, help="of the visits [0]")
    parser.add_argument(
        "--member", type=int, help="of the world's ensemble [the run's evaluation_member]"
    )
    parser.add_choice("--checkpoint", ("best", "last"), help="whose policies [those at the end]")
    parser.add_progress()
    return command.run(lambda stop: _evaluate(parser.parsed(argv)))


def _evaluate(arguments: argparse.Namespace) -> int:
    if arguments.seed < 0:
        raise ConfigError(f"--seed must be zero or more, but is {arguments.seed}.")
    evaluate(
        arguments.run,
        users=arguments.users,
        episodes_per_user=arguments.episodes_per_user,
        seed=arguments.seed,
        checkpoint=arguments.checkpoint,
        member=arguments.member,
        progress=arguments.progress,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
