"""Texts of items, histories and observations, from which prompts are built, and slates read back.

A language model that recommends reads ``observation_text`` and its answer is read by
``parse_slate``; one that plays the user reads the same of the user's observation.
"""

from __future__ import annotations

import datetime
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.errors import ActionError, ConfigError
from recenv.schema import CLICK, IGNORE, PURCHASE
from recenv.sim.state import EMPTY
from recenv.world import World

RESPONSES = {IGNORE: "ignored", CLICK: "clicked", PURCHASE: "bought"}
"""A response in words."""


class PastEvent(NamedTuple):
    """One event of a user's history."""

    item: int
    """Item code."""
    text: str
    """The item's text, as ``describe_items`` gives it."""
    response: int
    """0 ignore, 1 click, 2 purchase."""
    time: float
    """Seconds since 1970-01-01 UTC."""


def describe_items(world: World, codes: npt.ArrayLike) -> list[str]:
    """The catalogue's text of each item, its white space made single spaces.

    Args:
        world: its catalogue.
        codes: (n,) item codes; -1, an empty slot, becomes "(empty)".

    Raises:
        ConfigError: there is no such item.
    """
    items = len(world.catalog)
    asked = np.atleast_1d(np.asarray(codes))
    if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
        raise ConfigError(
            f"Item codes are a list of integers, but got shape {asked.shape} and dtype "
            f"{asked.dtype}."
        )
    bad = (asked < EMPTY) | (asked >= items)
    if bad.any():
        raise ConfigError(
            f"There is no item {asked[bad][0]}; the world {world.name!r} has items 0 to "
            f"{items - 1}."
        )
    texts = world.catalog.text
    return ["(empty)" if c == EMPTY else " ".join(str(texts[c]).split()) for c in asked.tolist()]


def user_history(
    world: World, user: int, limit: int | None = 20, *, least: int = CLICK
) -> list[PastEvent]:
    """A user's last events in the training part of the log, oldest first.

    What validation and testing know of the user is not there. A user who was held out has a
    training part too: what the platform has seen of it.

    Args:
        world: its training log.
        user: code.
        limit: the most events; None: all.
        least: the least response: 1 gives clicks and purchases, 0 what was ignored too.

    Raises:
        ConfigError: there is no such user, or ``limit`` is negative.
    """
    if isinstance(user, bool) or not isinstance(user, int | np.integer):
        raise ConfigError(f"A user is named by its code, an integer, but got {user!r}.")
    if not 0 <= user < world.num_users:
        raise ConfigError(
            f"There is no user {user}; the world {world.name!r} has users 0 to "
            f"{world.num_users - 1}."
        )
    if limit is not None and limit < 0:
        raise ConfigError(f"limit must be zero or more, or None, but is {limit}.")
    log = world.train
    rows = np.flatnonzero((log.column("user") == user) & (log.column("response") >= least))
    if limit is not None:
        rows = rows[len(rows) - min(limit, len(rows)) :]
    items = log.column("item")[rows]
    responses, times = log.column("response")[rows].tolist(), log.column("time")[rows].tolist()
    texts = describe_items(world, items)
    return [PastEvent(*e) for e in zip(items.tolist(), texts, responses, times, strict=True)]


def observation_text(
    world: World,
    observation: Mapping[str, np.ndarray],
    *,
    user: int | None = None,
    history: int = 10,
) -> str:
    """One agent's observation in words.

    Of the recommender's: what its user did before (training part), this visit so far, and the
    candidates numbered from 1. Of the user's: what it did before, its satisfaction and spending,
    and the slots on screen, numbered from 1, with prices.

    Args:
        world: where the observation is from.
        observation: of one visit, a dict (``env.unflatten`` makes one of a flat vector).
        user: code of the user, whose observation does not tell it (``infos`` of a reset do); a
            recommender's observation has it. Without it a user's text has no history.
        history: the most events of the past that are told.

    Raises:
        ConfigError: it is no such observation.
    """
    if not isinstance(observation, Mapping):
        raise ConfigError(
            f"A dict observation of one visit is wanted, but got {type(observation).__name__}. "
            "env.unflatten(agent, vector) makes one of a flat observation."
        )
    kind = next((key for key in ("candidates", "slate") if key in observation), None)
    if kind is None or np.ndim(observation[kind]) != 1:
        raise ConfigError(
            "An observation of one visit has a vector of 'candidates' (the recommender's) or of "
            f"'slate' (the user's), but this one has {_shapes(observation)}."
        )
    if kind == "candidates":
        return _recommender_text(world, observation, history)
    return _user_text(world, observation, user, history)


