"""World: everything a simulator needs, built from a log stage by stage.

Each stage (item vectors, interest vectors, user model, world) is an artifact named by the hash
of what it was made from, so that an interrupted build goes on where it stopped and a changed
setting redoes only what depends on it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm.auto import tqdm

from recenv import artifacts
from recenv.config import WorldConfig, content_hash
from recenv.data.split import make_split
from recenv.encoders.interest import InterestVectors, fit_interests
from recenv.encoders.items import encode_items, item_source
from recenv.errors import ConfigError
from recenv.schema import (
    CLICK,
    EVENT_COLUMNS,
    OPTIONAL_EVENT_COLUMNS,
    Catalog,
    InteractionLog,
)
from recenv.users.model import Provenance, UserModel
from recenv.users.visits import Continuation, continuation

BUILD_VERSION = 4
"""Goes up whenever the same log and config would build another world."""

T = TypeVar("T")


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

    def derive(self, key: Hashable, make: Callable[[], T]) -> T:
        """What others make of this world, made once and kept, pickled and shared with it.

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

    def member(self, index: int, *, progress: bool = True) -> World:
        """The same world with users refitted to a bootstrap sample of the users it was fitted on.

        The spread of whatever is measured over members 1, 2, ... is the simulator's own
        uncertainty (the nonparametric bootstrap: Efron, Annals of Statistics 1979). Member 0 is
        the world itself. Members are cached in ``RECENV_HOME``.

        Args:
            index: 0, or any positive number: the seed of the sample.
            progress: show a bar.

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

    def _member_model(self, index: int, config: WorldConfig, progress: bool) -> UserModel:
        path = artifacts.home() / "worlds" / f"{self.name}-member-{index}-{self.hash}"
        if not artifacts.exists(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with artifacts.lock(path.with_suffix(".build")):
                if not artifacts.exists(path):
                    self._refit(index, config, progress).save(path)
        return UserModel.load(path)

    def _refit(self, index: int, config: WorldConfig, progress: bool) -> UserModel:
        own = np.flatnonzero(~self.heldout)
        drawn = np.random.default_rng([config.split.seed, index]).choice(own, len(own))
        return UserModel.fit(
            self.train,
            self.catalog,
            self.interests,
            config.user_model.replace(seed=index),
            chosen=self.user_model,
            folded=self.heldout,
            weight=np.bincount(drawn, minlength=self.num_users).astype(np.float32),
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
        """Write the world as an artifact folder."""
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
            ArtifactError: see ``artifacts.load``.
        """
        arrays, meta = artifacts.load(Path(folder), "world")
        names = json.loads((Path(folder) / "names.json").read_text())
        events = pd.DataFrame(_under(arrays, "train."))
        columns = [c for c in (*EVENT_COLUMNS, *OPTIONAL_EVENT_COLUMNS) if c in events]
        catalog = Catalog(
            item_ids=_strings(names["item_ids"]),
            text=_strings(names["text"]),
            category=arrays["category"],
            category_names=tuple(names["category_names"]),
            price=arrays["price"],
            features=arrays.get("features"),
        )
        return cls(
            name=meta["name"],
            catalog=catalog,
            user_model=UserModel.from_artifact(_under(arrays, "model."), meta["model"]),
            interests=InterestVectors(
                items=arrays["interests.items"],
                users=arrays["interests.users"],
                is_language_model=meta["is_language_model"],
                content_dim=meta["content_dim"],
                encoder=meta["encoder"],
            ),
            train=InteractionLog(
                events=events[columns],
                user_ids=_strings(names["user_ids"]),
                name=meta["log"],
                has_impressions=meta["has_impressions"],
                exposes_catalog=meta["exposes_catalog"],
                notes=tuple(meta["log_notes"]),
            ),
            heldout=arrays["heldout"],
            config=WorldConfig.from_dict(meta["config"]) if meta["config"] else None,
            notes=tuple(meta["notes"]),
            goes_on=Continuation(**_under(arrays, "goes_on.")) if "goes_on.end" in arrays else None,
        )


def build_world(
    log: InteractionLog,
    catalog: Catalog,
    config: WorldConfig | None = None,
    *,
    progress: bool = True,
) -> World:
    """Split a log, encode its items, fit its users; cached by content hash in ``RECENV_HOME``.

    Args:
        log: see ``recenv.load`` and ``recenv.read_table``.
        catalog: its items.
        config: default ``WorldConfig()``.
        progress: show a bar.

    Raises:
        SchemaError: the log breaks the schema, or the split leaves nothing to fit on.
        MissingDependencyError: torch or the encoder's package is not installed.
        ArtifactError: a cached stage is damaged; the message names the folder to delete.
    """
    config = config or WorldConfig()
    log.validate(catalog.validate())
    folder = artifacts.home() / "worlds"
    encoder = item_source(catalog, config.encoder)
    stem = f"{log.name}-{content_hash(BUILD_VERSION, log.hash, catalog.hash)}"
    interest_key = content_hash(config.split.hash, encoder.identity, config.interest.hash)
    interest_path = folder / f"{stem}-interests-{interest_key}"
    world_path = folder / f"{stem}-world-{content_hash(interest_key, config.user_model.hash)}"
    if artifacts.exists(world_path):
        return World.load(world_path)

    folder.mkdir(parents=True, exist_ok=True)
    with (
        artifacts.lock(world_path.with_suffix(".build")),
        tqdm(total=3, desc=f"world {log.name}", unit="stage", disable=not progress) as bar,
    ):
        if artifacts.exists(world_path):  # another process built it while this one waited
            return World.load(world_path)
        split = make_split(log, config.split)
        split.check_no_leak(log)
        bar.set_postfix_str("encoding item texts")
        with artifacts.lock(interest_path.with_suffix(".build")):  # worlds can share it
            if artifacts.exists(interest_path):
                interests = InterestVectors.load(interest_path)
            else:
                item_vectors = encode_items(catalog, config.encoder, progress=progress)
                bar.update()
                bar.set_postfix_str("interest vectors")
                interests = fit_interests(
                    log,
                    split,
                    item_vectors,
                    config.interest,
                    encoder=encoder.name,
                    is_language_model=encoder.is_language_model,
                    progress=progress,
                )
                interests.save(interest_path)
        bar.update(2 - bar.n)
        bar.set_postfix_str("user model")
        train = log.take(split.rows("train", "all"))
        goes_on = continuation(log, ~split.rows("train", "all"), split.heldout)
        model = UserModel.fit(
            train,
            catalog,
            interests,
            config.user_model,
            valid=log.take(split.rows("valid")),
            folded=split.heldout,
            goes_on=goes_on,
            progress=progress,
        )
        world = World(
            name=log.name,
            catalog=catalog,
            user_model=model,
            interests=interests,
            train=train,
            heldout=split.heldout,
            config=config,
            notes=(*log.notes, *_level_note(model.laws, config)),
            goes_on=goes_on,
        )
        world.save(world_path)
        bar.update(3 - bar.n)
        bar.set_postfix_str("")
    return world


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
    out = np.empty(len(values), object)
    out[:] = values
    return out


def _under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
