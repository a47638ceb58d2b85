"""Settings of worlds and games, as frozen dataclasses with one default each.

A config reads from and writes to TOML, rejects unknown keys, and has a content hash that
names the artifacts made with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import json
import math
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import tomli_w

from recenv.errors import ConfigError, UnknownNameError, nearest

LARGEST_SEED = 2**63 - 1
"""What TOML's numbers and every generator of random numbers can hold."""

LARGEST_COUNT = 2**31 - 1
"""Of what compiled code counts in 32 bits."""


def content_hash(*parts: object) -> str:
    """SHA-256 of JSON-able parts, as 16 hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Config:
    """Base of all configs: dict and TOML in and out, checked types, content hash."""

    def __post_init__(self) -> None:
        for name, hint in _field_types(type(self)).items():
            value = _coerce(hint, getattr(self, name), f"{type(self).__name__}.{name}")
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""

    def require(self, condition: bool, name: str, wanted: str) -> None:
        """Raise ConfigError for field ``name`` unless ``condition`` holds."""
        if not condition:
            raise ConfigError(
                f"{type(self).__name__}.{name} must be {wanted}, but is "
                f"{getattr(self, name)!r}. Change it where the config is made."
            )

    def require_seed(self) -> None:
        """Raise ConfigError unless the field ``seed`` is a seed."""
        seed = typing.cast("Any", self).seed
        self.require(0 <= seed <= LARGEST_SEED, "seed", f"from 0 to {LARGEST_SEED}")

    def require_counts(self, *names: str) -> None:
        """Raise ConfigError unless these fields are positive numbers of 32 bits."""
        for name in names:
            self.require(
                1 <= getattr(self, name) <= LARGEST_COUNT, name, f"from 1 to {LARGEST_COUNT}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict; fields that are None are left out (TOML has no null)."""
        out: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Config):
                out[f.name] = value.to_dict()
            elif value is not None:
                out[f.name] = list(value) if isinstance(value, tuple) else value
        return out

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from a nested dict.

        Raises:
            UnknownNameError: a key that is no field of this config.
            ConfigError: a value of the wrong type or out of range.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"{cls.__name__} wants a table of settings, but got {values!r}.")
        hints = _field_types(cls)
        made: dict[str, Any] = {}
        for key, value in values.items():
            if key not in hints:
                raise UnknownNameError(f"setting of {cls.__name__}", key, hints)
            hint = hints[key]
            nested = isinstance(hint, type) and issubclass(hint, Config)
            if nested and not isinstance(value, Config):
                value = typing.cast("type[Config]", hint).from_dict(value)
            made[key] = value
        return cls(**made)

    def replace(self, **changes: Any) -> Self:
        """Copy with changes; a nested config takes a dict of its own changes.

        Raises:
            UnknownNameError: a name that is no field of this config.
        """
        hints = _field_types(type(self))
        for key, value in changes.items():
            if key not in hints:
                raise UnknownNameError(f"setting of {type(self).__name__}", key, hints)
            current = getattr(self, key)
            if isinstance(current, Config) and isinstance(value, dict):
                changes[key] = current.replace(**value)
        return dataclasses.replace(self, **changes)

    def to_toml(self) -> str:
        """TOML text that ``from_toml`` reads back to an equal config."""
        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_toml(cls, source: str | Path) -> Self:
        """Read TOML text, or a file if a Path is given.

        Raises:
            ConfigError: the file cannot be read, is no TOML, or a value in it is wrong.
            UnknownNameError: a key that is no setting.
        """
        try:
            text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
            values = tomllib.loads(text)
        except OSError as error:
            raise ConfigError(
                f"The config {source} cannot be read: {error.strerror or error}. Give the path of "
                "a TOML file."
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"The config {source} is no UTF-8 text ({error}). Save it as UTF-8."
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"Not valid TOML ({error}). Mend the file and try again.") from error
        return cls.from_dict(values)

    @property
    def hash(self) -> str:
        """Content hash of all settings (16 hexadecimal digits)."""
        return content_hash(type(self).__name__, self.to_dict())


