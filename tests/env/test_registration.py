"""Worlds by id, by folder and as they are, wherever an environment is made."""

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import gymnasium
import numpy as np
import pettingzoo
import pytest

import recenv
from recenv.env.registration import REGISTRY, WORLD_ID, game_of, resolve
from recenv.errors import ArtifactError, ConfigError, MissingDependencyError, UnknownNameError
from recenv.synthetic.world import PlantedConfig, planted_world

MAKERS = [recenv.parallel_env, recenv.aec_env, recenv.single_env, recenv.vector_env]


@pytest.fixture(scope="module")
def shop():
    return planted_world(PlantedConfig(num_users=12, num_items=30, seed=5), name="shop")


@pytest.fixture(scope="module")
def folder(shop, tmp_path_factory):
    return shop.save(tmp_path_factory.mktemp("worlds") / "shop")


def first_round(env):
    """Observation and reward of a visit's first round."""
    env.reset(seed=3)
    observation, reward, *_ = env.step(np.arange(5))
    return {name: leaf.tolist() for name, leaf in observation.items()}, float(reward)


@pytest.mark.parametrize("make", MAKERS)
def test_a_folder_is_a_source_as_a_string_and_as_a_path(make, folder, shop):
    for source in (str(folder), folder, Path(folder), shop):
        env = make(source)
        visit = env.visits if make is recenv.vector_env else env.visit
        assert visit.world.hash == shop.hash
        assert visit.game.num_candidates == 30


def test_load_world_of_an_id_a_folder_and_a_world(folder, shop, monkeypatch):
    assert recenv.load_world("recenv/Toy-v0").name == "toy"
    assert recenv.load_world(shop) is shop
    read = recenv.load_world(folder)
    assert read.hash == shop.hash
    assert recenv.load_world(str(folder)) is read  # read once
    monkeypatch.chdir(folder.parent)
    assert recenv.load_world("shop") is read
    assert recenv.load_world(Path("shop")) is read


def test_a_folder_that_was_written_again_is_read_again(tmp_path):
    first, second = (planted_world(PlantedConfig(8, 10, 2, 2, seed=seed)) for seed in (1, 2))
    folder = first.save(tmp_path / "world")
    assert recenv.load_world(folder).hash == first.hash
    second.save(folder)
    assert recenv.load_world(folder).hash == second.hash


def test_an_id_comes_before_a_folder_of_its_name(tmp_path, shop, monkeypatch):
    shop.save(tmp_path / "recenv" / "Toy-v0")
    monkeypatch.chdir(tmp_path)
    assert recenv.load_world("recenv/Toy-v0").name == "toy"
    assert recenv.load_world(Path("recenv/Toy-v0")).name == "shop"


def test_neither_an_id_nor_a_folder(tmp_path):
    with pytest.raises(UnknownNameError, match=r"Did you mean 'recenv/Toy-v0'.*World\.save"):
        recenv.load_world("recenv/Toi-v0")
    with pytest.raises(UnknownNameError, match="shop"):
        recenv.parallel_env(tmp_path / "shop")
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        recenv.parallel_env(tmp_path)
    for wrong in (None, 3, ["recenv/Toy-v0"]):
        with pytest.raises(ConfigError, match=type(wrong).__name__):
            recenv.load_world(wrong)


def test_the_game_of_a_folder_fits_its_world(tmp_path, folder, shop):
    assert game_of("recenv/Toy-v0") == REGISTRY["recenv/Toy-v0"].game
    assert game_of(folder) == game_of(shop) == recenv.GameConfig(num_candidates=30)
    few = planted_world(PlantedConfig(num_users=6, num_items=3)).save(tmp_path / "few")
    assert game_of(few) == recenv.GameConfig(num_candidates=3, slate_size=3)
    assert resolve(few, {"slate_size": 2})[1].slate_size == 2
    with pytest.raises(UnknownNameError, match="Did you mean 'slate_size'"):
        resolve(folder, {"slatesize": 2})


@pytest.mark.parametrize("form", [str, Path, recenv.load_world])
def test_gymnasium_makes_an_environment_of_a_world(form, folder, shop):
    world = form(folder)
    expected = first_round(recenv.single_env(shop))
    assert first_round(gymnasium.make(WORLD_ID, world=world, max_rounds=20)) == expected
    for mode in ("vector_entry_point", "sync"):
        envs = gymnasium.make_vec(WORLD_ID, num_envs=1, vectorization_mode=mode, world=world)
        envs.reset(seed=3)
        observation, reward, *_ = envs.step(np.arange(5)[None])
        found = {name: leaf[0].tolist() for name, leaf in observation.items()}, float(reward[0])
        assert found == expected
        envs.close()
    assert pettingzoo.make("parallel", WORLD_ID, world=world).world.hash == shop.hash
    assert pettingzoo.make("aec", WORLD_ID, world=world).world.hash == shop.hash


def test_the_id_of_a_world_wants_its_world():
    with pytest.raises(ConfigError, match="give world="):
        gymnasium.make(WORLD_ID)
    with pytest.raises(ConfigError, match="give world="):
        gymnasium.make_vec(WORLD_ID)


@pytest.mark.parametrize(
    "error",
    [
        UnknownNameError("setting", "slatesize", ["slate_size"], "See GameConfig."),
        MissingDependencyError("implicit", "benchmark", "ALS"),
        ConfigError("wrong"),
    ],
)
def test_errors_cross_processes(error):
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error)
    assert str(copied) == str(error)


def spawned(code):
    """What a process prints that has imported nothing of recenv."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_spec_makes_an_environment_where_recenv_was_not_imported():
    spec = pickle.dumps(gymnasium.spec("recenv/Toy-v0"))
    agents = pickle.dumps(pettingzoo.spec("parallel", "recenv/Toy-v0"))
    out = spawned(
        f"""
        import sys, pickle
        import gymnasium, pettingzoo
        assert "recenv" not in sys.modules
        try:
            gymnasium.make("recenv/Toy-v0")
        except gymnasium.error.NamespaceNotFound:
            print("unknown")
        print(gymnasium.make(pickle.loads({spec!r})).spec.id)
        print(pettingzoo.make("parallel", pickle.loads({agents!r})).possible_agents)
        """
    )
    assert out.splitlines() == ["unknown", "recenv/Toy-v0", "['recommender_0', 'user_0']"]


def test_the_id_with_its_module_is_known_in_any_process(folder):
    out = spawned(
        f"""
        import gymnasium
        print(gymnasium.make("recenv:recenv/Toy-v0").spec.id)
        world = {str(folder)!r}
        print(gymnasium.make("recenv:{WORLD_ID}", world=world).unwrapped.visit.world.name)
        """
    )
    assert out.splitlines() == ["recenv/Toy-v0", "shop"]
