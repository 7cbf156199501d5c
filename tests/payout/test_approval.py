"""The file is approved as it is, by somebody else than made it; what is changed after that is not sent."""

from dataclasses import replace

import pytest

from etl.core.errors import Stop
from tests.payout.office import Office


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
