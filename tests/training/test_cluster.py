"""Ray on this machine and on a cluster of two nodes, and what of the world its workers share."""

import dataclasses
import http.server
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from recenv.config import GameConfig
from recenv.recommenders import ALSRecommender
from recenv.sim.simulator import Simulator
from recenv.synthetic.world import PlantedConfig, planted_world
from training import cluster
from training.cluster import ClusterError, bundles, make_room, ray_address, ray_session
from training.config import TrainConfig
from training.config.network import NetworkConfig
from training.models.networks import RecommenderNetwork
from training.models.tables import HoldsTables
from training.runs.opponents import make_opponent
from training.world import Strings, lean

GAME = GameConfig(slate_size=3, num_candidates=12, max_rounds=6)


@pytest.fixture(scope="module")
def large():
    """A world whose arrays outweigh all else, with what a run makes of it."""
    world = planted_world(PlantedConfig(num_users=300, num_items=3000, dim=32, history_visits=1))
    Simulator(world, GAME)
    RecommenderNetwork(world, GAME, NetworkConfig())
    make_opponent("als", world)
    return world


def sent(world):
    """(the world as a worker gets it, bytes that every worker copies, bytes that they share)."""
    buffers = []
    own = pickle.dumps(lean(world, (0,)), protocol=5, buffer_callback=buffers.append)
    stored = [bytes(b.raw()) for b in buffers]  # cannot be written to, as in the object store
    return pickle.loads(own, buffers=stored), len(own), sum(map(len, stored))


def trajectory(world, simulator=None):
    simulator = simulator or Simulator(world, GAME)
    state = simulator.reset(np.arange(20))
    for _ in range(4):
        simulator.step(state, np.tile(np.arange(GAME.slate_size), (20, 1)))
    return state


def test_a_shared_world_is_the_same_world(large):
    world, _, _ = sent(large)
    assert world.hash == large.hash
    assert type(world).hash.func(world) == large.hash  # computed again from what arrived
    ours, theirs = trajectory(large), trajectory(world)
    for name, array in ours._asdict().items():
        np.testing.assert_array_equal(array, getattr(theirs, name), err_msg=name)
    assert list(world.catalog.text[:3]) == list(large.catalog.text[:3])
    assert world.train.user_ids[7] == "user 7"
    assert world.train.events.equals(large.train.events)


def test_workers_copy_nothing_that_grows_with_the_world(large):
    world, own, shared = sent(large)
    assert own < 20_000
    vectors = large.user_model.item_vectors.nbytes
    assert shared > 3 * vectors  # the platform's vectors and the networks' seeds, too
    # every array once: twice would be at least the vectors more
    once = {}
    for array in arrays_in(large):
        once[array.__array_interface__["data"][0], array.nbytes] = array.nbytes
    assert shared < sum(once.values()) + 200_000
    assert np.shares_memory(
        Simulator(world, GAME).tables.item_vectors, world.user_model.item_vectors
    )


def arrays_in(world):
    model, _ = world.user_model.to_artifact()
    tables = Simulator(world, GAME).tables
    network = RecommenderNetwork(world, GAME, NetworkConfig())
    factors = make_opponent("als", world)
    events = world.train.events
    return [
        *model.values(),
        *tables,
        *(buffer.numpy() for _, buffer in network.named_buffers()),
        factors.user_factors,
        factors.item_factors,
        world.interests.items,
        world.interests.users,
        world.log_popularity,
        world.catalog.category,
        world.catalog.price,
        *(events[name].to_numpy() for name in events),
    ]


def test_workers_make_nothing_again(large, monkeypatch):
    world, _, _ = sent(large)

    def never(*args, **kwargs):
        raise AssertionError("made again")

    monkeypatch.setattr("recenv.sim.state.make_tables", never)
    monkeypatch.setattr("training.models.networks.make_seeds", never)
    monkeypatch.setattr(ALSRecommender, "__init__", never)
    simulator = Simulator(world, GAME)
    network = RecommenderNetwork(world, GAME, NetworkConfig())
    make_opponent("als", world)
    for array in (*simulator.tables, network.item_seed.numpy()):
        assert not array.flags.owndata


