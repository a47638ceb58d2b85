import dataclasses
import math
import typing
from typing import Any

import numpy as np
import pytest

from recenv.config import (
    Config,
    EncoderConfig,
    GameConfig,
    InterestConfig,
    RewardConfig,
    SplitConfig,
    UserModelConfig,
    WorldConfig,
)
from recenv.errors import ConfigError, UnknownNameError


def test_toml_round_trip():
    config = WorldConfig().replace(interest={"dim": 7}, user_model={"click_rate": 0.25})
    again = WorldConfig.from_toml(config.to_toml())
    assert again == config
    assert again.hash == config.hash
    assert again.hash != WorldConfig().hash


def test_defaults_stand_in_one_place():
    assert GameConfig.from_dict({}) == GameConfig()
    assert GameConfig.from_toml("") == GameConfig()


def test_unknown_key_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'slate_size'"):
        GameConfig().replace(slatesize=3)
    with pytest.raises(UnknownNameError, match="Did you mean 'cooperation'"):
        GameConfig.from_toml("[reward]\ncoperation = 1.0")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GameConfig(slate_size=51), "slate_size must be no larger than num_candidates"),
        (lambda: GameConfig(slate_size="5"), "slate_size must be int, but is '5'"),
        (lambda: GameConfig(slate_size=True), "slate_size must be int"),
        (lambda: GameConfig(users="everyone"), "must be one of 'train', 'heldout', 'all'"),
        (lambda: RewardConfig(cooperation=1.5), "cooperation must be in"),
        (lambda: RewardConfig(click=float("nan")), "click must be float"),
        (lambda: GameConfig.from_toml("slate_size = "), "Not valid TOML"),
        (lambda: GameConfig.from_dict({"reward": 3}), "wants a table"),
        (lambda: RewardConfig(click=float("inf")), "click must be float, and finite, but is inf"),
        (lambda: RewardConfig(leave_cost=-math.inf), "leave_cost must be float, and finite"),
        (lambda: RewardConfig(click=10**400), "click must be float, and finite"),
        (lambda: RewardConfig(purchase_by_value=1), "purchase_by_value must be bool"),
        (lambda: GameConfig(slate_size=5.0), "slate_size must be int, but is 5.0"),
        (lambda: GameConfig(slate_size=0), "slate_size must be from 1 to"),
        (lambda: GameConfig(max_rounds=2**31), "max_rounds must be from 1 to 2147483647"),
        (lambda: GameConfig(member=-1), "member must be from 0"),
        (lambda: GameConfig(users=["train"]), "users must be one of"),
        (lambda: GameConfig(users="trian"), "Did you mean 'train'"),
        (lambda: GameConfig(reward={"click": 1.0}), "reward must be RewardConfig"),
        (lambda: SplitConfig(seed=-1), "seed must be from 0 to"),
        (lambda: SplitConfig(seed=2**63), "seed must be from 0 to"),
        (lambda: SplitConfig(seed=b"x"), "seed must be int, but is b'x'"),
        (lambda: EncoderConfig(model=""), "model must be the name of a model"),
        (lambda: EncoderConfig(layer="2"), "layer must be int"),
        (lambda: InterestConfig(seed=-1), "seed must be"),
        (lambda: InterestConfig(learning_rate=math.inf), "learning_rate must be float, and finite"),
        (lambda: UserModelConfig(seed=-1), "seed must be"),
        (lambda: UserModelConfig(map_l2=-1.0), "map_l2 must be zero or more"),
        (lambda: UserModelConfig(examination_l2=-1.0), "examination_l2 must be zero or more"),
        (lambda: UserModelConfig(l2_ladder=1.0), "l2_ladder must be a list of floats, but is 1.0"),
        (lambda: UserModelConfig(l2_ladder=(1.0, math.nan)), "l2_ladder must be float, and finite"),
        (lambda: UserModelConfig(leave_length=math.inf), "leave_length must be float, and finite"),
    ],
)
def test_wrong_values_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def leaves(config: Config) -> list[tuple[type[Config], str, Any]]:
    """(class, field, type) of every setting of a config and of those inside it."""
    hints, found = typing.get_type_hints(type(config)), []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if isinstance(value, Config):
            found += leaves(value)
        else:
            found.append((type(config), f.name, hints[f.name]))
    return found


@pytest.mark.parametrize(("cls", "name", "hint"), leaves(WorldConfig()) + leaves(GameConfig()))
def test_no_setting_takes_nonsense(cls, name, hint):
    """Every field: a wrong type, and of numbers what no number of it can be."""
    wrong = [object(), b"x", {}, math.nan, [object()], 1j]
    if hint is not str:
        wrong += ["", "x"]
    if hint is float or hint == tuple[float, ...]:
        wrong += [math.inf, -math.inf, True, 10**400]
    if hint is int:
        wrong += [-(2**70), 1.5, True, math.inf, -1]
    for value in wrong:
        with pytest.raises(ConfigError, match=rf"{cls.__name__}\.{name} must be "):
            cls(**{name: value})


def test_numbers_of_numpy_become_pythons_own():
    game = GameConfig(slate_size=np.int64(3), reward=RewardConfig(click=np.float32(0.5)))
    assert game == GameConfig(slate_size=3, reward=RewardConfig(click=0.5))
    assert (type(game.slate_size), type(game.reward.click)) == (int, float)
    assert game.hash == GameConfig.from_toml(game.to_toml()).hash


def test_a_config_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        GameConfig.from_toml(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'users = "\xe4"')
    with pytest.raises(ConfigError, match=r"latin\.toml is no UTF-8 text"):
        GameConfig.from_toml(tmp_path / "latin.toml")
