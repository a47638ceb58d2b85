"""V-trace along links: against the paper's sums, RLlib's recursion, GAE, and RLlib's episodes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.launched import check_whole, finish, folder, start
from helpers.marked_play import BOTH, played
from ray.rllib.algorithms.impala.torch.vtrace_torch_v2 import vtrace_torch
from ray.rllib.core.columns import Columns

from recenv.env.visit import RECOMMENDER_AGENT
from recenv.errors import ConfigError
from training.algorithms.impala import VTraceLoss, WatchedThread
from training.algorithms.vtrace import FOLLOWING, TURN, FragmentConnector, of_episodes, vtrace
from training.config import TrainConfig
from training.models.distributions import PlackettLuce
from training.models.networks import RecommenderNetwork
from training.models.observations import MODULE
from training.sampling.env import TurnEnv
from training.sampling.episodes import chunks, to_episode
from training.sampling.fragments import SLOT_REWARDS, advantages, fragment, fragments

GAMMA, LAMBDA = 0.9, 0.6


def traced(piece, *, log_ratio=None, **settings):
    """(values of the observations, log-ratios, what V-trace makes of them) of a fragment."""
    marks = piece.inputs[:, 0]
    # drawn from what each step is marked with, so that its place in the fragment does not matter
    values = np.concatenate([np.sin(37 * marks), np.zeros(len(rows(piece)) - len(piece))])
    values[len(piece) :] = np.cos(rows(piece)[len(piece) :])
    log_ratio = np.sin(91 * marks) if log_ratio is None else log_ratio
    turn = np.repeat(np.arange(len(piece.edges) - 1), np.diff(piece.edges))
    out = vtrace(
        torch.tensor(log_ratio),
        torch.tensor(piece.rewards, dtype=torch.float64),
        torch.tensor(values),
        torch.tensor(piece.following),
        torch.tensor(piece.terminated),
        torch.tensor(turn),
        gamma=GAMMA,
        **settings,
    )
    return values, log_ratio, out


def rows(piece):
    """A number for each observation that it has wherever it is kept."""
    first = "user" if "user" in piece.observations else "satisfaction"
    return piece.observations[first][:, 0] + 0.1 * piece.observations["round"][:, 0]


@pytest.mark.parametrize("agent", sorted(BOTH))
@pytest.mark.parametrize("clip", [1.0, 1.7])
def test_targets_are_the_papers_sums(world, game, agent, clip):
    """Equation 1 of Espeholt et al. (2018), summed step by step from each step on."""
    whole = played(world, game)[-1]
    assert any(end.left.any() for end in whole.ends)
    assert any((~end.left).any() for end in whole.ends)
    piece = fragment(whole, agent)
    values, log_ratio, out = traced(piece, lam=0.8, clip=clip)
    ratio = np.exp(log_ratio)
    for start_ in range(len(piece)):
        total, weight, row = values[start_], 1.0, start_
        while row < len(piece):
            then = 0.0 if piece.terminated[row] else values[piece.following[row]]
            error = piece.rewards[row] + GAMMA * then - values[row]
            total += weight * min(clip, ratio[row]) * error
            if piece.terminated[row]:
                break
            weight *= GAMMA * 0.8 * min(1.0, ratio[row])
            row = piece.following[row]
        assert float(out.values[start_]) == pytest.approx(total, abs=1e-9)
    n = len(piece)
    targets = np.concatenate([out.values.numpy(), values[n:]])
    then = np.where(piece.terminated, 0.0, targets[piece.following])
    expected = np.minimum(clip, ratio) * (piece.rewards + GAMMA * then - values[:n])
    np.testing.assert_allclose(out.advantages, expected, atol=1e-9)


def test_without_ends_it_is_rllibs_recursion():
    turns, batch = 7, 5
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    target, behaviour, rewards, values, last = (draw(turns, batch) for _ in range(5))
    theirs, advantage = vtrace_torch(
        target_action_log_probs=target,
        behaviour_action_log_probs=behaviour,
        discounts=torch.full((turns, batch), GAMMA, dtype=torch.float64),
        rewards=rewards,
        values=values,
        bootstrap_values=last[0],
    )
    out = vtrace(
        (target - behaviour).flatten(),
        rewards.flatten(),
        torch.cat([values.flatten(), last[0]]),
        torch.arange(turns * batch) + batch,
        torch.zeros(turns * batch, dtype=torch.bool),
        torch.arange(turns).repeat_interleave(batch),
        gamma=GAMMA,
    )
    torch.testing.assert_close(out.values, theirs.flatten())
    torch.testing.assert_close(out.advantages, advantage.flatten())


@pytest.mark.parametrize("agent", sorted(BOTH))
def test_of_the_own_policy_it_is_generalised_advantage_estimation(world, game, agent):
    piece = fragment(played(world, game)[-1], agent)
    values, _, out = traced(piece, log_ratio=np.zeros(len(piece)), lam=LAMBDA)
    expected = advantages(piece, values.astype(np.float32), GAMMA, LAMBDA)
    np.testing.assert_allclose(out.values - torch.tensor(values[: len(piece)]), expected, atol=1e-5)


@pytest.mark.parametrize("agent", sorted(BOTH))
def test_rllibs_episodes_become_the_same_fragment(world, game, agent, env_config):
    config = TrainConfig(env=env_config["env"], game=env_config["game"])
    env = TurnEnv(config.env_config)
    whole = played(world, game)[-1]
    piece = fragment(whole, agent)
    episodes = [to_episode(c, env.observation_spaces, env.action_spaces, 2) for c in chunks(whole)]
    again = of_episodes([e.agent_episodes.get(agent) for e in episodes])
    assert len(again) == len(piece)
    order, other = np.argsort(piece.inputs[:, 0]), np.argsort(again.inputs[:, 0])
    for name in ("actions", "rewards", "logp", "terminated", "inputs"):
        np.testing.assert_array_equal(getattr(again, name)[other], getattr(piece, name)[order])
    for one, two in ((piece.observations, again.observations),):
        for name, leaf in one.items():
            np.testing.assert_array_equal(two[name][other], leaf[order])
    mine, theirs = traced(piece)[2], traced(again)[2]
    torch.testing.assert_close(mine.values[order], theirs.values[other])
    torch.testing.assert_close(mine.advantages[order], theirs.advantages[other])
    assert of_episodes([None, None]) is None


def test_batches_keep_the_order_of_turns_and_mask_what_leads_to_no_step(world, game):
    whole = played(world, game)[-1]
    samples = list(fragments(whole, MODULE, parts=2))
    both = dict.fromkeys(MODULE.values())
    batch = FragmentConnector()(rl_module=both, batch={}, episodes=samples)
    for agent in BOTH:
        got, piece = batch[MODULE[agent]], fragment(whole, agent)
        n = int(got[Columns.LOSS_MASK].sum())
        assert n == len(piece) < len(got[Columns.REWARDS])
        assert got[Columns.LOSS_MASK][:n].all()
        assert (np.diff(got[TURN][:n]) >= 0).all()
        going = ~got[Columns.TERMINATEDS][:n]
        ahead = got[FOLLOWING][:n][going]
        rounds = got[Columns.OBS]["round"][:, 0]
        torch.testing.assert_close(rounds[ahead], rounds[:n][going] + 1)
        later = ahead < n
        assert (got[TURN][ahead[later]] > got[TURN][:n][going][later]).all()
        assert (SLOT_REWARDS in got) == (agent == RECOMMENDER_AGENT)


class _Policy(RecommenderNetwork):
    """Scores of one visit; ``context`` for no critic."""

    def __init__(self, scores):
        torch.nn.Module.__init__(self)
        self.scores = torch.nn.Parameter(scores.clone())


class Learner(VTraceLoss):
    """The loss alone, without RLlib's learner."""

    def __init__(self, network, values, slots):
        module = SimpleNamespace(
            network=network,
            all_values=lambda observation, context: (values, slots),
            get_train_action_dist_cls=lambda: PlackettLuce.get_partial_dist_cls(k=2),
        )
        self.module = {"recommender": SimpleNamespace(unwrapped=lambda: module)}
        self.metrics = SimpleNamespace(log_dict=lambda *a, **k: None)
        self.entropy_coeff_schedulers_per_module = {
            "recommender": SimpleNamespace(get_current_value=lambda: 0.0)
        }