def test_the_driver_hashes_the_world_for_its_workers(large):
    fresh = dataclasses.replace(large)  # of which nothing was made yet
    assert not {"hash", "log_popularity"} & set(vars(fresh))
    world, _, _ = sent(fresh)
    assert {"hash", "log_popularity"} <= set(vars(world))


def test_other_rules_have_other_tables(large):
    wide = GAME.replace(num_candidates=30)
    assert len(Simulator(large, wide).tables.strata) == 31
    assert len(Simulator(large, GAME).tables.strata) == 13
    assert Simulator(large, GAME).tables is Simulator(large, GAME).tables


def test_tables_cannot_be_written_to(large):
    for array in Simulator(large, GAME).tables:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert large.user_model.item_vectors.flags.writeable


def test_networks_of_a_world_share_its_seeds(large):
    one, other = (RecommenderNetwork(large, GAME, NetworkConfig()) for _ in range(2))
    assert one.item_seed.data_ptr() == other.item_seed.data_ptr()
    drawn = [RecommenderNetwork(large, GAME, NetworkConfig(init="random")) for _ in range(2)]
    assert drawn[0].item_seed.data_ptr() != drawn[1].item_seed.data_ptr()


def test_learners_send_weights_but_no_tables_of_the_world():
    class Module(torch.nn.Module, HoldsTables):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.register_buffer("mean", torch.zeros(1))
            self.inner = torch.nn.Module()
            self.inner.register_buffer("table", torch.zeros(1), persistent=False)

    assert Module()._ddp_params_and_buffers_to_ignore == ["inner.table"]


@pytest.mark.parametrize("values", [["a"], ["", "é\x00", "", "漢字"], []])
def test_strings_read_like_an_array(values):
    strings = Strings.of(np.array(values, object))
    assert len(strings) == len(values)
    assert list(strings) == values
    assert np.asarray(strings).tolist() == values
    for at in range(-len(values), len(values)):
        assert strings[np.int32(at)] == values[at]
    with pytest.raises(IndexError):
        strings[len(values)]


def test_where_ray_runs(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ray_address(TrainConfig()) == "local"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert ray_address(TrainConfig()) == "head:6379"
    assert ray_address(TrainConfig(ray_address="local")) == "local"
    assert ray_address(TrainConfig(ray_address="other:1")) == "other:1"


def test_what_a_run_asks_of_a_cluster():
    assert bundles(TrainConfig()) == []
    config = TrainConfig(num_env_runners=2, num_learners=1, gpus_per_learner=1.0)
    assert bundles(config) == [{"CPU": 1}, {"CPU": 1}, {"GPU": 1}]
    config = TrainConfig(num_env_runners=1, gpus_per_env_runner=0.5, num_learners=1)
    assert bundles(config) == [{"CPU": 1, "GPU": 0.5}, {"CPU": 1}]


def closed_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:{port}", "No cluster answers at 127.0.0.1:.*ray start --head"),
        ("somewhere", "must be host:port, auto or local, but is 'somewhere'"),
        ("ray://10.0.0.1:10001", "Start training on a machine of the cluster"),
    ],
)
def test_no_cluster_is_told_at_once(address, told):
    config = TrainConfig(ray_address=address.format(port=closed_port()))
    with pytest.raises(ClusterError, match=told), ray_session(config, verbose=False):
        pass


ROOT = Path(__file__).parents[2]
ALONE = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc", "true"]


