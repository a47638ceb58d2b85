"""Suite: comparison of several algorithms in one world: ``recenv suite``.

Trains each algorithm with several seeds, then lets all of them, the baselines and the greedy
oracle play the same visits of held-out users. Users that were trained (``--train both`` or
``user``) answer the same slates as the fitted user, in its place. Writes tables (JSON, Markdown)
and the learning curves to ``--out``. The same command goes on where it was interrupted; what is
finished is not trained again.
"""

from __future__ import annotations

from training import command  # first: it tells what is missing, and takes signals

# isort: split
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recenv.artifacts import write_atomically
from recenv.benchmark import POOL_WORDS, Comparison, Contender, compare, compare_users
from recenv.benchmark.tables import interval, markdown
from recenv.errors import ConfigError
from recenv.evaluation import Estimate, mean_interval
from recenv.evaluation.statistics import paired_difference, paired_position
from recenv.plots import Curve, learning_curve_plot
from recenv.recommenders import PrivilegedRecommender, baselines
from training.cli import SettingsParser, config_of, merged, parse
from training.config import TrainConfig
from training.config.algorithms import ALGORITHMS
from training.evaluate import check_report, tell_left_out
from training.interrupts import Interrupted, Stop
from training.models.observations import AGENT
from training.ray_output import set_verbose
from training.runs.folder import RunFolder
from training.runs.load_policy import load, load_user
from training.runs.opponents import make_opponent
from training.session import ray_session
from training.train import check, train

_DEFAULTS = {"train": "recommender"}
AGAINST = ("random", "popularity", "ALS")


@dataclass(frozen=True)
class Entry:
    """One algorithm: its settings and the runs of all its seeds."""

    algorithm: str
    config: TrainConfig
    runs: tuple[RunFolder, ...]


def entries(
    algorithms: Sequence[str], settings: dict[str, Any], base: TrainConfig, seeds: int, runs: Path
) -> list[Entry]:
    """The runs of a suite, begun or not.

    Args:
        algorithms: their names.
        settings: flags that were given, on top of ``base``.
        base: everything else.
        seeds: how many, from the config's own seed on.
        runs: folder of the suite.

    Raises:
        ConfigError: a run stands there with other settings.
    """
    out = []
    for algorithm in algorithms:
        config = merged(base, {**settings, "algorithm": algorithm})
        check(config)
        folders = []
        for seed in range(config.seed, config.seed + seeds):
            wanted = config.replace(seed=seed).with_absolute_paths()
            folder = RunFolder(runs / algorithm / f"seed-{seed}")
            if folder.exists and folder.config() != wanted:
                raise ConfigError(
                    f"The run {folder.path} has other settings than this command. Choose another "
                    "--runs, or give the settings that it began with."
                )
            if not folder.exists:
                folder.create(wanted)
            folders.append(folder)
        out.append(Entry(algorithm, config, tuple(folders)))
    return out


def train_all(
    suite: Sequence[Entry],
    *,
    verbose: bool = False,
    progress: bool | None = None,
    stop: Stop | None = None,
) -> bool:
    """Train what is not finished; False if that was interrupted."""
    waiting = [run for entry in suite for run in entry.runs if not run.finished]
    if not waiting:
        return True
    with ray_session(waiting[0].config(), verbose=verbose):
        for run in waiting:
            print(f"{run.path}", file=sys.stderr)
            if not train(run, progress=progress, stop=stop):
                return False
    return True