def loss_of(learner, inputs, behaviour, slates, earned, *, slot_credit):
    """The loss of n visits of one round each, after which the user left.

    ``inputs`` are the scores now, ``behaviour`` those that the slates were drawn from.
    """
    n = len(slates)
    return learner.compute_loss_for_module(
        module_id="recommender",
        config=SimpleNamespace(
            gamma=GAMMA,
            vtrace_clip_rho_threshold=1e6,
            vf_loss_coeff=0.0,
            learner_config_dict={"slot_credit": slot_credit, "lam": 1.0, "kl_weight": 0.0},
        ),
        batch={
            Columns.LOSS_MASK: torch.ones(n, dtype=torch.bool),
            Columns.OBS: {},
            Columns.ACTIONS: slates,
            Columns.ACTION_LOGP: PlackettLuce(behaviour, 2).logp(slates),
            Columns.ACTION_DIST_INPUTS: behaviour,
            Columns.REWARDS: earned.sum(1),
            Columns.TERMINATEDS: torch.ones(n, dtype=torch.bool),
            FOLLOWING: torch.zeros(n, dtype=torch.long),
            TURN: torch.zeros(n, dtype=torch.long),
            SLOT_REWARDS: earned,
        },
        fwd_out={Columns.ACTION_DIST_INPUTS: inputs, Columns.EMBEDDINGS: torch.zeros(n, 1)},
    )


