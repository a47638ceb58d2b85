"""Knowledge graphs: files read, and embeddings of planted graphs."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from recenv.config import EncoderConfig
from recenv.data.knowledge_graph import KnowledgeGraph, read_knowledge_graph
from recenv.encoders import encode_items
from recenv.encoders.graph import GraphConfig, check_links, entity_vectors, graph_features
from recenv.errors import ConfigError, DataNotFoundError, MissingDependencyError, SchemaError
from recenv.schema import Catalog

KG = "head_id:token\trelation_id:token\ttail_id:token\n"
LINK = "item_id:token\tentity_id:token\n"
SIZE = 24  # entities in each of two communities
FAST = GraphConfig(dim=16, epochs=40, batch_size=64, learning_rate=0.03)


def write(folder: Path, kg: str, link: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "x.kg").write_text(kg, encoding="utf-8")
    (folder / "x.link").write_text(link, encoding="utf-8")
    return folder


def catalog(n: int, text: str = "") -> Catalog:
    ids = np.array([str(i) for i in range(n)], dtype=object)
    texts = np.array([text] * n, dtype=object)
    return Catalog(ids, texts, np.zeros(n, np.int32), ("all",), np.zeros(n, np.float32))


def planted(folder: Path) -> Path:
    """Two communities, mixed in the file; relations hold within one community only.

    Items 0..47 are entities e0..e47 (even ones the first community), 48 to 50 have none.
    """
    rng = np.random.default_rng(5)
    lines = []
    for a in range(2 * SIZE):
        for b in range(a % 2, 2 * SIZE, 2):
            for relation in ("likes", "knows"):
                if a != b and rng.random() < 0.3:
                    lines.append(f"e{a}\t{relation}\te{b}\n")
    links = [f"{i}\te{i}\n" for i in range(2 * SIZE)]
    return write(
        folder, KG + "".join(rng.permutation(lines)), LINK + "".join(links) + "48\tnowhere\n"
    )


def test_read_by_hand(tmp_path: Path) -> None:
    kg = "\ufeff" + KG + 'm.1\tby\t"Ann\nm.2\tby\tm.1\nm.1\tby\t"Ann\nm.2\tnear\tm.2\r\n'
    folder = write(tmp_path, kg, "entity_id:token\titem_id:token\nm.2\t7\nm.9\t8\nm.1\t9\n")
    for block_bytes in (64, 80, 1 << 20):
        graph = read_knowledge_graph(folder, block_bytes=block_bytes)
        assert graph.entities.tolist() == ['"Ann', "m.1", "m.2"]
        assert graph.relations.tolist() == ["by", "near"]
        assert graph.triples.tolist() == [[1, 0, 0], [2, 0, 1], [2, 1, 2]]
        assert (graph.links, graph.num_unknown) == ({"7": 2, "9": 1}, 1)
        assert graph.entity_of(np.array(["9", "8", "7"], dtype=object)).tolist() == [1, -1, 2]
    other = write(tmp_path / "other", kg.replace("near", "far"), LINK + "7\tm.2\n")
    assert read_knowledge_graph(other).hash != graph.hash


@pytest.mark.parametrize(
    ("kg", "link", "message"),
    [
        ("head:token\trelation_id:token\ttail_id:token\n", LINK, r"no column 'head_id'.*'head'"),
        (KG, LINK + "1\ta\n", "no rows"),
        (KG + "a\tr\tb\na\t \tb\n", LINK, r"line 3, column 'relation_id:token': ' ' is blank"),
        (KG + "a\tr\tb\na\tr\n", LINK, r"line 3: .*Expected 3 columns, got 2"),
        (KG + "a\tr\tb\n", LINK + "1\ta\n1\tb\n", r"'1' is linked to 'a' and to 'b'"),
    ],
)
def test_bad_files(tmp_path: Path, kg: str, link: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        read_knowledge_graph(write(tmp_path, kg, link))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"no \.kg file"):
        read_knowledge_graph(tmp_path)
    (tmp_path / "a.kg").write_text(KG + "a\tr\tb\n")
    with pytest.raises(DataNotFoundError, match=r"no \.link file"):
        read_knowledge_graph(tmp_path)
    (tmp_path / "b.kg").write_text(KG + "a\tr\tb\n")
    with pytest.raises(SchemaError, match=r"2 \.kg files \(a\.kg, b\.kg\)"):
        read_knowledge_graph(tmp_path)


def test_config() -> None:
    with pytest.raises(ConfigError, match="even for 'rotate'"):
        GraphConfig(model="rotate", dim=15)
    with pytest.raises(ConfigError, match="epochs must be positive"):
        GraphConfig(epochs=0)


def test_missing_package(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch_geometric.nn", None)
    with pytest.raises(MissingDependencyError, match=r"recenv\[graph\]"):
        graph_features(catalog(4), planted(tmp_path / "g"), progress=False)


@pytest.mark.parametrize("model", ["transe", "distmult", "complex", "rotate"])
def test_neighbours_are_of_the_same_community(tmp_path: Path, home: Path, model: str) -> None:
    """Half of the others are: chance is .49."""
    pytest.importorskip("torch")
    values, missing = graph_features(
        catalog(2 * SIZE + 3), planted(tmp_path / "g"), FAST.replace(model=model), progress=False
    )
    assert (values.shape, values.dtype, missing) == ((2 * SIZE + 3, 16), np.float32, 3)
    assert not values[2 * SIZE :].any()
    known = values[: 2 * SIZE]
    np.testing.assert_allclose(known.mean(axis=0), 0, atol=1e-6)
    unit = known / np.linalg.norm(known, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    neighbours = np.argsort(-near, axis=1)[:, :5]
    same = (neighbours % 2 == np.arange(2 * SIZE)[:, None] % 2).mean()
    assert same > 0.9


def test_links_of_a_planted_graph_are_predicted(tmp_path: Path) -> None:
    """Knowing the community alone halves the ranks; chance is checked against its closed form."""
    graph = read_knowledge_graph(planted(tmp_path / "g"))
    check = check_links(graph, FAST, fraction=0.1, progress=False)
    assert 30 < check.num_triples < 150
    assert check.mean_rank < 0.6 * check.random_mean_rank
    assert check.mrr > 1.5 * check.random_mrr
    assert check.hits_at_10 > 1.5 * check.random_hits_at_10
    with pytest.raises(SchemaError, match="leaves 0 triples to test"):
        check_links(graph, FAST, fraction=1e-9, progress=False)


def test_a_fact_told_twice_is_held_out_twice() -> None:
    """A random graph told in both directions teaches nothing about its held-out pairs."""
    rng = np.random.default_rng(0)
    heads, tails = rng.integers(0, 60, (2, 400))
    keep = heads != tails
    there = np.stack([heads, np.zeros(400, int), tails], axis=1)[keep]
    back = np.stack([tails, np.ones(400, int), heads], axis=1)[keep]
    triples = np.unique(np.concatenate([there, back]), axis=0).astype(np.int32)
    names = np.array([f"e{i}" for i in range(60)], dtype=object)
    relations = np.array(["by", "made"], dtype=object)
    graph = KnowledgeGraph(names, relations, triples, {}, 0)
    check = check_links(graph, FAST, fraction=0.3, progress=False)
    assert abs(check.mean_rank / check.random_mean_rank - 1) < 0.2


def test_seed_decides(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    graph = read_knowledge_graph(planted(tmp_path / "g"))
    config = FAST.replace(epochs=2)
    before = torch.random.get_rng_state()
    first = entity_vectors(graph, config, progress=False)
    assert torch.equal(torch.random.get_rng_state(), before)
    monkeypatch.setenv("RECENV_HOME", str(tmp_path / "afresh"))
    np.testing.assert_array_equal(entity_vectors(graph, config, progress=False), first)
    other = entity_vectors(graph, config.replace(seed=1), progress=False)
    assert np.abs(other - first).max() > 1e-3
    kept = sorted((tmp_path / "afresh" / "graphs").iterdir())
    assert len(kept) == 2
    entity_vectors(graph, config, progress=False)
    assert sorted((tmp_path / "afresh" / "graphs").iterdir()) == kept


def test_features_join_an_items_vector(tmp_path: Path, home: Path) -> None:
    items = catalog(2 * SIZE + 3, "same text")
    values, _ = graph_features(items, planted(tmp_path / "g"), FAST, progress=False)
    joined = dataclasses.replace(items, features=values)
    config = EncoderConfig(model="hashing", hashing_dim=32)
    vectors = encode_items(joined, config, progress=False)
    assert vectors.shape == (2 * SIZE + 3, 48)
    assert np.abs(vectors[2 * SIZE :, 32:]).max() < 1e-6  # nothing known says nothing
    strangers = dataclasses.replace(catalog(2), item_ids=np.array(["a", "b"], dtype=object))
    with pytest.raises(SchemaError, match="None of the catalogue's 2 items has an entity"):
        graph_features(strangers, tmp_path / "g", FAST, progress=False)


@pytest.mark.slow
def test_movielens(home: Path) -> None:
    spec = importlib.util.find_spec("recbole")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "dataset_example" / "ml-100k"
    graph = read_knowledge_graph(folder)
    assert (len(graph.triples), len(graph.relations), len(graph.links)) == (91_631, 24, 1598)
    check = check_links(graph, fraction=0.003, progress=False)
    assert check.mrr > 100 * check.random_mrr
    assert check.hits_at_10 > 100 * check.random_hits_at_10
