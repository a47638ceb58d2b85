"""TorchRL's PettingZooWrapper with its PPO loss for each agent: IPPO, or MAPPO whose critics
read the environment's `state()`. It follows TorchRL's multi-agent PPO tutorial.

python torchrl_ppo.py --observation dict --slate-size 5 --algorithm mappo

With --compare it trains the recommender alone, in earnest, while the fitted user answers, and
compares it with random slates on held-out users (flat observations, one slot):

python torchrl_ppo.py --observation flat --slate-size 1 --steps 2400 --compare 50 --action-mask
"""

import argparse
import json
from importlib.metadata import version

import torch
from learned import Clock, FittedAnswers, against_random, mean_and_deviation
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch.distributions import Categorical, Independent
from torchrl.collectors import Collector
from torchrl.data.replay_buffers import LazyTensorStorage, ReplayBuffer, SamplerWithoutReplacement
from torchrl.envs import PettingZooWrapper, TransformedEnv
from torchrl.envs.transforms import (
    CatTensors,
    DTypeCastTransform,
    FlattenObservation,
    ObservationNorm,
    UnsqueezeTransform,
)
from torchrl.modules import MaskedCategorical, MultiAgentMLP, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss, ValueEstimators

import recenv

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--env", default="recenv/Toy-v0")
parser.add_argument("--observation", choices=["dict", "flat"], default="dict")
parser.add_argument("--slate-size", type=int, default=5)
parser.add_argument("--steps", type=int, default=256, help="turns of all visits: a round has two")
parser.add_argument("--algorithm", choices=["ippo", "mappo"], default="ippo")
parser.add_argument("--action-mask", action="store_true", help="tell whose turn it is")
parser.add_argument("--compare", type=int, default=0, help="visits of each held-out user")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
TURNS, EPOCHS, MINIBATCH, RATE = (80, 10, 20, 1e-3) if args.compare else (64, 2, 32, 3e-4)
VISITS = 16 if args.compare else 1  # side by side: a call of the wrapper costs more than a visit
DISCOUNT = 0.9 if args.compare else 0.99  # nearly all that a slate earns comes with its answer
if args.compare and (args.observation, args.slate_size) != ("flat", 1):
    parser.error("--compare is for --observation flat --slate-size 1")
if args.compare and args.algorithm == "mappo":
    parser.error("--compare is for --algorithm ippo")

clock = Clock()
torch.manual_seed(args.seed)
game = recenv.parallel_env(
    args.env,
    observation=args.observation,
    slate_size=args.slate_size,
    action_mask="info" if args.action_mask else None,
    num_sessions=VISITS,
)
scale = mean_and_deviation(game) if args.compare else None
centralized = args.algorithm == "mappo"
several = {"use_mask": True, "done_on_any": False} if VISITS > 1 else {}  # they end one by one
env = TransformedEnv(PettingZooWrapper(game, return_state=centralized, seed=args.seed, **several))
groups = {group: agents[0] for group, agents in env.group_map.items()}  # an agent of each

vector = {}  # the key of each group's observation as one vector
for group in groups:
    vector[group] = (group, "observation")
    if args.observation == "dict":
        leaves = env.observation_spec[group, "observation"]
        keys = {name: (group, "observation", name) for name in leaves.keys()}  # noqa: SIM118
        matrices = [keys[name] for name, leaf in leaves.items() if leaf.ndim == 3]
        integers = [keys[name] for name, leaf in leaves.items() if leaf.dtype == torch.int32]
        vector[group] = (group, "vector")
        env.append_transform(FlattenObservation(-2, -1, in_keys=matrices))
        env.append_transform(DTypeCastTransform(torch.int32, torch.float32, in_keys=integers))
        env.append_transform(CatTensors(list(keys.values()), vector[group], del_keys=False))
    if scale and group == "recommender":
        vector[group] = (group, "vector")
        env.append_transform(
            ObservationNorm(
                *scale,
                in_keys=[(group, "observation")],
                out_keys=[vector[group]],
                standard_normal=True,
            )
        )
    if centralized:
        env.append_transform(UnsqueezeTransform(-2, in_keys=["state"], out_keys=[(group, "state")]))


def network(inputs, outputs, *, centralized):
    return MultiAgentMLP(
        inputs, outputs, n_agents=VISITS, centralized=centralized, share_params=True, num_cells=[64]
    )


