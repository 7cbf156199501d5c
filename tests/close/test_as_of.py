"""As of any pair of days: what was known is what stood in the books then, and a member can read their statement."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from etl.balance import balances
from etl.cli import app
from etl.core.as_of import AsOf, Basis, end_of_day
from etl.core.errors import Stop
from etl.core.ledger import FLOW, post
from etl.core.warehouse import Warehouse
from etl.statement import EarningState, PaymentState, statement
from tests.accrue.books import context
from tests.ledger.test_post import _flow

FIRST = date(2026, 3, 1)
MORNING = datetime.fromisoformat("2026-03-01T09:00")
MEMBER = "m1"


def _book(url: str, kind: str, at: datetime, *flows: dict[str, object]) -> None:
    with Warehouse(url).transaction() as connection:
        table = pa.Table.from_pylist(list(flows), schema=FLOW)
        post(connection, "house", kind, table, run_id="r", created_by="test", posted_at=at)


def _member_flow(document: str, debit: str, credit: str, minor: int, on: str, **changes: object) -> dict[str, object]:
    def owner(kind: str) -> str:
        return {"border": "", "payout_in_flight": "", "bank": "house_bank"}.get(kind, MEMBER)

    plain = {
        "debit_kind": debit, "debit_owner": owner(debit), "credit_kind": credit, "credit_owner": owner(credit),
        "asset": "EUR/2", "component": "cashback", "base_amount": None, "rate": None,
    }  # fmt: skip
    return _flow(document, minor, on, **{**plain, **changes})


def _sale(url: str, sale_id: str, shop: str, on: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO ref.program VALUES (%s, 'm', 'awin', %s, %s, 'EUR', 0.1, 30, 30, '2025-01-01', NULL)",
            (f"program of {sale_id}", sale_id, shop),
        )
        connection.execute(
            "INSERT INTO ops.sale (sale_id, partner, partner_account, program_id, occurred_at, sale_on, outcome,"
            " earns_cashback, is_payout_held) VALUES (%s, 'awin', 'shop_a', %s, %s, %s, 'matched', true, false)",
            (sale_id, f"program of {sale_id}", on, on),
        )


def _payout(url: str, payout_id: str, *lines: tuple[str, int]) -> None:
    total = sum(minor for _, minor in lines)
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO payout.batch (batch_id, entity, rail, bank, currency, selected_for, execute_on, created_at,"
            " payout_count, total_minor, state) VALUES ('b1', 'house', 'sepa', 'b', 'EUR', '2026-03-20', '2026-03-20',"
            " '2026-03-20', 1, %s, 'reserved')",
            (total,),
        )
        connection.execute(
            "INSERT INTO payout.payout VALUES (%s, 'b1', %s, 'EUR', %s, 1, %s, 'reserved')",
            (payout_id, MEMBER, total, payout_id),
        )
        for document_id, minor in lines:
            connection.execute(
                "INSERT INTO payout.payout_line VALUES (%s, 'sale', %s, %s)", (payout_id, document_id, minor)
            )


@pytest.fixture
def lived(warehouse_url: str) -> str:
    """A member's spring: shoes paid out in March and sent back in April, tea pending, a book declined."""
    _sale(warehouse_url, "s1", "Shoes & more", "2026-03-01")
    _sale(warehouse_url, "s2", "Tea", "2026-03-05")
    _sale(warehouse_url, "s3", "Books", "2026-03-06")
    earned = [
        _member_flow("s1", "border", "cashback_payable", 500, "2026-03-01"),
        _member_flow("s2", "border", "cashback_pending", 250, "2026-03-05"),
        _member_flow("s3", "border", "cashback_pending", 100, "2026-03-06"),
    ]
    _book(warehouse_url, "sale", datetime.fromisoformat("2026-03-07T08:00"), *earned)
    declined = _member_flow("s3", "cashback_pending", "border", 100, "2026-03-15")
    _book(warehouse_url, "sale", datetime.fromisoformat("2026-03-16T08:00"), declined)
    _payout(warehouse_url, "p1", ("s1", 500))
    for on, debit, credit in (
        ("2026-03-20", "cashback_payable", "payout_reserved"),
        ("2026-03-21", "payout_reserved", "payout_in_flight"),
        ("2026-03-24", "payout_in_flight", "bank"),
    ):
        moved = _member_flow("p1", debit, credit, 500, on, component="payout")
        _book(warehouse_url, "payout", datetime.fromisoformat(f"{on}T10:00"), moved)
    back = _member_flow("s1", "cashback_payable", "border", 400, "2026-03-30")
    _book(warehouse_url, "sale", datetime.fromisoformat("2026-04-08T08:00"), back)
    return warehouse_url


