"""The figures equal those worked out by hand, tie to the ledger, and show it when something does not."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from etl.core.errors import Stop
from etl.report.figures import Report, compute, scope_of
from tests.report.books import Books, Leg, commission, context
from tests.report.conftest import AWIN, FORMULA, TRADETRACKER

OCTOBER = date(2026, 10, 1)
RECEIVABLE = "Commission receivable (approved, not yet paid to us)"


def made(url: str, folder: Path, as_of: date = date(2026, 11, 5)) -> Report:
    """Return the report of October."""
    running = context(url, folder)
    return compute(running, scope_of(running, OCTOBER, as_of))


def rows(report: Report, query: str, *key: str) -> dict[object, dict[str, object]]:
    """Return the rows of a table by the values of some columns."""
    found = report.table(query).data.to_pylist()
    named = {tuple(row[name] for name in key) if len(key) > 1 else row[key[0]]: row for row in found}
    assert len(named) == len(found)
    return named


def said(row: dict[str, object], *names: str) -> list[object]:
    """Return some figures of a row, amounts as text without trailing zeros."""
    values = (row[name] for name in names)
    return [f"{value.normalize():f}" if isinstance(value, Decimal) else value for value in values]


def differences(report: Report) -> list[tuple[str, str]]:
    """Return the checks of Control that differ, with the difference."""
    control = report.table("control").data.to_pylist()
    assert len(control) > 20
    return [(row["name"], f"{row['difference'].normalize():f}") for row in control if row["outcome"] != "holds"]


def test_every_account_rolls_from_its_opening_to_its_closing(
    october: Books, warehouse_url: str, tmp_path: Path
) -> None:
    report = made(warehouse_url, tmp_path)
    found = report.table("roll_forward").data.to_pylist()
    line = {(row["kind"], row["currency"]): row for row in found}
    steps = ("opening", "new", "approved", "declined", "paid", "moved", "other", "closing")
    assert said(line["commission_expected", "EUR"], *steps) == ["10", "37.5", "-8", "9.5", "0", "0", "0", "30"]
    assert said(line["commission_receivable", "EUR"], *steps) == ["32", "0", "8", "12", "5", "0", "0", "23"]
    assert said(line["commission_receivable", "USD"], *steps) == ["0", "0", "100", "0", "0", "0", "0", "100"]
    assert said(line["cashback_pending", "EUR"], *steps) == ["5", "18", "-4", "4", "0", "0", "0", "15"]
    assert said(line["cashback_confirmed", "EUR"], *steps) == ["0", "0", "4", "6", "0", "2", "0", "0"]
    assert said(line["cashback_payable", "EUR"], *steps) == ["10", "0", "0", "0", "0", "-16", "0", "-6"]
    assert said(line["payout_in_flight", "EUR"], *steps) == ["0", "0", "0", "0", "0", "14", "0", "14"]
    assert said(line["commission_income", "EUR"], *steps) == ["32", "0", "8", "12", "0", "0", "0", "28"]
    assert said(line["cashback_cost", "EUR"], *steps) == ["16", "0", "4", "6", "0", "0", "0", "14"]
    assert len(found) == 17
    for row in found:
        total = sum(row[name] for name in ("opening", "new", "approved", "moved", "fx", "rounding", "other"))
        assert total - row["declined"] - row["paid"] == row["closing"]
    assert said(line["commission_receivable", "USD"], "base", "without_base", "open_count") == ["0", "100", 1]


def test_a_step_stands_beside_the_same_step_of_last_period(october: Books, warehouse_url: str, tmp_path: Path) -> None:
    found = rows(made(warehouse_url, tmp_path), "flow", "kind", "step", "currency")
    names = ("item_count", "amount", "base", "without_base", "last_count", "last_period", "change")
    assert said(found["commission_expected", "new", "EUR"], *names) == [2, "37.5", "37.5", "0", 1, "10", "27.5"]
    assert said(found["commission_receivable", "approved", "EUR"], *names) == [1, "8", "8", "0", 2, "32", "-24"]
    assert said(found["commission_receivable", "approved", "USD"], *names) == [1, "100", "0", "100", 0, "0", "100"]


def test_receivables_age_from_the_day_the_approval_took_effect(
    october: Books, warehouse_url: str, tmp_path: Path
) -> None:
    report = made(warehouse_url, tmp_path)
    partner = rows(report, "receivable_partner", "partner_account", "currency")
    names = ("item_count", "amount", "age_30", "age_60", "age_90", "age_180", "age_more", "last_period", "change")
    assert said(partner[AWIN, "EUR"], *names) == [3, "23", "3", "0", "0", "20", "0", "32", "-9"]
    assert said(partner[AWIN, "USD"], *names) == [1, "100", "100", "0", "0", "0", "0", "0", "100"]
    program = rows(report, "receivable_program", "program_id", "currency")
    assert said(program["p1", "EUR"], "item_count", "amount", "last_period") == [2, "28", "20"]
    assert said(program["p2", "USD"], "program", "item_count", "amount") == [FORMULA, 1, "100"]
    assert said(program["remittance", "EUR"], "item_count", "amount") == [1, "-5"]
    row = rows(report, "receivable_row", "document_id", "line_id")
    traced = ("amount", "age_days", "delivery_id", "row_number")
    assert said(row["s2", "1"], *traced) == ["20", 113, "awin_main-october", 1]
    assert said(row["s2", "2"], *traced) == [None, 113, "awin_main-october", 2]
    assert said(row["s1", "1"], *traced) == ["8", 16, "awin_main-october", 1]
    listed = report.table("receivable_row").data.to_pylist()
    assert sum(line["amount"] or 0 for line in listed if line["currency"] == "EUR") == 23


def test_members_we_owe_and_members_who_owe_us_are_not_offset(
    october: Books, warehouse_url: str, tmp_path: Path
) -> None:
    found = rows(made(warehouse_url, tmp_path), "liability_state", "kind", "side")
    names = ("item_count", "amount", "last_period", "change")
    assert said(found["all", "we owe"], *names) == [2, "29", "15", "14"]
    assert said(found["all", "owe us"], *names) == [1, "6", "0", "6"]
    assert said(found["cashback_payable", "owe us"], *names) == [1, "6", "0", "6"]
    assert said(found["cashback_payable", "we owe"], *names) == [0, "0", "10", "-10"]
    assert said(found["payout_in_flight", "we owe"], *names) == [1, "14", "0", "14"]
    assert said(found["cashback_pending", "we owe"], *names, "age_30") == [1, "15", "5", "10", "15"]


def test_what_is_taken_off_a_member_takes_the_oldest_first(books: Books, warehouse_url: str, tmp_path: Path) -> None:
    for day, amount in (("2026-05-01", "7"), ("2026-09-15", "4"), ("2026-10-20", "2")):
        leg = Leg(("cashback_confirmed", "m"), ("cashback_payable", "m"), amount, "EUR/2", component="cashback")
        books.entry("sale", day, day, leg)
    taken = Leg(("cashback_payable", "m"), ("payout_reserved", "m"), "8", "EUR/2", component="payout")
    books.entry("payout", "x", "2026-10-25", taken)
    found = rows(made(warehouse_url, tmp_path), "liability_state", "kind", "side")
    ages = ("age_30", "age_60", "age_90", "age_180", "age_more")
    assert said(found["cashback_payable", "we owe"], "amount", *ages) == ["5", "2", "3", "0", "0", "0"]


SAID = """
    INSERT INTO ops.decision (decision_id, kind, decided_by, decided_at, until_on, reason, sale_id, evidence_hash,
        partner_account, transaction_id, line_id, break_kind, amount, currency)
    SELECT %s, %s, %s, %s, %s, 'seen', sale_id, evidence_hash, partner_account, transaction_id, line_id, kind, amount,
        currency
    FROM ops.break WHERE transaction_id = %s
