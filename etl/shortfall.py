"""Shortfall: what partners report less than their contract says, with the evidence one sends them to claim it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TypeVar

import pyarrow as pa

from etl.core.context import Context
from etl.core.engine import Relation
from etl.core.facts import FactReader
from etl.core.period import next_month, require_month
from etl.core.safe_csv import Cell, csv_bytes
from etl.core.schemas import INSTANT, TEXT
from etl.core.target import Facts, contracted, row_states, row_terms
from etl.core.warehouse import Connection, fetch

_T = TypeVar("_T")
_EVIDENCE = pa.schema(
    [
        ("sale_id", TEXT),
        ("program", TEXT),
        ("program_rate", pa.decimal128(9, 6)),
        ("rate_from", INSTANT),
        ("rate_until", INSTANT),
        ("clicked_at", INSTANT),
        ("transaction_id", TEXT),
        ("line_id", TEXT),
        ("order_ref", TEXT),
        ("click_ref", TEXT),
        ("partner_clicked_at", INSTANT),
        ("occurred_at", INSTANT),
        ("status", TEXT),
        ("commission_group", TEXT),
        ("customer_type", TEXT),
        ("delivery_id", TEXT),
        ("row_number", pa.int64()),
    ]
)
_HEADER = (
    "partner_account", "program_id", "program", "transaction_id", "order_ref", "click_ref", "partner_clicked_at",
    "clicked_at", "occurred_at", "sale_on", "status", "commission_group", "customer_type", "currency", "sale_amount",
    "commission_reported", "contract", "contract_from", "contract_until", "commission_expected", "shortfall",
    "delivery_row",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShortSale:
    """A sale whose commission is less than its contract says, and what proves it."""

    sale_id: str
    partner_account: str
    program_id: str
    program: str
    sale_on: date
    occurred_at: datetime
    clicked_at: datetime | None
    partner_clicked_at: datetime | None
    transactions: tuple[str, ...]
    order_ref: str | None
    click_ref: str | None
    status: str
    commission_group: str
    customer_type: str
    currency: str
    sale_amount: Decimal
    reported: Decimal
    expected: Decimal
    shortfall: Decimal
    contract: str
    contract_from: datetime | None
    contract_until: datetime | None
    rows: tuple[str, ...]

    def cells(self) -> Sequence[Cell]:
        """Return the values of its line in the CSV."""
        return (
            self.partner_account, self.program_id, self.program, " ".join(self.transactions), self.order_ref,
            self.click_ref, _instant(self.partner_clicked_at), _instant(self.clicked_at), _instant(self.occurred_at),
            self.sale_on, self.status, self.commission_group, self.customer_type, self.currency, self.sale_amount,
            self.reported, self.contract, _instant(self.contract_from), _instant(self.contract_until), self.expected,
            self.shortfall, " ".join(self.rows),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ProgramShortfall:
    """What is missing of one program in one currency, over how many sales."""

    partner_account: str
    program_id: str
    program: str
    currency: str
    sale_count: int
    reported: Decimal
    expected: Decimal
    shortfall: Decimal


@dataclass(frozen=True, slots=True)
class Shortfall:
    """All that is short, the most money first; of how many sales that something was expected of."""

    compared_count: int
    programs: tuple[ProgramShortfall, ...]
    sales: tuple[ShortSale, ...]

    def as_csv(self) -> bytes:
        """Return one line for each sale, as one would send it to the partner; text in it is no formula."""
        return csv_bytes(_HEADER, [each.cells() for each in self.sales])


def shortfall(context: Context, day: date, account: str | None = None, starts_on: date | None = None) -> Shortfall:
    """Return what partners report less than their contract says, of sales of one account or month if they are named.

    Stop if the account is not configured or `starts_on` is not the first day of a month.
    """
    if account is not None:
        context.configuration.account(account)
    with context.warehouse.transaction() as connection:
        compared_count, short = 0, list[dict[str, object]]()
        reader = FactReader(context, connection)
        for some in reader.parts():
            found = _compared(context, reader.of(some), day, account, starts_on)
            compared_count += len(found)
            short += [row for row in found if row["shortfall"] is not None]
            context.engine.release()
        evidence = _evidence(connection, [str(row["sale_id"]) for row in short])
    sales = sorted(
        (_short_sale(row, evidence[row["sale_id"]]) for row in short), key=lambda each: (-each.shortfall, each.sale_id)
    )
    return Shortfall(compared_count, _by_program(sales), tuple(sales))


def _compared(
    context: Context, facts: Facts, day: date, account: str | None, starts_on: date | None
) -> list[dict[str, object]]:
    terms = row_terms(context.engine, facts)
    states = row_states(context.engine, facts, day)
    relations: dict[str, Relation] = {
        "sale": facts.sale,
        "row_term": terms,
        "row_state": states,
        "contracted": contracted(context.engine, facts, states, terms),
    }
    rows: list[dict[str, object]] = context.engine.run("accrue/shortfall", relations).to_pylist()
    if account is not None:
        rows = [row for row in rows if row["partner_account"] == account]
    if starts_on is not None:
        until = next_month(require_month(starts_on))
        rows = [row for row in rows if isinstance(on := row["sale_on"], date) and starts_on <= on < until]
    return rows


def _evidence(connection: Connection, sales: Sequence[str]) -> dict[object, list[dict[str, object]]]:
    out: dict[object, list[dict[str, object]]] = defaultdict(list)
    for row in fetch(connection, _ROWS, _EVIDENCE, (list(sales),)).to_pylist():
        out[row["sale_id"]].append(row)
    return out


def _short_sale(row: dict[str, object], rows: Sequence[dict[str, object]]) -> ShortSale:
    first = rows[0]
    terms = row["term_ids"]
    return ShortSale(
        sale_id=str(row["sale_id"]),
        partner_account=str(row["partner_account"]),
        program_id=str(row["program_id"]),
        program=str(first["program"] or ""),
        sale_on=_typed(row["sale_on"], date),
        occurred_at=_typed(first["occurred_at"], datetime),
        clicked_at=_optional(first["clicked_at"]),
        partner_clicked_at=_optional(first["partner_clicked_at"]),
        transactions=tuple(
            f"{each['transaction_id']}/{each['line_id']}" if each["line_id"] else str(each["transaction_id"])
            for each in rows
        ),
        order_ref=_first_text(rows, "order_ref"),
        click_ref=_first_text(rows, "click_ref"),
        status=" ".join(sorted({str(each["status"]) for each in rows if each["status"]})),
        commission_group=" ".join(sorted({str(each["commission_group"]) for each in rows if each["commission_group"]})),
        customer_type=" ".join(sorted({str(each["customer_type"]) for each in rows if each["customer_type"]})),
        currency=str(row["currency"]),
        sale_amount=_typed(row["sale_amount"], Decimal),
        reported=_typed(row["reported_amount"], Decimal),
        expected=_typed(row["expected_amount"], Decimal),
        shortfall=_typed(row["shortfall"], Decimal),
        contract=f"terms {terms}" if terms else f"rate {first['program_rate']} of the program",
        contract_from=_optional(row["valid_from"] if terms else first["rate_from"]),
        contract_until=_optional(row["valid_until"] if terms else first["rate_until"]),
        rows=tuple(f"{each['delivery_id']}:{each['row_number']}" for each in rows),
    )


def _by_program(sales: Sequence[ShortSale]) -> tuple[ProgramShortfall, ...]:
    groups: dict[tuple[str, str, str], list[ShortSale]] = defaultdict(list)
    for each in sales:
        groups[each.partner_account, each.program_id, each.currency].append(each)
    summed = [
        ProgramShortfall(
            account,
            program_id,
            of[0].program,
            currency,
            len(of),
            sum((each.reported for each in of), Decimal(0)),
            sum((each.expected for each in of), Decimal(0)),
            sum((each.shortfall for each in of), Decimal(0)),
        )
        for (account, program_id, currency), of in groups.items()
    ]
    return tuple(sorted(summed, key=lambda each: (-each.shortfall, each.partner_account, each.program_id)))


def _typed(value: object, kind: type[_T]) -> _T:
    assert isinstance(value, kind)
    return value


def _optional(value: object) -> datetime | None:
    assert value is None or isinstance(value, datetime)
    return value


def _first_text(rows: Sequence[dict[str, object]], name: str) -> str | None:
    return next((str(each[name]) for each in rows if each[name] is not None), None)


def _instant(value: datetime | None) -> str | None:
    return None if value is None else f"{value.isoformat(sep=' ', timespec='seconds')} UTC"


# Each row as it is now; the terms of its program as accrue takes them: at the sale, else at the click, else the last.
_ROWS = """
SELECT s.sale_id, p.name AS program, p.commission_rate AS program_rate, p.valid_from AS rate_from,
    p.valid_until AS rate_until, s.clicked_at, v.transaction_id, v.line_id, v.order_ref, v.click_ref,
    v.partner_clicked_at, v.occurred_at, v.status, v.commission_group, v.customer_type, v.delivery_id, v.row_number
FROM ops.sale AS s
JOIN (
    SELECT DISTINCT ON (partner_account, transaction_id, line_id) *
    FROM ops.transaction_version
    WHERE NOT is_absent AND sale_id = ANY(%s)
    ORDER BY partner_account, transaction_id, line_id, version_no DESC
) AS v ON v.sale_id = s.sale_id
LEFT JOIN LATERAL (
    SELECT p.name, p.commission_rate, p.valid_from, p.valid_until
    FROM ref.program AS p
    WHERE p.program_id = s.program_id
    ORDER BY
        CASE WHEN p.valid_from <= s.occurred_at AND (p.valid_until IS NULL OR s.occurred_at < p.valid_until) THEN 0
             WHEN p.valid_from <= s.clicked_at AND (p.valid_until IS NULL OR s.clicked_at < p.valid_until) THEN 1
             ELSE 2 END,
        p.valid_from DESC
    LIMIT 1
) AS p ON true
WHERE v.status IS DISTINCT FROM 'declined'
ORDER BY s.sale_id, v.occurred_at, v.transaction_id, v.line_id
"""
