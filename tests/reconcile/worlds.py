"""Small worlds for the tests: short ways to say a row, and the SQL run over a world as the stage runs it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa

from etl.core.alias import moved_keys
from etl.core.schemas import CLICK, CONVERSION, PROGRAM, TRANSACTION
from etl.given import PARTNER_MODEL, REJECTED_KEY, SCOPE, versions_of
from etl.match import CONFLICT, DECISION, SEAL, SETTLED_MATCH, Matched, Matching, matched, run_step
from tests.engine import ENGINE
from tests.reconcile.naive import Delivery, Row, World
from tests.reconcile.naive_facts import standing

DAY = date.fromisoformat("2026-06-30")


def at(text: str) -> datetime:
    """Return the instant `text`, such as '03-01 10:00', of 2026."""
    return datetime.fromisoformat(f"2026-{text}")


def model(partner: str = "awin", **changed: object) -> Row:
    """Return what the stage is told of the account of a partner."""
    return {
        "partner": partner,
        "partner_account": f"{partner}_main",
        "version_clock": "observed",
        "clock_precision_seconds": 1,
        "reversal_model": "mutating",
        "signed_row_link": None,
        "has_status": True,
        **changed,
    }


def program(program_id: str = "p1", partner: str = "awin", **changed: object) -> Row:
    """Return a program of a merchant at a partner; its number there is its id in capitals."""
    return {
        "program_id": program_id,
        "merchant_id": "m1",
        "partner": partner,
        "partner_program_id": program_id.upper(),
        "name": program_id,
        "currency": "EUR",
        "commission_rate": Decimal("0.100000"),
        "lookback_days": 30,
        "validation_days": 30,
        "valid_from": at("01-01"),
        "valid_until": None,
        **changed,
    }


def click(click_id: str, clicked_at: str = "03-01 09:00", program_id: str = "p1", **changed: object) -> Row:
    """Return a click."""
    return {
        "click_id": click_id,
        "partner": "awin",
        "program_id": program_id,
        "member_id": f"member-of-{click_id}",
        "clicked_at": at(clicked_at),
        **changed,
    }


def conversion(conversion_id: str, click_id: str | None, order_ref: str | None, **changed: object) -> Row:
    """Return a conversion of our own pixel."""
    return {
        "conversion_id": conversion_id,
        "click_id": click_id,
        "order_ref": order_ref,
        "occurred_at": at("03-01 10:00"),
        "amount": Decimal("100.0000"),
        "currency": "EUR",
        **changed,
    }


_NO_CONTENT = ("delivery_id", "row_number", "content_hash")


def row(transaction_id: str = "t1", row_number: int = 1, **changed: object) -> Row:
    """Return a transaction row; its hash follows from what it says."""
    out: Row = {
        "partner": "awin",
        "transaction_id": transaction_id,
        "line_id": "",
        "kind": "sale",
        "original_transaction_id": None,
        "order_ref": None,
        "partner_program_id": "P1",
        "program_id": None,
        "click_ref": None,
        "partner_clicked_at": None,
        "partner_clicked_precision_seconds": None,
        "occurred_at": at("03-01 10:00"),
        "occurred_precision_seconds": 1,
        "processed_at": None,
        "modified_at": None,
        "status": "pending",
        "raw_status": None,
        "partner_paid": False,
        "payment_ref": None,
        "reason": None,
        "sale_amount": Decimal("100.0000"),
        "commission_amount": Decimal("10.0000"),
        "currency": "EUR",
        **changed,
        "row_number": row_number,
    }
    out["partner_account"] = f"{out['partner']}_main"
    out["content_hash"] = hashlib.sha256(
        repr(sorted((name, value) for name, value in out.items() if name not in _NO_CONTENT)).encode()
    ).hexdigest()
    return out


def delivery(delivery_id: str, observed_at: str, *rows: Row, **changed: object) -> Delivery:
    """Return a delivery of the account its rows are of."""
    account = rows[0]["partner_account"] if rows else "awin_main"
    out = Delivery(delivery_id, account, at(observed_at), list(rows))
    for name, value in changed.items():
        setattr(out, name, value)
    return out


def world(*deliveries: Delivery, **changed: object) -> World:
    """Return a world of one program at one partner, and nothing clicked, unless said otherwise."""
    out = World([model()], list(deliveries), [program()], [], [], DAY)
    for name, value in changed.items():
        setattr(out, name, value)
    return out


def alias(alias_id: str, former: str, later: str, moved_on: str, **changed: object) -> Row:
    """Return what says that a key (account:id) goes on as another one."""
    (former_account, former_id), (account, transaction_id) = (each.split(":", 1) for each in (former, later))
    return {
        "alias_id": alias_id,
        "revision": 1,
        "former_account": former_account,
        "former_transaction_id": former_id,
        "partner_account": account,
        "transaction_id": transaction_id,
        "moved_on": at(moved_on).date(),
        "state": "in_force",
        "reason": "the shop moved",
        **changed,
    }


@dataclass(frozen=True, slots=True)
class Result:
    """What the SQL said of a world."""

    versions: list[Row]
    sales: dict[str, Row]
    matches: dict[str, Row]
    breaks: list[Row]
    tables: Matched

    def kinds(self) -> set[tuple[str, str]]:
        """Return the breaks as (transaction_id, kind)."""
        return {(one["transaction_id"], one["kind"]) for one in self.breaks}

    def evidence(self, kind: str) -> str:
        """Return the evidence of the one break of a kind."""
        (found,) = [one["evidence_hash"] for one in self.breaks if one["kind"] == kind]
        return str(found)


def decision(decision_id: str, kind: str, sale_id: str, **changed: object) -> Row:
    """Return a decision."""
    return {
        "decision_id": decision_id,
        "kind": kind,
        "sale_id": sale_id,
        "click_id": None,
        "undoes": None,
        "decided_at": at("05-01"),
        "evidence_hash": "",
        "break_kind": None,
        "amount": None,
        **changed,
    }


@dataclass(frozen=True, slots=True)
class Versioned:
    """What the SQL made of what partners said, before any click is looked for."""

    models: pa.Table
    moved: pa.Table
    observation: pa.Table
    versions: pa.Table


def versioned(given: World) -> Versioned:
    """Return the versions that the SQL of sql/reconcile makes of a world, by the steps of the stage."""
    zone = ZoneInfo(given.books_zone)
    rows = [{**one, "delivery_id": each.delivery_id} for each in given.deliveries for one in each.rows]
    scopes = [
        {
            "delivery_id": each.delivery_id,
            "partner_account": each.partner_account,
            "from_at": each.from_at,
            "until_at": each.until_at,
            "observed_at": each.observed_at,
            "observed_on": each.observed_at.replace(tzinfo=UTC).astimezone(zone).date(),
            "states_scope": each.states_scope,
            "has_unkeyed_rejects": each.has_unkeyed_rejects,
        }
        for each in given.deliveries
    ]
    rejected = [
        {"delivery_id": each.delivery_id, "transaction_id": name, "line_id": line}
        for each in given.deliveries
        for name, line in each.rejected
    ]
    scope = pa.Table.from_pylist(scopes, schema=SCOPE)
    models = pa.Table.from_pylist(given.models, schema=PARTNER_MODEL)
    observation = run_step(
        ENGINE,
        "prepare/observation",
        {
            "transaction_row": pa.Table.from_pylist(rows, schema=TRANSACTION),
            "delivery_scope": scope,
            "partner_model": models,
        },
        {"books_zone": given.books_zone},
    )
    moved = moved_keys(given.aliases)
    refused = pa.Table.from_pylist(rejected, schema=REJECTED_KEY)
    versions = versions_of(ENGINE, observation, scope, refused, moved)
    return Versioned(models, moved, observation, versions)


def told(given: World) -> Result:
    """Return what the SQL of sql/reconcile makes of a world, by the steps of the stage."""
    said = versioned(given)
    clicks = {"tracked_click": pa.Table.from_pylist(given.clicks, schema=CLICK)}
    seals = [] if given.sealed_until is None else [{"sealed_until": given.sealed_until}]
    result = matched(
        ENGINE,
        Matching(
            current_row=run_step(ENGINE, "current_row", {"version": said.versions, "moved_key": said.moved}, {}),
            program=pa.Table.from_pylist(given.programs, schema=PROGRAM),
            click=run_step(ENGINE, "click", clicks, {}),
            conversion=pa.Table.from_pylist(given.conversions, schema=CONVERSION),
            seal=pa.Table.from_pylist(seals, schema=SEAL),
            partner_model=said.models,
            day=given.day,
            books_zone=given.books_zone,
            base_currency="EUR",
            conflict=run_step(ENGINE, "conflict", {"observation": said.observation}, {}).cast(CONFLICT),
            decision=pa.Table.from_pylist(
                [{**one, "acts_at": one["decided_at"]} for one in standing(given.decisions)], schema=DECISION
            ),
            settled_match=pa.Table.from_pylist(given.settled, schema=SETTLED_MATCH),
        ),
    )
    return Result(
        said.versions.to_pylist(),
        {one["sale_id"]: one for one in result.sale.to_pylist()},
        {one["transaction_id"]: one for one in result.match.to_pylist()},
        result.breaks.to_pylist(),
        result,
    )
