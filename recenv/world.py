"""World: the catalogue, user model and vectors of a simulator, built from a log in stages.

Each stage (item vectors, interest vectors, user model, world) is an artifact named by the hash
of what it was made from, so that an interrupted build goes on where it stopped and a changed
setting redoes only what depends on it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv import artifacts
from recenv.artifacts import check_array
from recenv.config import WorldConfig, content_hash
from recenv.data.continuation import Continuation, continuation
from recenv.data.split import TEST, TRAIN, Split, make_split
from recenv.encoders.interest_vectors import InterestVectors, fit_interests
from recenv.encoders.items import encode_items, item_source
from recenv.errors import ArtifactError, ConfigError, SchemaError
from recenv.folders import slug
from recenv.progress import Progress
from recenv.schema import (
    CLICK,
    EVENT_COLUMNS,
    OPTIONAL_EVENT_COLUMNS,
    Catalog,
    InteractionLog,
)
from recenv.users.fitting import fit_user_model
from recenv.users.model import UserModel, under
from recenv.users.provenance import Provenance

BUILD_VERSION = 4
"""Goes up whenever the same log and config would build another world."""

T = TypeVar("T")


@dataclass(frozen=True)
class HeldOutEvents:
    """Validation and test events of a log, and where they stood in it.

    Attributes:
        events: of m events, in the log's order and with its columns.
        part: (n,) int8 part of each event of the whole log: 0 train, 1 validation, 2 test.
    """

    events: pd.DataFrame
    part: npt.NDArray[np.int8]

    @classmethod
    def of(cls, log: InteractionLog, split: Split) -> HeldOutEvents:
        """Parts of a log that a split keeps from fitting."""
        return cls(log.take(split.part != TRAIN).events, split.part)

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], train: InteractionLog, catalog: Catalog
    ) -> HeldOutEvents | None:
        """Stored parts, None if nothing was stored.

        Raises:
            ArtifactError: the arrays do not fit together, or not the training events.
            SchemaError: an event is none of the users and items.
        """
        if "part" not in arrays:
            return None
        part = check_array(arrays, "part", np.int8, (None,), low=TRAIN, high=TEST)
        events = pd.DataFrame(under(arrays, "tested_on."))[list(train.events.columns)]
        later = int((part != TRAIN).sum())
        if (len(part) - later, later) != (len(train), len(events)):
            raise ArtifactError(
                f"The split is of {len(part) - later} training and {later} later events, but there "
                f"are {len(train)} and {len(events)}."
            )
        dataclasses.replace(train, events=events).check_columns(catalog)
        return cls(events, part)


@dataclass(frozen=True)
class World:
    """A world of simulated users.

    Attributes:
        name: for reports.
        catalog: the N items.
        user_model: the laws and parameters of the U users.
        interests: user and item vectors as the platform knows them.
        train: the log's training events, of all users (what a platform has seen).
        heldout: (U,) users that nothing shared was fitted on.
        config: how it was built; None for a planted world.
        goes_on: what of the log goes on after ``train``.
        notes: what a reader of any result has to know.
    """

    name: str
    catalog: Catalog
    user_model: UserModel
    interests: InterestVectors
    train: InteractionLog
    heldout: npt.NDArray[np.bool_]
    config: WorldConfig | None = None
    notes: tuple[str, ...] = ()
    goes_on: Continuation | None = None
    tested_on: HeldOutEvents | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> World:
        """A world is never written to, so that copies of what plays in it share it."""
        return self

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.heldout)

    def pool(self, users: Literal["train", "heldout", "all"]) -> npt.NDArray[np.int32]:
        """Codes of a pool of users, in ascending order.

        Raises:
            ConfigError: the pool is empty.
        """
        mask = {"train": ~self.heldout, "heldout": self.heldout}.get(
            users, np.ones(self.num_users, bool)
        )
        codes = np.flatnonzero(mask).astype(np.int32)
        if len(codes) == 0:
            raise ConfigError(
                f"The world {self.name!r} has no {users!r} users. Choose another pool, or build "
                "the world with another SplitConfig.heldout_users."
            )
        return codes

    @cached_property
    def log_popularity(self) -> npt.NDArray[np.float32]:
        """(N,) log(1 + training clicks / mean training clicks) over users not held out."""
        seen = ~self.heldout[self.train.column("user")] & (self.train.column("response") >= CLICK)
        clicks = np.bincount(self.train.column("item")[seen], minlength=len(self.catalog))
        return np.log1p(clicks / max(clicks.mean(), 1e-9)).astype(np.float32)

    @cached_property
    def hash(self) -> str:
        """Content hash (16 hexadecimal digits)."""
        arrays, meta = self.user_model.to_artifact()
        arrays |= {
            "interests.items": self.interests.items,
            "interests.users": self.interests.users,
            "heldout": self.heldout,
        }
        digest = hashlib.sha256()
        for name in sorted(arrays):
            digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
        return content_hash(digest.hexdigest(), meta, self.catalog.hash, self.train.hash)

    def whole_log(self) -> tuple[InteractionLog, Split]:
        """The log that the world was built from, and how it was split.

        Raises:
            ConfigError: the world does not hold the events that it was not fitted on.
        """
        kept = self.tested_on
        if kept is None:
            raise ConfigError(
                f"The world {self.name!r} holds training events only: it was planted, or saved by "
                "an earlier recenv. Build it again from its log with recenv.build_world."
            )
        trained = kept.part == TRAIN
        order = np.empty(len(kept.part), np.int64)
        order[trained] = np.arange(len(self.train))
        order[~trained] = len(self.train) + np.arange(len(kept.events))
        events = pd.concat([self.train.events, kept.events], ignore_index=True)
        log = dataclasses.replace(self.train, events=events.iloc[order].reset_index(drop=True))
        return log, Split(kept.part, log.column("user").astype(np.int32), self.heldout, log.hash)

    def derive(self, key: Hashable, make: Callable[[], T]) -> T:
        """Derived data of this world, computed once, kept and pickled with it.

        Args:
            key: names it; all that ``make`` depends on beside the world belongs in the key.
            make: returns it; its arrays must not be written to afterwards.
        """
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]

    @cached_property
    def _derived(self) -> dict[Hashable, Any]:
        return {}

    def member(self, index: int, *, progress: bool | None = None) -> World:
        """The same world with users refitted to a bootstrap sample of the users it was fitted on.

        The spread of whatever is measured over members 1, 2, ... is the simulator's own
        uncertainty (the nonparametric bootstrap: Efron, Annals of Statistics 1979). Member 0 is
        the world itself. Members are cached in ``RECENV_HOME``.

        Args:
            index: 0, or any positive number: the seed of the sample.
            progress: False for silence; see ``recenv.progress``.

        Raises:
            ConfigError: a negative index, or a planted world, which was not fitted.
            MissingDependencyError: torch is not installed.
        """
        if index == 0:
            return self
        if index < 0 or self.config is None:
            why = "it was planted, not fitted" if self.config is None else f"not {index}"
            raise ConfigError(
                f"The world {self.name!r} has bootstrap members 1, 2, ... only where it was "
                f"fitted to a log: {why}. Use member=0."
            )
        if index not in self._members:
            model = self._member_model(index, self.config, progress)
            self._members[index] = dataclasses.replace(self, user_model=model)
        return self._members[index]

    @cached_property
    def _members(self) -> dict[int, World]:
        return {}

    def _member_model(self, index: int, config: WorldConfig, progress: bool | None) -> UserModel:
        key = content_hash(BUILD_VERSION, self.hash)
        path = artifacts.home() / "worlds" / f"{slug(self.name)}-member-{index}-{key}"
        if not artifacts.kept(path):
            with artifacts.lock(path, "build"):
                if not artifacts.kept(path):
                    self._refit(index, config, progress).save(path)
        return UserModel.load(path)

    def _refit(self, index: int, config: WorldConfig, progress: bool | None) -> UserModel:
        own = np.flatnonzero(~self.heldout)
        drawn = np.random.default_rng([config.split.seed, index]).choice(own, len(own))
        weight = np.bincount(drawn, minlength=self.num_users).astype(np.float32)
        return fit_user_model(
            self.train,
            self.catalog,
            self.interests,
            config.user_model.replace(seed=index),
            chosen=self.user_model,
            # who is not drawn touches nothing shared, but keeps a vector of their own
            folded=self.heldout | (weight == 0),
            weight=weight,
            goes_on=self.goes_on,
            progress=progress,
        )

    def describe(self) -> str:
        """A few lines of Markdown: sizes, where each law comes from, notes."""
        laws = self.user_model.laws
        lines = [
            f"World `{self.name}` ({self.hash}): {self.num_users} users "
            f"({int(self.heldout.sum())} held out), {len(self.catalog)} items, "
            f"{len(self.train)} training events; item vectors from {self.interests.encoder}"
            + ("." if self.interests.is_language_model else " (not a language model)."),
            "",
            "| law | parameters | from |",
            "|---|---|---|",
        ]
        lines += [f"| {k} | {v.source} | {v.note}{_errors(v)} |" for k, v in sorted(laws.items())]
        lines += [""] + [f"- {note}" for note in self.notes]
        return "\n".join(lines)

    def save(self, folder: str | Path) -> Path:
        """Write the world as an artifact folder.

        Args:
            folder: not there yet, empty, or of a saved world, which is replaced.

        Raises:
            ArtifactError: something else stands there, or nothing can be written there.
        """
        model_arrays, model_meta = self.user_model.to_artifact()
        arrays = {f"model.{k}": v for k, v in model_arrays.items()}
        arrays |= {"interests.items": self.interests.items, "interests.users": self.interests.users}
        arrays |= {f"train.{k}": self.train.column(k) for k in self.train.events.columns}
        arrays |= {
            "heldout": self.heldout,
            "category": self.catalog.category,
            "price": self.catalog.price,
        }
        if self.goes_on is not None:
            arrays |= {f"goes_on.{k}": v for k, v in self.goes_on._asdict().items()}
        if self.tested_on is not None:
            later = self.tested_on.events
            arrays |= {f"tested_on.{k}": later[k].to_numpy() for k in later.columns}
            arrays["part"] = self.tested_on.part
        if self.catalog.features is not None:
            arrays["features"] = self.catalog.features
        meta = {
            "name": self.name,
            "hash": self.hash,
            "model": model_meta,
            "encoder": self.interests.encoder,
            "is_language_model": self.interests.is_language_model,
            "content_dim": self.interests.content_dim,
            "log": self.train.name,
            "has_impressions": self.train.has_impressions,
            "exposes_catalog": self.train.exposes_catalog,
            "log_notes": list(self.train.notes),
            "notes": list(self.notes),
            "config": self.config.to_dict() if self.config else None,
        }
        names = {
            "item_ids": list(self.catalog.item_ids),
            "text": list(self.catalog.text),
            "category_names": list(self.catalog.category_names),
            "user_ids": list(self.train.user_ids),
        }
        texts = {"names.json": json.dumps(names)}
        return artifacts.save(Path(folder), "world", arrays, meta, texts=texts)

    @classmethod
    def load(cls, folder: str | Path) -> World:
        """Read a world back.

        Raises:
            ArtifactError: see ``artifacts.load``; or its parts do not fit together, or it is
                another world than was saved.
        """
        folder = Path(folder)
        arrays, meta = artifacts.load(folder, "world")
        with artifacts.reading(folder):
            names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
            return cls._from_artifact(arrays, meta, names)

    @classmethod
    def _from_artifact(
        cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], names: dict[str, list[str]]
    ) -> World:
        """World read from what ``save`` wrote, after consistency checks."""
        model = UserModel.from_artifact(under(arrays, "model."), meta["model"])
        interests = InterestVectors.from_artifact(under(arrays, "interests."), meta)
        num_users, num_items = len(model.user_vectors), len(model.item_vectors)
        ids = {key: _strings(names[key]) for key in ("item_ids", "text", "user_ids")}
        if (len(interests.users), len(interests.items)) != (num_users, num_items) or {
            key: len(found) for key, found in ids.items()
        } != {"item_ids": num_items, "text": num_items, "user_ids": num_users}:
            raise ArtifactError(
                f"The model is of {num_users} users and {num_items} items; vectors or names are "
                "of other numbers."
            )
        catalog = Catalog(
            item_ids=ids["item_ids"],
            text=ids["text"],
            category=check_array(arrays, "category", np.int32, (num_items,)),
            category_names=tuple(map(str, names["category_names"])),
            price=check_array(arrays, "price", np.float32, (num_items,)),
            features=arrays.get("features"),
        ).validate()
        events = pd.DataFrame(under(arrays, "train."))
        columns = [c for c in (*EVENT_COLUMNS, *OPTIONAL_EVENT_COLUMNS) if c in events]
        train = InteractionLog(
            events=events[columns],
            user_ids=ids["user_ids"],
            name=str(meta["log"]),
            has_impressions=bool(meta["has_impressions"]),
            exposes_catalog=bool(meta["exposes_catalog"]),
            notes=tuple(map(str, meta["log_notes"])),
        )
        train.check_columns(catalog)
        goes_on = under(arrays, "goes_on.")
        world = cls(
            name=str(meta["name"]),
            catalog=catalog,
            user_model=model,
            interests=interests,
            train=train,
            heldout=check_array(arrays, "heldout", np.bool_, (num_users,)),
            config=WorldConfig.from_dict(meta["config"]) if meta["config"] else None,
            notes=tuple(map(str, meta["notes"])),
            goes_on=Continuation.from_arrays(goes_on, num_users) if goes_on else None,
            tested_on=HeldOutEvents.from_arrays(arrays, train, catalog),
        )
        if meta["hash"] != world.hash:
            raise ArtifactError(
                f"Its content has the hash {world.hash}, not {meta['hash']!r} as when it was saved."
            )
        return world


def build_world(
    log: InteractionLog,
    catalog: Catalog,
    config: WorldConfig | None = None,
    *,
    progress: bool | None = None,
) -> World:
    """Split a log, encode its items, fit its users; cached by content hash in ``RECENV_HOME``.

    Args:
        log: see ``recenv.load`` and ``recenv.read_table``.
        catalog: its items.
        config: default ``WorldConfig()``.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        SchemaError: the log breaks the schema, there is one item only, or the split leaves
            nothing to fit on.
        MissingDependencyError: torch or the encoder's package is not installed.
        ArtifactError: a cached stage is damaged, the message names the folder to delete; or
            nothing can be written in ``RECENV_HOME``.
        LockedError: another process builds it, and is not done after ``locks.LONGEST_WAIT``.
    """
    config = config or WorldConfig()
    if not isinstance(log.name, str) or any("\ud800" <= c <= "\udfff" for c in log.name):
        raise SchemaError(
            f"A log's name must be a text, of any whole characters, but is {log.name!r}. Give "
            "name='...' where the log is read."
        )
    log.validate(catalog.validate())
    if len(catalog) < 2:
        raise SchemaError(
            f"The log {log.name!r} has one item, {catalog.item_ids[0]!r}: there is nothing to "
            "choose from. Give a log, or an item table, with at least two items."
        )
    folder = artifacts.home() / "worlds"
    encoder = item_source(catalog, config.encoder)
    stem = f"{slug(log.name)}-{content_hash(BUILD_VERSION, log.hash, catalog.hash)}"
    interest_key = content_hash(config.split.hash, encoder.identity, config.interest.hash)
    interest_path = folder / f"{stem}-interests-{interest_key}"
    world_path = folder / f"{stem}-world-{content_hash(interest_key, config.user_model.hash)}"
    if artifacts.kept(world_path):
        return World.load(world_path)

    with (
        artifacts.lock(world_path, "build"),
        Progress(f"world {log.name}", 3, unit="stages", shown=progress) as bar,
    ):
        if artifacts.kept(world_path):  # another process built it while this one waited
            return World.load(world_path)
        split = make_split(log, config.split)
        split.check_no_leak(log)
        bar.say("item and interest vectors")
        with artifacts.lock(interest_path, "build"):  # worlds can share it
            if artifacts.kept(interest_path):
                interests = InterestVectors.load(interest_path)
            else:
                interests = fit_vectors(log, catalog, split, config, progress=progress)
                interests.save(interest_path)
        bar.update(2 - bar.done, "user model")
        world = fit_world(log, catalog, split, interests, config, progress=progress)
        world.save(world_path)
        bar.update(3 - bar.done)
    return world


def fit_vectors(
    log: InteractionLog,
    catalog: Catalog,
    split: Split,
    config: WorldConfig,
    *,
    progress: bool | None = None,
) -> InterestVectors:
    """User and item vectors of a log, from the item texts on; see ``fit_interests``.

    Args:
        log: the whole log.
        catalog: its items, which ``config.encoder`` encodes.
        split: of the log.
        config: its ``encoder`` and ``interest`` are used.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        MissingDependencyError: torch or the encoder's package is not installed.
        SchemaError: there is nothing to fit on.
    """
    source = item_source(catalog, config.encoder)
    return fit_interests(
        log,
        split,
        encode_items(catalog, config.encoder, progress=progress),
        config.interest,
        encoder=source.name,
        is_language_model=source.is_language_model,
        progress=progress,
    )


def fit_world(
    log: InteractionLog,
    catalog: Catalog,
    split: Split,
    interests: InterestVectors,
    config: WorldConfig,
    *,
    progress: bool | None = None,
) -> World:
    """The world of a log's users, fitted on the training part of a split.

    Args:
        log: the whole log.
        catalog: its items.
        split: of the log: validation events choose penalties and calibrate, test events and
            held-out users touch nothing that is shared.
        interests: user and item vectors, from the training part.
        config: its ``user_model`` is used; all of it is kept with the world.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        SchemaError: the split leaves nothing to fit on.
        MissingDependencyError: torch is not installed.
    """
    known = split.rows("train", "all")
    train, goes_on = log.take(known), continuation(log, ~known, split.heldout)
    model = fit_user_model(
        train,
        catalog,
        interests,
        config.user_model,
        valid=log.take(split.rows("valid")),
        folded=split.heldout,
        goes_on=goes_on,
        progress=progress,
    )
    return World(
        name=log.name,
        catalog=catalog,
        user_model=model,
        interests=interests,
        train=train,
        heldout=split.heldout,
        config=config,
        notes=(*log.notes, *_level_note(model.laws, config)),
        goes_on=goes_on,
        tested_on=HeldOutEvents.of(log, split),
    )


def _level_note(laws: dict[str, Provenance], config: WorldConfig) -> tuple[str, ...]:
    if laws["click level"].source != "prior":
        return ()
    return (
        "The log has no impressions, so the overall click rate is not fitted: the mean P(click | "
        f"looked at) of a uniformly drawn user and item is set to {config.user_model.click_rate}.",
    )


def _errors(law: Provenance) -> str:
    if not law.spread:
        return ""
    return "; SE " + ", ".join(f"{name} {error:.2g}" for name, error in law.spread.items())


def _strings(values: list[str]) -> npt.NDArray[np.object_]:
    """(n,) objects.

    Raises:
        ArtifactError: they are no list of texts.
    """
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise ArtifactError("names.json must hold lists of texts.")
    out = np.empty(len(values), object)
    out[:] = values
    return out
