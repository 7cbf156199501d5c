"""Derive everything again from the landed bytes in a scratch warehouse, and name each difference from what is stored.

Inputs are the objects of the lake, the recorded deliveries and click files, reference data, rates, openings,
remittances, and what people decided, adjusted, released and paid out. All else is made again by the stages themselves:
parse, validate, reconcile, remit, accrue; openings are read again from their files. Payouts, and write-offs of members'
debts, which follow from payouts, are proved by `verify`; a revaluation belongs to its close, and is not made again.
Nothing is written into the warehouse or its lake.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg.rows import class_row

from connectors.partners import connector_for
from etl.accrue import accrue
from etl.adjust import book_adjustments
from etl.clicks import rows_digest
from etl.core.compared import Compared, Difference, compare
from etl.core.connector import Window
from etl.core.context import Context
from etl.core.errors import Stop
from etl.core.lake import sha256_of
from etl.core.scratch import copy_inputs, copy_rows, scratch_beside, snapshot
from etl.core.warehouse import Connection
from etl.land import delivery_id_of
from etl.opening import book_openings, misread_openings
from etl.parse import parse
from etl.reconcile import reconcile
from etl.remit import remit
from etl.validate import validate

DERIVED = (
    "ops.parse",
    "ops.validation",
    "ops.check_result",
    "ops.reject",
    "ops.transaction_version",
    "ops.sale",
    "ops.match",
    "ops.break",
    "ops.remittance_allocation",
    # What stages remember of their last run: of what is derived anew they have seen nothing.
    "ops.reconciled",
    "ops.reconciled_input",
    "ops.sale_link_file",
    "ops.file_span",
    "ops.sale_reference",
    "ops.accrued",
    "ops.accrued_rate",
    "ops.touched_sale",
    "ops.remitted",
    "ops.remitted_account",
    "ops.touched_row",
    "ops.sale_outcome",
)
"""What follows from the inputs; a scratch warehouse begins without it."""
_NOT_NEEDED = (
    "ops.run", "ops.journal_export", "ops.hold_release", "ref.period", "payout.event", "payout.approval",
    "payout.transmission",
)  # fmt: skip
_INPUT_SCHEMAS = ("ref", "ops", "payout")
_NEWEST = "(SELECT max(n.parse_version) FROM ops.parse AS n WHERE n.delivery_id = {0}.delivery_id)"
# A match that money was paid out on stays: what it was is a fact of the payout, and only there.
_PAID_SALES = """
    t.click_id IS NOT NULL AND EXISTS (
        SELECT 1 FROM payout.payout_line AS l JOIN payout.payout AS p ON p.payout_id = l.payout_id
        WHERE l.document_kind = 'sale' AND l.document_id = t.sale_id
            AND p.state IN ('reserved', 'in_flight', 'settled'))
