"""The file is true, approved by somebody else, and reaches the bank at most once whatever dies on the way."""

import hashlib
import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from etl.core.errors import Retry, Stop
from etl.core.lake import FolderLake, StoredObject
from etl.core.payouts import Batch
from etl.core.warehouse import Connection, Warehouse
from etl.export import read_file
from etl.settle import Resolution, cancel, resolve, return_payout, settle
from tests.connectors.providers.sepa_examples import validate
from tests.payout.office import KEYRING, TODAY, FolderInbox, Office


@pytest.fixture
def owing(office: Office) -> Office:
    """An office that owes two members."""
    for member, amount in (("m1", 1250), ("m2", 300)):
        office.payee(member)
        office.owe(member, f"s-{member}", amount)
    return office


def test_the_file_is_valid_by_the_schema_and_its_sums_are_the_ledgers(owing: Office) -> None:
    batch = owing.freeze(owing.selected())
    content = read_file(owing.context, batch, KEYRING)
    validate(content)
    assert b"<CtrlSum>15.50</CtrlSum>" in content
    assert owing.balance("payout_reserved") == 1550
    assert hashlib.sha256(content).hexdigest() == batch.sha256


def test_writing_twice_gives_the_same_bytes(owing: Office) -> None:
    batch = owing.freeze(owing.selected())
    assert owing.freeze(batch) == batch
    assert len(list((owing.folder / "lake" / "payout").rglob("*.sealed"))) == 1


def test_the_lake_keeps_no_name_and_no_account_number_in_plain(owing: Office) -> None:
    owing.freeze(owing.selected())
    stored = [place.read_bytes() for place in (owing.folder / "lake").rglob("*") if place.is_file()]
    assert stored
    assert not [data for data in stored if b"Mustermann" in data or b"FR14" in data]


def test_an_approved_batch_is_sent_and_its_money_is_in_flight(owing: Office) -> None:
    batch = owing.transmit(owing.approved())
    assert batch.state == "sent"
    assert [hashlib.sha256(data).hexdigest() for data in owing.inbox.delivered()] == [batch.sha256]
    assert (owing.balance("payout_reserved"), owing.balance("payout_in_flight")) == (0, 1550)
    assert owing.ask("SELECT attempt, outcome FROM payout.transmission") == [(1, "sent")]


def test_sending_again_sends_nothing(owing: Office) -> None:
    batch = owing.approved()
    owing.transmit(batch)
    owing.inbox.collect()
    assert owing.transmit(batch).state == "sent"
    assert len(owing.inbox.delivered()) == 1


# --- approval -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "person", ["", "  ", "scheduler", "Airflow", "SYSTEM", "root", "tallyback", "None", "-", "ａｉｒｆｌｏｗ", "a\nb"]
)
def test_nobody_cannot_approve(owing: Office, person: str) -> None:
    batch = owing.freeze(owing.selected())
    with pytest.raises(Stop):
        owing.approve(batch, person)
    assert owing.ask("SELECT 1 FROM payout.approval") == []


@pytest.mark.parametrize("person", ["Anna", "anna", " ANNA ", "Ａnna"])
def test_who_released_the_batch_cannot_approve_it(owing: Office, person: str) -> None:
    with pytest.raises(Stop, match="released the batch"):
        owing.approve(owing.freeze(owing.selected()), person)


def test_who_changed_a_payee_in_it_cannot_approve_it(office: Office) -> None:
    office.payee("m1", by="Ben")
    office.owe("m1", "s1", 500)
    with pytest.raises(Stop, match="changed the payee"):
        office.approve(office.freeze(office.selected()), "Ben")


def test_who_decided_about_a_sale_in_it_cannot_approve_it(owing: Office) -> None:
    owing.change("INSERT INTO ops.decision VALUES ('d', 'no_cashback', 's-m1', NULL, NULL, 'Ben', now(), 'so', 'e')")
    with pytest.raises(Stop, match="decided about sale s-m1"):
        owing.approve(owing.freeze(owing.selected()), "Ben")


