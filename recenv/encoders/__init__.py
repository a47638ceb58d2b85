"""Encoders: vectors of items from texts and knowledge graphs, and user-interest vectors."""

from recenv.encoders.causal import CausalEncoder
from recenv.encoders.graph import GraphConfig, GraphFeatures, check_links, graph_features
from recenv.encoders.history import history_weights, user_means
from recenv.encoders.interest_vectors import InterestVectors, fit_interests
from recenv.encoders.items import ItemSource, encode_items, encode_texts, item_source
from recenv.encoders.text import HashingEncoder, SentenceEncoder, TextEncoder, make_encoder

__all__ = [
    "CausalEncoder",
    "GraphConfig",
    "GraphFeatures",
    "HashingEncoder",
    "InterestVectors",
    "ItemSource",
    "SentenceEncoder",
    "TextEncoder",
    "check_links",
    "encode_items",
    "encode_texts",
    "fit_interests",
    "graph_features",
    "history_weights",
    "item_source",
    "make_encoder",
    "user_means",
]
