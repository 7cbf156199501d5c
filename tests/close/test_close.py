"""Closing a month: what blocks it and what to do, what is kept of it, and that it stays as it was signed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from etl.close import CloseCheck, begin, check, closing_record, finish, list_periods
from etl.core.errors import Stop
from etl.verify import verify
from tests.accrue.books import version, world
from tests.close.months import APRIL, MARCH, MAY, accrued, booked, close_month, desk
from tests.ledger.test_post import _flow, _post

ON = date(2026, 4, 5)
FACTS = world([version("3.1005"), version("3.1005", "approved", version_no=2, effective_on=date(2026, 3, 9))])
REVERSED = replace(
    FACTS,
    versions=(*FACTS.versions, version("3.1005", "declined", version_no=3, effective_on=date(2026, 3, 28))),
)


def _blocking(url: str, folder: Path, month: date = MARCH) -> list[CloseCheck]:
    return [each for each in check(desk(url, folder, ON), month, verify) if each.blocks and not each.is_ok]


def _run(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_month_is_closed_and_its_record_says_what_it_held(warehouse_url: str, tmp_path: Path) -> None:
    accrued(warehouse_url, tmp_path, FACTS, date(2026, 3, 20))
    record = close_month(warehouse_url, tmp_path, MARCH, ON)
    said = json.loads(record.record)
    assert hashlib.sha256(record.record.encode()).hexdigest() == record.hash
    assert (said["period"], said["closed_by"], said["previous_record"]) == ("2026-03", "Ann Auditor", None)
    balances = {(row["kind"], row["asset"]): row for row in said["trial_balance"]}
    assert balances["commission_receivable", "EUR/4"] == {
        "kind": "commission_receivable", "asset": "EUR/4", "opening_minor": 0, "debit_minor": 31005,
        "credit_minor": 0, "closing_minor": 31005, "closing_base": "3.1005", "without_base_count": 0,
    }  # fmt: skip
    assert balances["commission_expected", "EUR/4"]["closing_minor"] == 0
    assert balances["cashback_payable", "EUR/2"]["closing_minor"] == -155
    for asset in ("EUR/4", "EUR/2"):
        assert sum(row["closing_minor"] for row in said["trial_balance"] if row["asset"] == asset) == 0
    assert {
        "kind": "commission_receivable", "asset": "EUR/4", "document_kind": "sale", "amount_minor": 31005
    } in said["roll_forward"]  # fmt: skip
    assert [(link["year"], link["number"]) for link in said["chain"]] == [(2026, 2)]
    inputs = desk(warehouse_url, tmp_path, ON).lake.local(said["inputs_path"]).read_bytes()
    assert hashlib.sha256(inputs).hexdigest() == said["inputs_sha256"]
    assert b"cashback_rule r1 p1 commission_share" in inputs
    assert closing_record(desk(warehouse_url, tmp_path, ON), MARCH) == record
    (period,) = list_periods(desk(warehouse_url, tmp_path, ON)).to_pylist()
    assert (period["state"], period["begun_by"], period["record_hash"]) == ("closed", "Ann Auditor", record.hash)


def test_what_comes_late_is_booked_in_the_open_month_and_the_closed_one_stays(
    warehouse_url: str, tmp_path: Path
) -> None:
    accrued(warehouse_url, tmp_path, FACTS, date(2026, 3, 20))
    first = close_month(warehouse_url, tmp_path, MARCH, ON)
    before = booked(warehouse_url, MARCH)
    assert accrued(warehouse_url, tmp_path, REVERSED, date(2026, 4, 8)) > 0
    assert booked(warehouse_url, MARCH) == before
    assert booked(warehouse_url, APRIL)["commission_receivable", "shop_a", "EUR/4"] == -31005
    with psycopg.connect(warehouse_url) as connection:
        days = connection.execute(
            "SELECT DISTINCT effective_for, booked_on FROM ledger.posting WHERE booked_on >= '2026-04-01'"
        ).fetchall()
    assert days == [(date(2026, 3, 28), APRIL)]
    second = json.loads(close_month(warehouse_url, tmp_path, APRIL, MAY).record)
    assert second["previous_record"] == first.hash
    opening = {(row["kind"], row["asset"]): row["opening_minor"] for row in second["trial_balance"]}
    closing = {(row["kind"], row["asset"]): row["closing_minor"] for row in json.loads(first.record)["trial_balance"]}
    assert opening == closing
    assert [each for each in verify(desk(warehouse_url, tmp_path, MAY), MAY) if not each.is_ok] == []


def test_while_a_month_is_closing_sales_go_to_the_next(warehouse_url: str, tmp_path: Path) -> None:
    begin(desk(warehouse_url, tmp_path, ON), MARCH)
    accrued(warehouse_url, tmp_path, FACTS, ON)
    assert booked(warehouse_url, MARCH) == {}
    assert booked(warehouse_url, APRIL)["cashback_payable", "member-1", "EUR/2"] == -155
    assert begin(desk(warehouse_url, tmp_path, ON), MARCH).note == "is closing already"


@pytest.mark.parametrize("actor", ["scheduler", "airflow", "", "tallyback", " "])
def test_nobody_closes_a_month(warehouse_url: str, tmp_path: Path, actor: str) -> None:
    with pytest.raises(Stop, match="no person"):
        begin(desk(warehouse_url, tmp_path, ON, actor), MARCH)
    begin(desk(warehouse_url, tmp_path, ON), MARCH)
    with pytest.raises(Stop, match="no person"):
        finish(desk(warehouse_url, tmp_path, ON, actor), MARCH, verify)


def test_a_month_is_closed_once_in_order_and_never_opened(warehouse_url: str, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="not over"):
        begin(desk(warehouse_url, tmp_path, date(2026, 3, 31)), MARCH)
    with pytest.raises(Stop, match="close begin 2026-03"):
        finish(desk(warehouse_url, tmp_path, ON), MARCH, verify)
    close_month(warehouse_url, tmp_path, MARCH, ON)
    with pytest.raises(Stop, match="never opened again"):
        begin(desk(warehouse_url, tmp_path, ON), MARCH)
    with pytest.raises(Stop, match="not closing"):
        finish(desk(warehouse_url, tmp_path, ON), MARCH, verify)
    with pytest.raises(Stop, match="close list"):
        closing_record(desk(warehouse_url, tmp_path, ON), APRIL)


DELIVERY = (
    "INSERT INTO ops.delivery VALUES ('d1', 'awin', 'shop_a', '2026-03-30', '2026-04-02', '2026-04-02', 'aa', 1, true,"
    " false, 'r')"
)
PARSED = "INSERT INTO ops.parse VALUES ('d1', 1, 0, 0, 0, 0, 'parsed/x.parquet', 'r')"
EMPTY = pa.table({"nothing": pa.array([], pa.int64())})
HELD = "INSERT INTO ops.validation VALUES ('d1', 1, 'held', 0, 0, 0, 'accepted/x.parquet', 'r')"


def test_a_held_delivery_blocks_until_it_is_released(warehouse_url: str, tmp_path: Path) -> None:
    for path in ("parsed/x.parquet", "accepted/x.parquet"):
        desk(warehouse_url, tmp_path, ON).lake.put_table(EMPTY, path)
    _run(warehouse_url, DELIVERY, PARSED, HELD)
    (blocking,) = _blocking(warehouse_url, tmp_path)
    assert ("held" in blocking.name, "shop_a d1" in blocking.found) == (True, True)
    assert "tallyback release" in blocking.next_step
    begin(desk(warehouse_url, tmp_path, ON), MARCH)
    with pytest.raises(Stop, match=r"held.*tallyback release"):
        finish(desk(warehouse_url, tmp_path, ON), MARCH, verify)
    _run(warehouse_url, "INSERT INTO ops.hold_release VALUES ('d1', 1, 'Ben', '2026-04-05', 'looked at')")
    assert _blocking(warehouse_url, tmp_path) == []


def test_a_delivery_nobody_parsed_is_shown_and_does_not_block(warehouse_url: str, tmp_path: Path) -> None:
    _run(warehouse_url, DELIVERY)
    warned = [each for each in check(desk(warehouse_url, tmp_path, ON), MARCH, verify) if not each.is_ok]
    assert [(each.name, each.blocks) for each in warned] == [("every delivery is parsed and checked", False)]


def test_suspense_blocks_by_currency_and_owner(warehouse_url: str, tmp_path: Path) -> None:
    _post(
        warehouse_url,
        _flow("x", 12345, "2026-03-30", debit_kind="bank", debit_owner="b", credit_kind="suspense", credit_owner="b"),
        kind="revaluation",
    )
    (blocking,) = _blocking(warehouse_url, tmp_path)
    assert blocking.name == "suspense is zero"
    assert blocking.found == "1: EUR -1.2345 (b)"


@pytest.mark.parametrize(("state", "blocks"), [("unknown", True), ("submitting", True), ("frozen", False)])
def test_a_batch_whose_fate_is_unknown_blocks(warehouse_url: str, tmp_path: Path, state: str, blocks: bool) -> None:
    batch = (
        "INSERT INTO payout.batch (batch_id, entity, rail, bank, currency, selected_for, execute_on, created_at,"
        f" payout_count, total_minor, state, sha256) VALUES ('b1', 'house', 'sepa', 'b', 'EUR', '2026-03-30',"
        f" '2026-03-31', '2026-03-30', 0, 0, '{state}', 'aa')"
    )
    _run(warehouse_url, batch)
    found = _blocking(warehouse_url, tmp_path)
    assert [each.found for each in found] == ([f"1: b1 ({state})"] if blocks else [])
    assert not found or "payout resolve" in found[0].next_step


def test_a_sale_whose_rate_is_missing_blocks_until_it_is_booked(warehouse_url: str, tmp_path: Path) -> None:
    dollars = replace(FACTS, versions=(version("10", currency="USD"),))
    accrued(warehouse_url, tmp_path, dollars, ON)
    (blocking,) = _blocking(warehouse_url, tmp_path)
    assert (blocking.name, blocking.found) == ("the rates of all sales are known", "1: USD on 2026-03-01")
    rates = {("USD", date(2026, 3, day)): Decimal("1.25") for day in (1, 2)}
    accrued(warehouse_url, tmp_path, replace(dollars, rates=rates), ON)
    assert _blocking(warehouse_url, tmp_path) == []


def test_an_earlier_month_blocks_until_it_is_closed(warehouse_url: str, tmp_path: Path) -> None:
    february = replace(FACTS.versions[0], effective_on=date(2026, 2, 27))
    accrued(warehouse_url, tmp_path, replace(FACTS, versions=(february, *FACTS.versions[1:])), date(2026, 3, 20))
    (blocking,) = _blocking(warehouse_url, tmp_path)
    assert (blocking.name, blocking.found) == ("every earlier month is closed", "1: 2026-02")
    close_month(warehouse_url, tmp_path, date(2026, 2, 1), ON)
    assert _blocking(warehouse_url, tmp_path) == []


def test_books_that_do_not_prove_block(warehouse_url: str, tmp_path: Path) -> None:
    accrued(warehouse_url, tmp_path, FACTS, date(2026, 3, 20))
    _run(warehouse_url, "UPDATE ops.transaction_version SET commission_amount = 4")
    (blocking,) = _blocking(warehouse_url, tmp_path)
    assert (blocking.name, "posted = target" in blocking.found) == ("the books prove", True)
    assert "tallyback accrue" in blocking.next_step


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE ledger.posting SET amount = amount + 1 WHERE leg = 1 AND entry_no = 2", "trial_balance"),
        ("UPDATE ledger.account SET owner = 'thief' WHERE kind = 'cashback_payable'", "accounts_sha256"),
        ("UPDATE ledger.posting SET booked_on = '2026-04-01' WHERE entry_no = 1", "trial_balance"),
        ("DELETE FROM ledger.journal_entry WHERE number = 2", "entry 2026/2 is not the one that was last then"),
        ("DELETE FROM ledger.period_event WHERE state = 'closed'", "has no closing record"),
    ],
)
def test_verify_names_what_was_done_to_a_closed_month(
    warehouse_url: str, tmp_path: Path, statement: str, named: str
) -> None:
    accrued(warehouse_url, tmp_path, FACTS, date(2026, 3, 20))
    close_month(warehouse_url, tmp_path, MARCH, ON)
    tables = ("ledger.posting", "ledger.journal_entry", "ledger.account", "ledger.period_event")
    _run(warehouse_url, *(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in tables), statement)
    proofs = verify(desk(warehouse_url, tmp_path, ON), ON)
    closed = next(each for each in proofs if each.name == "closed periods are as they were closed")
    assert not closed.is_ok
    assert named in str(closed.actual)
    assert "2026-03" in str(closed.actual)
