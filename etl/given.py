"""What reconcile is given: everything that versions, sales, matches and breaks follow from, read under one lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cached_property
from zoneinfo import ZoneInfo

import pyarrow as pa

from etl.core.alias import moved_keys
from etl.core.connector import ConnectorFacts
from etl.core.context import Context
from etl.core.engine import Objects, Relation, SqlEngine
from etl.core.lake import Lake
from etl.core.schemas import (
    ALIAS,
    CASHBACK_RULE,
    CLICK,
    CONTRACT_TERM,
    FX_RATE,
    PROGRAM,
    TEXT,
    TRANSACTION,
    VERSION,
)
from etl.core.seen import Seen, code_hash, hash_of
from etl.core.target import commission_tolerance
from etl.core.warehouse import Connection, fetch
from etl.match import DECISION, SEAL, SETTLED_MATCH, TRUNCATED_LENGTHS, Matching, run_step

_DELIVERY = pa.schema(
    [
        ("delivery_id", TEXT),
        ("partner_account", TEXT),
        ("window_from", pa.date32()),
        ("window_until", pa.date32()),
        ("observed_at", pa.timestamp("us")),
        ("states_scope", pa.bool_()),
        ("has_unkeyed_rejects", pa.bool_()),
        ("object_path", TEXT),
    ]
)
SCOPE = pa.schema(
    [
        ("delivery_id", TEXT),
        ("partner_account", TEXT),
        ("from_at", pa.timestamp("us")),
        ("until_at", pa.timestamp("us")),
        ("observed_at", pa.timestamp("us")),
        ("observed_on", pa.date32()),
        ("states_scope", pa.bool_()),
        ("has_unkeyed_rejects", pa.bool_()),
    ]
)
REJECTED_KEY = pa.schema([("delivery_id", TEXT), ("transaction_id", TEXT), ("line_id", TEXT)])
PARTNER_MODEL = pa.schema(
    [
        ("partner", TEXT),
        ("partner_account", TEXT),
        ("version_clock", TEXT),
        ("clock_precision_seconds", pa.int32()),
        ("reversal_model", TEXT),
        ("signed_row_link", TEXT),
        ("has_status", pa.bool_()),
    ]
)
_TRACKED_FILE = pa.schema([("relation", TEXT), ("object_path", TEXT)])
_OPENED = pa.schema([("sale_id", TEXT)])
_PAYOUT = pa.schema([("payout_id", TEXT), ("state", TEXT)])


@dataclass(frozen=True)
class Given:
    """The small relations as they are, and the files of rows, clicks and conversions by name."""

    engine: SqlEngine
    lake: Lake
    day: date
    books_zone: str
    base_currency: str
    delivery: pa.Table
    scope: pa.Table
    rejected: pa.Table
    model: pa.Table
    moved: pa.Table
    program: pa.Table
    seal: pa.Table
    decision: pa.Table
    cashback_rule: pa.Table
    fx_rate: pa.Table
    contract_term: pa.Table
    tolerance: pa.Table
    tracked: pa.Table
    opened: pa.Table
    payout: pa.Table
    truncated_lengths: tuple[int, ...]
    configuration_hash: str

    def files(self, paths: Iterable[str], schema: pa.Schema) -> Objects:
        """Return objects of the lake as one relation; a file of an older day lacks columns and tells none of them."""
        return Objects(self.lake, list(paths), schema)

    def tracked_paths(self, relation: str) -> list[str]:
        """Return the files of clicks or conversions."""
        return [row["object_path"] for row in self.tracked.to_pylist() if row["relation"] == relation]

    def observation(self, rows: Relation) -> pa.Table:
        """Return what partners said in transaction rows, with days and clocks (prepare/observation)."""
        return run_step(self.engine, "prepare/observation", self._told(rows), {"books_zone": self.books_zone})

    def _told(self, rows: Relation) -> dict[str, Relation]:
        return {"delivery_scope": self.scope, "partner_model": self.model, "transaction_row": rows}

    def versions(self, observation: pa.Table) -> pa.Table:
        """Return the versions (schema VERSION) of what was observed; of whole sales, else their ids may be others."""
        return versions_of(self.engine, observation, self.scope, self.rejected, self.moved)

    def derived_versions(self) -> tuple[Relation, pa.Table]:
        """Return the versions of all that was ever told, which stay with the engine, and the contradictions in it."""
        told = self._told(self.files(self.delivery["object_path"].to_pylist(), TRANSACTION))
        observation = self.engine.derive("reconcile/prepare/observation", told, {"books_zone": self.books_zone})
        inputs = _version_inputs(self.engine, observation, self.scope, self.rejected, self.moved)
        conflict = run_step(self.engine, "conflict", {"observation": observation}, {})
        return self.engine.derive("reconcile/version", inputs), conflict

    def clicks(self) -> Relation:
        """Return all clicks as they were tracked: one that was tracked twice is there twice."""
        return self.files(self.tracked_paths("click"), CLICK)

    def matching(
        self,
        current_row: Relation,
        click: Relation,
        conversion: pa.Table,
        conflict: pa.Table,
        settled_match: pa.Table,
        *,
        is_linked: bool,
    ) -> Matching:
        """Return what there is to match, of all sales or some."""
        return Matching(
            current_row=current_row,
            program=self.program,
            click=click,
            conversion=conversion,
            seal=self.seal,
            partner_model=self.model,
            day=self.day,
            books_zone=self.books_zone,
            base_currency=self.base_currency,
            truncated_lengths=self.truncated_lengths,
            conflict=conflict,
            decision=self.decision,
            settled_match=settled_match,
            cashback_rule=self.cashback_rule,
            fx_rate=self.fx_rate,
            contract_term=self.contract_term,
            commission_tolerance=self.tolerance,
            is_linked=is_linked,
        )

    @cached_property
    def seen(self) -> Seen:
        """What is to be remembered of all this."""
        tables = [self.model, self.moved, self.program, self.cashback_rule, self.contract_term, self.tolerance]
        texts = [code_hash(), self.configuration_hash, self.books_zone, self.base_currency]
        rejects = Counter(self.rejected["delivery_id"].to_pylist())
        inputs = {
            ("delivery", row["delivery_id"]): "|".join(
                (row["object_path"], str(row["has_unkeyed_rejects"]), str(rejects[row["delivery_id"]]))
            )
            for row in self.delivery.to_pylist()
        }
        inputs |= {("tracked_file", row["object_path"]): row["relation"] for row in self.tracked.to_pylist()}
        inputs |= {("decision", name): "in force" for name in self.decision["decision_id"].to_pylist()}
        inputs |= {("payout", row["payout_id"]): row["state"] for row in self.payout.to_pylist()}
        sealed = [row["sealed_until"] for row in self.seal.to_pylist()]
        until = min(sealed) if sealed and None not in sealed else None
        return Seen(self.day, hash_of([*tables, self.opened], texts), until, inputs)


def object_path_of(state: str) -> str:
    """Return the file a delivery was read from, of the state that was remembered of it."""
    return state.split("|")[0]


def read_given(context: Context, connection: Connection, day: date, facts: Mapping[str, ConnectorFacts]) -> Given:
    """Return what there is as of `day`; Stop if a delivery names an account that is not configured."""
    deliveries = fetch(connection, _ACCEPTED, _DELIVERY)
    lengths = {
        length
        for account in context.configuration.accounts
        if isinstance(length := account.options.get("click_ref_length"), int)
    }
    return Given(
        engine=context.engine,
        lake=context.lake,
        day=day,
        books_zone=context.entity.books_zone,
        base_currency=context.entity.base_currency,
        delivery=deliveries,
        scope=_scope(context, deliveries),
        rejected=fetch(connection, _REJECTED, REJECTED_KEY),
        model=_partner_model(context, facts),
        moved=moved_keys(fetch(connection, _ALIASES, ALIAS).to_pylist()),
        program=fetch(connection, _named(PROGRAM, "ref.program ORDER BY 1, 10"), PROGRAM),
        seal=fetch(connection, "SELECT sealed_until FROM ops.click_seal ORDER BY source", SEAL),
        decision=fetch(connection, _named(DECISION, "ops.decision_in_force ORDER BY decision_id"), DECISION),
        cashback_rule=fetch(
            connection, _named(CASHBACK_RULE, "ref.cashback_rule_in_force ORDER BY 1, 8"), CASHBACK_RULE
        ),
        fx_rate=fetch(connection, _named(FX_RATE, "ref.fx_rate ORDER BY 1, 2, 3, 5"), FX_RATE),
        contract_term=fetch(
            connection, _named(CONTRACT_TERM, "ref.contract_term_in_force ORDER BY 1, 8"), CONTRACT_TERM
        ),
        tolerance=commission_tolerance(context.configuration),
        tracked=fetch(connection, _TRACKED, _TRACKED_FILE),
        opened=fetch(connection, "SELECT sale_id FROM ops.sale_in_opening ORDER BY sale_id", _OPENED),
        payout=fetch(connection, _RELEASED, _PAYOUT),
        truncated_lengths=tuple(sorted({*TRUNCATED_LENGTHS, *lengths})),
        configuration_hash=context.configuration.hash,
    )


def settled_matches(connection: Connection, condition: str = "true") -> pa.Table:
    """Return the sales a payout holds on to, with the click it was for, where `condition` on ops.sale AS s holds."""
    return fetch(connection, f"{_SETTLED} AND {condition} ORDER BY s.sale_id", SETTLED_MATCH)


def _named(schema: pa.Schema, source: str) -> str:
    return f"SELECT {', '.join(schema.names)} FROM {source}"


def versions_of(
    engine: SqlEngine, observation: pa.Table, scope: pa.Table, rejected: pa.Table, moved: pa.Table
) -> pa.Table:
    """Return the versions (schema VERSION) of what was observed; see sql/reconcile/version.sql."""
    inputs = _version_inputs(engine, observation, scope, rejected, moved)
    return run_step(engine, "version", inputs, {}).select(VERSION.names).cast(VERSION)


def _version_inputs(
    engine: SqlEngine, observation: Relation, scope: pa.Table, rejected: pa.Table, moved: pa.Table
) -> dict[str, Relation]:
    inputs: dict[str, Relation] = {"observation": observation, "delivery_scope": scope, "moved_key": moved}
    dependent = engine.derive("reconcile/dependent_row", inputs)
    return {**inputs, "rejected_key": rejected, "dependent_row": dependent}


# The newest parse that was let through: one that is held does not take away what the one before it said.
_ACCEPTED = """
SELECT delivery_id, partner_account, window_from, window_until, observed_at, states_scope, has_unkeyed_rejects,
    object_path
