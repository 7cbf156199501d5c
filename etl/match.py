"""Find the click each sale belongs to, and all that a person must look at: the SQL of sql/reconcile in its order.

`matched` is what the reconcile stage runs over the warehouse's relations; `match_files` is the same over Parquet files
in the canonical schemas, with no warehouse and no history, for one's own data and for benchmarks.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.core.engine import Parameter, Relation, SqlEngine
from etl.core.errors import Stop
from etl.core.schemas import (
    AMOUNT,
    BREAK,
    CASHBACK_RULE,
    CLICK,
    COMMISSION_TOLERANCE,
    CONTRACT_TERM,
    CONTRACTED,
    CONVERSION,
    FX_RATE,
    INSTANT,
    MATCH,
    PROGRAM,
    TEXT,
    TRANSACTION,
    TRANSACTION_OPTIONAL,
)

TRUNCATED_LENGTHS = (16, 20, 30, 32, 50)
"""To how many characters partners are known to cut a click reference; an account's `click_ref_length` adds one."""

DECISION = pa.schema(
    [
        ("decision_id", TEXT),
        ("kind", TEXT),
        ("sale_id", TEXT),
        ("click_id", TEXT),
        ("acts_at", INSTANT),
        ("evidence_hash", TEXT),
        ("break_kind", TEXT),
        ("amount", AMOUNT),
    ]
)
"""A decision in force."""
SETTLED_MATCH = pa.schema(
    [("sale_id", TEXT), ("rule", TEXT), ("click_id", TEXT), ("clicked_at", INSTANT), ("member_id", TEXT)]
)
SEAL = pa.schema([("sealed_until", INSTANT)])
CONFLICT = pa.schema(
    [
        ("partner", TEXT),
        ("partner_account", TEXT),
        ("transaction_id", TEXT),
        ("line_id", TEXT),
        ("expected", TEXT),
        ("found", TEXT),
    ]
)
SALE_LINK = pa.schema(
    [
        ("sale_id", TEXT),
        ("partner_account", TEXT),
        ("partner_program_id", TEXT),
        ("currency", TEXT),
        ("order_ref", TEXT),
        ("click_ref", TEXT),
        ("reduction_click_ref", TEXT),
        ("ref_folded", TEXT),
        ("click_id", TEXT),
        ("first_sale_amount", AMOUNT),
        ("first_net_amount", AMOUNT),
        ("is_reduction", pa.bool_()),
        ("is_exact", pa.bool_()),
        ("told_on", pa.date32()),
        ("waits_until", INSTANT),
    ]
)
"""What a sale can be found by when something else changes (sql/reconcile/prepare/sale_link.sql)."""
SALE_REFERENCE = pa.schema(
    [("sale_id", TEXT), ("click_ref", TEXT), ("is_bent_known", pa.bool_()), ("first_at", INSTANT), ("last_at", INSTANT)]
)
"""When the clicks happened that a sale's reference could mean (sql/reconcile/prepare/sale_reference.sql)."""
_END_OF_TIME = datetime.fromisoformat("9999-12-31")


@dataclass(frozen=True, slots=True)
class Matching:
    """What there is to match: relations by the names of sql/reconcile (tables or Parquet files), and what day it is.

    `base_currency` is None where no books are kept: then no missing exchange rate is a break.
    """

    current_row: Relation
    program: Relation
    click: Relation
    conversion: Relation
    seal: pa.Table
    partner_model: pa.Table
    day: date
    books_zone: str
    base_currency: str | None = None
    truncated_lengths: tuple[int, ...] = TRUNCATED_LENGTHS
    conflict: Relation = field(default_factory=CONFLICT.empty_table)
    decision: pa.Table = field(default_factory=DECISION.empty_table)
    settled_match: pa.Table = field(default_factory=SETTLED_MATCH.empty_table)
    cashback_rule: pa.Table = field(default_factory=CASHBACK_RULE.empty_table)
    fx_rate: pa.Table = field(default_factory=FX_RATE.empty_table)
    contract_term: pa.Table = field(default_factory=CONTRACT_TERM.empty_table)
    commission_tolerance: pa.Table = field(default_factory=COMMISSION_TOLERANCE.empty_table)
    is_linked: bool = False


