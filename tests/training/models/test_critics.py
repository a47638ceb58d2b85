"""Centralised critics see what actors do not, and leave no trace in what is saved."""

import numpy as np
import pytest
import torch

from recenv import artifacts
from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.sim.simulator import Simulator
from training.config import TrainConfig
from training.models.observations import (
    AGENT,
    RECOMMENDER_LEAVES,
    TRUE_INTEREST,
    USER_LEAVES,
    observe,
)
from training.models.rl_modules import module_specs
from training.runs.load_policy import save_policy
from training.sampling.env import TurnEnv


def modules(env_config, algorithm, inference_only=False):
    config = TrainConfig(env=env_config["env"], game=env_config["game"], algorithm=algorithm)
    env, spec = TurnEnv(config.env_config), module_specs(config)
    for side, one in spec.rl_module_specs.items():
        one.observation_space = env.observation_spaces[AGENT[side]]
        one.action_space = env.action_spaces[AGENT[side]]
        one.inference_only = inference_only
    torch.manual_seed(0)
    built = spec.build()
    return {side: built[side] for side in AGENT}


def seen(world, game, agent, central=True):
    simulator = Simulator(world, game)
    state = simulator.reset(np.arange(16))
    simulator.show(state, np.tile(np.arange(3), (16, 1)))
    leaves = observe(simulator, agent, state, central=central)
    return {k: torch.from_numpy(v) for k, v in leaves.items()}


@pytest.mark.parametrize("agent", [RECOMMENDER_AGENT, USER_AGENT])
def test_a_central_critic_reads_everything_and_the_actor_its_own(world, game, env_config, agent):
    side = "recommender" if agent == RECOMMENDER_AGENT else "user"
    module = modules(env_config, "mappo")[side]
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    own = set(RECOMMENDER_LEAVES if side == "recommender" else USER_LEAVES)
    whole = seen(world, game, agent)
    value, action = module.all_values(whole)[0], module.network(whole)[0]
    for name in (TRUE_INTEREST, "behaviour", "satisfaction", "candidates"):
        changed = {**whole, name: whole[name].flip(0)}
        if name == "satisfaction":
            changed[name] = whole[name] + 1
        moved = (module.all_values(changed)[0] - value).abs().max()
        assert moved > 1e-4, name
        if name not in own:
            torch.testing.assert_close(module.network(changed)[0], action, rtol=0, atol=0)
    assert own < set(whole)


def test_an_independent_critic_reads_only_what_its_actor_sees(world, game, env_config):
    module = modules(env_config, "ippo")["recommender"]
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    whole = seen(world, game, RECOMMENDER_AGENT)
    changed = {**whole, TRUE_INTEREST: whole[TRUE_INTEREST].flip(0)}
    assert torch.equal(module.all_values(whole)[0], module.all_values(changed)[0])
    alone = {k: whole[k] for k in RECOMMENDER_LEAVES}
    assert torch.equal(module.all_values(whole)[0], module.all_values(alone)[0])


def test_what_is_saved_of_mappo_is_what_is_saved_of_ippo(world, game, env_config, tmp_path):
    shapes, critics = {}, {}
    for algorithm in ("ippo", "mappo"):
        for side, module in modules(env_config, algorithm).items():
            config = TrainConfig().network
            path = save_policy(tmp_path / algorithm, side, module.network, world, game, config, {})
            arrays, _ = artifacts.load(path, f"{side}-policy")
            shapes[algorithm, side] = {k: v.shape for k, v in arrays.items()}
            critics[algorithm, side] = sum(p.numel() for p in module.critic.parameters())
    for side in AGENT:
        assert shapes["ippo", side] == shapes["mappo", side]
        assert not any("critic" in name for name in shapes["mappo", side])
        assert critics["mappo", side] > critics["ippo", side]


@pytest.mark.parametrize("algorithm", ["ippo", "mappo"])
def test_runners_hold_no_critic(env_config, algorithm):
    for module in modules(env_config, algorithm, inference_only=True).values():
        assert not hasattr(module, "critic")
        assert all(name.startswith("network.") for name in module.get_state())
    for module in modules(env_config, algorithm).values():
        assert any(name.startswith("critic.") for name in module.get_state())
        assert all(n.startswith("network.") for n in module.get_state(inference_only=True))


def test_a_central_critic_knows_no_round_that_is_never_played(world, game, env_config):
    """A visit that was cut off is worth what would have followed, at a round never trained on."""
    critic = modules(env_config, "mappo")["recommender"].critic
    leaves = seen(world, game, RECOMMENDER_AGENT)
    context = torch.zeros(16, 3)  # it is passed on as it is

    def features(rounds):
        played = torch.full_like(leaves["round"], rounds)
        return critic.features({**leaves, "round": played}, context)

    torch.testing.assert_close(features(game.max_rounds), features(game.max_rounds - 1))
    assert not torch.equal(features(0), features(game.max_rounds - 1))
