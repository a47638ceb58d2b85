"""A world of one's own log is judged by the events that it keeps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from recenv.cli import main
from recenv.config import GameConfig, WorldConfig
from recenv.data.split import make_split
from recenv.errors import ConfigError
from recenv.evaluation.fidelity import FidelityConfig, fidelity, held_out
from recenv.schema import InteractionLog
from recenv.synthetic import emit_log, planted_world
from recenv.synthetic.world import PlantedConfig
from recenv.world import World, build_world

SMALL = WorldConfig().replace(
    encoder={"model": "hashing", "hashing_dim": 32},
    interest={"dim": 6, "epochs": 2},
    user_model={"epochs": 2, "min_updates": 20},
    split={"test_fraction": 0.3},
)
PLANTED = PlantedConfig(num_users=40, num_items=50)
CATALOG = planted_world(PLANTED).catalog
CONFIG = FidelityConfig(resamples=10)


@pytest.fixture(scope="module")
def own_log() -> InteractionLog:
    """A log that is no public data set; its users' rows interleave."""
    log = emit_log(planted_world(PLANTED), GameConfig(num_candidates=20), visits_per_user=5, seed=2)
    return dataclasses.replace(log, name="my-shop", notes=("A note.",))


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def built(own_log: InteractionLog, own_home: Path) -> World:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECENV_HOME", str(own_home))
        return build_world(own_log, CATALOG, SMALL, progress=False)


def test_a_saved_world_gives_its_log_and_split_back(
    built: World, own_log: InteractionLog, tmp_path: Path
) -> None:
    for world in (built, World.load(built.save(tmp_path / "world"))):
        log, split = held_out(world)
        assert log.hash == own_log.hash
        assert log.notes == own_log.notes
        assert log.events.equals(own_log.events)
        assert log.events.dtypes.equals(own_log.events.dtypes)
        expected = make_split(own_log, SMALL.split)
        np.testing.assert_array_equal(split.part, expected.part)
        np.testing.assert_array_equal(split.heldout, expected.heldout)
        np.testing.assert_array_equal(split.user, expected.user)
        assert split.log_hash == expected.log_hash


def test_fidelity_needs_no_log_and_takes_it(built: World, own_log: InteractionLog) -> None:
    by_itself = fidelity(built, config=CONFIG).to_dict()
    assert by_itself == fidelity(built, own_log, config=CONFIG).to_dict()
    assert by_itself["log"] == "my-shop"
    with pytest.raises(ConfigError, match="is not what the world"):
        fidelity(built, own_log.take(np.arange(len(own_log)) % 9 > 0), config=CONFIG)


def test_the_command_takes_a_folder(
    built: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = built.save(tmp_path / "world")
    assert main(["fidelity", str(folder)]) == 0
    assert "checks" in capsys.readouterr().out


def test_a_world_saved_without_its_events_is_refused_with_the_way_out(
    built: World, own_log: InteractionLog, tmp_path: Path
) -> None:
    bare = dataclasses.replace(built, tested_on=None)
    loaded = World.load(bare.save(tmp_path / "world"))
    assert loaded.tested_on is None
    assert loaded.hash == built.hash
    with pytest.raises(ConfigError, match="Build and save it again"):
        held_out(loaded)
    with pytest.raises(ConfigError, match="build_world"):
        loaded.whole_log()
    assert fidelity(loaded, own_log, config=CONFIG).log == "my-shop"
