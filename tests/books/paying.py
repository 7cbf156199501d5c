"""A life in which members are paid, too: batches selected, approved, sent over failing lines, settled, returned."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant

from etl.core.errors import Retry, Stop
from etl.settle import Resolution, cancel, resolve, return_payout, settle
from tests.books.known import MEMBERS, PaidOut
from tests.books.machine import Life

FAILURES = ("", "", "before put", "after put", "before finish", "after finish")
PAYOUT_EVENTS = (
    "select", "select", "freeze_and_approve", "freeze_and_approve", "transmit", "transmit", "transmit", "settle",
    "settle", "return_one", "cancel", "resolve",
)  # fmt: skip


class PayingLife(Life):
    """A life in which members are paid, with a model that knows what each batch may do next."""

    def _pay_out(self, data: st.DataObject) -> None:
        what = data.draw(st.sampled_from(PAYOUT_EVENTS))
        if what == "select" or (self.known.payouts if what == "return_one" else self.known.batches):
            getattr(self, f"_{what}")(data)

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

    def _select(self, data: st.DataObject) -> None:
        maturity, threshold = data.draw(st.sampled_from(((0, 1), (0, 500), (7, 1))))
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

    def _freeze_and_approve(self, data: st.DataObject) -> None:
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

    def _transmit(self, data: st.DataObject) -> None:
        fails_at = data.draw(st.sampled_from(FAILURES))
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

    def _resolve(self, data: st.DataObject) -> None:
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

    def _settle(self, data: st.DataObject) -> None:
        batch_id = self._pick(data)
        if self.known.batches[batch_id] != "sent":
            with pytest.raises(Stop):
                settle(self.firm.context, batch_id, self.known.day)
            return
        settle(self.firm.context, batch_id, self.known.day)
        self._move(batch_id, "in_flight", "settled")

    def _return_one(self, data: st.DataObject) -> None:
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

    def _cancel(self, data: st.DataObject) -> None:
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
