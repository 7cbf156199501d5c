"""The life of a firm as a state machine: whatever comes in, in whatever order, its books are those by hand."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from etl.core.payouts import Batch
from etl.core.period import last_day, next_month
from etl.remit import Decision, DecisionKind
from etl.remit import decide as decide_remittance
from tests.books import draws
from tests.books.firm import Firm, Snapshot
from tests.books.known import MEMBERS, PARTNERS, Known
from tests.chain.house import written
from tests.chain.naive import told_breaks
from tests.reconcile.naive import Delivery
from tests.remit.statements import load
from tests.remit.test_properties import _statements

DECISIONS = ("accept_click", "accept_click", "no_cashback", "release_hold", "undo", "wait", "dispute")
ACCOUNTS = tuple(f"{partner}_main" for partner in PARTNERS)
TERMS = (
    ("commission_share", Decimal("0.3333"), "EUR"),
    ("commission_share", Decimal("0.8"), "JPY"),
    ("sale_rate", Decimal("0.015"), "EUR"),
    ("fixed", Decimal("2.5"), "EUR"),
)
# The first is the cheapest: Hypothesis begins with a life of nothing else, and with an empty one.
EVENTS = (
    *("pay_out",) * 8, *("wait",) * 4, *("deliver",) * 4, *("pay_us",) * 4,
    "change_rule", "decide", "decide", "withhold", "close", "close", "replay",
)  # fmt: skip
Sums = dict[tuple[object, ...], object]


class Life(RuleBasedStateMachine):
    """What the world does to the firm, and what must hold after each of it."""

    firm: Firm
    # What was seen in all lives, so that a run of thousands of steps can say that it was not about nothing.
    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.month = date(2026, 2, 1)
        self.closing: dict[date, Sums] = {}
        self.closed: dict[date, Snapshot] = {}
        self.batches: dict[str, Batch] = {}
        self.files: list[tuple[str, ...]] = []
        self.is_checked = False
        self.numbers = itertools.count(1)

    @property
    def known(self) -> Known:
        return self.firm.known

    @initialize()
    def begin(self) -> None:
        self.firm.begin()
        self._land(draws.first_delivery(self.known))
        self.firm.track_clicks()
        self.book()

    def book(self) -> None:
        """Bring the books up to what is known now."""
        self.firm.keep_books()
        last = self.known.last = self.known.expected()
        self.is_checked = False
        self.seen.update({kind for _, kind in last.answer.breaks})
        self.seen.update({rule for _, rule, *_ in last.allocations.values()})
        self.seen.update({sale.rule or sale.outcome for sale in last.answer.sales.values()})
        self.seen.update({f"in {currency}" for _, _, _, currency, _ in last.sales})
        self.seen["negative payable"] += any(self.known.payable(member) < 0 for member in MEMBERS)

    # --- what partners, members and people say ---------------------------------------------------------------------

    @rule(data=st.data(), what=st.sampled_from(EVENTS))
    def happen(self, data: st.DataObject, what: str) -> None:
        """Let one thing happen: one rule for all, for Hypothesis leaves some rules out of each life."""
        self.seen["steps"] += 1
        self.seen[f"step: {what}"] += 1
        getattr(self, f"_{what}")(data)

    def _deliver(self, data: st.DataObject) -> None:
        self._land(draws.delivery(data, self.known, data.draw(st.sampled_from(PARTNERS))))
        self.firm.track_clicks()
        self.book()

    def _land(self, delivery: Delivery) -> None:
        self.known.deliveries.append(delivery)
        day = self.known.day
        assert self.firm.deliver(delivery, day - timedelta(days=15), day + timedelta(days=1))

    def _wait(self, data: st.DataObject) -> None:
        """Let days pass; in a life without news nothing could go wrong, so every morning brings some."""
        before = self.known.day
        self.known.day += timedelta(days=data.draw(st.integers(1, 14)))
        self.known.minute = 0
        self.known.publish(before)
        self.firm.refer(self.known.programs, self.known.rules, self.known.rates)
        for partner in data.draw(st.lists(st.sampled_from(PARTNERS), min_size=1, max_size=3, unique=True)):
            self._land(draws.delivery(data, self.known, partner))
        self.firm.track_clicks()
        self.book()

    def _change_rule(self, data: st.DataObject) -> None:
        partner, terms = data.draw(st.sampled_from(PARTNERS)), data.draw(st.sampled_from(TERMS))
        # What is past holds: a rule changes from a later day on.
        begin = self.known.tick() + timedelta(days=1)
        for place, one in enumerate(self.known.rules):
            if one["program_id"] == f"p-{partner}" and one["valid_until"] is None:
                self.known.rules[place] = one | {"valid_until": begin}
        self.known.rules.append(self.known.rule_of(partner, *terms, begin))
        self.firm.refer(self.known.programs, self.known.rules, self.known.rates)
        self.book()

    def _decide(self, data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(("accept_click", "accept_click", "no_cashback", "release_hold", "undo")))
        rows = self.firm.ask(
            "SELECT partner_account, transaction_id, line_id, kind, amount, currency, sale_id, evidence_hash"
            " FROM ops.break WHERE sale_id IS NOT NULL AND kind NOT LIKE 'remittance%%'"
            " AND kind <> 'carry_forward_differs'"
            " ORDER BY 1, 2, 3, 4"
        )
        undone = data.draw(st.sampled_from(self.known.decisions)) if kind == "undo" and self.known.decisions else None
        clicks = [one["click_id"] for one in self.known.clicks]
        if not rows or (kind == "undo" and undone is None) or (kind == "accept_click" and not clicks):
            return
        *key, told, amount, currency, sale_id, evidence = data.draw(st.sampled_from(rows))
        decision = {
            "decision_id": f"d{next(self.numbers)}",
            "kind": kind,
            "sale_id": undone["sale_id"] if undone else sale_id,
            "click_id": data.draw(st.sampled_from(clicks)) if kind == "accept_click" else None,
            "undoes": undone["decision_id"] if undone else None,
            "decided_at": self.known.tick(),
            "evidence_hash": "gone" if undone else evidence,
            **dict(zip(("partner_account", "transaction_id", "line_id"), key, strict=True)),
            "break_kind": told,
            "amount": amount,
            "currency": currency,
            "until_on": date(2027, 1, 1) if kind == "wait" else None,
            "needs_agreement": False,
            "agreed_at": None,
            "answers": None if undone else (tuple(key), told),
            "seen": self.known.last.answer.seen.get((tuple(key), told)) if self.known.last else None,
        }
        self.known.decisions.append(decision)
        self.firm.decide([decision])
        self.book()

    def _pay_us(self, data: st.DataObject) -> None:
        account = data.draw(st.sampled_from(ACCOUNTS))
        one = draws.remittance(data, self.known, account)
        self.known.remittances.append(one)
        self.files.append((one.remittance_id, account))
        context = self.firm.context
        assert load(context, _statements(one), account, name=f"{next(self.numbers)}.csv").count("rejects") == 0
        self.book()

    def _withhold(self, data: st.DataObject) -> None:
        """Let a person keep the money of a remittance unallocated, or take that back."""
        if not self.known.remittances:
            return
        place = data.draw(st.integers(0, len(self.known.remittances) - 1))
        named = self.known.remittances[place]
        same = [
            other
            for other, one in enumerate(self.known.remittances)
            if (one.account, one.remittance_id) == (named.account, named.remittance_id)
        ]
        newest = self.known.remittances[max(same, key=lambda other: self.known.remittances[other].revision)]
        name = f"{newest.account}:{newest.remittance_id}"
        by = self.firm.by("Clara")
        if newest.is_withheld:
            (decision,) = self.firm.ask(
                "SELECT decision_id FROM ops.remittance_decision AS d WHERE kind = 'withhold' AND partner_account = %s"
                " AND remittance_id = %s AND revision = %s AND NOT EXISTS"
                " (SELECT 1 FROM ops.remittance_decision AS u WHERE u.undoes = d.decision_id)",
                newest.account, newest.remittance_id, newest.revision,
            )  # fmt: skip
            decide_remittance(by, Decision(DecisionKind.UNDO, name, "it is ours", str(decision[0])))
        else:
            decide_remittance(by, Decision(DecisionKind.WITHHOLD, name, "whose is it?"))
        newest_place = self.known.remittances.index(newest)
        self.known.remittances[newest_place] = draws.replaced(newest, not newest.is_withheld)
        self.book()

    def _close(self, _: st.DataObject) -> None:
        month = self.month
        if self.known.day <= last_day(month):
            return
        is_closed = self.firm.close(month)
        self.closing[month] = self.firm.month(month)[0]
        self.seen["closed" if is_closed else "closing"] += 1
        if is_closed:
            del self.closing[month]
            self.closed[month] = self.firm.month(month)
            self.month = next_month(month)
        self.is_checked = False

    def _replay(self, data: st.DataObject) -> None:
        """Let something come once more, and run everything once more: nothing is written."""
        delivery = data.draw(st.sampled_from(self.known.deliveries))
        assert not self.firm.deliver(delivery, self.known.day, self.known.day + timedelta(days=1))
        assert self.firm.refer(self.known.programs, self.known.rules, self.known.rates) == 0
        if self.known.remittances:
            one = data.draw(st.sampled_from(self.known.remittances))
            again = load(self.firm.context, _statements(one), one.account, name="again.csv")
            assert (again.count("new"), again.count("rejects")) == (0, 0)
        assert written(self.firm.keep_books()) == 0

    # --- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def the_books_are_those_by_hand(self) -> None:
        if self.is_checked or self.known.last is None:
            return
        self.is_checked = True
        last = self.known.last
        assert self.firm.books("sale") == last.sales
        assert self.firm.books("remittance") == last.remittances
        breaks = {
            row[:4]: None if row[3] == "commission_differs" else row[4]
            for row in self.firm.ask(
                "SELECT partner_account, transaction_id, line_id, kind, amount FROM ops.break"
                " WHERE kind NOT LIKE 'remittance%%' AND kind <> 'carry_forward_differs'"
            )
        }
        assert breaks == told_breaks(last.answer)
        assert self.firm.differing() == []

    @invariant()
    def closed_months_stay(self) -> None:
        for month, sums in self.closing.items():
            assert self.firm.month(month)[0] == sums
        for month, snapshot in self.closed.items():
            assert self.firm.month(month) == snapshot
        if self.closed and self.is_checked:
            late = self.firm.ask("SELECT 1 FROM ledger.posting WHERE booked_on > effective_for LIMIT 1")
            self.seen["booked late"] += len(late)