def test_who_agreed_to_a_decision_about_a_sale_in_it_cannot_approve_it(owing: Office) -> None:
    owing.change(
        "INSERT INTO ops.decision (decision_id, kind, sale_id, decided_by, decided_at, reason, evidence_hash,"
        " needs_agreement) VALUES ('d', 'no_cashback', 's-m1', 'Ben', now(), 'so', 'e', true)"
    )
    owing.change("INSERT INTO ops.agreement VALUES ('d', 'Ben', 'Eva', now(), 'so do I')")
    batch = owing.freeze(owing.selected())
    for person, how in (("Ben", "decided about sale s-m1"), ("Eva", "agreed to a decision about sale s-m1")):
        with pytest.raises(Stop, match=how):
            owing.approve(batch, person)


REPORTED = (
    "INSERT INTO ops.transaction_version (partner, partner_account, transaction_id, line_id, kind, occurred_at, "
    "occurred_precision_seconds, partner_paid, sale_amount, commission_amount, currency, delivery_id, "
    "row_number, content_hash, observed_at, version_no, is_absent, sale_id, effective_on) VALUES ('awin', "
    "'a', 't', '', 'sale', now(), 1, false, 1, 1, 'EUR', 'delivery-1', 1, 'h', now(), 1, false, 's-m1', now())"
)


def test_who_decided_about_money_that_pays_for_a_sale_in_it_cannot_approve_it(owing: Office) -> None:
    owing.change(REPORTED)
    owing.change("INSERT INTO ops.remittance_file VALUES ('f', 'a', 'f.csv', 1, 'f', 'h', 1, 0, now(), 'Clara', 'r')")
    owing.change(
        "INSERT INTO ops.remittance VALUES ('awin', 'a', 'R-1', 1, NULL, NULL, NULL, now(), 'EUR', 1, 0, 0, 1, 'b', 1,"
        " 'EUR', 'period', '2026-01-01', '2026-02-01', 'h', 'f', now(), 'Clara', 'r')"
    )
    owing.change(
        "INSERT INTO ops.remittance_decision VALUES ('d', 'oldest_first', 'a', 'R-1', 1, NULL, 'Ben', now(), 'so')"
    )
    owing.change(
        "INSERT INTO ops.remittance_allocation VALUES ('a', 'R-1', 1, 't', '', 'EUR', 1, 'oldest_first', now(), now())"
    )
    with pytest.raises(Stop, match="decided about remittance R-1, which pays for sale s-m1"):
        owing.approve(owing.freeze(owing.selected()), "Ben")


def test_who_released_a_delivery_of_a_sale_in_it_cannot_approve_it(owing: Office) -> None:
    owing.change(REPORTED)
    owing.change("INSERT INTO ops.hold_release VALUES ('delivery-1', 1, 'Ben', now(), 'fine')")
    with pytest.raises(Stop, match="released delivery delivery-1"):
        owing.approve(owing.freeze(owing.selected()), "Ben")


def test_who_made_an_adjustment_in_it_cannot_approve_it(office: Office) -> None:
    office.payee("m1")
    office.owe("m1", "a1", 500, kind="adjustment", by="Ben")
    with pytest.raises(Stop, match="made adjustment a1"):
        office.approve(office.freeze(office.selected()), "Ben")


def test_only_the_frozen_file_can_be_approved(owing: Office) -> None:
    batch = owing.selected()
    with pytest.raises(Stop, match="only a frozen batch"):
        owing.approve(replace(batch, sha256="0" * 64))
    owing.freeze(batch)
    with pytest.raises(Stop, match="not 000000000000"):
        owing.approve(replace(batch, sha256="0" * 64))


def test_approving_twice_is_one_approval(owing: Office) -> None:
    batch = owing.freeze(owing.selected())
    owing.approve(batch)
    owing.approve(batch, "ben ")
    assert owing.ask("SELECT approved_by FROM payout.approval") == [("Ben",)]


def test_without_an_approval_row_nothing_is_sent_whatever_the_state_says(owing: Office) -> None:
    batch = owing.freeze(owing.selected())
    owing.change("UPDATE payout.batch SET state = 'approved'")
    with pytest.raises(Stop, match="is not approved"):
        owing.transmit(batch)
    assert owing.inbox.delivered() == [] and owing.ask("SELECT 1 FROM payout.transmission") == []