def test_a_member_reads_what_was_earned_paid_and_is_owed_back(lived: str, tmp_path: Path) -> None:
    found = statement(context(lived, tmp_path), MEMBER, AsOf(date(2026, 4, 30)))
    assert [(each.shop, str(each.on), each.state, str(each.amount)) for each in found.earnings] == [
        ("Shoes & more", "2026-03-01", EarningState.PAYABLE, "1.00"),
        ("Tea", "2026-03-05", EarningState.PENDING, "2.50"),
        ("Books", "2026-03-06", EarningState.DECLINED, "0.00"),
    ]
    assert [(str(each.on), each.state, str(each.amount)) for each in found.payments] == [
        ("2026-03-20", PaymentState.SETTLED, "5.00")
    ]
    (total,) = found.totals
    assert (str(total.pending), str(total.payable), str(total.paid)) == ("2.50", "-4.00", "5.00")
    (owed,) = found.owed_back
    assert owed.sentences == (
        "2026-03-30: Shoes & more, bought on 2026-03-01 (number s1): the shop declined or changed the sale after its"
        " cashback had been paid out or used, so EUR 4.00 is owed back.",
        "EUR 4.00 is left. It is taken off what is earned next, the oldest debt first.",
    )
    # What is negative is explained to the cent.
    assert owed.left == -total.payable
    assert json.loads(json.dumps(found.as_json()))["owed_back"][0]["amount"] == "4.00"


@pytest.mark.parametrize(
    ("day", "known", "payable", "payment"),
    [
        ("2026-03-31", None, "-4.00", PaymentState.SETTLED),
        # The reversal of the thirtieth was not known before April.
        ("2026-03-31", "2026-04-01T00:00", "0.00", PaymentState.SETTLED),
        ("2026-03-23", None, "0.00", PaymentState.IN_FLIGHT),
        ("2026-03-20", None, "0.00", PaymentState.RESERVED),
        ("2026-03-19", None, "5.00", None),
    ],
)
def test_a_statement_is_as_of_both_days(
    lived: str, tmp_path: Path, day: str, known: str | None, payable: str, payment: PaymentState | None
) -> None:
    as_of = AsOf(date.fromisoformat(day), datetime.fromisoformat(known) if known else None)
    found = statement(context(lived, tmp_path), MEMBER, as_of)
    assert str(found.totals[0].payable) == payable
    assert [each.state for each in found.payments] == ([payment] if payment else [])


def test_a_member_nobody_knew_by_then_is_told(lived: str, tmp_path: Path) -> None:
    for member, known in (("m9", None), (MEMBER, datetime.fromisoformat("2026-03-07T07:00"))):
        with pytest.raises(Stop, match=f"no member '{member}'"):
            statement(context(lived, tmp_path), member, AsOf(date(2026, 4, 30), known))


def test_the_functions_of_the_public_schema_say_the_same_as_the_command(lived: str, tmp_path: Path) -> None:
    as_of, known = date(2026, 3, 31), datetime.fromisoformat("2026-03-16T08:00")
    for basis in Basis:
        with psycopg.connect(lived) as connection:
            connection.execute("SET LOCAL ROLE tallyback_finance_read")
            rows = connection.execute(
                f"SELECT kind, owner, currency || '/' || scale, balance_minor::bigint FROM mart.balance_{basis}(%s, %s)"
                " WHERE entity = 'house'",
                (as_of, known),
            ).fetchall()
        found = balances(context(lived, tmp_path), AsOf(as_of, known, basis)).to_pylist()
        assert sorted(rows) == sorted((row["kind"], row["owner"], row["asset"], row["balance_minor"]) for row in found)
        assert len(found) == 3