@dataclass(frozen=True, slots=True)
class Matched:
    """What came of it: `sale` (columns of ops.sale), `match` (schema MATCH) and `breaks` (BREAK and more columns).

    `link` is what the sales can be found by (schema SALE_LINK) and `reference` when what they refer to was clicked
    (SALE_REFERENCE), of none where that was not asked for.
    """

    sale: pa.Table
    match: pa.Table
    breaks: pa.Table
    link: pa.Table = field(default_factory=SALE_LINK.empty_table)
    reference: pa.Table = field(default_factory=SALE_REFERENCE.empty_table)


@dataclass(frozen=True, slots=True)
class DerivedMatch:
    """The same as relations that stay with the engine."""

    sale: Relation
    match: Relation
    breaks: Relation
    link: Relation
    reference: Relation


def derived_match(engine: SqlEngine, given: Matching) -> DerivedMatch:
    """Return sales with their clicks, the match of each row, and the open breaks; a function of `given` alone.

    Rows that are with the engine are let go of on the way: nobody is to read `given.current_row` afterwards.
    """
    linked = (*_READS["prepare/sale_link"], "sale_reference") if given.is_linked else ()
    found = _found(engine, given, ("match", "sale", "open_break", *linked))
    link: Relation = SALE_LINK.empty_table()
    if given.is_linked:
        link = engine.derive("reconcile/prepare/sale_link", _read("prepare/sale_link", found))
    reference = found.get("sale_reference", SALE_REFERENCE.empty_table())
    return DerivedMatch(found["sale"], found["match"], found["open_break"], link, reference)


def matched(engine: SqlEngine, given: Matching) -> Matched:
    """Return the same as tables."""
    found = derived_match(engine, given)
    match = engine.table(found.match).select(MATCH.names).cast(MATCH)
    link = engine.table(found.link).cast(SALE_LINK)
    reference = engine.table(found.reference).cast(SALE_REFERENCE)
    return Matched(engine.table(found.sale), match, engine.table(found.breaks), link, reference)


def _found(
    engine: SqlEngine, given: Matching, wanted: Iterable[str], *, is_by_rules: bool = False
) -> dict[str, Relation]:
    """Return the `wanted` relations by name when every query has run.

    Any other ends when the last query that reads it has run. With `is_by_rules` nobody decided anything and nothing was
    paid out, so that a sale belongs to the click that the rules say.
    """
    relations: dict[str, Relation] = {
        "current_row": given.current_row,
        "program": given.program,
        "click": given.click,
        "conversion": given.conversion,
        "seal": given.seal,
        "partner_model": given.partner_model,
        "conflict": given.conflict,
        "decision": given.decision,
        "settled_match": given.settled_match,
        "cashback_rule": given.cashback_rule,
        "fx_rate": given.fx_rate,
        "commission_tolerance": given.commission_tolerance,
        "contracted": CONTRACTED.empty_table(),
        "truncation": pa.table({"ref_length": pa.array(sorted(set(given.truncated_lengths)), pa.int32())}),
    }
    zone: dict[str, Parameter] = {"books_zone": given.books_zone}
    day: dict[str, Parameter] = {"day": given.day}
    steps: tuple[tuple[str, Mapping[str, Parameter]], ...] = (
        ("prepare/program_state", {}),
        ("several_row", {}),
        ("noted_row", {}),
        ("grouped_sale", {}),
        ("exact_click", {}),
        ("prepare/folded_ref", {}),
        ("candidate_click", {}),
        ("sale_match", {}),
        *((("contracted", {}),) if given.contract_term.num_rows else ()),
        *((("prepare/sale_reference", {}),) if given.is_linked else ()),
        ("prepare/sale_day", zone),
        ("duplicate", {}),
        ("missing_conversion", day),
        ("break", {**day, "base_currency": given.base_currency}),
        ("accepted_click", {}),
        ("sale", {}),
        ("match", {}),
    )
    for place, (name, parameters) in enumerate(steps):
        result = _NAMES.get(name, name.rsplit("/")[-1])
        if name == "sale" and is_by_rules:
            relations[result] = relations["sale_match"]
        elif name == "contracted":
            relations[result] = _contracted(engine, given, relations)
        else:
            relations[result] = engine.derive(f"reconcile/{name}", _needed(name, relations), parameters)
        if name == "exact_click":
            relations[result] = _each_once(engine, relations[result])
        needed = set(wanted).union(*(_READS[later] for later, _ in steps[place + 1 :]))
        if "current_row" in relations and "current_row" not in needed:
            engine.end(given.current_row)
        relations = {key: relation for key, relation in relations.items() if key in needed}
    return relations


