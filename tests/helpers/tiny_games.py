"""Two-round games small enough to solve: every visit enumerated, and solvers of the tree.

The recommender (player 0) picks one item of N, the user (player 1) gives one of six answers. The
tree comes from the simulator's own rewards, taken action by action; the solvers know nothing of
training. Shapes: n nodes of a round, N items, 6 answers (2 * response + leaves).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linprog

from recenv.config import GameConfig
from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.sim.simulator import Simulator
from recenv.sim.state import LIVE, State
from recenv.synthetic.world import PlantedConfig, planted_world
from training.models.observations import observe

ANSWERS = 6


def tiny_world(buys, prices, *, hidden=False):
    """A world with known laws: nobody drifts, bores or looks away.

    Args:
        buys: (U, N) P(purchase | click); utilities are twice that less 1.
        prices: (N,) relative to their mean, which is 1.
        hidden: the platform knows the same of all users, which differ.
    """
    buys, prices = np.asarray(buys, float), np.asarray(prices, float)
    users, items = buys.shape
    world = planted_world(
        PlantedConfig(num_users=users, num_items=items, num_categories=items, heldout_users=0)
    )
    model = world.user_model
    zeros = {
        name: np.zeros_like(getattr(model, name))
        for name in ("user_click_bias", "user_purchase_bias", "item_click_bias",
                     "item_purchase_bias")
    }  # fmt: skip
    model = replace(
        model,
        **zeros,
        user_vectors=np.eye(users, dtype=np.float32),
        item_vectors=np.log(buys / (1 - buys)).T.astype(np.float32).copy(),
        click_weight=np.zeros(users, np.float32),
        purchase_weight=np.ones(users, np.float32),
        dynamics=model.dynamics._replace(
            leave_intercept=-2.0, leave_length=0.0, leave_satisfaction=0.0, leave_boredom=0.0,
            boredom_weight=0.0, drift_rate=0.0,
        ),
    )  # fmt: skip
    known = np.concatenate([np.eye(items), np.zeros((items, users))], axis=1)
    own = np.ones((users, users)) if hidden else np.eye(users)
    interests = replace(
        world.interests,
        items=known.astype(np.float32),
        users=np.concatenate([np.tile(np.linspace(-1, 1, items), (users, 1)), own], axis=1).astype(
            np.float32
        ),
    )
    catalog = replace(
        world.catalog,
        price=prices.astype(np.float32),
        category=np.arange(items, dtype=np.int32),
    )
    return replace(world, user_model=model, interests=interests, catalog=catalog)


REWARD = {
    "click": 0.2,
    "purchase": 1.0,
    "purchase_by_value": True,
    "click_utility": 1.0,
    "purchase_utility": 0.5,
}
"""What the games' rewards share; see each game."""


def bazaar(cooperation):
    """One user; a bargain, a luxury and a bait.

    What (recommender, user) get in a round, selfishly:

    | | ignored | clicked | bought |
    |---|---|---|---|
    | bargain | 0, -.02 | .2, .58 | .5, .70 |
    | luxury | 0, -.02 | .2, .48 | 2.6, -.71 |
    | bait | 0, -.02 | .2, -.62 | .5, -1.1 |

    and in the zero-sum game the recommender loses .3 by the user's leaving. So the user buys the
    bargain and clicks the luxury. Selfish: the bargain is shown and bought twice. Shared: the
    luxury is shown and bought twice, and each gets half of the sum. Zero-sum: the bait is shown
    and ignored, and the user leaves at once, since what a second round would bring is not worth
    staying for: the recommender gets half of .02 - .3.

    Returns:
        (world, settings of the game).
    """
    reward = {
        "leave_cost": 0.3 if cooperation < 0 else 0.0,
        "effort": 0.02,
        "price_sensitivity": 0.6,
    }
    return (
        tiny_world([[0.8, 0.75, 0.2]], [0.3, 2.4, 0.3]),
        tiny_game(3, {**REWARD, **reward, "cooperation": cooperation}),
    )