def test_a_day_ends_in_the_zone_of_the_books() -> None:
    assert end_of_day(date(2026, 3, 28), "Europe/Berlin") == datetime.fromisoformat("2026-03-28T22:59:59.999999")
    assert end_of_day(date(2026, 3, 29), "Europe/Berlin") == datetime.fromisoformat("2026-03-29T21:59:59.999999")


_MOVES = st.tuples(
    st.sampled_from(("s1", "s2", "s3")),
    st.sampled_from((("border", "cashback_pending"), ("cashback_pending", "border"), ("border", "cashback_payable"))),
    st.integers(1, 900),
    st.integers(0, 70),
)


@given(
    st.lists(st.tuples(st.lists(_MOVES, min_size=1, max_size=4), st.booleans()), min_size=2, max_size=5),
    st.lists(st.integers(-1, 75), min_size=2, max_size=2),
)
@settings(
    max_examples=4,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_as_known_at_an_instant_is_the_books_as_they_stood_then(
    warehouse_url: str,
    tmp_path: Path,
    steps: list[tuple[list[tuple[str, tuple[str, str], int, int]], bool]],
    days: list[int],
) -> None:
    """Postings for any day, months closed in between: a snapshot taken at an instant is what is told of it later."""
    _empty(warehouse_url)
    views = [(FIRST + timedelta(days=offset), basis) for offset in days for basis in Basis]
    taken: list[tuple[AsOf, list[dict[str, object]], object]] = []
    closed = FIRST
    for number, (moves, is_closed) in enumerate(steps):
        at = MORNING + timedelta(hours=number)
        flows = [
            _member_flow(sale, *kinds, minor, str(FIRST + timedelta(days=offset)))
            for sale, kinds, minor, offset in moves
        ]
        _book(warehouse_url, "sale", at, *flows)
        if is_closed:
            with psycopg.connect(warehouse_url) as connection:
                connection.execute("INSERT INTO ref.period VALUES ('house', %s, 'closed')", (closed,))
            closed = (closed + timedelta(days=31)).replace(day=1)
        for day, basis in views:
            now = balances(context(warehouse_url, tmp_path), AsOf(day, None, basis)).to_pylist()
            taken.append((AsOf(day, at, basis), now, _told(warehouse_url, tmp_path, AsOf(day))))
    for as_of, rows, told in taken:
        assert balances(context(warehouse_url, tmp_path), as_of).to_pylist() == rows
        assert _told(warehouse_url, tmp_path, AsOf(as_of.day, as_of.known_at)) == told


def _told(url: str, folder: Path, as_of: AsOf) -> object:
    try:
        found = statement(context(url, folder), MEMBER, as_of)
    except Stop:
        return None
    return (found.earnings, found.payments, found.totals)


def _empty(url: str) -> None:
    with psycopg.connect(url) as connection:
        for table in ("ledger.posting", "ledger.journal_entry", "ledger.account", "ref.period", "ledger.period_event"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            connection.execute(f"TRUNCATE {table}")
            connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def test_the_commands_print_it(lived: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYBACK_WAREHOUSE_URL", lived)
    configuration = tmp_path / "config"
    configuration.mkdir()
    (configuration / "entity.yaml").write_text("name: house\nbase_currency: EUR\nbooks_zone: Europe/Berlin\n")
    monkeypatch.setenv("TALLYBACK_CONFIGURATION", str(configuration))
    monkeypatch.setenv("TALLYBACK_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("TALLYBACK_TEMPORARY", str(tmp_path / "temporary"))
    run = CliRunner().invoke(app, ["statement", MEMBER, "--as-of", "2026-04-30"], terminal_width=200)
    assert run.exit_code == 0, run.output
    for words in ("Shoes & more", "waiting for the shop", "payable EUR -4.00", "is taken off what is earned next"):
        assert words in run.output
    options = ["--as-of", "2026-03-31", "--known", "2026-03-31", "--kind", "cashback_payable", "--json"]
    run = CliRunner().invoke(app, ["balance", *options])
    said = json.loads(run.output)
    assert (said["basis"], said["known_at"]) == ("effective", "2026-03-31 21:59:59.999999")
    assert [Decimal(row["balance"]) for row in said["balances"]] == [Decimal(0)]