"""


@dataclass(frozen=True, slots=True)
class Rederived:
    """What came of it: how much was compared, and every difference up to a limit."""

    day: date
    object_count: int
    row_count: int
    differences: tuple[Difference, ...]
    is_cut: bool


def rederive(
    context: Context, day: date, told: Callable[[str], None], limit: int = 1_000, scratch_url: str | None = None
) -> Rederived:
    """Return the differences between what is stored and what follows, as of `day`; at most `limit` of them.

    Damaged objects are named first, and then nothing is derived: all that hangs on them would differ. So are accounts
    whose deliveries this version would parse otherwise. `told` hears of each step. Stop if an account is not
    configured, or if the database at `scratch_url` is not empty.
    """
    with snapshot(context.warehouse) as stored:
        told("comparing landed objects with their sha256")
        count, damaged = _damaged(context, stored)
        damaged = damaged or list(_outdated(context, stored))
        if damaged:
            return Rederived(day, count, 0, tuple(damaged[:limit]), len(damaged) > limit)
        told("starting a scratch warehouse and copying the inputs")
        with scratch_beside(context, scratch_url) as scratch:
            _derive(scratch, stored, day, told)
            with psycopg.connect(scratch.warehouse.url) as derived:
                row = derived.execute("SELECT coalesce(sum(row_count), 0) FROM ops.parse").fetchone()
                found = list(itertools.islice(_differences(context, scratch, stored, derived, told), limit + 1))
            return Rederived(day, count, int(str(row and row[0])), tuple(found[:limit]), len(found) > limit)


def booked_through(context: Context) -> date | None:
    """Return the day the books were last kept for: what came since has not been booked yet, and is no difference."""
    with context.warehouse.transaction() as connection:
        row = connection.execute(
            "SELECT day FROM ops.run WHERE stage = 'accrue' AND state = 'done' ORDER BY started_at DESC LIMIT 1"
        ).fetchone()
    return row[0] if row and isinstance(row[0], date) else None


def _damaged(context: Context, stored: Connection) -> tuple[int, list[Difference]]:
    """Return how many objects the warehouse names, and those whose bytes are not what is recorded of them."""
    objects = stored.execute(_OBJECTS).fetchall()
    found = []
    for what, name, recorded, path in objects:
        try:
            with context.lake.borrowed(str(path)) as local:
                # A file of clicks is called by what its rows say, all others by their bytes.
                is_tracked = what in ("click", "conversion")
                actual = rows_digest(pq.read_table(local), str(what)) if is_tracked else sha256_of(local)[0]
        except (Stop, pa.ArrowException) as error:
            actual = str(error)
        if actual != recorded:
            found.append(Difference(f"{what} object", f"{name}, {path}", actual, str(recorded)))
    context.lake.release()
    found += _misrecorded(stored)
    # Where the file itself is damaged, that is said already.
    if not found:
        found += [Difference("opening", name, kept, landed) for name, kept, landed in misread_openings(context)]
    return len(objects), found


_OF_NAME = "regexp_replace(object_path, '^.*/|[.][a-z]+$', '', 'g')"
_OBJECTS = f"""
    SELECT 'landed', 'delivery ' || delivery_id || ' part ' || part_no, sha256, object_path FROM ops.delivery_part
    UNION ALL
    SELECT 'remittance', partner_account || ' ' || name, sha256, object_path FROM ops.remittance_file
    UNION ALL
    SELECT 'opening', opening_id || ' revision ' || revision, file_sha256, object_path FROM ops.opening
    UNION ALL
    SELECT 'evidence', 'adjustment ' || adjustment_id, {_OF_NAME.replace("object_path", "evidence_path")}, evidence_path
    FROM ops.adjustment
    UNION ALL
    SELECT relation, source || ' ' || day, {_OF_NAME}, object_path FROM ops.tracked_file
    UNION ALL
    SELECT 'parsed', 'delivery ' || delivery_id, {_OF_NAME}, object_path FROM ops.parse
    UNION ALL
    SELECT 'checked', 'delivery ' || delivery_id, {_OF_NAME}, object_path FROM ops.validation
    ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class _Delivery:
    delivery_id: str
    partner_account: str
    window_from: date
    window_until: date
    observed_at: datetime
    names: list[str]
    sums: list[str]


def _misrecorded(stored: Connection) -> Iterator[Difference]:
    """Yield deliveries that are not as they were landed: the id is made of account, window, clock and bytes."""
    with stored.cursor(row_factory=class_row(_Delivery)) as cursor:
        deliveries = cursor.execute(
            "SELECT d.delivery_id, d.partner_account, d.window_from, d.window_until, d.observed_at,"
            " array_agg(p.name ORDER BY p.part_no) AS names, array_agg(p.sha256 ORDER BY p.part_no) AS sums"
            " FROM ops.delivery AS d JOIN ops.delivery_part AS p USING (delivery_id) GROUP BY d.delivery_id ORDER BY 1"
        ).fetchall()
    for each in deliveries:
        window = Window(each.window_from, each.window_until)
        parts = list(zip(each.names, each.sums, strict=True))
        made = delivery_id_of(each.partner_account, window, each.observed_at, parts)
        if made != each.delivery_id:
            key = f"{each.partner_account} {window} observed at {each.observed_at}"
            yield Difference("recorded delivery", key, f"delivery {each.delivery_id}", f"delivery {made}")