def slots(sizes):
    """The distribution of a MultiDiscrete action: TorchRL has none of its own."""
    allowed = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]

    def distribution(logits):
        each = logits.unflatten(-1, allowed.shape).masked_fill(~allowed, -1e9)
        return Independent(Categorical(logits=each), 1)

    return distribution, allowed.numel()


policies, losses, optimizers, networks = {}, {}, {}, {}
for group, agent in groups.items():
    space = game.action_space(agent)
    one = args.slate_size == 1
    distribution, outputs = (Categorical, int(space.n)) if one else slots(space.nvec.tolist())
    seen = vector[group]
    inputs = env.observation_spec[seen].shape[-1]
    if args.compare and group == "user":
        networks[group] = FittedAnswers(game.layout(agent)["behaviour"])
    else:
        networks[group] = network(inputs, outputs, centralized=False)
    told = {"logits": (group, "logits")}
    if args.action_mask:
        distribution, told["mask"] = MaskedCategorical, (group, "action_mask")
    policies[group] = ProbabilisticActor(
        TensorDictModule(networks[group], in_keys=[seen], out_keys=[(group, "logits")]),
        spec=env.full_action_spec_unbatched[group, "action"],
        in_keys=told,
        out_keys=[(group, "action")],
        distribution_class=distribution,
        return_log_prob=True,
        log_prob_key=(group, "log_prob"),
    )
    if args.compare and group == "user":
        continue  # it answers as the fitted user does, and learns nothing
    judged = (group, "state") if centralized else seen
    critic = ValueOperator(
        network(env.observation_spec[judged].shape[-1], 1, centralized=centralized),
        in_keys=[judged],
        out_keys=[(group, "state_value")],
    )
    loss = ClipPPOLoss(
        policies[group], critic, entropy_coeff=0.01, normalize_advantage=bool(args.compare)
    )
    loss.set_keys(
        action=(group, "action"),
        sample_log_prob=(group, "log_prob"),
        reward=(group, "reward"),
        value=(group, "state_value"),
        done=(group, "done"),
        terminated=(group, "terminated"),
        advantage=(group, "advantage"),
        value_target=(group, "value_target"),
    )
    loss.make_value_estimator(ValueEstimators.GAE, gamma=DISCOUNT, lmbda=0.95)
    losses[group], optimizers[group] = loss, torch.optim.Adam(loss.parameters(), RATE)

before = [p.detach().clone() for loss in losses.values() for p in loss.parameters()]
collector = Collector(
    env,
    TensorDictSequential(*policies.values()),
    frames_per_batch=TURNS,
    total_frames=args.steps,
)
buffer = ReplayBuffer(
    storage=LazyTensorStorage(TURNS), sampler=SamplerWithoutReplacement(), batch_size=MINIBATCH
)
steps = updates = 0
for batch in collector:
    steps += batch.numel()
    for loss in losses.values():
        with torch.no_grad():
            loss.value_estimator(
                batch,
                params=loss.critic_network_params,
                target_params=loss.target_critic_network_params,
            )
    buffer.empty()
    buffer.extend(batch.reshape(-1))
    for _ in range(EPOCHS * TURNS // MINIBATCH):
        minibatch = buffer.sample()
        for group, loss in losses.items():
            terms = loss(minibatch)
            total = terms["loss_objective"] + terms["loss_critic"] + terms["loss_entropy"]
            optimizers[group].zero_grad()
            total.backward()
            torch.nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
            optimizers[group].step()
            updates += 1
collector.shutdown()
after = [p for loss in losses.values() for p in loss.parameters()]
changed = sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True))

assert steps >= args.steps, f"only {steps} steps were taken"
assert changed == len(after), f"only {changed} of {len(after)} parameters have changed"
compared = clock.read()
if args.compare:
    compared |= against_random(
        lambda x: networks["recommender"](x[:, None].expand(-1, VISITS, -1))[:, 0],
        game,
        scale,
        args.compare,
    )
print(
    json.dumps(
        {
            "library": "torchrl",
            "version": version("torchrl"),
            "algorithm": args.algorithm,
            "observation": args.observation,
            "slate_size": args.slate_size,
            "steps": steps,
            "updates": updates,
            "parameters_changed": changed,
            **compared,
        }
    )
)
