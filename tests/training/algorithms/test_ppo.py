"""Credit by slot: what it learns from, and where its gradient points."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner

from recenv.config import GameConfig, RewardConfig
from recenv.env.visit import RECOMMENDER_AGENT
from recenv.sim.simulator import Simulator
from training.algorithms.ppo import TwoSidedLearner
from training.config import NetworkConfig
from training.models.distributions import PlackettLuce, answer_distribution
from training.models.networks import RecommenderNetwork, UserNetwork
from training.models.observations import USER_LEAVES
from training.sampling.episodes import chunks
from training.sampling.fragments import SLOT_REWARDS
from training.sampling.turns import Turn
from training.sampling.visit_sampler import VisitSampler


@pytest.mark.parametrize(
    "reward",
    [RewardConfig(), RewardConfig(purchase=2.5, purchase_by_value=True, leave_cost=0.0)],
)
def test_slot_rewards_and_the_leave_cost_are_the_reward(world, reward):
    game = GameConfig(slate_size=3, num_candidates=12, max_rounds=6, reward=reward)
    rollout = VisitSampler(Simulator(world, game), 32, {RECOMMENDER_AGENT}, None, every_final=True)
    rollout.reset(np.random.SeedSequence(0))
    rng = np.random.default_rng(0)

    def act(observation):
        # with repeats, which leave slots empty
        action = rng.integers(12, size=(32, 3))
        return Turn(observation, action, np.zeros(32), np.zeros((32, 1)))

    played = rollout.play({RECOMMENDER_AGENT: act}, rounds=20)
    some = 0
    for chunk in chunks(played):
        steps = chunk.steps[RECOMMENDER_AGENT]
        leave = np.zeros(len(steps.rewards))
        leave[-1] = reward.leave_cost if chunk.terminated else 0.0
        np.testing.assert_allclose(steps.slot_rewards.sum(1) - leave, steps.rewards, atol=1e-5)
        some += (steps.slot_rewards > 0).sum()
    assert some > 50


class _Policy(RecommenderNetwork):
    """Fixed scores with heads that know the mean reward of each slot."""

    def __init__(self, scores, value, slots):
        torch.nn.Module.__init__(self)
        self.scores = torch.nn.Parameter(scores.clone())
        self.total, self.each = value, slots

    def values(self, batch):
        return self.total.expand(batch), self.each.expand(batch, -1)


def loss_gradient(scores, slates, earned, mean, whole=None):
    """The learner's gradient with respect to the scores, over weighted slates."""
    network = _Policy(scores, mean.sum(), mean)

    class _Module:
        def __init__(self):
            self.network = network

        def unwrapped(self):
            return self

        def all_values(self, observation, context):
            return network.values(len(context))

        def get_train_action_dist_cls(self):
            return PlackettLuce.get_partial_dist_cls(k=slates.shape[1])

        get_exploration_action_dist_cls = get_train_action_dist_cls

    learner = object.__new__(TwoSidedLearner)
    learner.__dict__["_module"] = {"recommender": _Module()}
    learner.metrics = SimpleNamespace(log_dict=lambda *a, **k: None)
    learner.entropy_coeff_schedulers_per_module = {
        "recommender": SimpleNamespace(get_current_value=lambda: 0.0)
    }
    n = len(slates)
    inputs = network.scores.expand(n, -1)
    loss = learner.compute_loss_for_module(
        module_id="recommender",
        config=SimpleNamespace(
            clip_param=0.2,
            vf_clip_param=10.0,
            vf_loss_coeff=0.0,
            learner_config_dict={"slot_credit": True, "kl_weight": 0.0},
        ),
        batch={
            "loss_mask": torch.ones(n, dtype=torch.bool),
            "obs": {},
            "actions": slates,
            "action_dist_inputs": inputs.detach(),
            SLOT_REWARDS: earned,
            "value_targets": earned.sum(1) + (0 if whole is None else whole),
        },
        fwd_out={"action_dist_inputs": inputs, "embeddings": torch.zeros(n, 1)},
    )
    loss.backward()
    return network.scores.grad


def test_its_gradient_points_where_the_expected_reward_grows(monkeypatch):
    monkeypatch.setattr(TwoSidedLearner, "module", property(lambda self: self._module))
    torch.manual_seed(0)
    scores = torch.tensor([0.3, -0.2, 0.1, 0.0, 0.4])
    worth = torch.tensor([1.0, 0.2, 0.0, 0.6, 0.1])
    every = torch.tensor(list(itertools.permutations(range(5), 2)))
    leaf = scores.clone().requires_grad_()
    p = PlackettLuce(leaf.expand(len(every), -1), 2).logp(every).exp()
    (p * worth[every].sum(1)).sum().backward()
    drawn = PlackettLuce(scores, 2).sample(sample_shape=(40_000,))
    noise = 0.5 * torch.randn(40_000, 2)
    gradient = -loss_gradient(scores, drawn, worth[drawn] + noise, worth[drawn].mean(0))
    cosine = torch.nn.functional.cosine_similarity(gradient, leaf.grad, dim=0)
    assert cosine > 0.95