@pytest.mark.parametrize("approver", ["scheduler", "Anna", "airflow"])
def test_a_row_somebody_slipped_in_is_no_approval(owing: Office, approver: str) -> None:
    batch = owing.freeze(owing.selected())
    row = "INSERT INTO payout.approval VALUES (%s, %s, %s, now())"
    owing.change(row, batch.batch_id, batch.sha256, approver)
    with pytest.raises(Stop):
        owing.transmit(batch)
    assert owing.inbox.delivered() == []


def test_the_pipeline_cannot_write_an_approval(owing: Office) -> None:
    batch = owing.freeze(owing.selected())
    row = "INSERT INTO payout.approval VALUES (%s, %s, 'Ben', now())"
    with pytest.raises(Exception, match="permission denied"), owing.context.warehouse.transaction() as connection:
        connection.execute(row, (batch.batch_id, batch.sha256))


# --- changes after approval -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payout.batch SET sha256 = repeat('0', 64)",
        "UPDATE payout.payout SET amount_minor = amount_minor + 1 WHERE member_id = 'm1'",
        "UPDATE payout.payout SET payee_version = 2 WHERE member_id = 'm1'",
        "UPDATE payout.batch SET execute_on = execute_on + 1",
        "UPDATE pii.payee SET iban_encrypted = name_encrypted WHERE member_id = 'm1'",
    ],
)
def test_a_change_after_approval_voids_it(owing: Office, statement: str) -> None:
    batch = owing.approved()
    owing.payee("m1", version=2, iban="BE68539007547034")
    owing.change(statement)
    with pytest.raises(Stop):
        owing.transmit(batch)
    assert owing.inbox.delivered() == [] and owing.ask("SELECT 1 FROM payout.transmission") == []


def test_a_stored_file_that_was_tampered_with_is_refused(owing: Office) -> None:
    batch = owing.approved()
    place = owing.folder / "lake" / str(batch.object_path)
    data = bytearray(place.read_bytes())
    data[-20] ^= 1
    place.write_bytes(data)
    with pytest.raises(Stop, match="does not open"):
        owing.transmit(batch)
    assert owing.inbox.delivered() == []


def test_the_file_of_another_batch_in_its_place_is_refused(owing: Office) -> None:
    first = owing.approved()
    owing.owe("m1", "s9", 777)
    second = owing.freeze(owing.selected())
    owing.change("UPDATE payout.batch SET object_path = %s WHERE batch_id = %s", second.object_path, first.batch_id)
    with pytest.raises(Stop, match="does not open"):
        owing.transmit(first)


def test_a_reservation_changed_in_the_ledger_stops_the_file(owing: Office) -> None:
    batch = owing.selected()
    owing.change("UPDATE payout.payout SET amount_minor = 1249 WHERE member_id = 'm1'")
    with pytest.raises(Stop):
        owing.freeze(batch)


# --- at most once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["before put", "within put", "after put"])
def test_a_failure_before_the_final_name_is_not_sent_and_may_be_tried_again(owing: Office, step: str) -> None:
    batch = owing.approved()
    with pytest.raises(Retry):
        owing.transmit(batch, fails_at=step)
    assert owing.transmit(batch).state == "sent"
    assert len(owing.inbox.delivered()) == 1
    assert owing.ask("SELECT outcome FROM payout.transmission ORDER BY attempt") == [("not_sent",), ("sent",)]


@pytest.mark.parametrize("step", ["before finish", "after finish"])
def test_a_failure_at_the_final_name_is_unknown_until_a_person_resolves_it(owing: Office, step: str) -> None:
    batch = owing.approved()
    for fails_at in (step, ""):
        with pytest.raises(Stop, match="tallyback payout resolve"):
            owing.transmit(batch, fails_at=fails_at)
        owing.inbox.collect()
    assert owing.balance("payout_reserved") == 1550
    arrived = len(owing.inbox.delivered()) == 1
    with pytest.raises(Stop, match="no person"):
        resolve(owing.context, batch.batch_id, Resolution.SENT, "scheduler", "asked")
    with pytest.raises(Stop, match="what shows it"):
        resolve(owing.context, batch.batch_id, Resolution.SENT, "Ben", " ")
    resolution = Resolution.SENT if arrived else Resolution.NOT_SENT
    resolve(owing.context, batch.batch_id, resolution, "Ben", "asked the bank by telephone")
    assert owing.transmit(batch).state == "sent"
    assert len(owing.inbox.delivered()) == 1
    assert owing.balance("payout_in_flight") == 1550


