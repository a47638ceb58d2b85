"""Text to vectors: encoders, their cache, and user-interest vectors."""

from recenv.encoders.history import history_weights, user_means
from recenv.encoders.interest import InterestVectors, fit_interests
from recenv.encoders.items import encode_items, encode_texts
from recenv.encoders.text import HashingEncoder, SentenceEncoder, TextEncoder, make_encoder

__all__ = [
    "HashingEncoder",
    "InterestVectors",
    "SentenceEncoder",
    "TextEncoder",
    "encode_items",
    "encode_texts",
    "fit_interests",
    "history_weights",
    "make_encoder",
    "user_means",
]
