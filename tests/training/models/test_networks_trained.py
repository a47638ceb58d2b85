"""Every kind of network learns in RLlib: what it has beside the others moves."""

import pytest
import torch

from training.config import TrainConfig
from training.runs.load_policy import make_network
from training.session import Session, ray_session

BASE = TrainConfig(
    env="recenv/Toy-v0",
    train="recommender",
    num_envs_per_env_runner=32,
    evaluation_every=0,
    game={"slate_size": 3, "max_rounds": 5},
).replace(ippo={"rounds_per_iteration": 128, "epochs": 2, "minibatch_size": 64})

OPTIONS = [
    ({"init": "lm"}, ["user_offset.weight", "bilinear.weight"]),
    ({"init": "cf"}, ["item_offset.weight"]),
    ({"init": "hybrid", "table_rate": 0.0}, ["bilinear.weight"]),
    ({"init": "random", "history": "gru"}, ["encoded_map.weight", "encoder.gru.weight_hh_l0"]),
    ({"history": "transformer"}, ["encoded_map.weight", "encoder.age", "encoder.over.out.weight"]),
    ({"slates": "independent"}, ["slot_map.weight", "slot_lean"]),
]


@pytest.mark.slow
def test_every_kind_of_network_learns():
    with ray_session(BASE, verbose=False):
        for network, moved in OPTIONS:
            config = BASE.replace(network={"hidden": 8, **network})
            session = Session(config, None)
            before = session.networks()["recommender"].state_dict()
            steps = [session.iterate()["recommender_steps_trained"] for _ in range(2)]
            after = session.networks()["recommender"].state_dict()
            session.close()
            assert 0 < steps[0] < steps[1]
            for name in moved:
                assert (after[name] - before[name]).abs().max() > 1e-4, (network, name)
            for name in {"user_seed", "item_seed", "visit_scale"} & set(after):
                assert torch.equal(after[name], before[name]), (network, name)
            assert all(torch.isfinite(value).all() for value in after.values())
            fresh = make_network("recommender", *config.resolve(), config.network)
            assert set(fresh.state_dict()) == set(after)
