"""Recordings of visits: ids of slates and answers, from which the simulator rebuilds the rest.

A round is the ids of its slate and its answers, a few dozen bytes; observations are a thousand
times that. ``training.sampling.demonstrations`` plays recordings back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recenv.errors import ArtifactError, ConfigError
from recenv.progress import Progress
from recenv.recommenders.base import PrivilegedRecommender, Recommender
from recenv.recommenders.play import play
from recenv.sim.simulator import Simulator
from recenv.users.user_policy import UserPolicy

FORMAT = 1
"""Goes up when a file of an older kind can no longer be read."""

_RECORDED = np.uint64(1 << 62)  # sessions that neither training nor evaluation counts up to
_META = b"recenv"


@dataclass(frozen=True)
class RecordedVisits:
    """V visits of R rounds in all, those of a visit one after the other.

    Attributes:
        seed: (V,) uint64 of the simulator's reset.
        session: (V,) uint64 of the same.
        user: (V,) int32 codes.
        starts: (V + 1,) int64: rounds [starts[v], starts[v + 1]) are of visit v.
        slates: (R, K) int32 codes of the items shown, -1 in an empty slot.
        answers: (R, K + 1) int8: 0 ignore, 1 click, 2 purchase of each slot; then 1 to leave.
        rewards: (V, 2) float64 of recommender and user, summed over the visit; None if unknown.
    """

    seed: npt.NDArray[np.uint64]
    session: npt.NDArray[np.uint64]
    user: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    slates: npt.NDArray[np.int32]
    answers: npt.NDArray[np.int8]
    rewards: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.user)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(V,) rounds of each visit."""
        return np.diff(self.starts)


def record(
    simulator: Simulator,
    recommender: Recommender | PrivilegedRecommender,
    user_policy: UserPolicy | None = None,
    *,
    visits: int,
    seed: int = 0,
    batch_size: int = 1024,
    progress: bool | None = None,
) -> RecordedVisits:
    """Play visits of users from the game's pool and keep what was shown and answered.

    Args:
        simulator: the world and the game.
        recommender: fills the slates; a privileged one is given the true state.
        user_policy: answers them; the fitted user by default.
        visits: V.
        seed: of their draws. Training and evaluation with the same seed have other ones.
        batch_size: visits at a time; results do not depend on it.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        ConfigError: there is no visit, or a negative seed.
    """
    for name, value, least in (("visits", visits, 1), ("batch_size", batch_size, 1)):
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, but is {value}.")
    if seed < 0:
        raise ConfigError(f"seed must be zero or more, but is {seed}.")
    parts: list[RecordedVisits] = []
    label = f"recording {recommender.name}"
    with Progress(label, visits, unit="visits", shown=progress) as bar:
        for start in range(0, visits, batch_size):
            count = min(batch_size, visits - start)
            sessions = _RECORDED + np.arange(start, start + count, dtype=np.uint64)
            parts.append(_played(simulator, recommender, user_policy, seed, sessions))
            bar.update(count)
    return _joined(parts)


def _played(
    simulator: Simulator,
    recommender: Recommender | PrivilegedRecommender,
    user_policy: UserPolicy | None,
    seed: int,
    sessions: npt.NDArray[np.uint64],
) -> RecordedVisits:
    batch = len(sessions)
    seeds = np.full(batch, seed, np.uint64)
    state = simulator.reset(seeds, sessions=sessions)
    users, rewards = state.user.copy(), np.zeros((batch, 2))
    visit: list[npt.NDArray[np.intp]] = []
    slates: list[npt.NDArray[np.int32]] = []
    answers: list[npt.NDArray[np.int8]] = []
    for played in play(simulator, recommender, user_policy, state):
        outcome = played.outcome
        visit.append(played.rows)
        slates.append(played.state.last_slate.copy())
        answers.append(outcome.answers)
        rewards[played.rows] += np.stack([outcome.recommender_reward, outcome.user_reward], axis=1)
    of = np.concatenate(visit)
    order = np.argsort(of, kind="stable")
    return RecordedVisits(
        seed=seeds,
        session=sessions,
        user=users,
        starts=np.concatenate([[0], np.cumsum(np.bincount(of, minlength=batch))]),
        slates=np.concatenate(slates)[order],
        answers=np.concatenate(answers)[order],
        rewards=rewards,
    )


