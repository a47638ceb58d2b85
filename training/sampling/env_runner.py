"""Environment runners: all visits of a runner are stepped as one batch.

RLlib's own multi-agent runner steps each environment in a Python loop and converts every
step; these run one simulator over B visits and each network once per turn, and hand the learner
flat arrays, or ordinary episodes whose arrays are slices of the batch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import ray
import torch
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.utils import metrics as names
from ray.rllib.utils.framework import get_device

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from training.models.observations import MODULE
from training.sampling.divergence import KL_FROM_FITTED, kl_from_fitted
from training.sampling.env import TurnEnv
from training.sampling.fragments import fragments
from training.sampling.regimes import past
from training.sampling.self_play import Seats
from training.sampling.turns import Actor, Turn
from training.sampling.visit_sampler import Played, VisitSampler


class BatchedEnvRunner(MultiAgentEnvRunner):
    """Samples ``num_envs_per_env_runner`` visits of a ``TurnEnv`` at once.

    Use with ``config.env_runners(env_runner_cls=BatchedEnvRunner)``. Connectors between the
    environment and the modules are not run. Samples are ``Fragments``, one for each learner.
    """

    _pool: Mapping[int, Any] = {}
    _pool_version = 0

    def make_env(self) -> None:
        """One ``TurnEnv``, which RLlib reads the spaces from, and the batch beside it."""
        whole: Any = self.config
        batch = int(whole.num_envs_per_env_runner)
        self.config = whole.copy(copy_frozen=False)
        self.config.num_envs_per_env_runner = 1
        super().make_env()
        self.config = whole
        vector: Any = self.env
        env = vector.envs[0].unwrapped
        assert isinstance(env, TurnEnv)
        self._spaces: tuple[Any, Any] = (env.observation_spaces, env.action_spaces)
        self._turns = len(env.trained)
        self._past: dict[str, dict[int, Any]] = {}
        self._rollout = VisitSampler(
            env.visit.simulator,
            batch,
            env.trained,
            env.opponent,
            fixed_user=env.fixed_user,
            seats=Seats(batch) if whole.env_config.get("population") else None,
            central=env.central,
            limit_ends=env.limit_ends,
        )

    def make_module(self) -> None:
        """As RLlib's, but a runner inside the driver may use the GPU that it was given, too."""
        whole: Any = self.config
        if not self.worker_index and whole.num_gpus_per_env_runner > 0:
            self._device = get_device(whole, whole.num_gpus_per_env_runner)
        super().make_module()

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[Any]:
        """Play whole rounds: at least as many steps, or visits, as asked for.

        ``random_actions`` are uniform over each learning agent's action space.
        """
        began = time.perf_counter()
        rollout = self._rollout
        if self._needs_initial_reset or force_reset or num_episodes is not None:
            seed = (self.config.seed or 0, self.worker_index or 0)
            rollout.reset(np.random.SeedSequence([*seed, self.num_env_steps_sampled_lifetime]))
            self._needs_initial_reset = num_episodes is not None
        if num_timesteps is None and num_episodes is None:
            fragment = self.config.get_rollout_fragment_length(self.worker_index or 0)
            num_timesteps = fragment * rollout.batch
        explore = bool(self.config.explore) if explore is None else explore
        if random_actions:
            actors = {agent: self._random(agent) for agent in rollout.trained}
        else:
            actors = {agent: self._actor(agent, explore) for agent in rollout.trained}
        self._seat(explore)
        if num_episodes is not None:
            played = rollout.play(actors, visits=num_episodes)
        else:
            assert num_timesteps is not None
            played = rollout.play(actors, rounds=-(-num_timesteps // (rollout.batch * self._turns)))
        whole: Any = self.config
        samples = list(fragments(played, MODULE, max(1, whole.num_learners)))
        self._log_divergence(played, random_actions)
        self._log(rollout, time.perf_counter() - began)
        return samples

    def get_metrics(self) -> dict[str, Any]:
        """Metrics since the last call."""
        return self.metrics.reduce()

    def set_pool(self, version: int, reference: Any) -> None:
        """Have past policies play, if there are seats for them.

        Args:
            version: of the pool; one that is here already is not fetched again.
            reference: its members, see ``training.sampling.regimes.Population``, or Ray's reference
                to them.
        """
        if version != self._pool_version:
            fetched = ray.get(reference) if isinstance(reference, ray.ObjectRef) else reference
            self._pool, self._pool_version = fetched, version

    def _seat(self, explore: bool) -> None:
        """Give the past policies their seats."""
        seats = self._rollout.seats
        if seats is None:
            return
        assert self.module is not None
        players: dict[str, dict[int, Actor]] = {}
        for agent, side in MODULE.items():
            module: Any = self.module[side]
            known = self._past.get(agent, {})
            for iteration in self._pool.keys() - known.keys():
                known[iteration] = past(module.network, self._pool[iteration][side])
            self._past[agent] = {iteration: known[iteration] for iteration in self._pool}
            players[agent] = {
                iteration: self._actor(agent, explore, network)
                for iteration, network in self._past[agent].items()
            }
        seats.put(players, self._rollout.generator)

    def _actor(self, agent: str, explore: bool, network: Any = None) -> Actor:
        """An agent's policy, with its present network or another."""
        assert self.module is not None
        module: Any = self.module[MODULE[agent]]
        network = network or module.network
        make: Any = module.get_exploration_action_dist_cls()

        def act(observation: dict[str, np.ndarray]) -> Turn:
            with torch.no_grad():
                leaves = {k: torch.from_numpy(v).to(self._device) for k, v in observation.items()}
                inputs = network(leaves)[0]
                distribution = make.from_logits(inputs)
                if explore:
                    action = distribution.sample()
                else:
                    action = distribution.to_deterministic().sample()
                logp = distribution.logp(action)
            return Turn(observation, action.cpu().numpy(), logp.cpu().numpy(), inputs.cpu().numpy())

        return act

    def _random(self, agent: str) -> Actor:
        space = self._spaces[1][agent]
        generator = self._rollout.generator
        discrete = isinstance(space, gymnasium.spaces.Discrete)
        choices = np.atleast_1d(space.n if discrete else space.nvec)

        def act(observation: dict[str, np.ndarray]) -> Turn:
            rows = len(observation["round"])
            action = generator.integers(choices, size=(rows, len(choices)))
            logp = np.full(rows, -np.log(choices).sum(), np.float32)
            action = action[:, 0] if discrete else action
            return Turn(observation, action, logp, np.zeros((rows, 1), np.float32))

        return act

    def _log_divergence(self, played: Played, random_actions: bool) -> None:
        if USER_AGENT not in played.turns or random_actions:
            return
        assert self.module is not None
        turns = played.turns[USER_AGENT]
        mine = played.learns.get(USER_AGENT)
        rows = slice(None) if mine is None else np.flatnonzero(mine)
        whole = Turn(
            {"behaviour": np.concatenate([t.observation["behaviour"] for t in turns])[rows]},
            np.concatenate([t.action for t in turns])[rows],
            np.concatenate([t.logp for t in turns])[rows],
            np.concatenate([t.inputs for t in turns])[rows],
        )
        module = self.module[MODULE[USER_AGENT]]
        self.metrics.log_value(KL_FROM_FITTED, kl_from_fitted(module, whole), window=1)

    def _log(self, rollout: VisitSampler, seconds: float) -> None:
        done, log = rollout.finished, self.metrics.log_value
        steps = done.rounds_played * self._turns
        agents = dict.fromkeys(rollout.trained, done.rounds_played)
        log(names.WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        log(names.NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        log(
            names.NUM_ENV_STEPS_SAMPLED_LIFETIME,
            steps,
            reduce="lifetime_sum",
            with_throughput=True,
        )
        for agent, count in agents.items():
            log((names.NUM_AGENT_STEPS_SAMPLED, agent), count, reduce="sum")
            log((names.NUM_AGENT_STEPS_SAMPLED_LIFETIME, agent), count, reduce="lifetime_sum")
            log((names.NUM_MODULE_STEPS_SAMPLED, MODULE[agent]), count, reduce="sum")
            log(
                (names.NUM_MODULE_STEPS_SAMPLED_LIFETIME, MODULE[agent]),
                count,
                reduce="lifetime_sum",
            )
        self._log_env_steps(self._metrics_num_env_steps_sampled, steps)
        self.num_env_steps_sampled_lifetime += steps
        log(names.NUM_EPISODES, done.visits, reduce="sum")
        log(names.NUM_EPISODES_LIFETIME, done.visits, reduce="lifetime_sum")
        log(names.SAMPLE_TIMER, seconds, window=1)
        if done.visits:
            rewards = {
                RECOMMENDER_AGENT: float(done.recommender_reward),
                USER_AGENT: float(done.user_reward),
            }
            self.metrics.log_dict(
                {
                    names.EPISODE_LEN_MEAN: done.length,
                    names.EPISODE_RETURN_MEAN: sum(rewards[a] for a in rollout.trained),
                    names.EPISODE_AGENT_RETURN_MEAN: rewards,
                },
                window=1,
            )
