"""What is selected and reserved: mature, not held, over the threshold, debts of the member carried, once."""

import threading
from datetime import date, timedelta

import pytest

from etl.core.errors import Stop
from tests.payout.office import LONG_AGO, TODAY, Office


def amounts(office: Office) -> dict[str, int]:
    rows = office.ask("SELECT member_id, amount_minor FROM payout.payout WHERE state <> 'canceled'")
    return {str(member): int(str(amount)) for member, amount in rows}


def test_the_balance_of_a_member_is_reserved_and_every_cent_names_its_sale(office: Office) -> None:
    office.payee("m1")
    office.owe("m1", "s1", 1250)
    office.owe("m1", "s2", 50)
    batch = office.selected()
    assert (batch.payout_count, batch.total_minor, batch.state) == (1, 1300, "reserved")
    assert office.ask("SELECT document_id, amount_minor FROM payout.payout_line ORDER BY 1") == [
        ("s1", 1250),
        ("s2", 50),
    ]
    assert (office.balance("cashback_payable", "m1"), office.balance("payout_reserved", "m1")) == (0, 1300)
    assert len(office.ask("SELECT 1 FROM payout.event WHERE event = 'reserved'")) == 1


def test_a_second_run_on_the_same_day_reserves_nothing(office: Office) -> None:
    office.payee("m1")
    office.owe("m1", "s1", 1250)
    office.selected()
    assert office.select().batch is None
    assert amounts(office) == {"m1": 1250}


def test_nobody_owed_anything_makes_no_batch(office: Office) -> None:
    assert office.select().batch is None


def test_a_member_below_the_threshold_waits(office: Office) -> None:
    for member, amount in (("m1", 999), ("m2", 1000)):
        office.payee(member)
        office.owe(member, f"s-{member}", amount)
    office.select(threshold=1000)
    assert amounts(office) == {"m2": 1000}


def test_money_is_paid_on_the_day_it_matures_and_not_before(office: Office) -> None:
    office.payee("m1")
    office.owe("m1", "s1", 700, TODAY - timedelta(days=30))
    office.owe("m1", "s2", 11, TODAY - timedelta(days=29))
    office.select(maturity=30)
    assert amounts(office) == {"m1": 700}


def test_what_a_member_owes_counts_at_once_and_is_carried(office: Office) -> None:
    office.payee("m1")
    office.owe("m1", "s1", 1000)
    office.select()
    office.owe("m1", "s1", -400, TODAY)
    assert office.select().batch is None
    assert office.balance("cashback_payable", "m1") == -400
    office.owe("m1", "s2", 1500)
    batch = office.selected()
    assert batch.total_minor == 1100
    lines = office.ask(
        "SELECT l.document_id, l.amount_minor FROM payout.payout_line AS l JOIN payout.payout USING (payout_id) "
        "WHERE batch_id = %s ORDER BY 1",
        batch.batch_id,
    )
    assert lines == [("s1", -400), ("s2", 1500)]
    assert office.balance("cashback_payable", "m1") == 0


def test_a_reposted_day_makes_no_debt_of_what_only_waits(office: Office) -> None:
    office.payee("m1")
    office.owe("m1", "s1", 1000)
    office.select()
    office.owe("m1", "s1", -1000, TODAY - timedelta(days=3))
    office.owe("m1", "s1", 1000, TODAY - timedelta(days=2))
    office.owe("m1", "s2", 100)
    assert office.selected().total_minor == 100


def test_a_held_sale_is_not_paid_but_what_it_takes_back_counts(office: Office) -> None:
    office.payee("m1")
    office.owe("m1", "held", 5000, held=True)
    office.owe("m1", "free", 300)
    assert office.selected().total_minor == 300
    office.owe("m1", "free", -100, TODAY, held=True)
    office.owe("m1", "more", 250)
    assert office.selected().total_minor == 150