_ATTRIBUTES = re.compile(r"^Attributes:\n((?:(?: .*)?\n)*)", re.MULTILINE)
_ATTRIBUTE = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def describe(cls: type[Config]) -> dict[str, str]:
    """What the fields of a config mean, by name, in the order of the fields.

    It is read from the section "Attributes:" of the class's docstring and those of its bases; a
    text for several fields ("a, b: ...") is given for each.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found |= _attributes(vars(base).get("__doc__") or "")
    return {f.name: found[f.name] for f in dataclasses.fields(cls) if f.name in found}


def _attributes(docstring: str) -> dict[str, str]:
    """What a docstring's own section says, by name."""
    return {
        name: " ".join(meaning.split())
        for section in _ATTRIBUTES.findall(inspect.cleandoc(docstring) + "\n")
        for names, meaning in _ATTRIBUTE.findall(section)
        for name in names.split(", ")
    }


def _field_types(cls: type[Config]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _coerce(hint: Any, value: Any, name: str) -> Any:
    """Check ``value`` against a field's type; ints pass as floats, lists as tuples.

    Numbers of numpy become Python's own. A float is finite.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, np.generic):
        value = value.item()
    if origin is Literal:
        if any(type(value) is type(known) and value == known for known in args):
            return value
        hint_text = nearest(value, [str(known) for known in args])
        raise ConfigError(
            f"{name} must be one of {', '.join(map(repr, args))}, but is {value!r}.{hint_text}"
        )
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        return _coerce(next(a for a in args if a is not type(None)), value, name)
    if origin is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(_coerce(args[0], v, name) for v in value)
        wanted = f"a list of {_TYPES.get(args[0], args[0])}s"
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):  # an int beyond all floats
                if math.isfinite(value):
                    return float(value)
        wanted = "float, and finite"
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        wanted = "int"
    elif isinstance(value, hint):
        return value
    else:
        wanted = _TYPES.get(hint, getattr(hint, "__name__", str(hint)))
    raise ConfigError(
        f"{name} must be {wanted}, but is {value!r}. Change it where the config is made."
    )


_TYPES: dict[Any, str] = {bool: "bool, true or false", str: "str, a text", float: "float"}


@dataclass(frozen=True)
class SplitConfig(Config):
    """Settings of the split of a log into train, validation and test parts.

    Attributes:
        by: "user": each user's events, in time order (ties in random order), are cut into train,
            validation and test; "time": the whole log is cut at two moments.
        valid_fraction: share of the events that are validation events, from 0 to below 1.
        test_fraction: share of the events that are test events, the last ones; below 1 together
            with valid_fraction.
        heldout_users: share of the users held out from all fitting, from 0 to below 1.
        seed: of who is held out, and of ties.
    """

    by: Literal["user", "time"] = "user"

    valid_fraction: float = 0.1
    test_fraction: float = 0.1
    heldout_users: float = 0.2
    seed: int = 0

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("valid_fraction", "test_fraction", "heldout_users"):
            self.require(0 <= getattr(self, name) < 1, name, "in [0, 1)")
        self.require_seed()
        total = self.valid_fraction + self.test_fraction
        self.require(total < 1, "test_fraction", "less than 1 together with valid_fraction")


@dataclass(frozen=True)
class EncoderConfig(Config):
    """Settings of the text encoder of items, and of joining ``Catalog.features``.

    Attributes:
        model: "minilm" (MiniLM from its PyPI package), "hashing" (deterministic feature hashing:
            not a language model), a local path or hub name of a sentence encoder, "smollm2" (the
            causal language model SmolLM2-135M from a wheel), or "causal:" and the path or hub
            name of any causal language model.
        max_tokens: of a text that are read, 4 or more; what follows is cut off.
        hashing_dim: values of a vector by "hashing", 8 or more.
        layer: of a causal model: how many blocks the vectors have passed, 0 or more; by default
            half of the model's.
        feature_share: part of an item vector's squared length, in the catalogue's mean, that its
            features get where it has any: 0 leaves them out, 1 leaves the text out.
    """

    model: str = "minilm"
    max_tokens: int = 64
    hashing_dim: int = 256
    layer: int | None = None
    feature_share: float = 0.5

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        self.require(bool(self.model.strip()), "model", "the name of a model")
        self.require(self.max_tokens >= 4, "max_tokens", "at least 4")
        self.require(self.hashing_dim >= 8, "hashing_dim", "at least 8")
        self.require(self.layer is None or self.layer >= 0, "layer", "zero or more, or left out")
        self.require(0 <= self.feature_share <= 1, "feature_share", "in [0, 1]")


@dataclass(frozen=True)
class InterestConfig(Config):
    """Learning of user-interest vectors.

    Attributes:
        dim: values of a vector, 1 or more.
        half_life_events: after so many later events of the same user an event counts half, where
            learning begins; positive.
        epochs: passes over the log, 1 or more, as far as ``min_updates`` and ``max_updates`` allow.
        min_updates: least number of steps, 1 or more: a small log is passed over more often.
        max_updates: greatest number of steps, at least min_updates: a large log is passed over
            fewer times, down to once.
        batch_size: events of a step, 1 or more.
        learning_rate: of AdamW, positive.
        weight_decay: of AdamW, 0 or more.
        content_dim: of the dim values, those that hold the encoder's own axes; at most half do.
        content_spread: standard deviation, in log-probability, of what these add for an item
            without events; 0 or more.
        seed: of the first vectors and the batches.
    """

    dim: int = 56
    half_life_events: float = 50.0
    epochs: int = 10
    min_updates: int = 240
    max_updates: int = 600
    batch_size: int = 1024
    learning_rate: float = 0.005
    weight_decay: float = 0.03
    content_dim: int = 24
    content_spread: float = 1.4
    seed: int = 0

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("dim", "half_life_events", "epochs", "batch_size", "learning_rate"):
            self.require(getattr(self, name) > 0, name, "positive")
        self.require_seed()
        self.require(self.min_updates > 0, "min_updates", "positive")
        self.require(self.max_updates >= self.min_updates, "max_updates", "at least min_updates")
        for name in ("weight_decay", "content_dim", "content_spread"):
            self.require(getattr(self, name) >= 0, name, "zero or more")


@dataclass(frozen=True)
class UserModelConfig(Config):
    """Fitting of the users' laws, and the priors of the laws that a log does not identify.

    Attributes:
        epochs: passes over the log, 1 or more, as far as ``min_updates`` and ``max_updates`` allow.
        min_updates: least number of steps, 1 or more: a small log is passed over more often.
        max_updates: greatest number of steps, at least min_updates: a large log is passed over
            fewer times, down to once.
        batch_size: events of a step, 1 or more.
        learning_rate: of Adam, positive.
        negatives: items drawn for each click where the log has no impressions, 1 or more.
        user_l2: L2 weight on what a user's vector differs from the user's interest by, 0 or more.
        item_l2: L2 weight on what an item's vector differs from the encoder's by, 0 or more.
        bias_l2: L2 weight on the biases of users and items, 0 or more.
        map_l2: L2 weight on what maps an item's vector and price to its biases, 0 or more.
        examination_l2: L2 weight on what examination differs from its prior by, 0 or more.
        l2_ladder: multiples of the L2 weights on vectors that are tried on the validation events,
            where there are any; one or more positive numbers.
        propensity_weights: whether impressions count by their inverse propensity; by default what
            makes the validation events likelier, themselves weighted so.
        propensity_clip: greatest such weight, in multiples of the mean, 1 or more.
        visit_cap: rounds after which the platform itself ended visits, 1 or more; by default it is
            told from a pile of visits of the greatest length.
        seed: of the first parameters, the batches and what is drawn.
        click_rate: mean probability that a uniformly drawn user clicks a uniformly drawn item that
            is looked at, between 0 and 1; clicks alone cannot tell it.
        purchase_rate: P(purchase | click) where the log has no purchases, between 0 and 1.
        funnel: splits the probability p of a purchase where the log has nothing but purchases:
            ``p ** funnel`` for the click; between 0 and 1.
        examination_decay: prior of examination: slot k, from 1 on, is looked at with probability
            ``k ** -examination_decay``; 0 or more.
        leave_intercept: log-odds of leaving after a round, before what follows is added.
        leave_length: added to these for each round of the visit.
        leave_satisfaction: taken from these for each unit of satisfaction.
        leave_boredom: added to these for each unit of the slate's mean boredom.
        satisfaction_decay: share of the satisfaction that is left a round later, from 0 to 1.
        boredom_weight: log-odds of a click that a unit of boredom of the item's category costs.
        boredom_gain: what an item that was consumed adds to the boredom of its category, 0 or more.
        boredom_decay: share of the boredom that is left a round later, from 0 to 1.
        drift_rate: part of the way that interest moves towards each consumed item, from 0 to below
            1.
    """

    epochs: int = 8
    min_updates: int = 500
    max_updates: int = 3000
    batch_size: int = 4096
    learning_rate: float = 0.01
    negatives: int = 4
    user_l2: float = 5.0
    item_l2: float = 5.0
    bias_l2: float = 1.0
    map_l2: float = 1.0
    examination_l2: float = 1.0
    l2_ladder: tuple[float, ...] = (0.0625, 0.25, 1.0, 4.0, 16.0)
    propensity_weights: bool | None = None
    propensity_clip: float = 10.0
    visit_cap: int | None = None
    seed: int = 0
    click_rate: float = 0.1
    purchase_rate: float = 0.3
    funnel: float = 0.9
    examination_decay: float = 0.5
    leave_intercept: float = -2.2
    leave_length: float = 0.05
    leave_satisfaction: float = 0.5
    leave_boredom: float = 0.5
    satisfaction_decay: float = 0.7
    boredom_weight: float = 0.5
    boredom_gain: float = 0.5
    boredom_decay: float = 0.8
    drift_rate: float = 0.01

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("epochs", "min_updates", "batch_size", "learning_rate", "negatives"):
            self.require(getattr(self, name) > 0, name, "positive")
        for name in (
            "user_l2",
            "item_l2",
            "bias_l2",
            "map_l2",
            "examination_l2",
            "examination_decay",
            "boredom_gain",
        ):
            self.require(getattr(self, name) >= 0, name, "zero or more")
        self.require_seed()
        self.require(self.max_updates >= self.min_updates, "max_updates", "at least min_updates")
        self.require(
            len(self.l2_ladder) > 0 and min(self.l2_ladder, default=0) > 0,
            "l2_ladder",
            "one or more positive numbers",
        )
        self.require(self.propensity_clip >= 1, "propensity_clip", "at least 1")
        self.require(self.visit_cap is None or self.visit_cap > 0, "visit_cap", "positive")
        for name in ("click_rate", "purchase_rate"):
            self.require(0 < getattr(self, name) < 1, name, "strictly between 0 and 1")
        self.require(0 < self.funnel < 1, "funnel", "strictly between 0 and 1")
        for name in ("satisfaction_decay", "boredom_decay"):
            self.require(0 <= getattr(self, name) <= 1, name, "in [0, 1]")
        self.require(0 <= self.drift_rate < 1, "drift_rate", "in [0, 1)")


@dataclass(frozen=True)
class WorldConfig(Config):
    """Everything that turns a log into a world of simulated users.

    Attributes:
        split: how the log is divided, see ``SplitConfig``.
        encoder: how items become vectors, see ``EncoderConfig``.
        interest: how interest vectors are learned, see ``InterestConfig``.
        user_model: how the users' laws are fitted, see ``UserModelConfig``.
    """

    split: SplitConfig = field(default_factory=SplitConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    interest: InterestConfig = field(default_factory=InterestConfig)
    user_model: UserModelConfig = field(default_factory=UserModelConfig)


@dataclass(frozen=True)
class RewardConfig(Config):
    """Weights of both agents' rewards, per round.

    Recommender: ``click * clicks + purchase * purchases - leave_cost * left``.

    User: ``sum over slots of utility * (click_utility * clicked + purchase_utility * bought)
    - effort * slots examined - price_sensitivity * price paid over the mean price
    + behaviour_weight * log(probability that the fitted user gives this answer)``.
    A slot's utility is ``2 P(purchase | click) - 1``; an answered slot counts as examined
    for sure, an ignored one with its examination probability.

    Attributes:
        click: what a click earns the recommender.
        purchase: what a purchase earns the recommender, beside its click.
        purchase_by_value: whether a purchase counts its price over the catalogue's mean price.
        leave_cost: what the recommender pays when the user leaves.
        click_utility: what a click of an item of utility 1 earns the user.
        purchase_utility: what a purchase of an item of utility 1 earns the user.
        effort: what a slot that is looked at costs the user.
        price_sensitivity: what a price paid, over the catalogue's mean price, costs the user.
        behaviour_weight: what a nat of the answer's log-probability by the fitted user earns the
            user, 0 or more. Cannot be set for training, where kl_weight does this.
        cooperation: c mixes the rewards: each agent gets ``(1 - |c|/2) own + (c/2) other``; from
            -1 (zero-sum) by 0 (selfish) to 1 (fully shared).
    """

    click: float = 1.0
    purchase: float = 1.0
    purchase_by_value: bool = False
    leave_cost: float = 1.0
    click_utility: float = 0.5
    purchase_utility: float = 0.5
    effort: float = 0.02
    price_sensitivity: float = 0.1
    behaviour_weight: float = 0.0
    cooperation: float = 0.0

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        self.require(-1 <= self.cooperation <= 1, "cooperation", "in [-1, 1]")
        self.require(self.behaviour_weight >= 0, "behaviour_weight", "zero or more")


@dataclass(frozen=True)
class GameConfig(Config):
    """The rules of a visit.

    Each round the recommender fills the slots of a slate from some candidates, and the user
    answers.

    Attributes:
        slate_size: slots that the recommender fills each round, from 1 to num_candidates.
        num_candidates: items that it chooses from each round, at most the catalogue's.
        max_rounds: rounds after which the visit is truncated, 1 or more.
        history_length: of the visit's shown items, how many of the last the recommender observes;
            1 or more.
        users: the pool that visitors come from.
        member: of the world's ensemble: 0 plays the fitted users; 1, 2, ... users refitted to a
            bootstrap sample of the log's users (``World.member``), to see how far a result
            depends on the fit.
        observation: "dict" by name, or "flat": one float32 vector for each agent.
        vectors: False leaves ``candidate_vectors`` and ``slate_vectors`` out, of which most of an
            observation's size, and of the time of a step, is: the agents observe items by code
            alone, and look vectors up in ``world.interests.items``.
        item_table: how a catalogue that is too large for float32 is stored: as fixed-point numbers
            of 16 or 8 bits, with a scale for each item.
        action_mask: where the two-player environments tell whose turn it is as a mask of legal
            actions: in ``observation["action_mask"]`` beside ``observation["observation"]``
            ("observation"), in ``infos[agent]["action_mask"]`` ("info"), or, by default, nowhere.
        reward: weights of both agents' rewards, see ``RewardConfig``.
    """

    slate_size: int = 5
    num_candidates: int = 50
    max_rounds: int = 20
    history_length: int = 20
    users: Literal["train", "heldout", "all"] = "train"
    member: int = 0
    observation: Literal["dict", "flat"] = "dict"
    vectors: bool = True
    item_table: Literal["float32", "int16", "int8"] = "float32"
    action_mask: Literal["observation", "info"] | None = None
    reward: RewardConfig = field(default_factory=RewardConfig)

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        self.require_counts("slate_size", "num_candidates", "max_rounds", "history_length")
        self.require(0 <= self.member <= LARGEST_SEED, "member", f"from 0 to {LARGEST_SEED}")
        self.require(
            self.slate_size <= self.num_candidates,
            "slate_size",
            f"no larger than num_candidates ({self.num_candidates}), "
            "so that a slate can be filled without repeats",
        )