def parse_slate(
    text: str, world: World, candidates: npt.NDArray[np.integer], slate_size: int
) -> npt.NDArray[np.int64]:
    """Candidate indices from the answer of a language model.

    Understood are numbers, as ``observation_text`` has them (from 1): ``3, 1, 7``, one on a
    line, or ``[3, 1, 7]``; and titles, one on a line, with or without a bullet or number, or as a
    JSON list. Upper and lower case are the same.

    Args:
        text: the answer.
        world: its catalogue has the titles.
        candidates: (C,) item codes, as in the observation.
        slate_size: K.

    Returns:
        (K,) index into ``candidates`` for each slot.

    Raises:
        ActionError: not K entries, one that is no candidate, or one twice; the message says
            which, so that it can be shown to the model.
    """
    titles = [title.casefold() for title in describe_items(world, candidates)]
    chosen = [_candidate(entry, titles) for entry in _entries(text)]
    if len(chosen) != slate_size:
        raise ActionError(
            f"A slate wants {slate_size} candidates, but the text names {len(chosen)}: {text!r}. "
            "Name each by its number, separated by commas."
        )
    twice = sorted({index + 1 for index in chosen if chosen.count(index) > 1})
    if twice:
        raise ActionError(
            f"Candidate {twice[0]} is named twice: {text!r}. Name {slate_size} different ones."
        )
    return np.array(chosen, np.int64)


def _recommender_text(world: World, observation: Mapping[str, np.ndarray], history: int) -> str:
    user, rounds = int(observation["user"][0]), int(observation["round"][0])
    lines = _past(world, user, history)
    seen = observation["history_items"]
    known = np.flatnonzero(seen != EMPTY)[::-1]  # the latest stands first
    lines.append(f"This visit: {rounds} rounds so far.")
    responses = observation["history_responses"][known].tolist()
    for text, response in zip(describe_items(world, seen[known]), responses, strict=True):
        lines.append(f"- {text}: {RESPONSES[response]}")
    lines.append("Candidates:")
    lines += _numbered(describe_items(world, observation["candidates"]))
    return "\n".join(lines)


def _user_text(
    world: World, observation: Mapping[str, np.ndarray], user: int | None, history: int
) -> str:
    lines = [] if user is None else _past(world, user, history)
    lines.append(
        f"This visit: {int(observation['round'][0])} rounds so far, satisfaction "
        f"{observation['satisfaction'][0]:.2f}, {observation['spent'][0]:.2f} mean prices spent."
    )
    slate, prices = observation["slate"], observation["prices"].tolist()
    if (slate == EMPTY).all():
        return "\n".join([*lines, "Nothing is on screen."])
    texts = [
        text if code == EMPTY else f"{text} (price {price:.2f} of the mean)"
        for text, code, price in zip(describe_items(world, slate), slate, prices, strict=True)
    ]
    return "\n".join([*lines, "On screen:", *_numbered(texts)])


def _past(world: World, user: int, limit: int) -> list[str]:
    past = user_history(world, user, limit)
    if not past:
        return ["Before: nothing."]
    return ["Before, oldest first:"] + [
        f"- {_day(event.time)} {RESPONSES[event.response]}: {event.text}" for event in past
    ]


def _day(seconds: float) -> str:
    day = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return f"{day:%Y-%m-%d}"


def _numbered(texts: Iterable[str]) -> list[str]:
    return [f"{number}. {text}" for number, text in enumerate(texts, 1)]


def _shapes(observation: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{k} {np.shape(v)}" for k, v in observation.items()) or "nothing"


def _entries(text: str) -> list[str]:
    """Numbers or titles, in order."""
    told = text.strip()
    if told.startswith("["):
        try:
            return [str(entry) for entry in json.loads(told)]
        except ValueError:
            pass  # no JSON: read as lines
    entries: list[str] = []
    for line in filter(None, map(str.strip, told.splitlines())):
        if re.fullmatch(r"\[?\s*#?\d+([\s,;]+#?\d+)*\s*\]?\.?", line):
            entries += re.findall(r"\d+", line)
        else:
            entries.append(line)
    return entries


def _candidate(entry: str, titles: list[str]) -> int:
    """The index of what an entry names."""
    whole = " ".join(entry.split()).casefold()
    for name in (whole, re.sub(r"^([-*•]|#?\d+[.):])\s*", "", whole)):
        found = [index for index, title in enumerate(titles) if title == name]
        if len(found) > 1:
            numbers = ", ".join(str(index + 1) for index in found)
            raise ActionError(
                f"{entry!r} is the text of several candidates: {numbers}. Give the number."
            )
        if found:
            return found[0]
    if re.fullmatch(r"#?\d+", whole):
        number = int(whole.removeprefix("#"))
        if not 1 <= number <= len(titles):
            raise ActionError(f"There is no candidate {number}; they are 1 to {len(titles)}.")
        return number - 1
    close = difflib.get_close_matches(whole, titles, n=1, cutoff=0.6)
    hint = f" Did you mean candidate {titles.index(close[0]) + 1}?" if close else ""
    raise ActionError(
        f"{entry!r} is no candidate.{hint} Name candidates by their numbers, 1 to {len(titles)}."
    )
