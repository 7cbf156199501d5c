"""The life of a firm as a state machine: whatever comes in, in whatever order, its books are those by hand."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from etl.core.errors import Retry, Stop
from etl.core.payouts import Batch
from etl.core.period import last_day, next_month
from etl.remit import Decision, DecisionKind
from etl.remit import decide as decide_remittance
from etl.settle import Resolution, cancel, resolve, return_payout, settle
from tests.books import draws
from tests.books.firm import Firm, Snapshot
from tests.books.known import ACTIVE, MEMBERS, PARTNERS, Known, PaidOut
from tests.chain.house import written
from tests.chain.naive import told_breaks
from tests.remit.statements import load
from tests.remit.test_properties import _statements

FAILURES = ("", "", "before put", "after put", "before finish", "after finish")
DECISIONS = ("accept_click", "accept_click", "no_cashback", "release_hold", "undo", "wait", "dispute")
ACCOUNTS = tuple(f"{partner}_main" for partner in PARTNERS)
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
        delivery = draws.first_delivery(self.known)
        self.known.deliveries.append(delivery)
        assert self.firm.deliver(delivery, self.known.day - timedelta(days=15), self.known.day + timedelta(days=1))
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

    @rule(data=st.data(), partner=st.sampled_from(PARTNERS))
    def deliver(self, data: st.DataObject, partner: str) -> None:
        delivery = draws.delivery(data, self.known, partner)
        self.known.deliveries.append(delivery)
        day = self.known.day
        assert self.firm.deliver(delivery, day - timedelta(days=15), day + timedelta(days=1))
        self.firm.track_clicks()
        self.book()

    @rule(days=st.integers(1, 14))
    def wait(self, days: int) -> None:
        before = self.known.day
        self.known.day += timedelta(days=days)
        self.known.minute = 0
        self.known.publish(before)
        self.firm.refer(self.known.programs, self.known.rules, self.known.rates)
        self.firm.track_clicks()
        self.book()

    @rule(
        partner=st.sampled_from(PARTNERS),
        terms=st.sampled_from(
            (
                ("commission_share", Decimal("0.3333"), "EUR"),
                ("commission_share", Decimal("0.8"), "JPY"),
                ("sale_rate", Decimal("0.015"), "EUR"),
                ("fixed", Decimal("2.5"), "EUR"),
            )
        ),
    )
    def change_rule(self, partner: str, terms: tuple[str, Decimal, str]) -> None:
        begin = self.known.tick()
        for place, one in enumerate(self.known.rules):
            if one["program_id"] == f"p-{partner}" and one["valid_until"] is None:
                self.known.rules[place] = one | {"valid_until": begin}
        self.known.rules.append(self.known.rule_of(partner, *terms, begin))
        self.firm.refer(self.known.programs, self.known.rules, self.known.rates)
        self.book()

    @precondition(lambda self: self.known.last is not None and self.known.last.answer.breaks)
    @rule(
        data=st.data(),
        kind=st.sampled_from(DECISIONS),
    )
    def decide(self, data: st.DataObject, kind: str) -> None:
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

    @precondition(lambda self: self.known.deliveries)
    @rule(data=st.data(), account=st.sampled_from(ACCOUNTS))
    def pay_us(self, data: st.DataObject, account: str) -> None:
        one = draws.remittance(data, self.known, account)
        self.known.remittances.append(one)
        self.files.append((one.remittance_id, account))
        context = self.firm.context
        assert load(context, _statements(one), account, name=f"{next(self.numbers)}.csv").count("rejects") == 0
        self.book()

    @precondition(lambda self: self.known.remittances)
    @rule(data=st.data())
    def withhold(self, data: st.DataObject) -> None:
        """Let a person keep the money of a remittance unallocated, or take that back."""
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

    @precondition(lambda self: self.known.day > last_day(self.month))
    @rule()
    def close(self) -> None:
        month = self.month
        is_closed = self.firm.close(month)
        self.closing[month] = self.firm.month(month)[0]
        self.seen["closed" if is_closed else "closing"] += 1
        if is_closed:
            del self.closing[month]
            self.closed[month] = self.firm.month(month)
            self.month = next_month(month)
        self.is_checked = False

    @precondition(lambda self: self.known.deliveries)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
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


class PayingLife(Life):
    """A life in which members are paid, with a model that knows what each batch may do next."""

    def _total(self, *states: str) -> int:
        return sum(one.amount for one in self.known.payouts.values() if one.state in states)

    def _move(self, batch_id: str, come_from: str, to: str) -> None:
        for one in self.known.payouts.values():
            if one.batch_id == batch_id and one.state == come_from:
                one.state = to
        self.is_checked = False

        self.seen[to] += 1

    def _pick(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.known.batches)))

    @rule(maturity=st.sampled_from((0, 0, 7)), threshold=st.sampled_from((1, 500)))
    def select(self, maturity: int, threshold: int) -> None:
        due = self.known.selection(maturity, threshold)
        office = self.firm.at_desk()
        batch = office.select(threshold=threshold, maturity=maturity, day=self.known.day).batch
        assert (batch is None) == (not due)
        if batch is None:
            return
        rows = office.ask(
            "SELECT p.payout_id, p.member_id, l.document_id, l.amount_minor FROM payout.payout AS p"
            " JOIN payout.payout_line AS l USING (payout_id) WHERE p.batch_id = %s ORDER BY 1, l.document_id",
            batch.batch_id,
        )
        found: dict[str, PaidOut] = {}
        for payout_id, member, document, amount in rows:
            one = found.setdefault(str(payout_id), PaidOut(batch.batch_id, str(member), (), "reserved"))
            one.lines = (*one.lines, (str(document), int(str(amount))))
        assert {one.member: tuple(sorted(one.lines)) for one in found.values()} == due
        # Nobody is paid what is not there.
        assert all(0 < one.amount <= self.known.payable(one.member) for one in found.values())
        self.known.payouts |= found
        self.known.batches[batch.batch_id], self.batches[batch.batch_id] = "reserved", batch
        self.is_checked = False

    @precondition(lambda self: self.known.batches)
    @rule(data=st.data())
    def freeze_and_approve(self, data: st.DataObject) -> None:
        batch_id, office = self._pick(data), self.firm.at_desk()
        state = self.known.batches[batch_id]
        if state == "canceled":
            return
        batch = self.batches[batch_id] = office.freeze(self.batches[batch_id])
        if state in ("reserved", "approved"):
            with pytest.raises(Stop):
                office.approve(batch, "Anna")
            self.known.batches[batch_id] = office.approve(batch).state
            assert self.known.batches[batch_id] == "approved"
        else:
            with pytest.raises(Stop):
                office.approve(batch)

    @precondition(lambda self: self.known.batches)
    @rule(data=st.data(), fails_at=st.sampled_from(FAILURES))
    def transmit(self, data: st.DataObject, fails_at: str) -> None:
        batch_id, office = self._pick(data), self.firm.at_desk()
        state, batch = self.known.batches[batch_id], self.batches[batch_id]
        if state not in ("approved", "sent"):
            with pytest.raises(Stop):
                office.transmit(batch, fails_at)
        elif state == "sent" or not fails_at:
            assert office.transmit(batch, fails_at).state == "sent"
            if state == "approved":
                self._move(batch_id, "reserved", "in_flight")
            self.known.batches[batch_id] = "sent"
        elif "put" in fails_at:
            with pytest.raises(Retry):
                office.transmit(batch, fails_at)
        else:
            with pytest.raises(Stop):
                office.transmit(batch, fails_at)
            self.known.batches[batch_id] = "unknown"
            self.seen["unknown"] += 1
        office.inbox.collect() if office.inbox.folder.exists() else None

    @precondition(lambda self: "unknown" in self.known.batches.values())
    @rule(data=st.data())
    def resolve(self, data: st.DataObject) -> None:
        batch_id, context = self._pick(data), self.firm.context
        said = Resolution.SENT if self._deliveries(batch_id) else Resolution.NOT_SENT
        if self.known.batches[batch_id] != "unknown":
            with pytest.raises(Stop):
                resolve(context, batch_id, said, "Ben", "asked")
            return
        resolve(context, batch_id, said, "Ben", "asked")
        self.known.batches[batch_id] = "sent" if said is Resolution.SENT else "approved"
        if said is Resolution.SENT:
            self._move(batch_id, "reserved", "in_flight")

    @precondition(lambda self: self.known.batches)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        batch_id = self._pick(data)
        if self.known.batches[batch_id] != "sent":
            with pytest.raises(Stop):
                settle(self.firm.context, batch_id, self.known.day)
            return
        settle(self.firm.context, batch_id, self.known.day)
        self._move(batch_id, "in_flight", "settled")

    @precondition(lambda self: self.known.payouts)
    @rule(data=st.data())
    def return_one(self, data: st.DataObject) -> None:
        payout_id = data.draw(st.sampled_from(sorted(self.known.payouts)))
        one = self.known.payouts[payout_id]
        if one.state in ("reserved", "canceled"):
            with pytest.raises(Stop):
                return_payout(self.firm.context, payout_id, self.known.day, "AC04")
            return
        return_payout(self.firm.context, payout_id, self.known.day, "AC04")
        self.seen[f"returned when {one.state}"] += 1
        one.state = "returned"
        self.is_checked = False

    @precondition(lambda self: self.known.batches)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        batch_id = self._pick(data)
        if self.known.batches[batch_id] in ("sent", "unknown"):
            with pytest.raises(Stop):
                cancel(self.firm.context, batch_id, "Anna", "no")
            return
        cancel(self.firm.context, batch_id, "Anna", "no")
        self.known.batches[batch_id] = "canceled"
        self._move(batch_id, "reserved", "canceled")

    def _deliveries(self, batch_id: str) -> int:
        inbox = self.firm.office.inbox
        inbox.collect()
        return len(list((inbox.folder.parent / "taken").glob(f"*{batch_id}.xml")))

    @invariant()
    def payouts_tie(self) -> None:
        if self.known.last is None:
            return
        balances = {
            (kind, owner): int(str(amount))
            for kind, owner, amount in self.firm.ask(
                "SELECT kind, owner, -balance_minor FROM mart.balance WHERE currency = 'EUR' AND scale = 2"
            )
        }
        for member in MEMBERS:
            assert balances.get(("cashback_payable", member), 0) == self.known.payable(member)
        reserved = sum(amount for (kind, _), amount in balances.items() if kind == "payout_reserved")
        assert reserved == self._total("reserved")
        assert balances.get(("payout_in_flight", ""), 0) == self._total("in_flight")
        rows = self.firm.ask("SELECT payout_id, state FROM payout.payout")
        assert {row[0]: row[1] for row in rows} == {name: one.state for name, one in self.known.payouts.items()}
        batches = self.firm.ask("SELECT batch_id, state FROM payout.batch")
        assert {row[0]: row[1] for row in batches} == self.known.batches

    @invariant()
    def no_file_reaches_the_bank_twice(self) -> None:
        for batch_id, state in self.known.batches.items():
            assert self._deliveries(batch_id) <= 1
            assert state != "sent" or self._deliveries(batch_id) == 1


__all__ = ["ACTIVE", "PayingLife"]
