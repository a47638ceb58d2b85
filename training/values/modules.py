"""Networks of values as RLlib modules, with target networks and exploration."""

from __future__ import annotations

import copy
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from training.network_config import NetworkConfig
from training.values.config import ValueConfig
from training.values.distributions import answers_explored, slates_explored
from training.values.networks import make_value_network
from training.world import resolve


class ValueModule(TorchRLModule, InferenceOnlyAPI):
    """A network of values that acts, and on learners its target network.

    ``model_config`` is ``TrainConfig.env_config`` plus ``network`` and ``values``. The exploration
    rate is set by the learner, and reaches runners with the weights.
    """

    side: str
    network: nn.Module
    target: nn.Module
    epsilon: Tensor

    def setup(self) -> None:
        """See ``RLModule.setup``."""
        config = self.model_config
        world, game = resolve(config["env"], config["game"])
        self.slots = game.slate_size
        self.network = make_value_network(
            self.side,
            world,
            game,
            NetworkConfig.from_dict(config["network"]),
            ValueConfig.from_dict(config["values"]),
        )
        self.register_buffer("epsilon", torch.ones(1))
        if not self.inference_only:
            self.target = frozen_copy(self.network)

    def get_non_inference_attributes(self) -> list[str]:
        """See ``InferenceOnlyAPI``: runners need no target network."""
        return ["target"]

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.network(batch[Columns.OBS])[0]}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {}  # losses pass states and next states through networks by themselves

    def get_exploration_action_dist_cls(self) -> Any:
        """Greedy, or with probability ``epsilon`` anything."""
        make = slates_explored if self.side == "recommender" else answers_explored
        return make(self.slots, float(self.epsilon[0]))

    get_inference_action_dist_cls = get_exploration_action_dist_cls


class RecommenderValues(ValueModule):
    """The recommender's."""

    side = "recommender"


class UserValues(ValueModule):
    """The user's."""

    side = "user"


CLASSES: dict[str, type[TorchRLModule]] = {"recommender": RecommenderValues, "user": UserValues}


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy that no optimiser moves; fixed tables are shared with the original."""
    shared = {id(buffer): buffer for buffer in network.buffers()}
    target = copy.deepcopy(network, shared)
    return target.requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, network: nn.Module, rate: float) -> None:
    """Move a target network's weights towards the network's (Lillicrap et al. 2016).

    Args:
        target, network: of the same shape.
        rate: share of the way; 1 makes them equal.
    """
    torch._foreach_lerp_(list(target.parameters()), list(network.parameters()), rate)
