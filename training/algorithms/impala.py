"""IMPALA: V-trace on flat samples, in a learner thread that is watched."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner
from ray.rllib.core.columns import Columns
from torch import Tensor

from training.algorithms.losses import FittedUserKL, reaching
from training.algorithms.vtrace import FOLLOWING, TURN, FragmentConnector, vtrace
from training.config import TrainConfig
from training.config.algorithms import IMPALA
from training.models.networks import RecommenderNetwork
from training.sampling.fragments import SLOT_REWARDS


class VTraceLoss(FittedUserKL):
    """The loss of IMPALA and APPO on ``training.algorithms.vtrace.FragmentConnector``'s batches.

    **Recommender.** With ``slot_credit``, as ``training.algorithms.ppo.TwoSidedLearner`` credits
    slots: with r_k what slot k earned, b_k its learned mean given the visit, w the clipped
    importance weight and A V-trace's advantage of the whole slate, slot k is credited with ``w (r_k
    - b_k) + (A - w sum_j (r_j - b_j))``.

    **User.** With the KL to the fitted user: see ``training.algorithms.losses.FittedUserKL``.

    The loss, with c the credit and v V-trace's targets, is the mean over steps of the policy loss
    (IMPALA: ``- c log pi(a)``, by slot where credited; APPO: its clipped surrogate), plus
    ``value_weight ((V - v)**2 + sum_k (b_k - r_k)**2)``, minus the weighted entropy.

    Credits are standardised over the batch. Reads ``slot_credit``, ``lam`` and
    ``kl_weight`` from the config's ``learner_config_dict``.
    """

    module: Any
    metrics: Any
    entropy_coeff_schedulers_per_module: Any

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """See ``TorchLearner.compute_loss_for_module``."""
        module: Any = self.module[module_id].unwrapped()
        settings = config.learner_config_dict
        make = module.get_train_action_dist_cls()
        n = int(batch[Columns.LOSS_MASK].sum())
        actions = batch[Columns.ACTIONS][:n]
        now = make.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS][:n])
        before = make.from_logits(batch[Columns.ACTION_DIST_INPUTS][:n])
        values, expected = module.all_values(batch[Columns.OBS], fwd_out[Columns.EMBEDDINGS])
        is_recommender = isinstance(module.network, RecommenderNetwork)
        by_slot = settings["slot_credit"] and is_recommender and SLOT_REWARDS in batch

        def log_p(distribution: Any) -> Tensor:
            """(N, K) by slot, or (N, 1)."""
            if by_slot:
                return distribution.slot_logp(actions)
            return distribution.logp(actions)[:, None]

        with torch.no_grad():
            evaluated = self._evaluated(module, make, now, batch, n)
            traced = vtrace(
                evaluated.logp(actions) - batch[Columns.ACTION_LOGP][:n],
                batch[Columns.REWARDS][:n],
                values,
                batch[FOLLOWING][:n],
                batch[Columns.TERMINATEDS][:n],
                batch[TURN][:n],
                gamma=config.gamma,
                lam=settings["lam"],
                clip=config.vtrace_clip_rho_threshold,
            )
            credit = traced.advantages[:, None]
            if by_slot:
                surprise = batch[SLOT_REWARDS][:n] - expected[:n]
                surprise = traced.weights[:, None] * surprise
                credit = surprise + (credit - surprise.sum(-1, keepdim=True))
            credit = (credit - credit.mean()) / credit.std().clamp(min=1e-4)
            behaviour, target = log_p(before), log_p(evaluated)
        policy_loss = self._policy_loss(config, credit, log_p(now), target, behaviour)
        value_loss = ((values[:n] - traced.values) ** 2).mean()
        loss = policy_loss + config.vf_loss_coeff * value_loss
        if by_slot:
            slot_error = (expected[:n] - batch[SLOT_REWARDS][:n]) ** 2
            loss = loss + config.vf_loss_coeff * slot_error.sum(-1).mean()
        elif is_recommender:
            loss = reaching(loss, [expected])
        entropy = now.entropy().mean()
        scheduler: Any = self.entropy_coeff_schedulers_per_module[module_id]
        loss = loss - scheduler.get_current_value() * entropy
        if not is_recommender:
            loss = self.with_divergence(loss, settings["kl_weight"], module, batch, fwd_out)
        variance = traced.values.var().clamp(min=1e-6)
        self.metrics.log_dict(
            {
                "policy_loss": policy_loss.detach(),
                "vf_loss_unclipped": value_loss.detach(),
                "vf_explained_var": (1 - (traced.values - values[:n]).var() / variance).detach(),
                "entropy": entropy.detach(),
                "importance_weight": traced.weights.mean(),
            },
            key=module_id,
            window=1,
        )
        return loss

    def _evaluated(self, module: Any, make: Any, now: Any, batch: Any, n: int) -> Any:
        """The policy that V-trace evaluates."""
        return now

    def _policy_loss(
        self, config: Any, credit: Tensor, now: Tensor, target: Tensor, behaviour: Tensor
    ) -> Tensor:
        """Of (N, K) credits and log-probabilities: now, of the evaluated policy, and sampled."""
        return -(now * credit).sum(-1).mean()


class WatchedThread:
    """Mixin of RLlib's threaded learners: an error of the thread is raised by the next update.

    RLlib's thread dies of an error unnoticed: a local learner then waits for it forever, a remote
    one returns empty results forever. Also passes over each batch ``passes`` times (of the
    config's ``learner_config_dict``): RLlib's own epochs cut batches up without regard to links.
    """

    config: Any
    _learner_thread: Any

    def build(self) -> None:
        """See ``Learner.build``."""
        self._failure: Exception | None = None
        super().build()  # type: ignore[misc]
        update = self._learner_thread._update_method

        def guarded(**arguments: Any) -> None:
            if self._failure is not None:
                return
            try:
                update(**arguments)
            except Exception as error:
                self._failure = error

        self._learner_thread._update_method = guarded

    def update(self, *arguments: Any, **settings: Any) -> Any:
        """See ``Learner.update``.

        Raises:
            RuntimeError: the thread could not learn from this batch or one before.
        """
        result = super().update(*arguments, **settings)  # type: ignore[misc]
        if self._failure is not None:
            raise RuntimeError("The learner's thread failed.") from self._failure
        return result

    def _create_iterator_if_necessary(self, **arguments: Any) -> Iterable[Any]:
        batches = super()._create_iterator_if_necessary(**arguments)  # type: ignore[misc]
        passes = self.config.learner_config_dict["passes"]
        return itertools.chain.from_iterable(itertools.repeat(list(batches), passes))


class ImpalaLearner(VTraceLoss, WatchedThread, IMPALATorchLearner):  # type: ignore[misc]
    """IMPALA's update (Espeholt et al. 2018): policy gradient on V-trace's advantages."""


def build(settings: IMPALA, config: TrainConfig) -> AlgorithmConfig:
    """RLlib's config of IMPALA in a run."""
    rllib = asynchronous(IMPALAConfig(), settings, config)
    return rllib.learners(learner_class=ImpalaLearner).training(learner_queue_size=1)


def asynchronous(rllib: Any, settings: IMPALA, config: TrainConfig) -> Any:
    """RLlib's config with what IMPALA and APPO share."""
    batch, steps = settings.batch_rounds * config.num_envs_per_env_runner, len(config.trained)
    return (
        rllib.learners(
            add_default_connectors_to_learner_pipeline=False,
            learner_connector=lambda observations, actions: FragmentConnector(),
            learner_config_dict={
                "slot_credit": settings.slot_credit,
                "kl_weight": config.kl_weight,
                "lam": settings.lam,
                "passes": settings.passes,
            },
        )
        .env_runners(
            rollout_fragment_length=settings.batch_rounds * steps,
            # weights are pushed: the server that stock runners pull from is not asked here
            use_env_runner_state_server=False,
        )
        .reporting(
            min_time_s_per_iteration=0,
            min_sample_timesteps_per_iteration=config.steps_per_iteration,
        )
        .training(
            lr=settings.learning_rate,
            train_batch_size_per_learner=batch * steps,
            gamma=settings.gamma,
            vtrace_clip_rho_threshold=settings.rho_clip,
            vtrace_clip_pg_rho_threshold=settings.rho_clip,
            entropy_coeff=settings.entropy,
            vf_loss_coeff=settings.value_weight,
            grad_clip=settings.gradient_clip,
            grad_clip_by="global_norm",
            timeout_s_sampler_manager=0.05,  # else this process polls at full speed
            broadcast_interval=1,
        )
    )
