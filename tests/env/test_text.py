"""Texts for prompts: items, histories, observations, and slates read back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import recenv
from recenv.env.text import (
    PastEvent,
    describe_items,
    observation_text,
    parse_slate,
    user_history,
)
from recenv.errors import ActionError, ConfigError
from recenv.schema import EVENT_COLUMNS
from recenv.synthetic.world import PlantedConfig, planted_world
from recenv.world import World

TITLES = ["Alien (1979)", "Big", "Good, the  Bad\nand the Ugly, The", "7", "Big", "Heat"]
DAY = 86400.0


@pytest.fixture(scope="module")
def films() -> World:
    world = planted_world(PlantedConfig(num_users=5, num_items=6, num_categories=2))
    text = np.array(TITLES, object)
    rows = [(1, 0, 0.0, 2), (2, 1, DAY, 1), (1, 2, 2 * DAY, 0), (1, 5, 3 * DAY, 1)]
    events = pd.DataFrame(rows, columns=list(EVENT_COLUMNS)).astype(EVENT_COLUMNS)
    return dataclasses.replace(
        world,
        catalog=dataclasses.replace(world.catalog, text=text),
        train=dataclasses.replace(world.train, events=events),
    )


def test_items(films: World) -> None:
    assert describe_items(films, [2, -1, 0]) == [
        "Good, the Bad and the Ugly, The",
        "(empty)",
        "Alien (1979)",
    ]
    assert describe_items(films, np.empty(0, int)) == []
    for wrong, message in (([6], "no item 6"), ([-2], "no item -2"), ([0.5], "integers")):
        with pytest.raises(ConfigError, match=message):
            describe_items(films, wrong)


def test_history_is_the_training_part_oldest_first(films: World) -> None:
    first, last = PastEvent(0, "Alien (1979)", 2, 0.0), PastEvent(5, "Heat", 1, 3 * DAY)
    assert user_history(films, 1) == [first, last]
    assert user_history(films, 1, 1) == [last]
    assert user_history(films, 1, 0) == []
    assert [e.item for e in user_history(films, 1, None, least=0)] == [0, 2, 5]
    assert user_history(films, 0) == []
    for wrong in (5, -1, 1.0, True, "1"):
        with pytest.raises(ConfigError, match="user"):
            user_history(films, wrong)
    with pytest.raises(ConfigError, match="limit"):
        user_history(films, 1, -1)


def test_history_of_a_fitted_log_has_no_later_event(toy: World) -> None:
    user = int(np.flatnonzero(toy.heldout)[0])
    rows = toy.train.events[(toy.train.events.user == user) & (toy.train.events.response > 0)]
    assert [e.item for e in user_history(toy, user, None)] == rows.item.tolist()


def test_texts_of_both_agents(films: World) -> None:
    env = recenv.parallel_env(films, slate_size=2, num_candidates=6, users="all")
    observations, infos = env.reset(seed=0, options={"user": 1})
    env.step({"recommender_0": np.array([1, 1])})
    screen = env.visit.state.slate[0]
    seen = observation_text(films, env.visit.observe("user_0"), user=infos["user_0"]["user"])
    shown = describe_items(films, screen)[0]
    price = films.catalog.price[screen[0]] / films.catalog.price.mean()
    assert seen.splitlines() == [
        "Before, oldest first:",
        "- 1970-01-01 bought: Alien (1979)",
        "- 1970-01-04 clicked: Heat",
        "This visit: 0 rounds so far, satisfaction 0.00, 0.00 mean prices spent.",
        "On screen:",
        f"1. {shown} (price {price:.2f} of the mean)",
        "2. (empty)",
    ]
    env.step({"user_0": np.array([1, 0, 0])})
    observation = env.visit.observe("recommender_0")
    assert isinstance(observation, dict)
    text = observation_text(films, observation, history=1)
    assert text.splitlines() == [
        "Before, oldest first:",
        "- 1970-01-04 clicked: Heat",
        "This visit: 1 rounds so far.",
        f"- {shown}: clicked",
        "Candidates:",
        *(f"{i}. {t}" for i, t in enumerate(describe_items(films, observation["candidates"]), 1)),
    ]
    del observations


def test_observations_that_are_none(films: World) -> None:
    env = recenv.parallel_env(films, slate_size=2, observation="flat")
    observations, _ = env.reset(seed=0)
    with pytest.raises(ConfigError, match="unflatten"):
        observation_text(films, observations["recommender_0"])
    whole = env.unflatten("user_0", observations["user_0"])
    assert "Nothing is on screen." in observation_text(films, whole)
    batch = {name: leaf[None] for name, leaf in whole.items()}
    with pytest.raises(ConfigError, match=r"one visit.*slate \(1, 2\)"):
        observation_text(films, batch)
    with pytest.raises(ConfigError, match="nothing"):
        observation_text(films, {})


@pytest.mark.parametrize(
    "text",
    [
        "3, 1",
        "3 1",
        "[3, 1]",
        "#3\n#1",
        '["good, the bad and the ugly, the", "Alien (1979)"]',
        "Good, the Bad and the Ugly, The\nALIEN (1979)",
        "1. Good, the Bad and the Ugly, The\n2. Alien (1979)",
        "- Good, the Bad and the Ugly, The\n\n* alien  (1979)\n",
    ],
)
def test_slates_are_read(text: str, films: World) -> None:
    np.testing.assert_array_equal(parse_slate(text, films, np.arange(6), 2), [2, 0])


def test_a_title_that_is_a_number_is_the_title(films: World) -> None:
    assert parse_slate("7", films, np.arange(6), 1).tolist() == [3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wants 2 candidates, but the text names 0"),
        ("1, 2, 3", "names 3"),
        ("1, 1", "named twice"),
        ("0, 1", "no candidate 0; they are 1 to 6"),
        ("9, 1", "no candidate 9"),
        ("Allien (1979)\nHeat", "Did you mean candidate 1"),
        ("Big\nHeat", "several candidates: 2, 5"),
        ("Sure! Here is my slate:\n1, 2", "'Sure! Here is my slate:' is no candidate"),
    ],
)
def test_what_is_no_slate_is_refused(text: str, message: str, films: World) -> None:
    with pytest.raises(ActionError, match=message.replace("?", r"\?")):
        parse_slate(text, films, np.arange(6), 2)