def strangers(cooperation):
    """Two users of one taste and one of another, whom the platform cannot tell apart; two items.

    What (recommender, user) get in a round, selfishly:

    | | ignored | clicked | bought |
    |---|---|---|---|
    | of the user's taste | 0, 0 | .2, .6 | 1.2, .7 |
    | of the other taste | 0, 0 | .2, -.8 | 1.2, -1.4 |

    Selfish and shared alike, what most like is shown first; whoever bought it gets it again, and
    whoever did not the other. Zero-sum, it is the other way round: what few like is shown first,
    and whoever clicked it gets the other: one user in three clicks once, at (.2 - .6) / 2 for the
    recommender.
    """
    reward = {"leave_cost": 0.0, "effort": 0.0, "price_sensitivity": 0.2}
    return (
        tiny_world([[0.8, 0.1]] * 2 + [[0.1, 0.8]], [1.0, 1.0], hidden=True),
        tiny_game(2, {**REWARD, **reward, "cooperation": cooperation}),
    )


def bluff():
    """Two users of different tastes, whom the platform cannot tell apart, in a zero-sum game.

    What a click brings the user and costs the recommender (nobody buys, ignoring brings nothing):

    | | item 0 | item 1 |
    |---|---|---|
    | user 0 | .6 | -.4 |
    | user 1 | -.5 | 1 |

    As in Kuhn's poker (1950), nobody plays for certain. Item 0 is shown first. User 0 clicks; user
    1 clicks too with probability .6, at a loss, so that a click does not tell them apart. After
    one, either item follows with probability 1/2; without one, item 0. So .6 is lost to user 0 for
    sure and again with probability 1/2, and nothing to user 1: the value is -(.6 + .3) / 2. A
    recommender that plays for certain can be held to -.55.
    """
    reward = {
        "click": 0.2,
        "purchase": 1.0,
        "click_utility": 2.5,
        "purchase_utility": 0.0,
        "price_sensitivity": 0.0,
        "leave_cost": 0.0,
        "effort": 0.0,
        "cooperation": -1.0,
    }
    utility = np.array([[1.4, -0.6], [-0.8, 2.2]]) / 2.5
    return tiny_world((1 + utility) / 2, [1.0, 1.0], hidden=True), tiny_game(2, reward)


KNOWN = {
    (bazaar, 0.0): (2 * 0.5, 2 * 0.7),
    (bazaar, 1.0): (2 * (2.6 - 0.71) / 2,) * 2,
    (bazaar, -1.0): ((0.02 - 0.3) / 2, (0.3 - 0.02) / 2),
    (strangers, 0.0): (2 / 3 * 2.4 + 1 / 3 * 1.2, 2 / 3 * 1.4 + 1 / 3 * 0.7),
    (strangers, 1.0): ((2 / 3 * 3.8 + 1 / 3 * 1.9) / 2,) * 2,
    (strangers, -1.0): (-0.2 / 3, 0.2 / 3),
}
"""By hand: what (recommender, user) get in a visit of each game, by its cooperation."""


def tiny_game(items, reward):
    """Settings of a game of two rounds and one slot, in which all items are candidates."""
    return {
        "slate_size": 1,
        "num_candidates": items,
        "max_rounds": 2,
        "history_length": 2,
        "reward": reward,
    }


@dataclass
class Level:
    """One round of every possible visit.

    Attributes:
        sees: of each agent, leaves of what it sees: (n, ...) and (n * N, ...).
        place: (n, N) candidate index of each item.
        rewards: (n, N, 6, 2).
        child: (n, N, 6) node of the next level, -1 where the visit has ended.
        told: (n,) what the recommender knows: nodes with the same number look alike to it.
        before: (n,) node, item and answer of the level before, as one index.
    """

    sees: dict
    place: np.ndarray
    rewards: np.ndarray
    child: np.ndarray
    told: np.ndarray
    before: np.ndarray


