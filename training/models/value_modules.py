"""RLlib modules of the value networks, with target networks and exploration."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from recenv.config import GameConfig
from training.config.network import NetworkConfig
from training.config.values import ValueConfig
from training.models.distributions import answer_distribution, slate_distribution
from training.models.exploration import answers_explored, slates_explored
from training.models.value_networks import make_value_network
from training.world import resolve

_TEMPERATURE = 0.05
"""Of the entropy at first: rewards that a nat is worth."""


class _Module(TorchRLModule, InferenceOnlyAPI):
    """A network that acts.

    ``model_config`` is ``TrainConfig.env_config`` plus ``network``, ``values`` and ``side``.
    """

    network: nn.Module
    game: GameConfig
    values: ValueConfig

    def setup(self) -> None:
        """See ``RLModule.setup``."""
        self.side: str = self.model_config["side"]
        self.game = resolve(self.model_config["env"], self.model_config["game"])[1]
        self.values = ValueConfig.from_dict(self.model_config["values"])
        self.network = self.make(self.values)
        if not self.inference_only:
            self.setup_learning()

    def setup_learning(self) -> None:
        """Parts that only learners have: target networks."""
        raise NotImplementedError

    def make(self, values: ValueConfig) -> nn.Module:
        """A network of this side's."""
        config = self.model_config
        world, game = resolve(config["env"], config["game"])
        network = NetworkConfig.from_dict(config["network"])
        return make_value_network(self.side, world, game, network, values)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.network(batch[Columns.OBS])[0]}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {}  # losses pass states and next states through networks by themselves


class ValueModule(_Module):
    """A network of values that acts, and on learners its target network.

    The exploration rate is set by the learner, and reaches runners with the weights.
    """

    target: nn.Module
    epsilon: Tensor

    def setup(self) -> None:
        """See ``RLModule.setup``."""
        super().setup()
        self.register_buffer("epsilon", torch.ones(1))

    def setup_learning(self) -> None:
        """See ``_Module.setup_learning``."""
        self.target = frozen_copy(self.network)

    def get_non_inference_attributes(self) -> list[str]:
        """See ``InferenceOnlyAPI``: runners need no target network."""
        return ["target"]

    def get_exploration_action_dist_cls(self) -> Any:
        """Greedy, or with probability ``epsilon`` anything; one with a KL weight draws anyway."""
        epsilon, slots = float(self.epsilon[0]), self.game.slate_size
        if self.side == "recommender":
            return slates_explored(slots, epsilon)
        if self.values.kl_weight > 0:
            return answer_distribution(slots)
        return answers_explored(slots, epsilon)

    get_inference_action_dist_cls = get_exploration_action_dist_cls


class SoftModule(_Module):
    """An actor, and on learners two critics, their targets and the entropy's temperature."""

    critics: nn.ModuleList
    targets: nn.Module
    log_temperature: nn.Parameter

    def setup(self) -> None:
        """See ``RLModule.setup``."""
        super().setup()
        make = slate_distribution if self.side == "recommender" else answer_distribution
        self.action_dist_cls = make(self.game.slate_size)

    def setup_learning(self) -> None:
        """See ``_Module.setup_learning``."""
        slots = self.values.replace(kind="slots")
        self.critics = nn.ModuleList([self.make(slots), self.make(slots)])
        self.targets = frozen_copy(self.critics)
        self.log_temperature = nn.Parameter(torch.full((1,), math.log(_TEMPERATURE)))

    @property
    def most_entropy(self) -> float:
        """Nats of actions drawn uniformly; of slates, without repeats."""
        k, c = self.game.slate_size, self.game.num_candidates
        if self.side == "user":
            return k * math.log(3) + math.log(2)
        return math.lgamma(c + 1) - math.lgamma(c - k + 1)

    def get_non_inference_attributes(self) -> list[str]:
        """See ``InferenceOnlyAPI``: runners need the actor alone."""
        return ["critics", "targets", "log_temperature"]


MODULES: dict[str, type[TorchRLModule]] = {
    "slateq": ValueModule,
    "slots": ValueModule,
    "soft": SoftModule,
}
"""By ``ValueConfig.kind``."""


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
    for late, now in zip(target.parameters(), network.parameters(), strict=True):
        late.lerp_(now, rate)