FROM (
    SELECT d.delivery_id, d.partner_account, d.window_from, d.window_until, d.observed_at, d.states_scope,
        p.unkeyed_reject_count > 0 AS has_unkeyed_rejects, v.object_path,
        row_number() OVER (PARTITION BY d.delivery_id ORDER BY v.parse_version DESC) AS age
    FROM ops.delivery AS d
    JOIN ops.validation AS v ON v.delivery_id = d.delivery_id
    JOIN ops.parse AS p ON p.delivery_id = v.delivery_id AND p.parse_version = v.parse_version
    LEFT JOIN ops.hold_release AS h ON h.delivery_id = v.delivery_id AND h.parse_version = v.parse_version
    WHERE v.state = 'passed' OR h.delivery_id IS NOT NULL
) AS accepted
WHERE age = 1
ORDER BY delivery_id
"""
# Rejects of any parse of a delivery: a row that was ever refused is no proof of absence.
_REJECTED = """
SELECT DISTINCT delivery_id, transaction_id, line_id
FROM ops.reject
WHERE transaction_id IS NOT NULL
ORDER BY delivery_id, transaction_id, line_id
"""
_ALIASES = f"SELECT {', '.join(ALIAS.names)} FROM ref.alias ORDER BY alias_id, revision"
_TRACKED = "SELECT relation, object_path FROM ops.tracked_file ORDER BY relation, object_path"
_SETTLED = """
SELECT s.sale_id, s.rule, s.click_id, s.clicked_at, s.member_id
FROM ops.sale AS s
WHERE s.click_id IS NOT NULL AND EXISTS (
    SELECT 1
    FROM payout.payout_line AS l
    JOIN payout.payout AS p ON p.payout_id = l.payout_id
    WHERE l.document_kind = 'sale' AND l.document_id = s.sale_id AND p.state IN ('reserved', 'in_flight', 'settled')
)
"""
# Payouts that hold on to no match any more.
_RELEASED = """
SELECT payout_id, state
FROM payout.payout
WHERE state NOT IN ('reserved', 'in_flight', 'settled')
ORDER BY payout_id
"""


def _partner_model(context: Context, facts: Mapping[str, ConnectorFacts]) -> pa.Table:
    rows = [
        {
            "partner": account.partner,
            "partner_account": account.name,
            "version_clock": facts[account.partner].version_clock.value,
            "clock_precision_seconds": facts[account.partner].clock_precision_seconds,
            "reversal_model": facts[account.partner].reversal_model.value,
            "signed_row_link": getattr(facts[account.partner].signed_row_link, "value", None),
            "has_status": facts[account.partner].has_status,
        }
        for account in context.configuration.accounts
    ]
    return pa.Table.from_pylist(rows, schema=PARTNER_MODEL)


def _scope(context: Context, deliveries: pa.Table) -> pa.Table:
    """Return what each delivery speaks of: its days, in the partner's zone, as instants."""
    books = ZoneInfo(context.entity.books_zone)
    zones = {name: ZoneInfo(context.configuration.account(name).zone) for name in set(_texts(deliveries))}
    rows = [
        {
            **{name: row[name] for name in ("delivery_id", "partner_account", "observed_at", "states_scope")},
            "has_unkeyed_rejects": row["has_unkeyed_rejects"],
            "from_at": midnight(row["window_from"], zones[row["partner_account"]]),
            "until_at": midnight(row["window_until"], zones[row["partner_account"]]),
            "observed_on": row["observed_at"].replace(tzinfo=UTC).astimezone(books).date(),
        }
        for row in deliveries.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=SCOPE)


def _texts(deliveries: pa.Table) -> Sequence[str]:
    names: list[str] = deliveries["partner_account"].to_pylist()
    return names


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant (naive UTC) at which `day` begins in `zone`."""
    return datetime.combine(day, time(), zone).astimezone(UTC).replace(tzinfo=None)
