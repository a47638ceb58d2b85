"""Exported policies compute what the networks compute, for any number of visits."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from training.config import TrainConfig
from training.export import (
    LEAVES,
    ExportError,
    Positional,
    difference,
    example_leaves,
    main,
)
from training.runs.folder import RunFolder
from training.runs.load_policy import load, load_user, make_network, save_policy

GAME = {"slate_size": 3, "num_candidates": 12, "max_rounds": 6}


def drawn(side, config):
    network = make_network(side, *config.resolve(), config.network, values=config.values)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for weight in network.parameters():
            weight.data.add_(torch.randn_like(weight) * 0.2)
    return network


def saved(folder, config):
    world, game = config.resolve()
    for side in config.trained:
        save_policy(
            folder, side, drawn(side, config), world, game, config.network, {"env": config.env}
        )


@pytest.fixture(scope="module")
def config():
    return TrainConfig(env="recenv/Toy-v0", game=GAME)


def onnx_session(file):
    return pytest.importorskip("onnxruntime").InferenceSession(str(file))


def feed(side, config, visits, rounds, **changes):
    world, game = config.resolve()
    leaves = example_leaves(side, world, game.replace(**changes), visits, rounds=rounds)
    return {name: leaf.numpy() for name, leaf in zip(LEAVES[side], leaves, strict=True)}


def tensors(given):
    return {name: torch.from_numpy(array) for name, array in given.items()}


def test_an_onnx_recommender_shows_the_same_slates(config, tmp_path, capsys):
    pytest.importorskip("onnxscript")
    saved(tmp_path, config)
    assert main([str(tmp_path), "--out", str(tmp_path / "deep" / "model.onnx")]) == 0
    assert "Written:" in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["model.onnx"]
    session = onnx_session(tmp_path / "deep" / "model.onnx")
    assert [i.name for i in session.get_inputs()] == list(LEAVES["recommender"])
    about = session.get_modelmeta().custom_metadata_map
    assert about["env"] == "recenv/Toy-v0"
    assert json.loads(about["game"])["slate_size"] == 3
    policy = load(tmp_path)
    for visits, rounds in ((1, 0), (2, 3), (33, 1)):
        given = feed("recommender", config, visits, rounds)
        scores, slate = session.run(["scores", "slate"], given)
        with torch.no_grad():
            wanted = policy.network(tensors(given)).scores.numpy()
        np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(slate, policy.recommend(given, None, 3))


@pytest.mark.parametrize("count", [3, 5, 30])
def test_an_onnx_recommender_takes_any_number_of_candidates(config, tmp_path, count):
    pytest.importorskip("onnxscript")
    saved(tmp_path, config)
    out = tmp_path / "model.onnx"
    assert main([str(tmp_path), "--out", str(out)]) == 0
    given = feed("recommender", config, 4, 1, num_candidates=count)
    assert given["candidates"].shape == (4, count)
    scores, slate = onnx_session(out).run(["scores", "slate"], given)
    assert scores.shape == (4, count)
    np.testing.assert_array_equal(slate, load(tmp_path).recommend(given, None, 3))


@pytest.mark.parametrize(("side", "other"), [("recommender", "user"), ("user", "recommender")])
def test_a_side_that_was_not_trained_is_told_as_such(config, tmp_path, capsys, side, other):
    config = config.replace(train=side)
    saved(tmp_path / "policy", config)
    RunFolder(tmp_path).create(config)
    assert main([str(tmp_path), "--side", other]) == 2
    told = capsys.readouterr().err
    assert f"trains the {side} alone" in told
    assert f"--side {side}" in told
    assert "its end" not in told


def test_an_onnx_user_answers_the_same(config, tmp_path):
    pytest.importorskip("onnxscript")
    saved(tmp_path, config)
    assert main([str(tmp_path), "--side", "user"]) == 0
    session = onnx_session(tmp_path / "policy" / "user.onnx")
    assert [i.name for i in session.get_inputs()] == list(LEAVES["user"])
    for visits, rounds in ((1, 0), (20, 2)):
        given = feed("user", config, visits, rounds)
        (logits,) = session.run(["logits"], given)
        with torch.no_grad():
            wanted = load_user(tmp_path).network(tensors(given)).logits.numpy()
        assert wanted.shape == (visits, 3 * 3 + 2)
        np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4)


ALONE = """
import sys
sys.modules["recenv"] = sys.modules["training"] = sys.modules["ray"] = None
import numpy as np, torch
program = torch.export.load(sys.argv[1]).module()
given = np.load(sys.argv[2])
scores, slate = program(*(torch.from_numpy(given[name]) for name in given.files))
np.save(sys.argv[3], slate.numpy())
"""


def test_a_torch_program_runs_without_recenv(config, tmp_path):
    saved(tmp_path, config)
    out = tmp_path / "model.pt2"
    assert main([str(tmp_path), "--format", "torch", "--out", str(out)]) == 0
    given = feed("recommender", config, 5, 2)
    np.savez(tmp_path / "given.npz", **given)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(out), str(tmp_path / "given.npz"),
         str(tmp_path / "slate.npy")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wanted = load(tmp_path).recommend(given, None, 3)
    np.testing.assert_array_equal(np.load(tmp_path / "slate.npy"), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "torch"])
@pytest.mark.parametrize(
    ("side", "game", "network"),
    [
        ("recommender", {}, {"history": "gru"}),
        ("recommender", {}, {"history": "transformer"}),
        ("recommender", {}, {"slates": "independent"}),
        ("recommender", {"slate_size": 1}, {"init": "random", "table_rate": 0.0}),
        ("recommender", {}, {"init": "hybrid"}),
        ("user", {"slate_size": 1}, {}),
    ],
)
def test_every_kind_of_network_can_be_exported(config, tmp_path, side, game, network, suffix):
    config = config.replace(game={**GAME, **game}, network=network, train=side)
    saved(tmp_path, config)
    out = tmp_path / "model"
    assert main([str(tmp_path), "--side", side, "--format", suffix, "--out", str(out)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "torch"])
@pytest.mark.parametrize("search", ["greedy", "exact", "topk"])
def test_slates_that_are_searched_for_can_be_exported(config, tmp_path, search, suffix):
    searched = {"choice": "independent" if search == "topk" else "single", "search": search}
    saved(tmp_path, config.replace(algorithm="slateq", train="recommender", slateq=searched))
    out = tmp_path / "model"
    assert main([str(tmp_path), "--format", suffix, "--out", str(out)]) == 0


def test_an_export_that_computes_something_else_is_refused(config):
    module = Positional(drawn("recommender", config))
    leaves = example_leaves("recommender", *config.resolve(), 4)

    def exact(leaves):
        with torch.no_grad():
            return [tensor.numpy().copy() for tensor in module(*leaves)]

    assert difference(module, exact, leaves) == 0

    def off(leaves):
        scores, slate = exact(leaves)
        scores[2, 5] += 0.1
        return [scores, slate]

    with pytest.raises(ExportError, match="differs from the network by 0.1"):
        difference(module, off, leaves)

    def swapped(leaves):
        scores, slate = exact(leaves)
        return [scores, slate[:, ::-1]]

    with pytest.raises(ExportError, match="some tie"):
        difference(module, swapped, leaves)


def test_a_failed_export_leaves_no_file(config, tmp_path, monkeypatch):
    saved(tmp_path, config)

    def fail(module, example, out, *rest):
        out.write_text("half")
        raise ExportError("no")

    monkeypatch.setattr("training.export.write_module", fail)
    assert main([str(tmp_path), "--out", str(tmp_path / "out" / "model.onnx")]) == 2
    assert list((tmp_path / "out").iterdir()) == []