def results(
    suite: Sequence[Entry],
    *,
    episodes_per_user: int = 10,
    seed: int = 0,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Everybody on the same visits of held-out users.

    A trained algorithm's value in a visit is the mean over its seeds; intervals are over users,
    95 %, of paired differences where two are compared. The spread over seeds is told beside it.

    Returns:
        What was compared, ``rows`` of recommenders where they were trained, ``users`` where users
        were.
    """
    config = suite[0].config
    world, _ = config.resolve_evaluation()
    figures: dict[str, Any] = {
        "env": config.env,
        "world": world.hash,
        "train": config.train,
        "game": config.game,
        "visitors": f"{int(world.heldout.sum())} held-out users",
        "episodes_per_user": episodes_per_user,
        "seed": seed,
        "configs": {e.algorithm: e.config.hash for e in suite},
    }
    settings: dict[str, Any] = {"episodes_per_user": episodes_per_user, "seed": seed}
    if "recommender" in config.trained:
        figures |= _recommenders(suite, **settings, progress=progress)
    if "user" in config.trained:
        figures["users"] = [_user_row(entry, **settings, progress=progress) for entry in suite]
    return figures


def _recommenders(suite: Sequence[Entry], **settings: Any) -> dict[str, Any]:
    world, game = suite[0].config.resolve_evaluation()
    contenders: list[Any] = [*baselines(world)]
    for entry in suite:
        for run in entry.runs:
            name = f"{entry.algorithm} #{run.config().seed}"
            contenders.append(Contender(load(run.path, world, name=name), "trained"))
    met = compare(world, game, contenders, **settings)
    oracle = next(c.name for c in contenders if isinstance(c, PrivilegedRecommender))
    rows = [table_row(met, [name], name, oracle) for name in met.names if "#" not in name]
    for entry in suite:
        names = [f"{entry.algorithm} #{run.config().seed}" for run in entry.runs]
        row = table_row(met, names, entry.algorithm, oracle)
        rows.append(row | _cost(entry))
    return {"oracle": oracle, "visitors": met.visitors, "rows": rows}


def _user_row(entry: Entry, **settings: Any) -> dict[str, Any]:
    """Trained users and the fitted one, each before the recommender of its run."""
    config = entry.config
    world, game = config.resolve_evaluation()
    played = []
    for run in entry.runs:
        if "recommender" in config.trained:
            against = load(run.path, world)
        else:
            against = make_opponent(config.opponent, world, game)
        trained = load_user(run.path, world, name="trained")
        played.append(compare_users(world, game, against, [trained], **settings).rollouts)
    rewards = [after.user_reward for _, after in played]
    ours, theirs = np.mean(rewards, axis=0), np.mean([b.user_reward for b, _ in played], axis=0)
    earned = np.mean([after.recommender_reward for _, after in played], axis=0)
    user = played[0][0].user
    return {
        "name": entry.algorithm,
        "reward": mean_interval(ours, user),
        "by_seed": [float(r.mean()) for r in rewards],
        "fitted": mean_interval(theirs, user),
        "over_fitted": paired_difference(ours, theirs, user),
        "recommender_reward": mean_interval(earned, user),
        **_cost(entry),
    }


def _cost(entry: Entry) -> dict[str, Any]:
    last = [run.read_metrics()[-1] for run in entry.runs]
    return {
        "seconds": float(np.median([m["seconds"] for m in last])),
        "rounds": int(last[0]["rounds"]),
        "seeds": len(entry.runs),
    }


def table_row(met: Comparison, names: Sequence[str], title: str, oracle: str) -> dict[str, Any]:
    """Row of the suite's table: mean reward of an algorithm's seeds, and paired differences."""
    rewards = [met.rollout(name).recommender_reward for name in names]
    ours, user = np.mean(rewards, axis=0), met.rollout(names[0]).user
    row: dict[str, Any] = {
        "name": title,
        "reward": mean_interval(ours, user),
        "by_seed": [float(r.mean()) for r in rewards],
    }
    for other in AGAINST:
        if other != title and other in met.names:  # ALS is left out without its package
            row[f"over_{other}"] = paired_difference(
                ours, met.rollout(other).recommender_reward, user
            )
    if title not in ("random", oracle):
        row["position"] = paired_position(
            ours,
            met.rollout("random").recommender_reward,
            met.rollout(oracle).recommender_reward,
            user,
        )
    return row


def report(figures: dict[str, Any], told: str) -> str:
    """The tables as Markdown."""
    parts = [
        f"# Algorithms in {figures['env']}",
        f"`{told}`",
        f"Trained: {figures['train']}. Played by {figures['visitors']}, "
        f"{figures['episodes_per_user']} visits each, on the same draws for all "
        f"(seed {figures['seed']}). A trained row is the mean over its seeds; "
        "intervals are 95 % over users, paired where rows are compared. Seconds are of one "
        "seed's whole run, evaluations during training included.",
    ]
    if "rows" in figures:
        if "users" in figures:
            parts.append("## Recommenders")
        parts += ["The fitted user answers.", _table(figures["rows"], _RECOMMENDERS)]
        if all(row["name"] != "ALS" for row in figures["rows"]):
            parts.append("ALS is left out: the package `implicit` was not installed.")
    if "users" in figures:
        parts += [
            "## Users",
            "Each answers the recommender that it was trained with, and so does the fitted user "
            "in its place. Reward is the user's, but for the recommender's column.",
            _table(figures["users"], _USERS),
        ]
    settings = ", ".join(f"{name} {value}" for name, value in figures["configs"].items())
    parts.append(f"World {figures['world']}. Settings: {settings}.")
    return "\n\n".join(parts)


_RECOMMENDERS = (
    *((f"over {other}", f"over_{other}", True) for other in AGAINST),
    ("from random (0) to oracle (1)", "position", False),
)
_USERS = (
    ("the fitted user's", "fitted", False),
    ("over the fitted user", "over_fitted", True),
    ("the recommender's", "recommender_reward", False),
)
"""Columns of estimates: heading, key of a row, whether it is a difference."""


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[tuple[str, str, bool]]) -> str:
    titles = [title for title, _, _ in columns]
    header = ["", "reward a visit", "seeds, least to most", *titles, "rounds", "seconds"]
    lines = []
    for row in sorted(rows, key=lambda r: r["reward"][0]):
        seeds, trained = row["by_seed"], "rounds" in row
        lines.append(
            [
                row["name"],
                _interval(row["reward"]),
                f"{min(seeds):.2f} to {max(seeds):.2f}" if len(seeds) > 1 else "",
                *(_interval(row.get(key), signed=signed) for _, key, signed in columns),
                f"{row['rounds']:,}".replace(",", " ") if trained else "",
                f"{row['seconds']:.0f}" if trained else "",
            ]
        )
    return markdown(header, lines)


def _interval(value: Estimate | None, *, signed: bool = False) -> str:
    return "" if value is None else interval(value, signed=signed)


def curves(suite: Sequence[Entry]) -> list[Curve]:
    """Evaluations of the sides that learn during training, of every seed."""
    out = []
    for entry in suite:
        users = POOL_WORDS[entry.config.resolve()[1].users]
        for run in entry.runs:
            rows = [r for r in run.read_metrics() if "evaluation_recommender_reward" in r]
            rounds = [r["rounds"] for r in rows]
            for side in entry.config.trained if len(rows) > 1 else ():
                reward = [r[f"evaluation_{side}_reward"] for r in rows]
                seed = run.config().seed
                out.append(Curve(AGENT[side], entry.algorithm, rounds, reward, seed, users))
    return out


def main(argv: list[str] | None = None) -> int:
    """The command; see ``--help``. Returns the exit code."""
    parser = SettingsParser("recenv suite", __doc__ or "", **_DEFAULTS)
    parser.add_argument("--config", type=Path, help="TOML file with settings; flags go on top")
    parser.add_choice(
        "--algorithms",
        ALGORITHMS,
        nargs="+",
        default=[name for name in ALGORITHMS if name != "bc"],
        help="which [all that learn by playing; bc wants --bc.data]",
    )
    parser.add_argument("--seeds", type=int, default=3, help="of each algorithm [3]")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/suite"), help="folder of its runs [runs/suite]"
    )
    parser.add_argument(
        "--episodes-per-user", type=int, default=10, help="visits of each, when compared [10]"
    )
    parser.add_argument("--out", type=Path, help="folder of algorithms.{json,md} and the curves")
    parser.add_progress()
    parser.add_argument("--verbose", action="store_true", help="show notices of Ray and RLlib")
    shown = sys.argv[1:] if argv is None else argv
    return command.run(lambda stop: _run(*parse(parser, argv), stop, shown))


def _run(arguments: Any, given: dict[str, Any], stop: Stop, shown: Sequence[str]) -> int:
    set_verbose(arguments.verbose)  # before anything of RLlib is made
    if arguments.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, but is {arguments.seeds}.")
    if arguments.out:
        check_report("Without --out nothing is drawn.")
    tell_left_out()
    base = config_of(arguments.config, {}, **_DEFAULTS)
    base.resolve()
    suite = entries(arguments.algorithms, given, base, arguments.seeds, arguments.runs)
    stop.advice = "The same command goes on."
    with stop.held():
        ended = train_all(suite, verbose=arguments.verbose, progress=arguments.progress, stop=stop)
    if stop or not ended:
        raise Interrupted
    figures = results(
        suite, episodes_per_user=arguments.episodes_per_user, progress=arguments.progress
    )
    text = report(figures, " ".join(["recenv suite", *shown]))
    print(text)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        written = json.dumps(figures, indent=1) + "\n"
        write_atomically(arguments.out / "algorithms.json", written)
        drawn = curves(suite)
        if drawn:
            learning_curve_plot(drawn, arguments.out / "algorithms.png")
            text += "\n\n![learning curves](algorithms.png)"
        for algorithm in dict.fromkeys(curve.label for curve in drawn):
            one = [curve for curve in drawn if curve.label == algorithm]
            learning_curve_plot(one, arguments.out / f"{algorithm}.png")
        write_atomically(arguments.out / "algorithms.md", text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
