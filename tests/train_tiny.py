"""Train configs one after the other in one process: ``train_tiny.py JOBS.json FOLDER``.

The file maps names to settings of ``TrainConfig``. Each config is trained for its rounds; its
policies, as they are then, come to ``FOLDER/<name>`` and those of its pool to
``FOLDER/<name>/<iteration>``.
"""

import json
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import torch

from training.config import TrainConfig
from training.policy import make_network, save_policy
from training.session import Session, ray_session


def save(folder, networks, config):
    world, game = config.resolve()
    for side, network in networks.items():
        save_policy(folder, side, network, world, game, config.network, {"env": config.env})


def past(session, config, weights):
    world, game = config.resolve()
    networks = {}
    for side, arrays in weights.items():
        network = make_network(side, world, game, config.network, values=config.settings.values)
        network.load_state_dict({k: torch.as_tensor(v) for k, v in arrays.items()})
        networks[side] = network
    return networks


def train(config, folder):
    session = Session(config, None)
    rows = [session.iterate() for _ in range(config.iterations)]
    save(folder, session.networks(), config)
    for iteration, weights in session.pool.members.items():
        save(folder / str(iteration), past(session, config, weights), config)
    (folder / "rows.json").write_text(json.dumps(rows))
    session.close()


if __name__ == "__main__":
    jobs = {
        k: TrainConfig.from_dict(v) for k, v in json.loads(Path(sys.argv[1]).read_text()).items()
    }
    with ray_session(next(iter(jobs.values())), verbose=False):
        for name, config in jobs.items():
            train(config, Path(sys.argv[2]) / name)
            print("trained", name, flush=True)
