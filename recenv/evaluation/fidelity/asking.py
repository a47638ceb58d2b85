"""What is answered to what is shown: held-out rows and the probabilities of their answers."""

from __future__ import annotations

import dataclasses

import numpy as np

from recenv.evaluation.fidelity import topics
from recenv.evaluation.fidelity.replay import answer_probabilities
from recenv.evaluation.fidelity.setting import Setting
from recenv.evaluation.fidelity.topics import Answers, Floats
from recenv.evaluation.fidelity.visits import (
    Bools,
    Ints,
    Slates,
    consumed_so_far,
    contrasts,
    limit,
    logged_slates,
)
from recenv.schema import CLICK, PURCHASE


class Asking(Setting):
    """The figures of probabilities."""

    def answers(self) -> None:
        """Probabilities of clicks and purchases, who they are of, and what a visit changes."""
        slates = self._slates_to_score()
        own, _ = answer_probabilities(self.make, self.world, slates)
        trivial, _ = answer_probabilities(self.make, self.trivial, slates)
        at = (slates.slate, slates.slot)
        scored = slates.scored & np.isfinite(own[*at, 0])
        self.counts |= {
            "rows scored": int(scored.sum()),
            "users scored": len(np.unique(slates.user[slates.visit])),
        }
        click = self._asked(slates, own, trivial, scored)
        level = ["click level", "click", "examination"] if self.kind == "impressions" else ["click"]
        topics.answers(self.findings, click, level)
        if self.least == CLICK:
            clicked = scored & (slates.responses[at] >= CLICK)
            topics.answers(self.findings, self._bought(slates, own, trivial, clicked), ["purchase"])
        else:
            why = "it has purchases only, so their split into click and purchase is stated"
            self.findings.cannot_tell(
                "purchase given click", ["AUC"], ["purchase given click: level"], why
            )
        topics.distractors(self.findings, click)

        users = self._others(slates.user)
        other, _ = answer_probabilities(self.make, self.world, slates, users)
        topics.gain(
            self.findings,
            "users are themselves",
            ("users", "log-likelihood of own over another user's answers, nats a row"),
            click.levelled(click.own),
            click.levelled(self._consumed(other)[slates.slate, slates.slot][scored]),
            click,
            ["click"],
            self.config.personal_share,
            "knowing who the user is",
        )
        self._memory(slates, click, scored)

    def _memory(self, slates: Slates, click: Answers, scored: Bools) -> None:
        """What a visit's past does to its user."""
        gain = "log-likelihood of knowing the visit's past, nats a row"
        names = ("drift left over, log-odds per SD", "same category again, log-odds per SD")
        checks = ("drift", "boredom")
        if self.kind != "impressions" or not self.sessions:
            why = "no impressions" if self.kind != "impressions" else "no sessions"
            self.findings.cannot_tell(
                "visits", [gain, *names], ["memory within a visit", *checks], why
            )
            return
        fresh, _ = answer_probabilities(self.make, self.world, slates.alone())
        topics.gain(
            self.findings,
            "memory within a visit",
            ("visits", gain),
            click.own,
            self._consumed(fresh)[slates.slate, slates.slot][scored],
            click,
            ["boredom", "drift"],
            self.config.memory_share,
            "knowing what the visit has brought so far",
        )
        world = self.world
        features = consumed_so_far(slates, self.least, world.user_model, world.catalog.category)
        words = ("drift towards what was consumed", "items of a category just consumed")
        for check, name, feature, said in zip(checks, names, features, words, strict=True):
            topics.residual_slope(
                self.findings, check, ("visits", name), feature[scored], click, [check], said
            )

    def _slates_to_score(self) -> Slates:
        inside = np.bincount(self.held.visit, self.held.rows, len(self.held.visitor)) > 0
        chosen = limit(inside, self.config.max_visits, self.rng)
        if self.kind == "impressions":
            return logged_slates(self.log, self.held, chosen)
        rows = self.held.rows & chosen[self.held.visit]
        held = dataclasses.replace(self.held, rows=rows)
        each = self.config.passed_over
        return contrasts(self.log, held, len(self.world.catalog), each, self.rng)

    def _consumed(self, answer: Floats) -> Floats:
        """(S, K) probability of what counts as consumed."""
        return answer[..., 2] if self.least == PURCHASE else answer[..., 1] + answer[..., 2]

    def _asked(self, slates: Slates, own: Floats, trivial: Floats, rows: Bools) -> Answers:
        slate, slot = slates.slate[rows], slates.slot[rows]
        user = slates.user[slates.visit[slate]]
        return Answers(
            name="click" if self.least == CLICK else "purchase",
            law="click",
            user=user,
            weight=slates.weight[rows],
            outcome=slates.responses[slate, slot] >= self.least,
            own=self._consumed(own)[slate, slot],
            trivial=self._consumed(trivial)[slate, slot],
            heldout=self.split.heldout[user],
            level_known=self.kind != "consumption",
        )

    def _bought(self, slates: Slates, own: Floats, trivial: Floats, rows: Bools) -> Answers:
        slate, slot = slates.slate[rows], slates.slot[rows]
        user = slates.user[slates.visit[slate]]

        def given_click(answer: Floats) -> Floats:
            p = answer[slate, slot]
            return p[:, 2] / np.maximum(p[:, 1] + p[:, 2], 1e-12)

        return Answers(
            name="purchase given click",
            law="purchase",
            user=user,
            weight=np.ones(len(slate)),
            outcome=slates.responses[slate, slot] == PURCHASE,
            own=given_click(own),
            trivial=given_click(trivial),
            heldout=self.split.heldout[user],
            level_known=True,
        )

    def _others(self, users: Ints) -> Ints:
        """Each visitor replaced by another one, the same for all of a user's visits."""
        present = self.rng.permutation(np.unique(users))
        another = np.arange(self.world.num_users)
        another[present] = np.roll(present, 1)
        return another[users]
