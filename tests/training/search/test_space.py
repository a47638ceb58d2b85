"""Spaces to search are read, checked and drawn from."""

import numpy as np
import pytest

from recenv.errors import ConfigError, UnknownNameError
from training.config import TrainConfig
from training.search.space import Domain, Space, config_with

SPACE = """
rounds = 8192
network.hidden = { grid = [32, 64] }
[ippo]
epochs.randint = [2, 5]
learning_rate = { loguniform = [1e-4, 1e-2] }
clip = { grid = [0.1, 0.2, 0.3] }
[game.reward]
cooperation = { uniform = [-1, 1] }
"""


def test_a_space_is_read_in_the_shape_of_a_config():
    space = Space.from_toml(SPACE)
    assert space.domains == {
        "network.hidden": Domain("grid", (32, 64)),
        "ippo.epochs": Domain("randint", (2, 5)),
        "ippo.learning_rate": Domain("loguniform", (1e-4, 1e-2)),
        "ippo.clip": Domain("grid", (0.1, 0.2, 0.3)),
        "game.reward.cooperation": Domain("uniform", (-1, 1)),
    }
    assert space.fixed == {"rounds": 8192}
    assert space.domains["ippo.epochs"].ends == (2, 4)  # 5 is not drawn
    assert space.domains["game.reward.cooperation"].ends == (-1.0, 1.0)
    space.check(TrainConfig())


def test_trials_are_the_product_of_grids_times_samples():
    space = Space.from_toml(SPACE)
    trials = space.draw(40, seed=3)
    assert len(trials) == 40 * 6
    grid = [(t["network.hidden"], t["ippo.clip"]) for t in trials]
    assert {pair: grid.count(pair) for pair in grid} == {
        (hidden, clip): 40 for hidden in (32, 64) for clip in (0.1, 0.2, 0.3)
    }
    assert {t["ippo.epochs"] for t in trials} == {2, 3, 4}
    assert {t["rounds"] for t in trials} == {8192}
    assert all(type(t["ippo.epochs"]) is int for t in trials)
    # a log-uniform draw lies below the geometric mean of its ends as often as above
    logs = np.log10([t["ippo.learning_rate"] for t in trials])
    assert logs.min() >= -4
    assert logs.max() <= -2
    assert abs((logs < -3).mean() - 0.5) < 4 * 0.5 / np.sqrt(len(logs))
    drawn = np.array([t["game.reward.cooperation"] for t in trials])
    assert len(set(drawn)) == len(drawn)  # drawn for each point of the grid, not once for all
    assert abs(drawn.mean()) < 4 * np.sqrt(1 / 3 / len(drawn))
    assert space.draw(40, seed=3) == trials
    assert space.draw(40, seed=4) != trials
    assert space.draw(2, seed=3) == trials[: 2 * 6]


def test_values_go_on_top_of_a_config():
    base = TrainConfig(game={"slate_size": 3, "reward": {"click": 2.0}})
    values = {"ippo.clip": 0.3, "network.hidden": 8, "game.reward.cooperation": 0.5}
    config = config_with(base, values)
    assert config.ippo == base.ippo.replace(clip=0.3)
    assert config.network.hidden == 8
    assert config.game == {"slate_size": 3, "reward": {"click": 2.0, "cooperation": 0.5}}


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("ippo.clip = 0.1", ConfigError, "nothing to search"),
        ("ippo.clip = { grid = [] }", ConfigError, "empty"),
        ("ippo.clip = { uniform = [0.3, 0.1] }", ConfigError, "low < high"),
        ("ippo.clip = { uniform = [0.3] }", ConfigError, "low < high"),
        ("ippo.clip = { loguniform = [0, 1] }", ConfigError, "two positive numbers"),
        ("ippo.epochs = { randint = [1, 2.5] }", ConfigError, "whole numbers"),
        ("ippo.clip = { grid = [1], choice = [2] }", ConfigError, "one domain"),
        ("ippo.clip = { grid = 1 }", ConfigError, "one domain with a list"),
        ("ippo.clip = { grid = [", ConfigError, "Not valid TOML"),
        ("ippo.clap = { grid = [1] }", UnknownNameError, "clip"),
        ("ippo.clip = { grid = [0.1, -1.0] }", ConfigError, "positive"),
        ("ippo.epochs = { uniform = [1, 4] }", ConfigError, "int"),
        ("game.slat_size = { grid = [1] }", UnknownNameError, "slate_size"),
        ("algorithm = { choice = ['ippo', 'ipo'] }", ConfigError, "ipo"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_trial(text, error, match):
    with pytest.raises(error, match=match):
        Space.from_toml(text).check(TrainConfig())


def test_there_must_be_a_file(tmp_path):
    with pytest.raises(ConfigError, match="no file"):
        Space.from_toml(tmp_path / "space.toml")
    (tmp_path / "space.toml").write_text(SPACE)
    assert Space.from_toml(tmp_path / "space.toml") == Space.from_toml(SPACE)
