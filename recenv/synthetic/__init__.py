"""Synthetic data: planted worlds, and logs drawn from them."""

from recenv.synthetic.baskets import emit_baskets
from recenv.synthetic.log import emit_log
from recenv.synthetic.world import PlantedConfig, planted_world

__all__ = ["PlantedConfig", "emit_baskets", "emit_log", "planted_world"]