def test_after_a_restart_the_entropy_weighs_what_it_would_have(monkeypatch):
    told = []
    monkeypatch.setattr(PPOTorchLearner, "before_gradient_based_update", lambda self, **_: None)
    learner = object.__new__(TwoSidedLearner)
    learner.__dict__["_module"] = {"recommender": None}
    learner.config = SimpleNamespace(total_train_batch_size=256)
    scheduler = SimpleNamespace(update=lambda timestep: told.append(timestep))
    learner.entropy_coeff_schedulers_per_module = {"recommender": scheduler}
    for sampled in (256, 1024):  # the first iteration, and the fourth
        learner.before_gradient_based_update(timesteps={"num_env_steps_sampled_lifetime": sampled})
    assert told == [0, 768]  # as RLlib had set it after the iteration before


def test_what_belongs_to_no_slot_is_credited_too(monkeypatch):
    """A reward of the whole slate (both of items 0 and 1 shown) that no slot earned."""
    monkeypatch.setattr(TwoSidedLearner, "module", property(lambda self: self._module))
    torch.manual_seed(0)
    scores = torch.tensor([0.3, -0.2, 0.1, 0.0, 0.4])
    every = torch.tensor(list(itertools.permutations(range(5), 2)))

    def worth(slates):
        return ((slates == 0).any(1) & (slates == 1).any(1)).float()

    leaf = scores.clone().requires_grad_()
    p = PlackettLuce(leaf.expand(len(every), -1), 2).logp(every).exp()
    (p * worth(every)).sum().backward()
    drawn = PlackettLuce(scores, 2).sample(sample_shape=(40_000,))
    nothing = torch.zeros(40_000, 2)
    gradient = -loss_gradient(scores, drawn, nothing, torch.zeros(2), whole=worth(drawn))
    cosine = torch.nn.functional.cosine_similarity(gradient, leaf.grad, dim=0)
    assert cosine > 0.95


def user_loss(monkeypatch, world, weight, shift):
    """The user's loss when RLlib's own is 8, with ``shift`` added to the stay logit."""
    game = GameConfig(slate_size=3, num_candidates=12)
    simulator = Simulator(world, game)
    state = simulator.reset(np.arange(20))
    simulator.show(state, np.tile(np.arange(3), (20, 1)))
    leaves = simulator.user_observation(state)
    observation = {name: torch.from_numpy(leaves[name]) for name in USER_LEAVES}
    network = UserNetwork(world, game, NetworkConfig(hidden=8))
    logits = network(observation).logits.detach().clone()
    logits[:, -2] += shift
    module = SimpleNamespace(
        network=network, get_train_action_dist_cls=lambda: answer_distribution(3)
    )
    monkeypatch.setattr(
        TwoSidedLearner, "module", {"user": SimpleNamespace(unwrapped=lambda: module)}
    )
    monkeypatch.setattr(PPOTorchLearner, "compute_loss_for_module", lambda self, **k: 8.0)
    learner = object.__new__(TwoSidedLearner)
    learner.metrics = SimpleNamespace(log_value=lambda *a, **k: None)
    loss = learner.compute_loss_for_module(
        module_id="user",
        config=SimpleNamespace(learner_config_dict={"slot_credit": True, "kl_weight": weight}),
        batch={"obs": observation, "loss_mask": torch.ones(20, dtype=torch.bool)},
        fwd_out={"action_dist_inputs": logits},
    )
    leave = observation["behaviour"][:, -1].double()
    stay = (1 - leave) * np.exp(shift)
    p = torch.stack([stay, leave], 1) / (stay + leave)[:, None]
    q = torch.stack([1 - leave, leave], 1)
    return float(loss), float((p * (p / q).log()).sum(1).mean())


def test_the_user_is_tied_to_the_fitted_one_by_kl(monkeypatch, world):
    loss, _ = user_loss(monkeypatch, world, 0.7, 0.0)
    assert loss == pytest.approx(8 / 1.7)
    loss, kl = user_loss(monkeypatch, world, 0.7, 1.5)
    assert kl > 0.01
    assert loss == pytest.approx((8 + 0.7 * kl) / 1.7)
    loss, _ = user_loss(monkeypatch, world, np.inf, 1.5)
    assert loss == pytest.approx(kl, rel=1e-3)  # and nothing else
    loss, _ = user_loss(monkeypatch, world, 0.0, 1.5)
    assert loss == 8  # RLlib's own loss, untouched
