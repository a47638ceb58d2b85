"""The networks as RLlib modules."""

from __future__ import annotations

from typing import Any

from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from training.config import NetworkConfig, TrainConfig
from training.distributions import answer_distribution, slate_distribution
from training.networks import RecommenderNetwork, UserNetwork
from training.world import resolve


class _SideModule(TorchRLModule, ValueFunctionAPI):
    """What both modules share. ``model_config`` is ``TrainConfig.env_config`` plus ``network``."""

    network: RecommenderNetwork | UserNetwork

    def _resolve(self) -> tuple[Any, Any, NetworkConfig]:
        config = self.model_config
        world, game = resolve(config["env"], config["game"])
        return world, game, NetworkConfig.from_dict(config["network"])

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        out = self.network(batch[Columns.OBS])
        return {Columns.ACTION_DIST_INPUTS: out[0], Columns.EMBEDDINGS: out[1]}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """(B,) expected discounted reward from here on."""
        if embeddings is None:
            embeddings = self.network(batch[Columns.OBS])[1]
        return self.network.value(embeddings)


class RecommenderModule(_SideModule):
    """``RecommenderNetwork`` with a Plackett-Luce policy over slates."""

    def setup(self) -> None:
        """See ``RLModule.setup``."""
        world, game, config = self._resolve()
        self.network = RecommenderNetwork(world, game, config)
        self.action_dist_cls = slate_distribution(game.slate_size)


class UserModule(_SideModule):
    """``UserNetwork`` with independent answers per slot."""

    def setup(self) -> None:
        """See ``RLModule.setup``."""
        world, game, config = self._resolve()
        self.network = UserNetwork(world, game, config)
        self.action_dist_cls = answer_distribution(game.slate_size)


CLASSES = {"recommender": RecommenderModule, "user": UserModule}


def module_specs(config: TrainConfig) -> MultiRLModuleSpec:
    """The modules of the sides that learn."""
    model_config = {**config.env_config, "network": config.network.to_dict()}
    return MultiRLModuleSpec(
        rl_module_specs={
            side: RLModuleSpec(module_class=CLASSES[side], model_config=model_config)
            for side in config.trained
        }
    )