class Tree:
    """All visits of all users, who are equally likely."""

    def __init__(self, world, settings):
        simulator = Simulator(world, GameConfig.from_dict(settings))
        users = np.arange(world.num_users)
        items = self.items = len(world.catalog)
        state = simulator.reset(np.zeros(len(users)), users)
        before, told = users, np.zeros(len(users), np.int64)
        self.levels: list[Level] = []
        while len(state.key):
            n = len(state.key)
            place = np.argsort(state.candidates, axis=1)
            sees = {RECOMMENDER_AGENT: observe(simulator, RECOMMENDER_AGENT, state, central=False)}
            shown = _take(state, np.repeat(np.arange(n), items))
            simulator.show(shown, place.reshape(-1, 1))
            sees[USER_AGENT] = observe(simulator, USER_AGENT, shown, central=False)
            after = _take(shown, np.repeat(np.arange(n * items), ANSWERS))
            answer = np.tile(np.arange(ANSWERS), n * items)
            outcome = simulator.respond(after, np.stack([answer // 2, answer % 2], axis=1))
            rewards = np.stack([outcome.recommender_reward, outcome.user_reward], axis=1)
            live = np.flatnonzero(after.ended == LIVE)
            child = np.full(len(answer), -1)
            child[live] = np.arange(len(live))
            shape = (n, items, ANSWERS)
            self.levels.append(
                Level(sees, place, rewards.astype(float).reshape(*shape, 2), child.reshape(shape),
                      told, before)
            )  # fmt: skip
            # the platform sees what was shown and how it was answered, and that the user stayed
            item, response = live // ANSWERS % items, answer[live] // 2
            parent = live // (items * ANSWERS)
            public = (told[parent] * items + item) * 3 + response
            told = np.unique(public, return_inverse=True)[1] if len(live) else public
            before, state = live, _take(after, live)
        self.prior = np.full(len(users), 1 / len(users))

    def values(self, recommender, user):
        """(2,) expected rewards of a visit, undiscounted.

        Args:
            recommender: of each level, (n, N) probability of each item.
            user: of each level, (n, N, 6) probability of each answer.
        """
        worth = np.zeros((0, 2))
        for level, shows, answers in self._upward(recommender, user):
            total = level.rewards + _after(level, worth)
            worth = np.einsum("ni,nia,niap->np", shows, answers, total)
        return self.prior @ worth

    def best_user(self, recommender):
        """The user's best response to a recommender: (its value, its policy)."""
        worth, policy = np.zeros((0, 2)), []
        for level, shows in self._upward(recommender):
            total = level.rewards + _after(level, worth)
            answers = np.eye(ANSWERS)[total[..., 1].argmax(-1)]
            policy.insert(0, answers)
            worth = np.einsum("ni,nia,niap->np", shows, answers, total)
        return self.prior @ worth[:, 1], policy

    def best_recommender(self, user):
        """The recommender's best response to a user, from what it is told: (value, policy)."""
        reach = [self.prior]
        for level, answers, following in zip(self.levels, user, self.levels[1:], strict=False):
            node, _, _ = np.unravel_index(following.before, level.child.shape)
            reach.append(reach[-1][node] * answers.reshape(-1)[following.before])
        worth, policy = np.zeros(0), []
        for level, answers, weight in self._upward(user, reach):
            total = level.rewards[..., 0] + _after(level, worth)
            each = np.einsum("nia,nia->ni", answers, total)
            known = np.zeros((level.told.max() + 1, self.items))
            np.add.at(known, level.told, weight[:, None] * each)
            shows = np.eye(self.items)[known.argmax(1)[level.told]]
            policy.insert(0, shows)
            worth = (shows * each).sum(1)
        return self.prior @ worth, policy

    def gains(self, recommender, user):
        """What either side would gain by its best response: (2,), zero in an equilibrium."""
        value = self.values(recommender, user)
        best = [self.best_recommender(user)[0], self.best_user(recommender)[0]]
        return np.array(best) - value

    def mixed_recommender(self, policies):
        """The recommender that draws one of several policies for each visit, as one policy."""
        mixed, reach = [], np.ones((len(policies), len(self.prior)))
        for t in range(len(self.levels)):
            shows = np.stack([policy[t] for policy in policies])
            weighed = reach[..., None] * shows
            mixed.append(weighed.sum(0) / np.maximum(reach.sum(0), 1e-12)[:, None])
            if t + 1 < len(self.levels):
                before = self.levels[t + 1].before // ANSWERS
                reach = weighed.reshape(len(policies), -1)[:, before]
        return mixed

    def mixed_user(self, policies):
        """As ``mixed_recommender``, of users."""
        mixed, reach = [], np.ones((len(policies), len(self.prior)))
        for t in range(len(self.levels)):
            answers = np.stack([policy[t] for policy in policies])
            weighed = reach[..., None, None] * answers
            mixed.append(weighed.sum(0) / np.maximum(reach.sum(0), 1e-12)[:, None, None])
            if t + 1 < len(self.levels):
                reach = weighed.reshape(len(policies), -1)[:, self.levels[t + 1].before]
        return mixed

    def best_joint(self):
        """The greatest reward that both can get, if they share it: (value, recommender's policy).

        All deterministic recommenders that differ on the way are tried, each with the user's best
        response.
        """
        assert len(self.levels) == 2
        first, second = self.levels
        best, found = -np.inf, None
        for item in range(self.items):
            shown = np.zeros((len(first.told), self.items))
            shown[:, item] = 1
            parents = np.unravel_index(second.before, first.child.shape)
            groups = np.unique(second.told[parents[1] == item])
            for choice in np.ndindex(*[self.items] * len(groups)):
                picks = np.zeros(second.told.max() + 1, np.int64)
                picks[groups] = choice
                policy = [shown, np.eye(self.items)[picks[second.told]]]
                value, _ = self.best_user(policy)
                if value > best:
                    best, found = value, policy
        return best, found

    def minimax(self):
        """The recommender's value of the zero-sum game: (value, its policy by told state).

        A linear program in sequence form (Koller, Megiddo & von Stengel, STOC 1994): x are the
        recommender's realisation weights, w what the user leaves it at each of its nodes.
        """
        starts, size = [], 0
        for level in self.levels:
            starts.append((size, size + (level.told.max() + 1) * self.items))
            size = starts[-1][1] + level.child.shape[0] * self.items

        def x(t, told, item):
            return starts[t][0] + told * self.items + item

        def w(t, node, item):
            return starts[t][1] + node * self.items + item

        upper, equal, right = [], [], []
        for t, level in enumerate(self.levels):
            for node, item, answer in np.ndindex(level.child.shape):
                row = np.zeros(size)
                row[w(t, node, item)] = 1
                row[x(t, level.told[node], item)] -= level.rewards[node, item, answer, 0]
                child = level.child[node, item, answer]
                if child >= 0:
                    row[[w(t + 1, child, i) for i in range(self.items)]] = -1
                upper.append(row)
            for told in range(level.told.max() + 1):
                row = np.zeros(size)
                row[[x(t, told, i) for i in range(self.items)]] = 1
                equal.append(row)
                right.append(1.0 if t == 0 else 0.0)
                if t > 0:
                    at = level.before[level.told == told][0]
                    node, item, _ = np.unravel_index(at, self.levels[t - 1].child.shape)
                    row[x(t - 1, self.levels[t - 1].told[node], item)] = -1
        goal = np.zeros(size)
        for node in range(len(self.prior)):
            goal[[w(0, node, i) for i in range(self.items)]] = -self.prior[node]
        free = [(0, None) if any(a <= j < b for a, b in starts) else (None, None)
                for j in range(size)]  # fmt: skip
        solved = linprog(goal, np.array(upper), np.zeros(len(upper)), np.array(equal), right, free)
        assert solved.success
        return -solved.fun, [
            solved.x[a:b].reshape(-1, self.items)[level.told]
            for (a, b), level in zip(starts, self.levels, strict=True)
        ]

    def _upward(self, *parts):
        return zip(self.levels[::-1], *(p[::-1] for p in parts), strict=True)


def _after(level, worth):
    """(n, N, 6, ...) what follows each answer; nothing where the visit has ended."""
    nothing = np.zeros((1, *worth.shape[1:]))
    return np.concatenate([worth, nothing])[level.child]


def _take(state, rows):
    return State._make(leaf[rows].copy() for leaf in state)