def off_policy(*, slot_credit, n=60_000, apart=0.7):
    """(gradient of the loss, of the expected reward) with respect to scores of five candidates.

    Slates of two are drawn from another policy; what they earn is noisy.
    """
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    scores = torch.tensor([0.3, -0.2, 0.1, 0.0, 0.4])
    worth = torch.tensor([1.0, 0.2, 0.0, 0.6, 0.1])
    behaviour = scores + apart * torch.tensor([-1.0, 1.0, 0.5, -0.5, 0.0])
    drawn = PlackettLuce(behaviour.expand(n, -1), 2).sample()
    earned = worth[drawn] + 0.5 * torch.randn(n, 2, generator=generator)
    every = torch.tensor([(i, j) for i in range(5) for j in range(5) if i != j])
    leaf = scores.clone().requires_grad_()
    p = PlackettLuce(leaf.expand(len(every), -1), 2).logp(every).exp()
    (p * worth[every].sum(1)).sum().backward()
    network = _Policy(scores)
    mean = worth[drawn].mean(0)
    learner = Learner(network, mean.sum().expand(n), mean.expand(n, -1))
    inputs = network.scores.expand(n, -1)
    loss = loss_of(learner, inputs, behaviour.expand(n, -1), drawn, earned, slot_credit=slot_credit)
    loss.backward()
    return network.scores.grad, leaf.grad


@pytest.mark.parametrize("slot_credit", [False, True])
def test_from_another_policys_slates_it_climbs_the_own_policys_reward(slot_credit):
    gradient, true = off_policy(slot_credit=slot_credit)
    cosine = torch.nn.functional.cosine_similarity(-gradient, true, dim=0)
    assert cosine > 0.97


def test_a_slots_surprise_moves_that_slot_alone():
    """Two slates of which the first slot earned one more, and one less, than was expected.

    The gradient of log P(first = 0) - log P(first = 2) is +1 and -1 at candidates 0 and 2 alone.
    """
    network = _Policy(torch.tensor([0.3, -0.2, 0.1, 0.0, 0.4]))
    slates, mean = torch.tensor([[0, 1], [2, 3]]), torch.tensor([0.6, 0.2])
    earned = mean + torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    learner = Learner(network, mean.sum().expand(2), mean.expand(2, -1))
    inputs = network.scores.expand(2, -1)
    loss_of(learner, inputs, inputs.detach(), slates, earned, slot_credit=True).backward()
    gradient = -network.scores.grad
    assert gradient[0] > 0.1
    assert gradient[2] == pytest.approx(-gradient[0])
    torch.testing.assert_close(gradient[[1, 3, 4]], torch.zeros(3))


class _Thread:
    """RLlib's learner with its thread: the update runs elsewhere, its error is lost."""

    def build(self):
        self._learner_thread = SimpleNamespace(_update_method=self.learn)
        self.learned = 0

    def learn(self, *, batch):
        if batch == "broken":
            raise ValueError("no such column")
        self.learned += 1

    def update(self, batch):
        try:
            self._learner_thread._update_method(batch=batch)
        except ValueError:
            pytest.fail("the thread would have died")
        return {}

    def _create_iterator_if_necessary(self, *, training_data):
        return iter([training_data])


class _Told(WatchedThread, _Thread):
    config = SimpleNamespace(learner_config_dict={"passes": 3})


def test_an_error_in_the_learners_thread_reaches_the_driver():
    learner = _Told()
    learner.build()
    learner.update("fine")
    assert learner.learned == 1
    for batch in ("broken", "fine"):  # and stays: nothing is learned any more
        with pytest.raises(RuntimeError, match="thread failed") as caught:
            learner.update(batch)
        assert "no such column" in str(caught.value.__cause__)
    assert learner.learned == 1


def test_each_batch_is_passed_over_as_often_as_said():
    learner = _Told()
    assert list(learner._create_iterator_if_necessary(training_data="whole")) == ["whole"] * 3


IMPALA = (
    "--algorithm", "impala", "--impala.rounds-per-iteration", "128", "--impala.batch-rounds", "4",
    "--rounds", "256", "--evaluation-every", "2", "--no-report",
)  # fmt: skip


@pytest.mark.slow  # what it runs through, test_appo.py does in every run of the tests
def test_impala_trains_both_sides(tmp_path):
    output = finish(start(tmp_path, *IMPALA), tmp_path)
    rows_ = check_whole(folder(tmp_path))
    assert len(rows_) == 3
    assert "Traceback" not in output
    assert rows_[-1]["user_kl_from_fitted"] > 0  # runners got what was learned


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--num-env-runners", "1"),
        ("--num-learners", "1"),
        ("--no-batched-runner", "--num-envs-per-env-runner", "4"),
        ("--train", "user"),
        ("--game.slate_size", "1"),
        ("--regime", "alternating", "--alternate-every", "1"),
    ],
)
def test_impala_in_other_ways(tmp_path, flags):
    finish(start(tmp_path, *IMPALA, *flags), tmp_path)
    rows_ = folder(tmp_path).read_metrics()
    assert [row["rounds"] for row in rows_] == [0, 128, 256]


def test_batches_must_fill_iterations():
    config = TrainConfig(algorithm="impala")
    config.replace(impala={"batch_rounds": 8})
    with pytest.raises(ConfigError, match="multiple of a batch's rounds, .* = 384"):
        config.replace(impala={"batch_rounds": 3})