def test_a_file_of_that_name_at_the_bank_stops_the_sending(owing: Office) -> None:
    batch = owing.approved()
    owing.inbox.folder.mkdir(parents=True)
    (owing.inbox.folder / str(batch.remote_name)).write_bytes(b"what is this")
    with pytest.raises(Stop, match="has a file"):
        owing.transmit(batch)
    assert owing.ask("SELECT 1 FROM payout.transmission") == []


def test_a_second_sender_while_one_is_at_work_gives_way(owing: Office) -> None:
    batch = owing.approved()
    tried: list[type[Exception]] = []

    class Interrupted(FolderInbox):
        def put_part(self, content: bytes, name: str) -> None:
            for attempt in (lambda: owing.transmit(batch), lambda: resolve_now(owing, batch)):
                try:
                    attempt()
                except (Retry, Stop) as error:
                    tried.append(type(error))
            super().put_part(content, name)

    plain, owing.inbox = owing.inbox, Interrupted(owing.inbox.folder)
    sender = replace(owing)
    sender.inbox = owing.inbox
    assert sender.transmit(batch).state == "sent"
    assert tried == [Retry, Retry]
    assert len(plain.delivered()) == 1


def resolve_now(office: Office, batch: Batch) -> None:
    resolve(office.context, batch.batch_id, Resolution.NOT_SENT, "Ben", "impatient")


# --- killed anywhere ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Doom:
    """Kills this process at the n-th point it passes."""

    kill_at: int
    passed: int = 0

    def point(self) -> None:
        self.passed += 1
        if self.passed == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DoomedWarehouse(Warehouse):
    doom: Doom = field(default_factory=lambda: Doom(0))

    @contextmanager
    def transaction(self, role: str | None = None) -> Iterator[Connection]:
        with Warehouse.transaction(self, role) as connection:
            yield connection
            self.doom.point()
        self.doom.point()


@dataclass(frozen=True)
class DoomedLake(FolderLake):
    doom: Doom = field(default_factory=lambda: Doom(0))

    def put_file(self, local: Path, prefix: str, suffix: str) -> StoredObject:
        self.doom.point()
        stored = FolderLake.put_file(self, local, prefix, suffix)
        self.doom.point()
        return stored


@dataclass(slots=True)
class DoomedInbox(FolderInbox):
    doom: Doom = field(default_factory=lambda: Doom(0))

    def _step(self, name: str) -> None:
        self.doom.point()


def run_all(office: Office) -> Batch | None:
    """Do what a day's payout does, whatever was done of it before."""
    office.select()
    batch = None
    for (batch_id,) in office.ask("SELECT batch_id FROM payout.batch WHERE entity = %s", office.entity):
        batch = office.freeze(replace(_NAMED, batch_id=str(batch_id)))
        if batch.state == "frozen":
            office.approve(batch)
        batch = office.transmit(batch)
    return batch


_NAMED = Batch("", "", "", "", "", TODAY, TODAY, None, 0, 0, "", "")  # type: ignore[arg-type]  # only its id is used


