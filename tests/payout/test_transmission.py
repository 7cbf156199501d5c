"""The file is true, it reaches the bank at most once, and what became of its payouts is known."""

import hashlib
from dataclasses import replace

import pytest

from etl.core.errors import Retry, Stop
from etl.core.payouts import Batch
from etl.export import read_file
from etl.settle import Resolution, cancel, resolve, return_payout, settle
from tests.connectors.providers.sepa_examples import validate
from tests.payout.office import KEYRING, TODAY, FolderInbox, Office


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
