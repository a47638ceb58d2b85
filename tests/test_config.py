import pytest

from recenv.config import GameConfig, RewardConfig, WorldConfig
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
    ],
)
def test_wrong_values_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