def in_a_child_killed_at(office: Office, kill_at: int) -> bool:
    """Run a day in a child process that dies at a point; return whether it came to the end alive."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            doom = Doom(kill_at)
            doomed = replace(office)
            doomed.inbox = DoomedInbox(office.inbox.folder, doom=doom)
            warehouse = DoomedWarehouse(office.url, doom=doom)
            lake = DoomedLake(office.folder / "lake", doom=doom)
            doomed.context = replace(office.context, warehouse=warehouse, lake=lake)
            run_all(doomed)
            os._exit(0)
        finally:
            # Whatever was raised, the child must not go on as a second test session.
            traceback.print_exc()
            os._exit(3)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.waitstatus_to_exitcode(status) == 0
    return True


def test_killed_at_any_point_and_run_again_pays_once(warehouse_url: str, tmp_path: Path) -> None:
    kill_at, unknowns = 0, 0
    is_alive = False
    while not is_alive:
        kill_at += 1
        office = Office(warehouse_url, tmp_path / str(kill_at), entity=f"entity{kill_at}")
        for member in ("m1", "m2"):
            office.payee(member)
        office.owe_all([("m1", f"{kill_at}-m1", 1250), ("m2", f"{kill_at}-m2", 300)])
        is_alive = in_a_child_killed_at(office, kill_at)
        office.inbox.collect()
        try:
            batch = run_all(office)
        except Stop as error:
            assert "tallyback payout resolve" in str(error)
            unknowns += 1
            (row,) = office.ask("SELECT batch_id FROM payout.batch WHERE entity = %s", office.entity)
            said = Resolution.SENT if office.inbox.delivered() else Resolution.NOT_SENT
            resolve(office.context, str(row[0]), said, "Ben", "asked the bank")
            batch = run_all(office)
        assert batch is not None and batch.state == "sent"
        assert len(office.inbox.delivered()) == 1, f"killed at point {kill_at}"
        assert office.balance("payout_in_flight") == 1550
        assert office.balance("payout_reserved") == office.balance("cashback_payable") == 0
    assert kill_at > 20 and 3 <= unknowns < kill_at


# --- what became of it ----------------------------------------------------------------------------------------------


def test_a_settled_payout_left_the_bank_and_saying_it_twice_changes_nothing(owing: Office) -> None:
    batch = owing.transmit(owing.approved())
    assert settle(owing.context, batch.batch_id, TODAY) == 2
    assert settle(owing.context, batch.batch_id, TODAY) == 0
    assert (owing.balance("payout_in_flight"), owing.balance("bank", "house_bank")) == (0, 1550)
    assert len(owing.ask("SELECT 1 FROM payout.event WHERE event = 'settled'")) == 2


@pytest.mark.parametrize("is_settled", [True, False])
def test_a_returned_payout_is_owed_again_and_paid_in_the_next_batch(owing: Office, is_settled: bool) -> None:
    batch = owing.transmit(owing.approved())
    if is_settled:
        settle(owing.context, batch.batch_id, TODAY)
    payout_id = f"{batch.batch_id}-000001"
    assert return_payout(owing.context, payout_id, TODAY, "AC04 account closed") == 1
    assert return_payout(owing.context, payout_id, TODAY, "AC04 account closed") == 0
    assert owing.balance("cashback_payable", "m1") == 1250
    assert owing.balance("bank") == (300 if is_settled else 0)
    again = owing.selected()
    assert (again.total_minor, again.payout_count) == (1250, 1) and again.batch_id != batch.batch_id


def test_a_canceled_batch_gives_the_money_back_and_the_same_can_be_selected_again(owing: Office) -> None:
    batch = owing.approved()
    assert cancel(owing.context, batch.batch_id, "Anna", "wrong day").state == "canceled"
    assert cancel(owing.context, batch.batch_id, "Anna", "wrong day").state == "canceled"
    assert (owing.balance("cashback_payable"), owing.balance("payout_reserved")) == (1550, 0)
    with pytest.raises(Stop, match="is canceled"):
        owing.transmit(batch)
    again = owing.selected()
    assert again.total_minor == 1550 and again.batch_id != batch.batch_id


def test_a_batch_that_was_sent_cannot_be_canceled_and_one_that_was_not_cannot_settle(owing: Office) -> None:
    batch = owing.approved()
    with pytest.raises(Stop, match="only payouts of a sent batch"):
        settle(owing.context, batch.batch_id, TODAY)
    with pytest.raises(Stop, match="cannot be returned"):
        return_payout(owing.context, f"{batch.batch_id}-000001", TODAY, "?")
    with pytest.raises(Stop, match="nothing to resolve"):
        resolve(owing.context, batch.batch_id, Resolution.SENT, "Ben", "?")
    owing.transmit(batch)
    with pytest.raises(Stop, match="cannot be canceled"):
        cancel(owing.context, batch.batch_id, "Anna", "too late")


def test_events_are_never_changed(owing: Office) -> None:
    owing.selected()
    with pytest.raises(Exception, match="never changed"):
        owing.change("DELETE FROM payout.event")
