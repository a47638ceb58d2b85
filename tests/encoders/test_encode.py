"""Encoders and their cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from recenv import artifacts
from recenv.config import EncoderConfig
from recenv.encoders import (
    HashingEncoder,
    encode_items,
    encode_texts,
    item_source,
    items,
    make_encoder,
    text,
)
from recenv.errors import (
    ArtifactError,
    ConfigError,
    DataNotFoundError,
    MissingDependencyError,
    SchemaError,
)
from recenv.schema import Catalog


class _Counting:
    """Hashes, and remembers what it was asked."""

    name = "counting"
    is_language_model = False

    def __init__(self, identity: str = "counting-1") -> None:
        self.identity = identity
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str], progress: bool) -> npt.NDArray[np.float32]:
        self.asked += texts
        return HashingEncoder(16).encode(texts)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECENV_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_hashing_golden_values() -> None:
    """Fails if cached or saved vectors of older versions would no longer match."""
    vectors = HashingEncoder(256).encode(["Toy Story", "", "toy story!"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    golden = {70: 0.8944, 79: -0.4472}
    assert {int(k): round(float(vectors[0, k]), 4) for k in np.flatnonzero(vectors[0])} == golden
    assert np.flatnonzero(vectors[1]).tolist() == [114]


def test_hashing_is_near_where_words_are_shared() -> None:
    a, b, c = HashingEncoder(256).encode(["a red bowl", "a red cup", "green trousers"])
    assert a @ b > 0.3 > abs(a @ c)


def test_distinct_texts_are_encoded_once() -> None:
    encoder = _Counting()
    vectors = encode_texts(["x", "y", "x"], encoder, progress=False)
    assert encoder.asked == ["x", "y"]
    np.testing.assert_array_equal(vectors, HashingEncoder(16).encode(["x", "y", "x"]))
    again = _Counting()
    np.testing.assert_array_equal(encode_texts(["x", "y", "x"], again, progress=False), vectors)
    assert again.asked == []
    other = _Counting("counting-2")
    encode_texts(["x", "y", "x"], other, progress=False)
    assert other.asked == ["x", "y"]


def test_interrupted_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "CHUNK", 2)
    texts = list("abcde")

    class Broken(_Counting):
        def encode(self, texts: Sequence[str], progress: bool) -> npt.NDArray[np.float32]:
            if "c" in texts:
                raise KeyboardInterrupt
            return super().encode(texts, progress)

    with pytest.raises(KeyboardInterrupt):
        encode_texts(texts, Broken(), progress=False)
    encoder = _Counting()
    vectors = encode_texts(texts, encoder, progress=False)
    assert encoder.asked == ["c", "d", "e"]
    np.testing.assert_array_equal(vectors, HashingEncoder(16).encode(texts))


def test_truncated_cache(home: Path) -> None:
    encode_texts(["x", "y"], _Counting(), progress=False)
    (file,) = home.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ArtifactError, match=r"truncated.*Delete the folder"):
        encode_texts(["x", "y"], _Counting(), progress=False)


def test_encode_items() -> None:
    names = np.array(["Axe", "Bowl", "Axe"], dtype=object)
    ids = np.array(["1", "2", "3"], dtype=object)
    catalog = Catalog(ids, names, np.zeros(3, np.int32), ("all",), np.zeros(3, np.float32))
    config = EncoderConfig(model="hashing", hashing_dim=32)
    vectors = encode_items(catalog, config, progress=False)
    np.testing.assert_array_equal(vectors, HashingEncoder(32).encode(list(names)))
    assert artifacts.home().joinpath("encodings").is_dir()
    wider = encode_items(catalog, config.replace(hashing_dim=64), progress=False)
    assert wider.shape == (3, 64)


def _catalog(texts: Sequence[str], features: npt.NDArray[np.float32] | None) -> Catalog:
    n = len(texts)
    ids = np.array([str(i) for i in range(n)], dtype=object)
    made = Catalog(
        ids,
        np.array(list(texts), dtype=object),
        np.zeros(n, np.int32),
        ("all",),
        np.zeros(n, np.float32),
        features,
    )
    return made.validate()


def test_features_get_their_share() -> None:
    """Against the definition, column by column; units and offsets of columns do not count."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(40, 5)) * [1, 100, 1e-3, 0, 7] + [5, 1e4, 0, 3, -2]
    texts = [f"thing {k}" for k in range(40)]
    catalog = _catalog(texts, raw.astype(np.float32))
    config = EncoderConfig(model="hashing", hashing_dim=32, feature_share=0.2)
    vectors = encode_items(catalog, config, progress=False)
    assert (vectors.shape, vectors.dtype) == (
        (40, 36),
        np.float32,
    )  # the constant column is left out
    text = HashingEncoder(32).encode(texts)
    np.testing.assert_allclose(vectors[:, :32], text * 0.8**0.5, rtol=1e-6)
    squared = np.square(vectors, dtype=np.float64)
    np.testing.assert_allclose(squared.sum(axis=1).mean(), 1, rtol=1e-5)
    np.testing.assert_allclose(squared[:, 32:].sum(axis=1).mean(), 0.2, rtol=1e-5)
    for made, column in zip(vectors[:, 32:].T, (0, 1, 2, 4), strict=True):
        np.testing.assert_allclose(made.mean(), 0, atol=1e-6)
        np.testing.assert_allclose(made.std(), (0.2 / 4) ** 0.5, rtol=1e-5)
        assert np.corrcoef(made, raw[:, column])[0, 1] > 0.9999