def on_two_nodes(*arguments, cpus):
    """What ``tests/helpers/on_cluster.py`` says on a cluster of two nodes."""
    if shutil.which("unshare") is None or subprocess.run(ALONE).returncode:
        pytest.skip("two nodes need a network and a process tree of their own")
    script = [str(ROOT / "training/launch/two_nodes.sh"), sys.executable]
    folder = Path(sys.executable).parent
    done = subprocess.run(
        [*script, str(ROOT / "tests/helpers/on_cluster.py"), *map(str, arguments)],
        env={**os.environ, "CPUS": str(cpus), "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


class _Page(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_another_server_is_told_from_a_cluster():
    with http.server.HTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.handle_request).start()
        config = TrainConfig(ray_address=f"127.0.0.1:{server.server_port}")
        with (
            pytest.raises(ClusterError, match="is no Ray cluster"),
            ray_session(config, verbose=False),
        ):
            pass


@pytest.mark.parametrize("what", ["learner", "env-runner"])
def test_a_gpu_that_is_not_there_is_told(monkeypatch, what):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = TrainConfig(**{f"gpus_per_{what.replace('-', '_')}": 0.5})
    with pytest.raises(ClusterError, match=f"--gpus-per-{what} 0.5 with --num-{what}s 0"):
        make_room(config, "local")


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("per_node", [1, 2])
def test_two_nodes_train_and_share_the_world(large, tmp_path, per_node):
    world = large.save(tmp_path / "world")
    told = on_two_nodes("train", world, 2 * per_node, cpus=per_node)
    assert sorted(told["on"]) == sorted(per_node * ["127.0.0.2", "127.0.0.3"])
    assert all(steps > 0 for steps in told["sampled"])
    for steps in told["steps"].values():
        assert steps[0] > 0
        assert (np.diff(steps) > 0).all()
    assert told["copies_on_a_node"] == 1
    assert told["world_in_process"] == 0
    assert told["world_in_store"] > 4 * large.user_model.item_vectors.nbytes


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_a_cluster_without_room_says_what_it_has():
    told = on_two_nodes("ask", 2, 1, cpus=1)
    assert "no room for --num-env-runners 2 (1 CPU" in told["error"]
    assert "and --num-learners 1 (1 CPU" in told["error"]
    assert "127.0.0.3 has 1 CPUs and 0 GPUs" in told["error"]
    assert "Free in all: 2 of 2 CPUs" in told["error"]


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_training_goes_on_without_a_node_that_only_samples(tmp_path):
    told = on_two_nodes("lose", tmp_path, "--num-env-runners", 2, cpus=1)
    assert told["node_ended"]
    assert told["code"] == 130, told["output"]  # interrupted by the test, with a checkpoint
    rows = told["curve"]
    assert [row["iteration"] for row in rows] == list(range(len(rows)))
    assert told["replaced"]  # the runner came back on another machine that joined
    assert len(rows) >= told["before"] + 8
    for side in ("recommender", "user"):
        assert (np.diff([row[f"{side}_steps_trained"] for row in rows[1:]]) > 0).all()
    assert told["iteration"] == len(rows) - 1


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_a_lost_learner_ends_a_run_that_can_be_resumed(tmp_path):
    told = on_two_nodes("lose", tmp_path, "--num-learners", 2, cpus=1)
    assert told["node_ended"]
    assert told["code"] == 2, told["output"]
    assert "A process that learns was lost" in told["output"]
    assert "--resume" in told["output"]
    assert told["iteration"] >= 2


def test_rays_processes_do_not_look_where_another_package_has_our_name(tmp_path, monkeypatch):
    """Ray puts the current folder first on the path of its processes."""
    root = Path(cluster.__file__).parents[1]
    ours, theirs, namespace = root, tmp_path / "theirs", tmp_path / "namespace"
    for name in ("training", "recenv"):
        (theirs / name).mkdir(parents=True)
        (theirs / name / "__init__.py").touch()
    (namespace / "training").mkdir(parents=True)  # no package: ours, farther back, is found
    file = tmp_path / "file"
    file.mkdir()
    (file / "training.py").touch()
    job = cluster._OwnPackages()
    job._py_driver_sys_path.extend(map(str, (ours, theirs, namespace, file, tmp_path)))
    path = list(job._get_proto_job_config().py_driver_sys_path)
    assert path == list(map(str, (ours, namespace, tmp_path)))
