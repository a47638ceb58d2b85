"""What visits are like: length, content, reward, and when users come back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recenv.evaluation.fidelity import comparisons as compare
from recenv.evaluation.fidelity.replay import consume, play_slates, return_days
from recenv.evaluation.fidelity.setting import Setting
from recenv.evaluation.fidelity.visits import (
    Bools,
    Events,
    Ints,
    gaps,
    limit,
    logged_events,
    logged_slates,
)
from recenv.schema import CLICK, PURCHASE
from recenv.world import World

_VISIT = ("leave", "visit length")
_CONTENT = ("click", "click level", "examination")
_WITHIN = ("boredom", "drift", *_VISIT)


class Visiting(Setting):
    """The figures of whole visits."""

    def visits(self) -> None:
        """Whole visits: length, content, reward."""
        if self.kind == "impressions":
            self._slate_visits()
        else:
            self._consuming_visits()

    def _slate_visits(self) -> None:
        visits = limit(self.held.whole, self.config.max_visits, self.rng)
        slates = logged_slates(self.log, self.held, visits)
        kept = np.zeros(len(self.log), bool)
        kept[slates.row] = True
        log = logged_events(self.log, self.held, kept)
        sides = compare.Sides(
            log,
            *(
                play_slates(self.make, world, slates, seed=self.config.seed)
                for world in (self.world, self.trivial)
            ),
        )
        self._count_visits(log)
        to, users = self.findings, log.visitor
        everything = (sides.log, sides.simulated, sides.trivial)
        if self.sessions:
            lengths = [np.maximum.reduceat(e.round, _starts(e)) + 1.0 for e in everything]
            compare.per_visit(to, "visits", "rounds", lengths, users, _VISIT, check="visit length")
            compare.persistence(to, lengths, users, _VISIT)
        else:
            self._no_visits("no sessions")
        if "position" in self.log.events:
            compare.positions(to, sides, self.least)
        else:
            to.cannot_tell("position", ["click rate"], ["position"], "no positions")
        laws = [*_CONTENT, *(_WITHIN if self.sessions else ())]
        if self.least == CLICK:
            clicks = [e.total(e.response >= CLICK) for e in everything]
            compare.per_visit(to, "visits", "clicks", clicks, users, laws, check="clicks per visit")
        self._purchases(sides, [*laws, "purchase"])
        self._content(sides, sides.consumed(self.least), laws)

    def _consuming_visits(self) -> None:
        """Logged and simulated visits of equal size; then visits of the users' own length."""
        some = limit(
            np.bincount(self.held.visit, self.held.rows, len(self.held.visitor)) > 0,
            self.config.max_single_visits,
            self.rng,
        )
        rows = self.held.rows & some[self.held.visit] & (self.log.column("response") >= self.least)
        log = logged_events(self.log, self.held, rows)
        quota = log.total(np.ones(len(log.visit))).astype(np.int64)
        sides = compare.Sides(log, *(self._consume(w, log.visitor, quota) for w in self._worlds))
        self._count_visits(log)
        laws = ["click"]
        self._purchases(sides, ["purchase", *laws] if self.least == CLICK else laws)
        self._content(sides, sides, laws)
        self.findings.cannot_tell("position", ["click rate"], ["position"], "no impressions")
        if not self.sessions:
            self._no_visits("no sessions")
        elif self.world.user_model.visit_length is None:
            self._no_visits("the world has no law of how much a visit takes")
        else:
            self._own_length()

    def _own_length(self) -> None:
        whole = limit(self.held.whole, self.config.max_single_visits, self.rng)
        rows = whole[self.held.visit] & (self.log.column("response") >= self.least)
        log = logged_events(self.log, self.held, rows)
        sides = [self._consume(w, log.visitor, None) for w in self._worlds]
        lengths = [e.total(np.ones(len(e.visit))) for e in (log, *sides)]
        self.counts["visits compared in length"] = len(log.visitor)
        laws = ["visit length"]
        compare.per_visit(
            self.findings, "visits", "items", lengths, log.visitor, laws, check="visit length"
        )
        if self.held.later:
            compare.persistence(self.findings, lengths, log.visitor, laws)
        else:
            what = "persistence of visit length"
            self.findings.cannot_tell("users", [what], [what], "the split cuts through most visits")

    @property
    def _worlds(self) -> tuple[World, World]:
        return self.world, self.trivial

    def _consume(self, world: World, users: Ints, quota: Ints | None) -> Events:
        seen = None
        if self._once:
            seen = np.zeros((self.world.num_users, len(self.world.catalog)), bool)
            past = ~self.held.rows & (self.log.column("response") >= self.least)
            if quota is not None or self.held.later:
                seen[self.log.column("user")[past], self.log.column("item")[past]] = True
        return consume(
            self.make, world, users, quota=quota, seen=seen, least=self.least, seed=self.config.seed
        )

    @property
    def _once(self) -> bool:
        """Whether the log never has an item consumed twice by one user."""
        pairs = self._pairs(self.train)
        return len(pairs) > 0 and len(np.unique(pairs)) == len(pairs)

    def _pairs(self, rows: Bools) -> Ints:
        rows = rows & (self.log.column("response") >= self.least)
        user = self.log.column("user")[rows].astype(np.int64)
        return user * len(self.world.catalog) + self.log.column("item")[rows]

    def _purchases(self, sides: compare.Sides, laws: Sequence[str]) -> None:
        to, users = self.findings, sides.log.visitor
        everything = (sides.log, sides.simulated, sides.trivial)
        fixed = "visits of the logged size" if self.kind != "impressions" else ""
        if self.least == PURCHASE and self.kind != "impressions":
            to.cannot_tell("visits", ["purchases"], [], "visits are compared at equal size")
        else:
            bought = [e.total(e.response == PURCHASE) for e in everything]
            compare.per_visit(
                to,
                "visits",
                "purchases",
                bought,
                users,
                laws,
                check="purchases per visit",
                note=fixed,
            )
        if "value" in self.log.events and self.world.catalog.price.any():
            value = [e.total(e.value) for e in everything]
            compare.per_visit(
                to, "visits", "value", value, users, laws, check="value per visit", note=fixed
            )
        else:
            to.cannot_tell("visits", ["value"], ["value per visit"], "no prices")

    def _content(self, sides: compare.Sides, consumed: compare.Sides, laws: Sequence[str]) -> None:
        to, size = self.findings, len(self.world.catalog)
        # what is clicked nearly always is consumed no more often than what is clicked often: a
        # level that is too high flattens the shares
        click = ["click", "click level"] if self.kind == "consumption" else ["click"]
        compare.items(to, consumed, size, click)
        compare.transitions(to, consumed, self.world.catalog.category, [*click, "boredom", "drift"])
        past = np.unique(self._pairs(~self.held.rows))
        compare.repeats(to, consumed, past, size, ["click", "repeat"])
        price = float(self.world.catalog.price.mean())
        if (
            self.least == PURCHASE
            and self.kind != "impressions"
            and not self.reward.purchase_by_value
        ):
            why = "visits of equal size bring equal rewards"
            to.cannot_tell("reward", ["mean error per visit"], ["reward"], why)
        else:
            more = ["purchase"] if self.least == CLICK else []
            compare.reward(to, sides, self.reward, price, [*laws, *more])

    def _no_visits(self, why: str) -> None:
        self.findings.cannot_tell("visits", ["rounds"], ["visit length"], why)
        what = "persistence of visit length"
        self.findings.cannot_tell("users", [what], [what], why)

    def _count_visits(self, log: Events) -> None:
        self.counts |= {
            "visits compared": len(log.visitor),
            "users compared": len(np.unique(log.visitor)),
        }
        if not self.held.later:
            self.notes.append(
                "The split cuts through most visits, so whole visits are those of the held-out "
                "users over the whole log: what was fitted to these users themselves has seen "
                "the train part of them."
            )

    def returns(self) -> None:
        """Days between visits."""
        names = ("returns", ["days to the next visit"], ["inter-visit time"])
        if not self.sessions:
            self.findings.cannot_tell(*names, "no sessions")
            return
        if self.world.user_model.return_time is None:
            self.findings.cannot_tell(*names, "the world has no law of when users return")
            return
        users, days = gaps(self.log, self.held)
        some = limit(np.ones(len(users), bool), self.config.max_visits, self.rng)
        users, days = users[some], days[some]
        if len(users) < 20:
            self.findings.cannot_tell(*names, "fewer than 20 returns in the held-out part")
            return
        seed = self.config.seed
        sides = [return_days(self.make, w, users, seed=seed) for w in self._worlds]
        self.counts["returns compared"] = len(users)
        values = [days.astype(float), *(s.astype(float) for s in sides)]
        compare.per_visit(
            self.findings,
            "returns",
            "days to the next visit",
            values,
            users,
            ["return"],
            check="inter-visit time",
        )


def _starts(events: Events) -> Ints:
    """First row of each visit; every visit has one."""
    return np.searchsorted(events.visit, np.arange(len(events.visitor)))