def _outdated(context: Context, stored: Connection) -> Iterator[Difference]:
    """Yield each account with deliveries whose newest parse is not of the parse_version this code has."""
    for account in context.configuration.accounts:
        version = connector_for(account.partner).facts.parse_version
        rows = stored.execute(
            "SELECT n.parse_version, count(*) FROM ("
            " SELECT p.delivery_id, max(p.parse_version) AS parse_version FROM ops.parse AS p"
            " JOIN ops.delivery AS d USING (delivery_id) WHERE d.partner_account = %s GROUP BY p.delivery_id) AS n"
            " WHERE n.parse_version <> %s GROUP BY n.parse_version ORDER BY 1",
            (account.name, version),
        ).fetchall()
        for other, count in rows:
            told = f"parse_version {other} of {count} deliveries; with `tallyback run` they are parsed again"
            yield Difference("parse version", account.name, told, f"parse_version {version}")


def _derive(scratch: Context, stored: Connection, day: date, told: Callable[[str], None]) -> None:
    """Fill the scratch warehouse: inputs first, then stage by stage what follows from them."""
    url = scratch.warehouse.url
    with psycopg.connect(url) as target:
        copy_inputs(stored, target, _INPUT_SCHEMAS, (*DERIVED, *_NOT_NEEDED))
        copy_rows(stored, target, "ops.sale", _PAID_SALES)
        # A row that any parse ever refused is no proof of absence; what older ones refused cannot be made again.
        newest = _NEWEST.format("t")
        copy_rows(stored, target, "ops.reject", f"t.parse_version < {newest}")
    for account in scratch.configuration.accounts:
        connector = connector_for(account.partner)
        told(f"parse {account.name}")
        try:
            parse(scratch, account, connector)
        except Stop as error:
            # What cannot be parsed has no parse here; if the warehouse has one, that is a difference.
            told(str(error))
        for checked in _checked_together(stored, account.name):
            told(f"validate {account.name}, as run {checked.run_id} did")
            with psycopg.connect(url) as target:
                known = "SELECT r.started_at FROM ops.run AS r WHERE r.run_id = "
                literal = psycopg.ClientCursor(stored).mogrify("%s", (checked.run_id,))
                copy_rows(
                    stored, target, "ops.hold_release",
                    f"t.released_at <= ({known}{literal}) AND NOT t.delivery_id = ANY({_ids(target)}::text[])",
                )  # fmt: skip
            validate(scratch, account, connector.facts, checked.deliveries)
        validate(scratch, account, connector.facts)
    with psycopg.connect(url) as target:
        copy_rows(stored, target, "ops.hold_release", f"NOT t.delivery_id = ANY({_ids(target)}::text[])")
    book(scratch, day, told)


def book(context: Context, day: date, told: Callable[[str], None]) -> None:
    """Reconcile what is accepted, and book all that follows from it but payouts and what hangs on them."""
    facts = {account.partner: connector_for(account.partner).facts for account in context.configuration.accounts}
    told("reconcile")
    reconcile(context, day, facts)
    told("remit")
    remit(context, day)
    told("accrue")
    book_openings(context, day)
    book_adjustments(context)
    accrue(context, day)


def _ids(target: psycopg.Connection) -> str:
    """Return the deliveries already released in the scratch warehouse, as a literal."""
    row = target.execute("SELECT coalesce(array_agg(delivery_id), '{}') FROM ops.hold_release").fetchone()
    return psycopg.ClientCursor(target).mogrify("%s", (row[0] if row else [],))


@dataclass(frozen=True, slots=True)
class _Checked:
    run_id: str
    deliveries: list[str]


def _checked_together(stored: Connection, account: str) -> Iterator[_Checked]:
    """Yield the runs that checked deliveries of an account, in their order, each with what it checked.

    A check of the whole compares with what was accepted by then, so it is made again with that and no more.
    """
    with stored.cursor(row_factory=class_row(_Checked)) as cursor:
        yield from cursor.execute(
            "SELECT v.run_id, array_agg(v.delivery_id ORDER BY d.observed_at, d.window_from, d.delivery_id)"
            " AS deliveries FROM ops.validation AS v JOIN ops.delivery AS d USING (delivery_id)"
            " LEFT JOIN ops.run AS r ON r.run_id = v.run_id"
            f" WHERE d.partner_account = %s AND v.parse_version = {_NEWEST.format('v')}"
            " GROUP BY v.run_id, r.started_at ORDER BY r.started_at, v.run_id",
            (account,),
        ).fetchall()