def _each_once(engine: SqlEngine, click: Relation) -> Relation:
    """Return clicks, each once: nearly always as they are."""
    tracked: dict[str, Relation] = {"tracked_click": click}
    is_repeated = run_step(engine, "prepare/repeated_click", tracked, {}).num_rows > 0
    return engine.derive("reconcile/click", tracked) if is_repeated else click


def _contracted(engine: SqlEngine, given: Matching, relations: Mapping[str, Relation]) -> Relation:
    """Return what contract terms say of the sales of programs that have any, as they stand now."""
    current, sale = relations["current_row"], relations["sale_match"]
    terms = engine.derive("accrue/row_term", {"version": current, "sale": sale, "contract_term": given.contract_term})
    named: dict[str, Relation] = {"current_row": current, "sale_match": sale, "row_term": terms}
    rows = engine.derive("reconcile/prepare/termed_row", named, {"day": given.day})
    stated: dict[str, Relation] = {
        "row_state": rows,
        "row_term": terms,
        "sale": sale,
        "commission_tolerance": given.commission_tolerance,
    }
    return engine.derive("accrue/contracted", stated)


_NAMES = {"break": "open_break"}
# Columns of results with few values. Of any other the writer would begin a dictionary, only to give it up.
_FEW_VALUED = ["partner", "partner_account", "line_id", "outcome", "rule", "kind", "currency", "expected"]
# What a query tells something of, each row of its own: of none there is nothing to tell, and no click to be read.
_TELLS_OF = {"missing_conversion": "conversion", "accepted_click": "decision"}
_READS: dict[str, tuple[str, ...]] = {
    "prepare/program_state": ("program",),
    "several_row": ("current_row",),
    "noted_row": ("current_row", "conflict"),
    "grouped_sale": ("current_row", "several_row", "program_state"),
    "exact_click": ("grouped_sale", "click"),
    "prepare/folded_ref": ("grouped_sale", "exact_click"),
    "candidate_click": ("grouped_sale", "folded_ref", "truncation", "conversion", "click"),
    "sale_match": ("grouped_sale", "exact_click", "program_state", "candidate_click", "seal"),
    "contracted": ("current_row", "sale_match"),
    "prepare/sale_reference": (
        "grouped_sale", "exact_click", "candidate_click", "sale_match", "settled_match", "decision",
    ),
    "prepare/sale_day": ("grouped_sale",),
    "duplicate": ("grouped_sale", "sale_match"),
    "missing_conversion": ("conversion", "click", "program", "sale_match", "partner_model"),
    "break": (
        "noted_row", "grouped_sale", "sale_match", "duplicate", "conflict", "missing_conversion", "settled_match",
        "decision", "cashback_rule", "fx_rate", "sale_day", "contracted", "commission_tolerance",
    ),
    "accepted_click": ("decision", "click"),
    "sale": (
        "grouped_sale", "sale_match", "sale_day", "duplicate", "open_break", "accepted_click", "settled_match",
    ),
    "match": ("several_row", "sale"),
    "prepare/sale_link": ("grouped_sale", "sale_match", "folded_ref"),
}  # fmt: skip


def run_step(
    engine: SqlEngine, name: str, relations: Mapping[str, Relation], parameters: Mapping[str, Parameter]
) -> pa.Table:
    """Return the result of `sql/reconcile/<name>.sql` over those of the relations it reads."""
    return engine.run(f"reconcile/{name}", _read(name, relations), parameters)