def test_shares_at_the_ends() -> None:
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    config = EncoderConfig(model="hashing", hashing_dim=32)
    plain = encode_items(_catalog("abc", None), config, progress=False)

    def made(
        texts: Sequence[str], features: npt.NDArray[np.float32] | None, share: float
    ) -> npt.NDArray[np.float32]:
        config_ = config.replace(feature_share=share)
        catalog = _catalog(texts, features)
        return encode_items(catalog, config_, progress=False)

    np.testing.assert_array_equal(made("abc", features, 0), plain)
    np.testing.assert_array_equal(made("abc", np.ones((3, 2), np.float32), 0.5), plain)
    np.testing.assert_array_equal(made("abc", None, 1), plain)
    alone = np.array([-1, 0, 1])[:, None] * np.full((1, 2), 0.75**0.5)
    np.testing.assert_allclose(made("abc", features, 1), alone, rtol=1e-6)
    np.testing.assert_allclose(made(["", " ", ""], features, 0.5), alone, rtol=1e-6)
    for texts, share in (("abc", 1), (["", "", ""], 0.5)):
        with pytest.raises(SchemaError, match="no column that varies"):
            made(texts, np.ones((3, 2), np.float32), share)
    with pytest.raises(ConfigError, match=r"feature_share must be in \[0, 1\]"):
        EncoderConfig(feature_share=1.5)


def test_other_features_are_another_catalogue() -> None:
    """No stale vectors: texts come from the cache, features do not; hashes and identities tell."""
    rng = np.random.default_rng(0)
    one, two = (_catalog("abc", rng.normal(size=(3, 4)).astype(np.float32)) for _ in range(2))
    config = EncoderConfig(model="hashing", hashing_dim=32)
    first, second = (encode_items(c, config, progress=False) for c in (one, two))
    np.testing.assert_array_equal(first[:, :32], second[:, :32])
    assert np.abs(first[:, 32:] - second[:, 32:]).max() > 0.1
    np.testing.assert_array_equal(encode_items(one, config, progress=False), first)
    assert one.hash != two.hash
    plain = _catalog("abc", None)
    assert item_source(plain, config) == ("hashing", False, make_encoder(config).identity)
    assert item_source(plain, config.replace(feature_share=0.3)) == item_source(plain, config)
    both = item_source(one, config)
    assert both.name == "hashing + features"
    assert both.identity != item_source(one, config.replace(feature_share=0.3)).identity
    language = item_source(one, EncoderConfig())
    assert (language.name, language.is_language_model) == ("minilm + features", True)
    untold = item_source(_catalog(["", "", ""], one.features), EncoderConfig())
    assert untold[:2] == ("features", False)


def test_minilm_knows_meaning() -> None:
    texts = [
        "A crew of astronauts is stranded on Mars",
        "Space explorers travel through a wormhole",
        "Two strangers fall in love in Paris",
        "A wedding and an old flame",
        "Recipe for tomato soup",
        "Cooking pasta at home",
        "Alien starships invade the Earth",
        "She writes love letters to him",
    ]
    encoder = make_encoder(EncoderConfig())
    assert encoder.is_language_model
    vectors = encoder.encode(texts, False)
    assert vectors.shape == (8, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    near = vectors @ vectors.T
    assert near[0, 1] > near[0, 2] + 0.1  # no word in common either way
    assert near[1, 6] > near[1, 3] + 0.1
    assert near[4, 5] > near[4, 0] + 0.1
    assert near[2, 7] > near[2, 6] + 0.1
    # the identity follows the weights and max_tokens, not the place
    assert encoder.identity == make_encoder(EncoderConfig()).identity
    assert encoder.identity != make_encoder(EncoderConfig(max_tokens=8)).identity
    cut = make_encoder(EncoderConfig(max_tokens=8)).encode(
        ["one two three " * 9, "one two three " * 8], False
    )
    np.testing.assert_allclose(cut[0], cut[1], atol=1e-6)


def test_missing_model_or_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataNotFoundError, match="no model folder"):
        make_encoder(EncoderConfig(model=str(tmp_path / "none")))
    monkeypatch.setattr(text, "_MINILM_PACKAGE", "no_such_package_here")
    with pytest.raises(MissingDependencyError, match=r"recenv\[lm\]"):
        make_encoder(EncoderConfig())
    monkeypatch.setattr(text.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="sentence-transformers"):
        make_encoder(EncoderConfig())


def test_folder_identity_is_its_content(tmp_path: Path) -> None:
    made = []
    for place, weights in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "model.safetensors").write_bytes(weights)
        made.append(make_encoder(EncoderConfig(model=str(tmp_path / place))).identity)
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("minlm", "Did you mean 'minilm'"),
        ("causal:smolm2", "Did you mean 'smollm2'"),
        ("nobody/nothing", "hub cannot be asked"),
        ("no such name!", "the hub has no such model"),
    ],
)
def test_a_name_that_cannot_be_had_is_said_at_once(
    model: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network its libraries would try for more than a minute, file by file."""
    import huggingface_hub

    asked = []

    class Hub:
        def model_info(self, name: str, timeout: float) -> None:
            asked.append((name, timeout))
            raise ConnectionError

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    with pytest.raises(DataNotFoundError, match=message):
        make_encoder(EncoderConfig(model=model)).encode(["a"], False)
    assert all(timeout == 10 for _, timeout in asked)
    assert len(asked) <= 1


def test_a_cached_encoding_of_another_shape_is_refused(home: Path) -> None:
    encode_texts(["a", "b"], HashingEncoder(8), progress=False)
    (folder,) = (home / "encodings").iterdir()
    artifacts.save(folder, "encodings", {"vectors": np.zeros((1, 8), np.float32)}, {})
    with pytest.raises(ArtifactError, match=r"'vectors' must be float32 of shape \(2, any\)"):
        encode_texts(["a", "b"], HashingEncoder(8), progress=False)
