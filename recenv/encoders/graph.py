"""Knowledge-graph embeddings of items, trained by link prediction."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from recenv import artifacts
from recenv.config import Config, content_hash
from recenv.data.knowledge_graph import KnowledgeGraph, read_knowledge_graph
from recenv.encoders.interest_vectors import one_thread
from recenv.errors import MissingDependencyError, SchemaError
from recenv.progress import Progress
from recenv.schema import Catalog

if TYPE_CHECKING:
    from torch_geometric.nn.kge import KGEModel

_KIND = "graph"
_VERSION = 1  # goes up when training changes
_COMPLEX = ("complex", "rotate")


@dataclass(frozen=True)
class GraphConfig(Config):
    """Settings of knowledge-graph embeddings: the model and its training.

    Attributes:
        model: "transe" (Bordes et al. 2013, NeurIPS), "distmult" (Yang et al. 2015, ICLR),
            "complex" (Trouillon et al. 2016, ICML) or "rotate" (Sun et al. 2019, ICLR), as
            implemented in PyTorch Geometric.
        dim: values of an entity, 1 or more; the complex-valued models "complex" and "rotate" hold
            half as many complex numbers.
        epochs: passes over the triples, 1 or more.
        batch_size: triples of a step, 1 or more.
        learning_rate: of Adam, positive.
        seed: of the first vectors, the batches and the corrupted triples.
    """

    model: Literal["transe", "distmult", "complex", "rotate"] = "rotate"
    dim: int = 64
    epochs: int = 12
    batch_size: int = 1024
    learning_rate: float = 0.02
    seed: int = 0

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("dim", "epochs", "batch_size", "learning_rate"):
            self.require(getattr(self, name) > 0, name, "positive")
        if self.model in _COMPLEX:
            self.require(self.dim % 2 == 0, "dim", f"even for {self.model!r}")


class GraphFeatures(NamedTuple):
    """Attributes: ``values`` (N, dim) float32; ``num_missing``, items without an entity."""

    values: npt.NDArray[np.float32]
    num_missing: int


class LinkCheck(NamedTuple):
    """Link-prediction accuracy on held-out triples.

    Ranks count from 1 among all entities in the place of head and tail in turn, true triples
    left out (the filtered setting of Bordes et al. 2013); of equal scores the middle rank counts.

    Attributes:
        num_triples: held out.
        seconds: of training, processor time on one thread.
        mrr: mean of 1 / rank.
        hits_at_10: share of ranks up to 10.
        mean_rank: mean rank.
        random_mrr, random_hits_at_10, random_mean_rank: what random scores get, in expectation.
    """

    num_triples: int
    seconds: float
    mrr: float
    hits_at_10: float
    mean_rank: float
    random_mrr: float
    random_hits_at_10: float
    random_mean_rank: float


def graph_features(
    catalog: Catalog,
    folder: str | Path,
    config: GraphConfig | None = None,
    *,
    progress: bool | None = None,
) -> GraphFeatures:
    """Embeddings of the items' entities, for ``Catalog.features``.

    The embeddings are centred on the mean of the items that have one, so that the zeros of the
    others say "nothing known". No user's behaviour enters. Trained embeddings are kept in
    ``artifacts.home() / "graphs"``, named by the graph's content and the config.

    Args:
        catalog: its ``item_ids`` are looked up in the ``.link`` file.
        folder: with a ``.kg`` and a ``.link`` file (``recenv.data.knowledge_graph``).
        config: default ``GraphConfig()``.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        DataNotFoundError, SchemaError: of the files; or no item of the catalogue has an entity.
        MissingDependencyError: torch_geometric is not installed.
        ArtifactError: a kept embedding is damaged; the message says what to delete.
    """
    config = config or GraphConfig()
    graph = read_knowledge_graph(folder)
    entity = graph.entity_of(catalog.item_ids)
    known = entity >= 0
    if not known.any():
        raise SchemaError(
            f"None of the catalogue's {len(catalog)} items has an entity in {folder}. The .link "
            f"file must name items as the catalogue does, such as {catalog.item_ids[0]!r}."
        )
    vectors = entity_vectors(graph, config, progress=progress)[entity[known]]
    values = np.zeros((len(catalog), config.dim), dtype=np.float32)
    values[known] = vectors - vectors.mean(axis=0, dtype=np.float64)
    return GraphFeatures(values, int((~known).sum()))


def entity_vectors(
    graph: KnowledgeGraph, config: GraphConfig, *, progress: bool | None = None
) -> npt.NDArray[np.float32]:
    """(V, dim) float32, trained once per graph and config; complex ones as real, then imaginary.

    Raises:
        MissingDependencyError: torch_geometric is not installed.
        ArtifactError: a kept embedding is damaged; the message says what to delete.
    """
    key = content_hash(_VERSION, graph.hash, config.hash)
    folder = artifacts.home() / "graphs" / key
    if artifacts.kept(folder):
        stored = artifacts.load(folder, _KIND)[0]
        with artifacts.reading(folder):
            return artifacts.check_array(stored, "vectors", np.float32, (None, config.dim))
    model = _train(graph, graph.triples, config, progress)
    names = ("node_emb", "node_emb_im") if config.model in _COMPLEX else ("node_emb",)
    vectors = np.concatenate(
        [model.get_parameter(f"{name}.weight").detach().numpy() for name in names], axis=1
    )
    meta = {"graph": graph.hash, "config": config.to_dict()}
    artifacts.save(folder, _KIND, {"vectors": vectors}, meta)
    return vectors


def check_links(
    graph: KnowledgeGraph,
    config: GraphConfig | None = None,
    *,
    fraction: float = 0.02,
    progress: bool | None = None,
) -> LinkCheck:
    """Train on most of a graph and rank the rest.

    Pairs of entities are held out whole: many graphs state a fact a second time the other way
    round (``film.directed_by`` and ``director.film``), which would give the answer away.

    Args:
        graph: all triples.
        config: default ``GraphConfig()``; its seed also draws the pairs.
        fraction: of the pairs, in (0, 1).
        progress: False for silence; see ``recenv.progress``.

    Raises:
        MissingDependencyError: torch_geometric is not installed.
        SchemaError: ``fraction`` leaves no pair to test or to train on.
    """
    config = config or GraphConfig()
    pair = np.sort(graph.triples[:, [0, 2]], axis=1)
    _, pair_code = np.unique(pair, axis=0, return_inverse=True)
    drawn = np.random.default_rng(config.seed).random(pair_code.max() + 1) < fraction
    held = drawn[pair_code.reshape(-1)]
    if held.all() or not held.any():
        raise SchemaError(
            f"fraction {fraction} of {len(drawn)} pairs of entities leaves {int(held.sum())} "
            f"triples to test and {int((~held).sum())} to train on. Choose another fraction."
        )
    start = time.process_time()
    model = _train(graph, graph.triples[~held], config, progress)
    seconds = time.process_time() - start
    ranks, places = _ranks(model, graph, graph.triples[held], progress)
    harmonic = np.cumsum(1 / np.arange(1, places.max() + 1))
    return LinkCheck(
        num_triples=int(held.sum()),
        seconds=seconds,
        mrr=float((1 / ranks).mean()),
        hits_at_10=float((ranks <= 10).mean()),
        mean_rank=float(ranks.mean()),
        random_mrr=float((harmonic[places - 1] / places).mean()),
        random_hits_at_10=float(np.minimum(10 / places, 1).mean()),
        random_mean_rank=float(((places + 1) / 2).mean()),
    )


def _train(
    graph: KnowledgeGraph,
    triples: npt.NDArray[np.int32],
    config: GraphConfig,
    progress: bool | None,
) -> KGEModel:
    """Fit one of PyTorch Geometric's models; one wrong head or tail per true triple."""
    try:
        import torch

        with warnings.catch_warnings():
            # its import compiles with torch.jit.script, which torch 2.13 calls deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            from torch_geometric.nn import kge
    except ImportError as error:
        raise MissingDependencyError("torch_geometric", "graph", "Embedding a graph") from error
    kinds = {
        "transe": kge.TransE,
        "distmult": kge.DistMult,
        "complex": kge.ComplEx,
        "rotate": kge.RotatE,
    }
    channels = config.dim // 2 if config.model in _COMPLEX else config.dim
    head, relation, tail = torch.from_numpy(triples.astype(np.int64)).T.contiguous()
    # the library draws from torch's global generator: it gets the seed, and its state back
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        sizes = (len(graph.entities), len(graph.relations), channels)
        # sparse: a batch moves only the entities that stand in it
        model = kinds[config.model](*sizes, sparse=True)
        optimizer = torch.optim.SparseAdam(list(model.parameters()), lr=config.learning_rate)
        bar = Progress("graph", config.epochs, unit="epochs", shown=progress)
        for _ in bar.of(range(config.epochs)):
            total = 0.0
            for rows in torch.randperm(len(triples)).split(config.batch_size):
                optimizer.zero_grad()
                loss = model.loss(head[rows], relation[rows], tail[rows])
                loss.backward()
                optimizer.step()
                total += float(loss.detach()) * len(rows)
            bar.say(f"loss {total / len(triples):.4f}")
    return model.eval()