@pytest.mark.parametrize("kind", ["conflicting_versions", "vanished_at_partner", "unknown_program", "rate_missing"])
def test_an_open_break_holds_its_sale_until_a_person_releases_that_evidence(office: Office, kind: str) -> None:
    office.payee("m1")
    office.owe("m1", "s1", 800)
    office.change(
        "INSERT INTO ops.break (partner, partner_account, transaction_id, line_id, kind, sale_id, evidence_hash, "
        "opened_on, opened_run) VALUES ('awin', 'a', 't', '', %s, 's1', 'seen', '2026-11-01', 'r')",
        kind,
    )
    assert office.select().batch is None
    decision = "INSERT INTO ops.decision VALUES (%s, 'release_hold', 's1', NULL, NULL, 'Eva', '2026-11-02', 'ok', %s)"
    office.change(decision, "d1", "other evidence")
    assert office.select().batch is None
    office.change(decision, "d2", "seen")
    office.change("INSERT INTO ops.decision VALUES ('d3', 'undo', 's1', NULL, 'd2', 'Eva', '2026-11-03', 'no', 'seen')")
    assert office.select().batch is None
    office.change(decision, "d4", "seen")
    assert office.selected().total_minor == 800


def test_a_sale_that_nobody_knows_is_not_paid(office: Office) -> None:
    office.payee("m1")
    office.owe("m1", "s1", 800)
    office.change("DELETE FROM ops.sale")
    assert office.select().batch is None


def test_a_member_without_a_payable_payee_is_named_and_the_others_are_paid(office: Office) -> None:
    for member in ("none", "moved", "abroad", "right"):
        office.owe(member, f"s-{member}", 500)
    office.payee("right")
    office.payee("moved")
    office.change(
        "INSERT INTO pii.payee SELECT 'moved', 2, name_encrypted, iban_encrypted, iban_index, iban_masked, country, "
        "changed_at, changed_by FROM pii.payee WHERE member_id = 'right'"
    )
    office.payee("abroad", iban="SA0380000000608010167519")
    selection = office.select()
    assert amounts(office) == {"right": 500}
    assert {problem.member_id for problem in selection.problems} == {"none", "moved", "abroad"}
    assert "010167519" not in repr(selection)


def test_the_newest_payee_is_named_by_its_version(office: Office) -> None:
    office.payee("m1")
    office.payee("m1", version=2, iban="BE68539007547034")
    office.owe("m1", "s1", 500)
    office.selected()
    assert office.ask("SELECT payee_version FROM payout.payout") == [(2,)]


def test_books_that_disagree_with_the_payout_lines_stop_the_selection(office: Office) -> None:
    office.payee("m1")
    office.owe("m1", "s1", 500)
    office.selected()
    office.owe("m1", "s2", 900)
    office.change("UPDATE payout.payout_line SET amount_minor = 400")
    with pytest.raises(Stop, match="the ledger owes"):
        office.select()


@pytest.mark.parametrize(
    ("threshold", "maturity", "day"), [(0, 30, TODAY), (1, -1, TODAY)], ids=["threshold", "maturity"]
)
def test_a_selection_that_makes_no_sense_is_refused(office: Office, threshold: int, maturity: int, day: date) -> None:
    with pytest.raises(Stop):
        office.select(threshold=threshold, maturity=maturity, day=day)
    with pytest.raises(Stop, match="who releases"):
        office.select(by=" ")


def test_two_runs_at_once_reserve_each_cent_once(office: Office) -> None:
    for number in range(8):
        office.payee(f"m{number}")
        office.owe(f"m{number}", f"s{number}", 1000 + number, LONG_AGO)
    start = threading.Barrier(4)
    batches: list[object] = []

    def run() -> None:
        start.wait()
        batches.append(office.select().batch)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(batch is not None for batch in batches) == 1
    assert office.balance("payout_reserved") == sum(1000 + number for number in range(8))
    assert office.balance("cashback_payable") == 0