def grouped_sales(engine: SqlEngine, current_row: pa.Table, program: pa.Table) -> pa.Table:
    """Return the sales that these rows make up (sql/reconcile/grouped_sale.sql)."""
    relations: dict[str, Relation] = {"current_row": current_row, "program": program}
    relations["program_state"] = run_step(engine, "prepare/program_state", relations, {})
    relations["several_row"] = run_step(engine, "several_row", relations, {})
    return run_step(engine, "grouped_sale", relations, {})


def _read(name: str, relations: Mapping[str, Relation]) -> Mapping[str, Relation]:
    read = _READS.get(name)
    return relations if read is None else {key: relations[key] for key in read}


def _needed(name: str, relations: Mapping[str, Relation]) -> Mapping[str, Relation]:
    """Return the relations that a query reads, without rows if it would have nothing to tell of them."""
    read, told_of = _read(name, relations), _TELLS_OF.get(name)
    told = None if told_of is None else read[told_of]
    if not isinstance(told, pa.Table) or told.num_rows:
        return read
    return {key: _schema(relation).empty_table() for key, relation in read.items()}


def _schema(relation: Relation) -> pa.Schema:
    if isinstance(relation, Path):
        return pq.read_schema(relation)
    return pq.read_schema(relation[0]) if isinstance(relation, Sequence) else relation.schema


def match_files(
    clicks: Path, transactions: Path, programs: Path, conversions: Path | None, out: Path, engine: SqlEngine
) -> tuple[tuple[str, int], ...]:
    """Write match.parquet and break.parquet under `out`, each ordered by key; return counts with names.

    All clicks given count as sealed, and the day is that of the last transaction. Raises Stop if a file is missing or
    lacks a column of its canonical schema.
    """
    for path, schema in ((clicks, CLICK), (transactions, TRANSACTION), (programs, PROGRAM), (conversions, CONVERSION)):
        if path is not None:
            _require(path, schema)
    rows = engine.derive("reconcile/prepare/file_row", {"transaction_row": transactions})
    accounts = engine.run("reconcile/prepare/file_account", {"current_row": rows})
    last = pc.max(accounts["last_at"]).as_py()
    found = _found(
        engine,
        Matching(
            current_row=rows,
            program=programs,
            click=clicks,
            conversion=CONVERSION.empty_table() if conversions is None else conversions,
            seal=pa.table({"sealed_until": [_END_OF_TIME]}, schema=SEAL),
            partner_model=accounts.select(["partner", "partner_account"]),
            day=date.min if last is None else last.date(),
            books_zone="UTC",
        ),
        ("match", "open_break", "sale"),
        is_by_rules=True,
    )
    sale_count = engine.count(found.pop("sale"))
    out.mkdir(parents=True, exist_ok=True)
    outcomes: Counter[str] = Counter()
    for batch in _written(engine.batches(found["match"], MATCH), MATCH, out / "match.parquet"):
        outcomes.update({entry["values"]: entry["counts"] for entry in pc.value_counts(batch["outcome"]).to_pylist()})
    breaks = engine.batches(found["open_break"], BREAK)
    break_count = sum(batch.num_rows for batch in _written(breaks, BREAK, out / "break.parquet"))
    counts = (
        ("transactions", outcomes.total()),
        ("sales", sale_count),
        ("matched", outcomes["matched"]),
        ("unmatched", outcomes["unmatched"]),
        ("breaks", break_count),
    )
    engine.release()
    return counts


def _require(path: Path, schema: pa.Schema) -> None:
    try:
        present = pq.read_schema(path)
    except FileNotFoundError as error:
        raise Stop(f"there is no file {path}: name a Parquet file") from error
    except pa.ArrowInvalid as error:
        raise Stop(f"{path} is no Parquet file: {error}") from error
    needed = [name for name in schema.names if name not in TRANSACTION_OPTIONAL]
    if missing := [name for name in needed if name not in present.names]:
        raise Stop(f"{path} lacks the columns {', '.join(missing)}: the canonical schema has {', '.join(schema.names)}")


def _written(batches: Iterator[pa.RecordBatch], schema: pa.Schema, place: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches, each when it is in the Parquet file, which is at its place once all are."""
    temporary = place.with_name(f".{place.name}.part")
    with pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=_FEW_VALUED) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield batch
    with temporary.open("rb+") as done:
        os.fsync(done.fileno())
    temporary.rename(place)