def _ranks(
    model: KGEModel, graph: KnowledgeGraph, held: npt.NDArray[np.int32], progress: bool | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """(2M,) filtered rank of each head and tail, and the number of entities ranked."""
    import torch

    size = len(graph.entities)
    everyone = torch.arange(size)
    true: dict[tuple[int, int, int], list[int]] = {}  # (side, other end, relation)
    for h, r, t in graph.triples.tolist():
        true.setdefault((0, t, r), []).append(h)
        true.setdefault((1, h, r), []).append(t)
    ranks, places = [], []
    with one_thread(), torch.inference_mode():
        bar = Progress("ranking", len(held), unit="triples", shown=progress)
        for h, r, t in bar.of(held.tolist()):
            for side, answer in ((0, h), (1, t)):
                ends = torch.full((size,), t if side == 0 else h)
                kind = torch.full((size,), r)
                ordered = (everyone, kind, ends) if side == 0 else (ends, kind, everyone)
                score = model(*ordered).numpy()
                others = true[side, t if side == 0 else h, r]
                own, kept = score[answer], np.ones(size, dtype=bool)
                kept[others] = False
                rest = score[kept]
                ranks.append(1 + (rest > own).sum() + 0.5 * (rest == own).sum())
                places.append(len(rest) + 1)
    return np.array(ranks, dtype=np.float64), np.array(places, dtype=np.int64)
