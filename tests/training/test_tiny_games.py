"""Games of two rounds with known answers: by hand, by solvers, and by training."""

import numpy as np
import pytest
import torch
from helpers.launched import train_each
from helpers.tiny_games import ANSWERS, KNOWN, Tree, bazaar, bluff, strangers

from recenv.config import GameConfig
from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.evaluation import rollout
from recenv.sim.simulator import Simulator
from training.config import NetworkConfig
from training.config.algorithms import ALGORITHMS
from training.runs.load_policy import NetworkRecommender, NetworkUser, load, load_user, make_network

GAMES = {f"{game.__name__} {cooperation:g}": (game, cooperation) for game, cooperation in KNOWN}
SETTINGS = {
    "ippo": {
        "rounds_per_iteration": 512,
        "minibatch_size": 512,
        "epochs": 6,
        "learning_rate": 0.003,
        "gamma": 1.0,
        "gae_lambda": 0.9,
        "entropy": 0.3,
        "entropy_end": 0.02,
    },
    "idqn": {
        "rounds_per_iteration": 512,
        "minibatch_size": 256,
        "updates": 16,
        "learning_rate": 0.003,
        "gamma": 1.0,
        "target_rate": 0.05,
        "replay_size": 20_000,
        "epsilon_start": 1.0,
        "epsilon": 0.1,
        "epsilon_rounds": 15_000,
    },
}
REGIMES = {("ippo", "bazaar 0"): "population"}
"""Where sides that learn together do not reach an equilibrium: once the luxury is no longer shown,
a user that is not shown it any more forgets what to do with it (see docs/training/regimes.md)."""
ITERATIONS = 60
FAST = "strangers 0"


def untrained(world, settings, spread=1.0):
    """Policies of networks with random weights: every answer has some probability."""
    game, config = GameConfig.from_dict(settings), NetworkConfig(hidden=8)
    networks = []
    torch.manual_seed(0)
    for side in ("recommender", "user"):
        network = make_network(side, world, game, config)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3 * spread)
        networks.append(network)
    return networks


def policies(tree, recommender, user, *, greedy=False):
    """Probabilities at every node of the tree: of items and of answers.

    Args:
        tree: of the game.
        recommender, user: networks.
        greedy: the recommender shows the best item, as values are played.
    """
    shows, answers = [], []
    with torch.no_grad():
        for level in tree.levels:
            seen = {
                agent: {name: torch.from_numpy(leaf) for name, leaf in leaves.items()}
                for agent, leaves in level.sees.items()
            }
            scores = recommender(seen[RECOMMENDER_AGENT]).scores.double()
            p = torch.softmax(scores, -1).numpy()
            if greedy:
                p = np.eye(tree.items)[scores.argmax(-1).numpy()]
            shows.append(np.take_along_axis(p, level.place, 1))
            logits = user(seen[USER_AGENT]).logits.double()
            answers.append(torch.softmax(logits, -1).numpy().reshape(level.child.shape))
    return shows, answers


# --- the tree and its solvers


@pytest.mark.parametrize("name", GAMES)
def test_a_tree_is_worth_what_visits_bring_on_average(name):
    game, cooperation = GAMES[name]
    world, settings = game(cooperation)
    tree = Tree(world, settings)
    recommender, user = untrained(world, settings)
    exact = tree.values(*policies(tree, recommender, user, greedy=True))
    played = rollout(
        Simulator(world, GameConfig.from_dict(settings)),
        NetworkRecommender(recommender),
        NetworkUser(user),
        users="train",
        episodes_per_user=6000,
    )
    for value, sampled in zip(exact, (played.recommender_reward, played.user_reward), strict=True):
        assert sampled.std() > 0.01
        assert abs(sampled.mean() - value) < 4.5 * sampled.std() / np.sqrt(len(sampled))


@pytest.mark.parametrize("name", GAMES)
def test_policies_do_not_depend_on_the_order_of_the_candidates(name):
    """So that a tree of one order speaks for all."""
    game, cooperation = GAMES[name]
    world, settings = game(cooperation)
    simulator = Simulator(world, GameConfig.from_dict(settings))
    recommender, _ = untrained(world, settings)
    users = np.zeros(40, np.int64)
    state = simulator.reset(np.arange(40), users)
    assert len(np.unique(state.candidates, axis=0)) == len(world.catalog)
    seen = simulator.recommender_observation(state)
    with torch.no_grad():
        scores = recommender({k: torch.from_numpy(v) for k, v in seen.items()}).scores.numpy()
    by_item = np.take_along_axis(scores, np.argsort(state.candidates, axis=1), 1)
    np.testing.assert_allclose(by_item, np.tile(by_item[:1], (40, 1)), atol=1e-5)


def honest_user(tree):
    """Whatever brings most in this round, and stays."""
    return [np.eye(ANSWERS)[2 * level.rewards[:, :, ::2, 1].argmax(-1)] for level in tree.levels]


@pytest.mark.parametrize("game", [bazaar, strangers])
def test_selfish_equilibria_are_those_found_by_hand(game):
    tree = Tree(*game(0.0))
    user = honest_user(tree)
    _, recommender = tree.best_recommender(user)
    np.testing.assert_allclose(tree.gains(recommender, user), 0, atol=1e-6)
    np.testing.assert_allclose(tree.values(recommender, user), KNOWN[game, 0.0], atol=1e-6)