"""


def test_breaks_show_the_money_at_stake_and_a_decided_one_is_counted_apart(
    october: Books, warehouse_url: str, tmp_path: Path
) -> None:
    report = made(warehouse_url, tmp_path)
    found = rows(report, "break_kind", "kind", "currency")
    names = ("item_count", "amount", "base", "without_base", "age_30", "age_60", "last_period", "change")
    assert said(found["unmatched", "EUR"], *names) == [1, "30", "30", "0", "30", "0", "0", "30"]
    assert said(found["commission_differs", "USD"], *names) == [1, "100", "0", "100", "0", "100", "100", "0"]
    row = rows(report, "break_row", "transaction_id")
    assert said(row["s3"], "delivery_id", "row_number", "age_days") == ["awin_main-october", 1, 27]
    assert row["s3"]["state"] == "open"
    october.connection.execute(SAID, ("d", "wait", "ann", "2026-11-01", "2026-12-24", "s3"))
    waiting = rows(made(warehouse_url, tmp_path), "break_row", "transaction_id")
    assert waiting["s3"]["state"] == "waiting"
    october.connection.execute(SAID, ("e", "no_cashback", "ann", "2026-11-01", None, "s3"))
    again = made(warehouse_url, tmp_path)
    decided = rows(again, "break_kind", "kind")["unmatched"]
    assert said(decided, "item_count", "amount", "decided_count") == [0, "0", 1]
    assert again.inputs_hash != report.inputs_hash


def test_what_was_sent_is_not_called_paid(october: Books, warehouse_url: str, tmp_path: Path) -> None:
    report = made(warehouse_url, tmp_path)
    batch = rows(report, "payout_batch", "batch_id")
    assert list(batch) == ["b1"]
    assert said(batch["b1"], "state", "amount", "in_flight", "settled", "approved_by") == [
        *("sent (not yet confirmed paid)", "14", "14", "0", "checker"),
    ]
    event = rows(report, "payout_event", "label")
    assert said(event["Sent to the bank (not yet confirmed paid)"], "item_count", "amount", "last_period") == [
        1,
        "14",
        "6",
    ]
    assert said(event["Paid (confirmed by the bank)"], "item_count", "amount", "last_period") == [0, "0", "6"]
    line = rows(report, "payout_row", "document_id", "line_id")
    assert [said(row, "amount", "line_amount", "row_number") for row in line.values()] == [
        ["14", "4", 1],
        [None, "10", 1],
        [None, None, 2],
    ]


def test_the_first_screen_answers_the_five_questions(october: Books, warehouse_url: str, tmp_path: Path) -> None:
    found = rows(made(warehouse_url, tmp_path), "summary", "label", "currency")
    names = ("item_count", "amount", "last_period", "change")
    assert said(found["Approved and not yet paid to us", "EUR"], *names) == [3, "23", "32", "-9"]
    assert said(found["of which approved more than 90 days ago", "EUR"], *names) == [1, "20", None, None]
    assert said(found["Pending at partners (may still be declined)", "EUR"], *names) == [1, "30", "10", "20"]
    assert said(found["Received from partners in the period", "EUR"], *names) == [1, "5", "0", "5"]
    assert said(found["Owed to members, all states", "EUR"], *names) == [2, "29", "15", "14"]
    assert said(found["Members who owe us (reversals after payout)", "EUR"], *names) == [1, "6", "0", "6"]
    assert said(found["Sent to the bank in the period (not yet confirmed paid)", "EUR"], *names) == [1, "14", "6", "8"]
    assert said(found["Rows of partners' files not taken (rejects)", None], "item_count") == [2]
    assert said(found["Checks that differ (see Control)", None], "item_count") == [0]


def test_every_check_holds_on_sound_books(october: Books, warehouse_url: str, tmp_path: Path) -> None:
    report = made(warehouse_url, tmp_path)
    assert differences(report) == []
    assert report.differing_count == 0


def test_books_as_of_a_day_in_the_period_end_on_it(october: Books, warehouse_url: str, tmp_path: Path) -> None:
    report = made(warehouse_url, tmp_path, as_of=date(2026, 10, 14))
    found = report.table("roll_forward").data.to_pylist()
    closing = {(row["kind"], row["currency"]): row["closing"] for row in found}
    assert closing["commission_expected", "EUR"] == Decimal("47.5")
    assert closing["commission_receivable", "EUR"] == 32
    assert differences(report) == []


PLANTED = {
    "a payout line that does not add up": (
        "UPDATE payout.payout_line SET amount_minor = 401 WHERE document_id = 's1'",
        {("Payouts = their lines", "0.01"), ("Payouts that differ from their lines", "1")},
    ),
    "a batch total that its payouts do not reach": (
        "UPDATE payout.batch SET total_minor = 1500 WHERE batch_id = 'b1'",
        {("Batch totals = their payouts", "-1")},
    ),
    "a reject that was counted and not stored": (
        "DELETE FROM ops.reject WHERE row_number = 2",
        {("Rejects counted when parsing = rejects listed", "-1")},
    ),
    "a sale in the ledger that no partner reported": (
        "DELETE FROM ops.transaction_version WHERE sale_id = 's6'",
        {("Sales in the ledger that lead to a row of a partner's file", "-1")},
    ),
    "a posting that no journal entry holds": (
        "INSERT INTO ledger.posting (document_kind, document_id, entry_no, year, number, leg, entity, debit, credit,"
        " amount, effective_for, booked_on, component, base_amount, rate)"
        " SELECT document_kind, 'ghost', 1, year, 0, 1, entity, debit, credit, 10000, effective_for, booked_on,"
        " component, base_amount, rate FROM ledger.posting"
        " WHERE document_id = 's5'",
        {
            ("Postings with a journal entry of the same day", "-1"),
            ("Opening + movements = closing in the ledger: Commission income, USD/4", "-1"),
            (f"Opening + movements = closing in the ledger: {RECEIVABLE}, USD/4", "-1"),
            ("Receivables, all ages = ledger", "-1"),
        },
    ),
    "money in flight that no payout explains": (
        "INSERT INTO payout.event VALUES ('p1', 3, 'reserved', '2026-10-29', 'p')",
        {("Payouts in flight = ledger", "-14"), ("Payouts reserved = ledger", "14")},
    ),
    "an event that says sent and no posting for it": (
        "INSERT INTO payout.event VALUES ('p0', 4, 'transmitted', '2026-10-02', 'p')",
        {("Payouts in flight = ledger", "6")},
    ),
}


@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_inconsistency_is_shown_as_a_difference(
    october: Books, warehouse_url: str, tmp_path: Path, plant: str
) -> None:
    statement, expected = PLANTED[plant]
    october.connection.execute(statement)
    report = made(warehouse_url, tmp_path)
    assert set(differences(report)) == expected
    assert report.differing_count == len(expected)


def test_cents_lost_at_the_border_are_shown(october: Books, warehouse_url: str, tmp_path: Path) -> None:
    lost = Leg(("cashback_cost", AWIN), ("border", ""), "1.5525", component="cashback")
    kept = Leg(("border", ""), ("cashback_pending", "m2"), "1.55", "EUR/2", component="cashback")
    october.entry("sale", "s3", "2026-10-30", lost, kept)
    report = made(warehouse_url, tmp_path)
    assert differences(report) == [("Border: what left one asset arrived in the other", "-0.0025")]


def test_a_fraction_of_a_cent_that_a_reversed_sale_left_in_base_currency_is_in_every_sum(
    october: Books, warehouse_url: str, tmp_path: Path
) -> None:
    october.entry("sale", "s1", "2026-10-22", commission("receivable", AWIN, "10", "GBP", base="11.5001"))
    october.entry("sale", "s1", "2026-10-29", commission("receivable", AWIN, "10", "GBP", base="11.5000", back=True))
    october.entry("sale", "s3", "2026-10-23", commission("receivable", AWIN, "2", "GBP", base="2.3000"))
    report = made(warehouse_url, tmp_path)
    assert differences(report) == []
    for query in ("summary", "roll_forward", "receivable_partner"):
        rows = report.table(query).data.to_pylist()
        assert Decimal("2.3001") in [row["base"] for row in rows if row["currency"] == "GBP"], query
    (row,) = [row for row in report.table("receivable_partner").data.to_pylist() if row["currency"] == "GBP"]
    assert row["item_count"] == 1


def test_empty_books_are_all_zero_and_prove(warehouse_url: str, tmp_path: Path) -> None:
    report = made(warehouse_url, tmp_path)
    assert report.differing_count == 0
    assert report.check_count >= 6
    counts = {row["label"]: row["item_count"] for row in report.table("summary").data.to_pylist()}
    assert counts.pop("Checks that hold") == report.check_count
    assert set(counts.values()) == {0}


def test_a_period_is_a_month_that_has_begun(warehouse_url: str, tmp_path: Path) -> None:
    running = context(warehouse_url, tmp_path)
    with pytest.raises(Stop, match="starts on its first day"):
        scope_of(running, date(2026, 10, 2), date(2026, 10, 31))
    with pytest.raises(Stop, match="begins after"):
        scope_of(running, OCTOBER, date(2026, 9, 30))


def test_one_sale_approved_twice_over_days_is_classed_day_by_day(
    books: Books, warehouse_url: str, tmp_path: Path
) -> None:
    books.sale("s", "p")
    books.entry("sale", "s", "2026-10-01", commission("expected", AWIN, "10"))
    back = commission("expected", AWIN, "10", back=True)
    books.entry("sale", "s", "2026-10-05", back, commission("receivable", AWIN, "12.5"))
    reinstated = commission("receivable", AWIN, "12.5", back=True)
    books.entry("sale", "s", "2026-10-07", reinstated, commission("expected", AWIN, "12.5"))
    found = rows(made(warehouse_url, tmp_path), "roll_forward", "kind")
    assert said(found["commission_expected"], "new", "approved", "declined", "closing") == ["10", "2.5", "0", "12.5"]
    assert said(found["commission_receivable"], "approved", "declined", "closing") == ["0", "0", "0"]


def test_what_a_remittance_paid_is_taken_off_its_sale(october: Books, warehouse_url: str, tmp_path: Path) -> None:
    october.connection.execute(
        "INSERT INTO ops.remittance_allocation VALUES (%s, 'x', 1, 's2', '', 'EUR', 50000, 'transaction',"
        " '2026-10-26', '2026-10-26')",
        (AWIN,),
    )
    received = Leg(("bank", "house"), ("partner_clearing", AWIN), "5")
    allocated = Leg(("partner_clearing", AWIN), ("commission_receivable", AWIN), "5")
    october.entry("remittance", f"{AWIN}:x", "2026-10-26", received, allocated)
    report = made(warehouse_url, tmp_path)
    found = [row for row in report.table("receivable_row").data.to_pylist() if row["amount"] is not None]
    open_of = {row["document_id"]: said(row, "amount", "age_days") for row in found}
    assert open_of["s2"] == ["15", 113]
    # The other remittance has no allocations that explain it, and stands for itself.
    assert open_of["r1"][0] == "-5"
    assert f"{AWIN}:x" not in open_of
    assert differences(report) == []


def test_a_report_of_what_was_known_leaves_out_what_came_later(
    october: Books, warehouse_url: str, tmp_path: Path
) -> None:
    """Of October, 5 more of s4 were approved, p1 was paid and the break of s5 was decided, all on 7 November."""
    known_on, later = datetime.fromisoformat("2026-11-06T00:00"), "2026-11-07T09:00"
    before = made(warehouse_url, tmp_path)
    october.entry("sale", "s4", "2026-10-31", commission("receivable", TRADETRACKER, "5"))
    paid = Leg(("payout_in_flight", ""), ("bank", "house"), "14", "EUR/2", component="payout")
    october.entry("payout", "p1", "2026-10-31", paid)
    run = october.connection.execute
    run("INSERT INTO payout.event VALUES ('p1', 3, 'settled', '2026-10-31', 'p')")
    run("UPDATE payout.payout SET state = 'settled' WHERE payout_id = 'p1'")
    run("ALTER TABLE ledger.journal_entry DISABLE TRIGGER refuse_change")
    run("UPDATE ledger.journal_entry SET posted_at = %s WHERE booked_on = '2026-10-31'", (later,))
    run(SAID, ("d1", "no_cashback", "Clara", later, None, "s5"))
    run(
        "INSERT INTO ops.delivery (SELECT 'late', partner, partner_account, window_from, window_until, %s, sha256,"
        " byte_count, states_scope, is_secret_blanked, landed_run FROM ops.delivery WHERE delivery_id = %s)",
        (later, f"{AWIN}-october"),
    )
    run("INSERT INTO ops.parse VALUES ('late', 1, 1, 1, 0, 0, 'p', 'r')")
    now = made(warehouse_url, tmp_path)
    running = context(warehouse_url, tmp_path)
    then = compute(running, scope_of(running, OCTOBER, date(2026, 11, 5), known_on))
    for section in before.sections:
        for table in section.tables:
            assert then.table(table.outline.query).data == table.data, table.outline.query
    assert (then.inputs_hash, then.delivery_count, then.decision_count) == (before.inputs_hash, 3, 0)
    assert (now.delivery_count, now.decision_count) == (4, 1)
    for name in ("roll_forward", "receivable_partner", "payout_batch", "payout_event", "break_kind", "delivery"):
        assert now.table(name).data != before.table(name).data, name
    assert differences(now) == differences(then) == []
