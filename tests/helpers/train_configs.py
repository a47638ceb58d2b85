"""Train configs one after the other in one process: ``train_configs.py JOBS.json FOLDER``.

The file maps names to jobs, which are

- ``config``: settings of ``TrainConfig``;
- ``each``: keep the policies after each iteration, not after the last one alone;
- ``resume``: after so many iterations, go on from what was saved, in a new session.

``FOLDER/<name>`` gets the policies, those after iteration i in ``after-<i>``, those of the pool
in ``past-<i>``, and ``rows.json`` with the metrics and the pool's iterations.
"""

import json
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import torch

from training.config import TrainConfig
from training.runs.load_policy import make_network, save_policy
from training.session import Session, ray_session


def save(folder, networks, config):
    world, game = config.resolve()
    for side, network in networks.items():
        save_policy(folder, side, network, world, game, config.network, {"env": config.env})


def past(config, weights):
    world, game = config.resolve()
    networks = {}
    for side, arrays in weights.items():
        network = make_network(side, world, game, config.network, values=config.values)
        network.load_state_dict({k: torch.as_tensor(v) for k, v in arrays.items()})
        networks[side] = network
    return networks


def train(job, folder):
    config = TrainConfig.from_dict(job["config"])
    session, rows, pools = Session(config, None), [], []
    for iteration in range(config.iterations):
        if job.get("each"):
            save(folder / f"after-{iteration}", session.networks(), config)
        if iteration == job.get("resume"):
            session.save(folder / "checkpoint")
            session.close()
            session = Session(config, folder / "checkpoint", iteration=iteration)
        rows.append(session.iterate())
        pools.append(list(session.pool.members))
    save(folder, session.networks(), config)
    if job.get("each"):
        save(folder / f"after-{config.iterations}", session.networks(), config)
    for iteration, weights in session.pool.members.items():
        save(folder / f"past-{iteration}", past(config, weights), config)
    (folder / "rows.json").write_text(json.dumps({"rows": rows, "pools": pools}))
    session.close()


if __name__ == "__main__":
    jobs = json.loads(Path(sys.argv[1]).read_text())
    with ray_session(TrainConfig.from_dict(next(iter(jobs.values()))["config"]), verbose=False):
        for name, job in jobs.items():
            train(job, Path(sys.argv[2]) / name)
            print("trained", name, flush=True)
