"""A run whose algorithm is a stand-in, so that its files and its end are tried in no time."""

import json

from training import train as training
from training.config import TrainConfig
from training.runs.folder import RunFolder
from training.runs.load_policy import make_network

ROUNDS = 128
"""Of an iteration."""


class StandIn:
    """In place of ``training.session.Session``; ``RLlib``'s state is the number of iterations."""

    def __init__(self, config, checkpoint, *, iteration=0):
        self.config, self.iteration, self.closed = config, iteration, False
        if checkpoint is not None:
            assert json.loads((checkpoint / "state.json").read_text()) == iteration

    def iterate(self):
        self.iteration += 1
        return {"recommender_reward": self.iteration / 7, "recommender_steps_trained": 1.0}

    def save(self, folder):
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps(self.iteration))

    def networks(self):
        world, game = self.config.resolve()
        return {"recommender": make_network("recommender", world, game, self.config.network)}

    def close(self):
        self.closed = True


def begin(monkeypatch, env_config, path, iterations=4, session=StandIn):
    """A run that trains in no time, not trained yet."""
    monkeypatch.setattr(training, "Session", session)
    run = RunFolder(path)
    run.create(
        TrainConfig().replace(
            env=env_config["env"],
            game=env_config["game"],
            train="recommender",
            rounds=iterations * ROUNDS,
            num_envs_per_env_runner=16,
            checkpoint_every=2,
            evaluation_every=2,
            evaluation_visits=8,
            ippo={"rounds_per_iteration": ROUNDS, "minibatch_size": 64},
            network={"hidden": 8},
        )
    )
    return run
