"""RLlib modules of the policy networks."""

from __future__ import annotations

from typing import Any

from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import (
    TARGET_NETWORK_ACTION_DIST_INPUTS,
    InferenceOnlyAPI,
    TargetNetworkAPI,
    ValueFunctionAPI,
)
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from recenv.config import GameConfig
from recenv.world import World
from training.config import NetworkConfig, TrainConfig
from training.models.critics import CentralCritic, Critic
from training.models.distributions import answer_distribution, slate_distribution
from training.models.networks import RecommenderNetwork, UserNetwork
from training.models.tables import HoldsTables
from training.models.value_modules import MODULES as VALUE_MODULES
from training.world import resolve


class _SideModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI, TargetNetworkAPI, HoldsTables):
    """An actor and, on learners, its critic, and a late copy of the actor where one is asked for.

    ``model_config`` is ``TrainConfig.env_config`` plus ``network``.
    """

    network: RecommenderNetwork | UserNetwork
    target_network: Any
    critic: Critic

    def _resolve(self) -> tuple[World, GameConfig, NetworkConfig]:
        config = self.model_config
        world, game = resolve(config["env"], config["game"])
        return world, game, NetworkConfig.from_dict(config["network"])

    def _make_critic(self, slots: int) -> Critic:
        world, game, config = self._resolve()
        context = self.network.context_size
        if self.model_config.get("central"):
            return CentralCritic(context, config.hidden, slots, world, game)
        return Critic(context, config.hidden, slots)

    def get_non_inference_attributes(self) -> list[str]:
        """See ``InferenceOnlyAPI``: runners need no critic and no late copy."""
        return ["critic", "target_network"]

    def make_target_networks(self) -> None:
        """See ``TargetNetworkAPI``: a copy of the actor."""
        self.target_network = make_target_network(self.network)

    def get_target_network_pairs(self) -> list[Any]:
        """See ``TargetNetworkAPI``."""
        return [(self.network, self.target_network)]

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """See ``TargetNetworkAPI``: what the copy says."""
        return {TARGET_NETWORK_ACTION_DIST_INPUTS: self.target_network(batch[Columns.OBS])[0]}

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        out = self.network(batch[Columns.OBS])
        return {Columns.ACTION_DIST_INPUTS: out[0], Columns.EMBEDDINGS: out[1]}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """(B,) expected discounted reward from here on."""
        return self.all_values(batch[Columns.OBS], embeddings)[0]

    def all_values(
        self, observation: dict[str, Tensor], context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B,) expected discounted reward, and (B, K) of this round by slot for a recommender.

        Args:
            observation: (B, ...) leaves.
            context: (B, F) of ``network``'s output for it; computed if missing.
        """
        if context is None:
            context = self.network(observation)[1]
        return self.critic(observation, context)


class RecommenderModule(_SideModule):
    """``RecommenderNetwork`` with a policy over slates, ``NetworkConfig.slates``."""

    def setup(self) -> None:
        """See ``RLModule.setup``."""
        world, game, config = self._resolve()
        self.network = RecommenderNetwork(world, game, config)
        self.action_dist_cls = slate_distribution(game.slate_size, config.slates)
        if not self.inference_only:
            self.critic = self._make_critic(game.slate_size)


class UserModule(_SideModule):
    """``UserNetwork`` with independent answers per slot."""

    def setup(self) -> None:
        """See ``RLModule.setup``."""
        world, game, config = self._resolve()
        self.network = UserNetwork(world, game, config)
        self.action_dist_cls = answer_distribution(game.slate_size)
        if not self.inference_only:
            self.critic = self._make_critic(0)


CLASSES: dict[str, type[TorchRLModule]] = {"recommender": RecommenderModule, "user": UserModule}


def module_specs(config: TrainConfig) -> MultiRLModuleSpec:
    """The modules of the sides that learn."""
    model_config = {**config.env_config, "network": config.network.to_dict()}
    classes, values = CLASSES, config.values
    if values is not None:
        classes = dict.fromkeys(CLASSES, VALUE_MODULES[values.kind])
        model_config["values"] = values.to_dict()
    return MultiRLModuleSpec(
        rl_module_specs={
            side: RLModuleSpec(
                module_class=classes[side], model_config={**model_config, "side": side}
            )
            for side in config.trained
        }
    )