def _joined(parts: list[RecordedVisits]) -> RecordedVisits:
    edges = np.cumsum([0, *(p.starts[-1] for p in parts)])
    starts = [p.starts[:-1] + at for p, at in zip(parts, edges, strict=False)]
    return RecordedVisits(
        seed=np.concatenate([p.seed for p in parts]),
        session=np.concatenate([p.session for p in parts]),
        user=np.concatenate([p.user for p in parts]),
        starts=np.concatenate([*starts, edges[-1:]]),
        slates=np.concatenate([p.slates for p in parts]),
        answers=np.concatenate([p.answers for p in parts]),
        rewards=np.concatenate([p.rewards for p in parts if p.rewards is not None]),
    )


def save(path: Path, visits: RecordedVisits, meta: dict[str, Any]) -> Path:
    """Write visits as a Parquet file: one row a visit.

    Args:
        path: of the file; there only once it is whole.
        visits: with rewards or without.
        meta: whatever a reader must know; any JSON. ``load`` returns it.
    """

    def lists(rounds: np.ndarray) -> pa.ListArray:
        width = rounds.shape[1]
        values = pa.array(np.ascontiguousarray(rounds).reshape(-1))
        return pa.ListArray.from_arrays(pa.array((visits.starts * width).astype(np.int32)), values)

    columns: dict[str, Any] = {
        "seed": visits.seed,
        "session": visits.session,
        "user": visits.user,
        "slates": lists(visits.slates),
        "answers": lists(visits.answers),
    }
    if visits.rewards is not None:
        columns["recommender_reward"] = visits.rewards[:, 0]
        columns["user_reward"] = visits.rewards[:, 1]
    own = {"format": FORMAT, "slots": visits.slates.shape[1]}
    table = pa.table(columns).replace_schema_metadata({_META: json.dumps({**meta, **own})})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        pq.write_table(table, part, compression="zstd")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def load(path: Path) -> tuple[RecordedVisits, dict[str, Any]]:
    """Visits that ``save`` wrote, and their ``meta``.

    Raises:
        ArtifactError: there is no such file, or it holds no recording.
    """
    meta = read_meta(path)
    table = pq.read_table(path)

    def rounds(name: str, width: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
        lists = table.column(name).combine_chunks()
        lengths: Any = pc.list_value_length(lists)  # type: ignore[attr-defined]
        starts = np.concatenate([[0], np.cumsum(lengths.to_numpy())])
        return starts // width, lists.flatten().to_numpy().astype(dtype).reshape(-1, width)

    slots = meta["slots"]
    starts, slates = rounds("slates", slots, np.int32)
    rewards = None
    if "user_reward" in table.column_names:
        names = ("recommender_reward", "user_reward")
        rewards = np.stack([table.column(n).to_numpy() for n in names], axis=1)
    return RecordedVisits(
        seed=table.column("seed").to_numpy(),
        session=table.column("session").to_numpy(),
        user=table.column("user").to_numpy(),
        starts=starts.astype(np.int64),
        slates=slates,
        answers=rounds("answers", slots + 1, np.int8)[1],
        rewards=rewards,
    ), meta


def read_meta(path: Path) -> dict[str, Any]:
    """The ``meta`` of a recording alone.

    Raises:
        ArtifactError: as ``load``.
    """
    advice = "Record visits with recenv record --out FILE.parquet."
    if not path.is_file():
        raise ArtifactError(f"There is no recording {path}. {advice}")
    try:
        found = (pq.read_schema(path).metadata or {}).get(_META)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"{path} is no Parquet file, or a damaged one. {advice}") from error
    if found is None:
        raise ArtifactError(f"{path} is a Parquet file, but holds no recorded visits. {advice}")
    meta = json.loads(found)
    if meta["format"] != FORMAT:
        raise ArtifactError(
            f"{path} is a recording of format {meta['format']}; this version reads {FORMAT}. "
            "Record the visits again."
        )
    return meta