@pytest.mark.parametrize("game", [bazaar, strangers])
def test_the_joint_optimum_is_the_one_found_by_hand(game):
    tree = Tree(*game(1.0))
    value, recommender = tree.best_joint()
    assert value == pytest.approx(KNOWN[game, 1.0][0], abs=1e-6)
    _, user = tree.best_user(recommender)
    np.testing.assert_allclose(tree.values(recommender, user), KNOWN[game, 1.0], atol=1e-6)


@pytest.mark.parametrize("game", [bazaar, strangers])
def test_the_minimax_value_is_the_one_found_by_hand(game):
    tree = Tree(*game(-1.0))
    value, recommender = tree.minimax()
    assert value == pytest.approx(KNOWN[game, -1.0][0], abs=1e-6)
    assert -tree.best_user(recommender)[0] == pytest.approx(value, abs=1e-6)


def test_a_bluff_is_worth_what_was_found_by_hand():
    tree = Tree(*bluff())
    value, recommender = tree.minimax()
    assert value == pytest.approx(-0.45, abs=1e-6)
    assert -tree.best_user(recommender)[0] == pytest.approx(value, abs=1e-6)
    first, second = tree.levels
    answers = [np.zeros(level.child.shape) for level in tree.levels]
    for level, given in zip(tree.levels, answers, strict=True):
        owner = np.arange(2) if level is first else second.before // first.child[0].size
        for node, user in enumerate(owner):
            given[node, user, 2] = given[node, 1 - user, 0] = 1  # clicks what it likes
    answers[0][1, 0] = 0.4, 0, 0.6, 0, 0, 0  # and user 1 bluffs
    assert tree.best_recommender(answers)[0] == pytest.approx(value, abs=1e-6)
    pure = max(
        -tree.best_user([np.eye(2)[[a, a]], np.eye(2)[np.array(b)[second.told]]])[0]
        for a in range(2)
        for b in np.ndindex(*[2] * (second.told.max() + 1))
    )
    assert pure == pytest.approx(-0.55, abs=1e-6)


def test_a_mixture_of_policies_is_worth_the_mean_of_its_pairs():
    tree, rng = Tree(*strangers(0.0)), np.random.default_rng(0)
    ours = [
        [rng.dirichlet([1] * tree.items, level.told.max() + 1)[level.told] for level in tree.levels]
        for _ in range(4)
    ]
    theirs = [
        [rng.dirichlet([1] * ANSWERS, level.child.shape[:2]) for level in tree.levels]
        for _ in range(3)
    ]
    mean = np.mean([tree.values(r, u) for r in ours for u in theirs], axis=0)
    mixed = tree.values(tree.mixed_recommender(ours), tree.mixed_user(theirs))
    np.testing.assert_allclose(mixed, mean, atol=1e-9)


# --- what training reaches


def train(folder, names, algorithm, **settings):
    """Train in games; (tree, recommender's policy, user's policy) of each."""
    jobs, trees = {}, {}
    for name in names:
        game, cooperation = GAMES[name]
        world, rules = game(cooperation)
        trees[name] = Tree(world, rules)
        # tables of users would tell strangers apart
        network = {"hidden": 32, "interest_weight": 0.0, "popularity_weight": 0.0}
        network["table_rate"] = 0.0 if game is strangers else 0.3
        jobs[name] = {
            "config": {
                "env": str(world.save(folder / f"world {name}")),
                "game": rules,
                "algorithm": algorithm,
                algorithm: SETTINGS[algorithm],
                "network": network,
                "kl_weight": 0.0,
                "limit_ends": True,
                "evaluation_every": 0,
                "rounds": 512 * ITERATIONS,
                **settings,
            }
        }
    train_each(folder, jobs, 550)
    values = ALGORITHMS[algorithm]().values is not None
    return {
        name: (
            tree,
            *policies(
                tree, load(folder / name).network, load_user(folder / name).network, greedy=values
            ),
        )
        for name, tree in trees.items()
    }


def assert_solved(name, tree, recommender, user):
    """It is the known answer, and neither side has anything to gain.

    For the policies as they draw, within a tenth; for their likeliest actions, exactly.
    """
    game, cooperation = GAMES[name]
    known = KNOWN[game, cooperation]
    likeliest = [
        [np.eye(p.shape[-1])[p.argmax(-1)] for p in policy] for policy in (recommender, user)
    ]
    for pair, margin in (((recommender, user), 0.1), (likeliest, 0.02)):
        np.testing.assert_allclose(tree.values(*pair), known, atol=margin)
        assert tree.gains(*pair).max() < margin
        if cooperation == -1:  # what each can be held to
            assert -tree.best_user(pair[0])[0] > known[0] - margin
            assert tree.best_recommender(pair[1])[0] < known[0] + margin


@pytest.mark.timeout(600)
def test_ippo_reaches_an_equilibrium_among_strangers(tmp_path):
    solved = train(tmp_path, [FAST], "ippo")
    assert_solved(FAST, *solved[FAST])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("algorithm", [a for a in SETTINGS if a in ALGORITHMS])
def test_every_game_is_solved(tmp_path, algorithm, name):
    regime = REGIMES.get((algorithm, name), "together")
    solved = train(tmp_path, [name], algorithm, regime=regime, snapshot_every=3)
    assert_solved(name, *solved[name])