def _differences(
    context: Context, scratch: Context, stored: Connection, derived: Connection, told: Callable[[str], None]
) -> Iterator[Difference]:
    for what in compared(context.entity.name):
        told(f"comparing {what.name}")
        for found in compare(stored, derived, what):
            if what.name in _FILES and _is_same_file(context, scratch, found):
                continue
            yield found


_FILES = ("parsed delivery", "checked delivery")


def _is_same_file(context: Context, scratch: Context, found: Difference) -> bool:
    """Return whether two files say the same in other bytes: another library's, or with a new empty column."""
    stored, follows = found.stored.removeprefix("object_path "), found.follows.removeprefix("object_path ")
    if stored == found.stored or follows == found.follows or ", " in stored:
        return False
    try:
        one, other = context.lake.read_table(stored), scratch.lake.read_table(follows)
    except Stop:
        return False
    shared = [name for name in one.column_names if name in other.column_names]
    added = [table[name] for table in (one, other) for name in table.column_names if name not in shared]
    is_same = one.select(shared).equals(other.select(shared))
    return bool(is_same and all(column.null_count == len(column) for column in added))


def compared(entity: str) -> Iterator[Compared]:
    """Yield what is compared, in the order in which one thing follows from another."""
    row_key = ("partner_account", "transaction_id", "line_id")
    newest = f"SELECT t.* FROM {{0}} AS t WHERE t.parse_version = {_NEWEST.format('t')}"
    yield Compared(
        "parsed delivery",
        newest.format("ops.parse"),
        ("delivery_id",),
        ("parse_version", "row_count", "transaction_count", "reject_count", "unkeyed_reject_count", "object_path"),
    )
    yield Compared(
        "reject",
        newest.format("ops.reject"),
        ("delivery_id", "row_number", "stage", "rule"),
        ("transaction_id", "line_id", "column_name", "value", "reason", "raw"),
    )
    yield Compared(
        "checked delivery",
        newest.format("ops.validation"),
        ("delivery_id",),
        ("parse_version", "state", "row_count", "accepted_count", "reject_count", "object_path"),
    )
    yield Compared(
        "check",
        newest.format("ops.check_result"),
        ("delivery_id", "check_name"),
        ("severity", "is_passed", "failing_rows"),
    )
    yield Compared("version", "SELECT * FROM ops.transaction_version", (*row_key, "version_no"), _VERSION)
    yield Compared("sale", "SELECT * FROM ops.sale", ("sale_id",), _SALE)
    yield Compared("match", "SELECT * FROM ops.match", row_key, ("partner", "outcome", "click_id", "rule"))
    yield Compared("break", "SELECT * FROM ops.break", (*row_key, "kind"), _BREAK)
    yield Compared(
        "allocation",
        "SELECT * FROM ops.remittance_allocation",
        ("partner_account", "remittance_id", "line_no", "transaction_id"),
        ("line_id", "currency", "amount_minor", "rule", "received_on", "funded_on"),
    )
    named = "'" + entity.replace("'", "''") + "'"
    yield Compared(
        "ledger",
        "SELECT document_kind AS document, document_id AS id, kind AS account, owner,"
        " currency || '/' || scale AS asset, effective_for, component, sum(amount_minor)::bigint AS amount_minor"
        f" FROM mart.movement WHERE entity = {named} AND"
        " document_kind NOT IN ('payout', 'revaluation')"
        " AND NOT (document_kind = 'write_off' AND component = 'cashback')"
        " GROUP BY 1, 2, 3, 4, 5, 6, 7 HAVING sum(amount_minor) <> 0",
        ("document", "id", "account", "owner", "asset", "effective_for", "component"),
        ("amount_minor",),
    )


_VERSION = tuple(
    "is_absent sale_id effective_on status raw_status partner_paid sale_amount commission_amount currency kind"
    " original_transaction_id order_ref partner_program_id program_id click_ref partner_clicked_at"
    " partner_clicked_precision_seconds occurred_at occurred_precision_seconds processed_at modified_at payment_ref"
    " reason delivery_id row_number content_hash observed_at".split()
)
_SALE = tuple(
    "outcome rule click_id clicked_at member_id earns_cashback is_payout_held partner partner_account program_id"
    " merchant_id order_ref occurred_at sale_on".split()
)
_BREAK = tuple("sale_id expected found amount currency evidence_hash".split())
