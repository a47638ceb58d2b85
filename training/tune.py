"""Hyperparameter search with Ray Tune: ``recenv tune``.

Every trial is a run with a folder of its own, as ``recenv train`` makes them, so a search that
was interrupted goes on with ``--resume``: finished trials stay, others go on from their last
checkpoints. Writes ``<searches>/<name>``: ``base.toml``, ``space.toml``, ``search.json``,
``trials/00000`` and on, ``results.csv``, ``results.md`` and ``best.toml``.
"""

from __future__ import annotations

from training import command  # first: it tells what is missing, and takes signals

# isort: split
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from recenv.errors import ConfigError
from training.cli import SettingsParser, config_of, parse
from training.interrupts import Interrupted, Stop
from training.search.folder import Search, SearchFolder
from training.search.space import Space


def search(folder: SearchFolder, *, verbose: bool = False, stop: Stop | None = None) -> bool:
    """Run a search that was created, or what is left of it; then write its results.

    Args:
        folder: of the search.
        verbose: show notices of Ray and RLlib.
        stop: ends the search once it is not empty; by default SIGINT does.

    Returns:
        Whether every trial came to its end; False if the search was interrupted.

    Raises:
        ArtifactError: there is no search.
        ClusterError: Ray cannot run where it should.
    """
    from training.cluster import ray_session
    from training.search.trials import fit

    settings, base, trials = folder.read()
    if any(trial.state in ("unfinished", "failed") for trial in folder.trials()):
        with ray_session(base, verbose=verbose, trials=min(settings.at_once, len(trials))):
            fit(folder, stop)
    folder.write_results()
    return all(trial.state != "unfinished" for trial in folder.trials())


def main(argv: list[str] | None = None) -> int:
    """The command; see ``--help``. Returns the exit code."""
    parser = SettingsParser("recenv tune", __doc__ or "")
    parser.add_argument("--config", type=Path, help="TOML file of the base config [defaults]")
    parser.add_argument("--space", type=Path, help="TOML file of what to search")
    parser.add_argument("--samples", type=int, default=8, help="draws of the space [8]")
    parser.add_argument("--search-seed", type=int, default=0, help="of the draws [0]")
    parser.add_argument("--metric", help="to be large [evaluation_<first side>_reward]")
    parser.add_argument("--at-once", type=int, default=1, help="trials at a time [1]")
    parser.add_argument("--asha", action="store_true", help="stop trials that fall behind")
    parser.add_argument("--grace-rounds", type=int, help="before a trial is stopped [a tenth]")
    parser.add_argument(
        "--searches", type=Path, default=Path("searches"), help="folder of searches [searches]"
    )
    parser.add_argument("--name", help="folder of this search [env, algorithm and time]")
    parser.add_argument("--resume", type=Path, metavar="SEARCH", help="go on with a search")
    parser.add_argument("--verbose", action="store_true", help="show notices of Ray and RLlib")
    return command.run(lambda stop: _main(parser, *parse(parser, argv), stop))


def _main(parser: SettingsParser, arguments: Any, given: dict[str, Any], stop: Stop) -> int:
    if arguments.resume:
        if given or arguments.space or arguments.config or arguments.name:
            raise ConfigError("--resume takes the search's own settings; leave all others.")
        folder = SearchFolder(arguments.resume)
    else:
        if arguments.space is None:
            parser.error("--space is wanted: a TOML file of what to search")
        folder = _begun(arguments, given)
    _, _, trials = folder.read()
    print(f"Search: {folder.path}, {len(trials)} trials", flush=True)
    stop.advice = f"Go on with: recenv tune --resume {folder.path}"
    with stop.held():
        ended = search(folder, verbose=arguments.verbose, stop=stop)
    print((folder.path / "results.md").read_text())
    if folder.best.is_file():
        print(f"Best settings: {folder.best}")
    if not ended:
        raise Interrupted
    return 0 if folder.best.is_file() else 1


def _begun(arguments: Any, given: dict[str, Any]) -> SearchFolder:
    base = config_of(arguments.config, given)
    for name in ("samples", "at_once"):
        if getattr(arguments, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1.")
    metric = arguments.metric or f"evaluation_{base.trained[0]}_reward"
    if metric.startswith("evaluation_") and not base.evaluation_every:
        raise ConfigError(f"{metric} is measured in evaluations: set --evaluation-every.")
    settings = Search(
        samples=arguments.samples,
        seed=arguments.search_seed,
        metric=metric,
        asha=arguments.asha,
        grace_rounds=arguments.grace_rounds or max(1, base.rounds // 10),
        at_once=arguments.at_once,
    )
    space = Space.from_toml(arguments.space)
    base.resolve()  # the world is built before any worker starts
    world = Path(base.env).name.rsplit("-v", 1)[0].lower()
    name = arguments.name or f"{world}-{base.algorithm}-{datetime.now():%Y%m%d-%H%M%S}"
    folder = SearchFolder(arguments.searches / name)
    folder.create(settings, base, space, arguments.space.read_text())
    return folder


if __name__ == "__main__":
    sys.exit(main())
