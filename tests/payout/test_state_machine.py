"""Whatever people and banks do in whatever order: the books tie, no cent is paid twice, no file is sent twice."""

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from etl.core.errors import Retry, Stop
from etl.core.payouts import Batch
from etl.settle import Resolution, cancel, resolve, return_payout, settle
from tests.payout.office import TODAY, Office

MEMBERS = ("m1", "m2")
FAILURES = ("", "", "before put", "after put", "before finish", "after finish")
ENTITIES = itertools.count()


class Payouts(RuleBasedStateMachine):
    """A model that knows what each batch may do next, beside the real thing."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.entity = f"machine{next(ENTITIES)}"
        self.office = Office(self.url, Path(self.folder.name), entity=self.entity)
        self.owed = dict.fromkeys(MEMBERS, 0)
        self.states: dict[str, str] = {}
        self.batches: dict[str, Batch] = {}
        self.payouts: dict[str, tuple[str, str, int, str]] = {}
        self.document = 0
        for member in MEMBERS:
            self.office.payee(member)

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(member=st.sampled_from(MEMBERS), amount=st.integers(-900, 2000).filter(bool), is_new=st.booleans())
    def owe(self, member: str, amount: int, is_new: bool) -> None:
        self.document += is_new or self.document == 0
        self.office.owe(member, f"{self.entity}-{member}-{self.document}", amount)
        self.owed[member] += amount

    @rule()
    def select(self) -> None:
        due = {member: self._payable(member) for member in MEMBERS if self._payable(member) >= 100}
        batch = self.office.select(threshold=100).batch
        assert (batch is None) == (not due)
        if batch is None:
            return
        assert batch.total_minor == sum(due.values())
        self.states[batch.batch_id], self.batches[batch.batch_id] = "reserved", batch
        rows = self.office.ask(
            "SELECT payout_id, member_id, amount_minor FROM payout.payout WHERE batch_id = %s", batch.batch_id
        )
        for payout_id, member, amount in rows:
            self.payouts[str(payout_id)] = (batch.batch_id, str(member), int(str(amount)), "reserved")
        assert {(member, amount) for _, member, amount in rows} == set(due.items())

    def _payable(self, member: str) -> int:
        active = [
            each for each in self.payouts.values() if each[1] == member and each[3] not in ("canceled", "returned")
        ]
        return self.owed[member] - sum(each[2] for each in active)

    def _move(self, batch_id: str, come_from: tuple[str, ...], to: str) -> None:
        for payout_id, (own, member, amount, state) in self.payouts.items():
            if own == batch_id and state in come_from:
                self.payouts[payout_id] = (own, member, amount, to)

    def _pick(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.states)))

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def freeze_and_approve(self, data: st.DataObject) -> None:
        batch_id = self._pick(data)
        if self.states[batch_id] == "canceled":
            return
        batch = self.office.freeze(self.batches[batch_id])
        self.batches[batch_id] = batch
        if self.states[batch_id] in ("reserved", "approved"):
            with pytest.raises(Stop):
                self.office.approve(batch, "Anna")
            self.states[batch_id] = self.office.approve(batch).state
            assert self.states[batch_id] == "approved"
        else:
            with pytest.raises(Stop):
                self.office.approve(batch)

    @precondition(lambda self: self.states)
    @rule(data=st.data(), fails_at=st.sampled_from(FAILURES))
    def transmit(self, data: st.DataObject, fails_at: str) -> None:
        batch_id = self._pick(data)
        state = self.states[batch_id]
        if state not in ("approved", "sent"):
            with pytest.raises(Stop):
                self.office.transmit(self.batches[batch_id], fails_at)
        elif state == "sent" or not fails_at:
            assert self.office.transmit(self.batches[batch_id], fails_at).state == "sent"
            if state == "approved":
                self._move(batch_id, ("reserved",), "in_flight")
            self.states[batch_id] = "sent"
        elif "put" in fails_at:
            with pytest.raises(Retry):
                self.office.transmit(self.batches[batch_id], fails_at)
        else:
            with pytest.raises(Stop):
                self.office.transmit(self.batches[batch_id], fails_at)
            self.states[batch_id] = "unknown"
        self.office.inbox.collect() if self.office.inbox.folder.exists() else None

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def resolve(self, data: st.DataObject) -> None:
        batch_id = self._pick(data)
        said = Resolution.SENT if self._deliveries(batch_id) else Resolution.NOT_SENT
        if self.states[batch_id] != "unknown":
            with pytest.raises(Stop):
                resolve(self.office.context, batch_id, said, "Ben", "asked")
            return
        resolve(self.office.context, batch_id, said, "Ben", "asked")
        self.states[batch_id] = "sent" if said is Resolution.SENT else "approved"
        if said is Resolution.SENT:
            self._move(batch_id, ("reserved",), "in_flight")

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        batch_id = self._pick(data)
        if self.states[batch_id] != "sent":
            with pytest.raises(Stop):
                settle(self.office.context, batch_id, TODAY)
            return
        settle(self.office.context, batch_id, TODAY)
        self._move(batch_id, ("in_flight",), "settled")

    @precondition(lambda self: self.payouts)
    @rule(data=st.data())
    def return_one(self, data: st.DataObject) -> None:
        payout_id = data.draw(st.sampled_from(sorted(self.payouts)))
        own, member, amount, state = self.payouts[payout_id]
        if state in ("reserved", "canceled"):
            with pytest.raises(Stop):
                return_payout(self.office.context, payout_id, TODAY, "AC04")
            return
        return_payout(self.office.context, payout_id, TODAY, "AC04")
        self.payouts[payout_id] = (own, member, amount, "returned")

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        batch_id = self._pick(data)
        if self.states[batch_id] in ("sent", "unknown"):
            with pytest.raises(Stop):
                cancel(self.office.context, batch_id, "Anna", "no")
            return
        cancel(self.office.context, batch_id, "Anna", "no")
        self.states[batch_id] = "canceled"
        self._move(batch_id, ("reserved",), "canceled")

    def _deliveries(self, batch_id: str) -> int:
        self.office.inbox.collect()
        return len(list((self.office.inbox.folder.parent / "taken").glob(f"*{batch_id}.xml")))

    @invariant()
    def the_books_tie(self) -> None:
        def total(*states: str) -> int:
            return sum(amount for _, _, amount, state in self.payouts.values() if state in states)

        for member in MEMBERS:
            assert self.office.balance("cashback_payable", member) == self._payable(member)
        assert self.office.balance("payout_reserved") == total("reserved")
        assert self.office.balance("payout_in_flight") == total("in_flight")
        assert self.office.balance("bank") == total("settled")

    @invariant()
    def no_file_reaches_the_bank_twice(self) -> None:
        for batch_id, state in self.states.items():
            assert self._deliveries(batch_id) <= 1
            assert state != "sent" or self._deliveries(batch_id) == 1

    @invariant()
    def the_states_are_those_of_the_model(self) -> None:
        rows = self.office.ask("SELECT batch_id, state FROM payout.batch WHERE entity = %s", self.entity)
        assert dict(rows) == self.states


def test_payouts_in_any_order_of_events_tie_to_the_books(warehouse_url: str) -> None:
    class Here(Payouts):
        url = warehouse_url

    run_state_machine_as_test(Here, settings=settings(max_examples=8, stateful_step_count=16, deadline=None))
