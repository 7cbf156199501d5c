"""Check what was parsed: wrong rows are rejected, strange deliveries are held until a person releases them.

Row checks and checks of the whole are Great Expectations suites (`expectations/`); what must be exact or needs history
is computed in SQL (`sql/validate`) and judged as a small table. Accepted rows are Parquet in the lake.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg.rows import class_row

from etl.core.approval import require_person
from etl.core.configuration import PartnerAccount
from etl.core.connector import ConnectorFacts
from etl.core.context import Context, StageResult
from etl.core.engine import Parameter, Relation
from etl.core.errors import Stop
from etl.core.expectations import BATCH_ROWS_MAX, Outcome, Severity, Suite, load_suite, run_checks
from etl.core.findings import Checked, Finding, check_together, findings_of, renumbered, with_facts, write_checked
from etl.core.warehouse import APPROVER, copy_in, lock
from etl.core.warehouse import fetch as fetch_table

GROUP_ROWS_MAX = 500_000
GROUP_DELIVERIES_MAX = 400
_ROW_PARAMETERS = ("sale_amount_max", "commission_amount_max")
# What sql/validate/row_fact reads of a row.
_OF_ROW_FACT = (
    "delivery_id",
    "row_number",
    "kind",
    "sale_amount",
    "commission_amount",
    "occurred_at",
    "occurred_precision_seconds",
    "processed_at",
    "partner_clicked_at",
)
_WHOLE_PARAMETERS = (
    "rejects_min",
    "repeated_min",
    "deliveries_min",
    "history_days_min",
    "history_deliveries_max",
    "lost_rows_min",
    "silence_rows_min",
    "volume_rows_min",
    "volume_spreads",
    "noise_spreads",
)
_HISTORY = pa.schema(
    [
        pa.field("delivery_id", pa.string()),
        pa.field("series", pa.string()),
        pa.field("window_from", pa.date32()),
        pa.field("window_until", pa.date32()),
        pa.field("observed_at", pa.timestamp("us")),
        pa.field("row_count", pa.int64()),
    ]
)
_DELIVERY = pa.schema(
    [
        pa.field("place", pa.int64()),
        *_HISTORY,
        pa.field("window_from_at", pa.timestamp("us")),
        pa.field("window_until_at", pa.timestamp("us")),
        pa.field("reject_count", pa.int64()),
    ]
)
_PLACE = pa.schema([pa.field("place", pa.int64())])
_REJECTED = pa.schema([pa.field("delivery_id", pa.string()), pa.field("row_number", pa.int64())])


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A parsed delivery that was not validated yet; deliveries of one series can be compared with each other."""

    delivery_id: str
    series: str
    parse_version: int
    window_from: date
    window_until: date
    observed_at: datetime
    row_count: int
    transaction_count: int
    reject_count: int
    object_path: str


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the checks say of a delivery."""

    outcomes: tuple[Outcome, ...]
    rejects: tuple[Finding, ...]

    @property
    def rejected_rows(self) -> frozenset[int]:
        return frozenset(reject.row_number for reject in self.rejects)

    @property
    def held_by(self) -> tuple[Outcome, ...]:
        return tuple(each for each in self.outcomes if _holds(each))


def _holds(outcome: Outcome) -> bool:
    return not outcome.is_passed and outcome.check.severity is Severity.HOLD


def validate(
    context: Context, account: PartnerAccount, facts: ConnectorFacts, delivery_ids: Sequence[str] | None = None
) -> StageResult:
    """Check all parsed deliveries of the account that were not checked yet, or those named, in the order observed.

    What is checked together is committed together. A second run finds nothing to do. The note names what is held and
    why.
    """
    suite = load_suite("transaction", account.partner)
    counts = {"deliveries": 0, "rows": 0, "accepted": 0, "rejects": 0, "held": 0}
    held: list[str] = []
    for group in _groups(_due(context, account, facts, delivery_ids)):
        for delivery, verdict in _stored(context, account, group, _judged(context, account, suite, group)):
            rejected = len(verdict.rejected_rows)
            counts["deliveries"] += 1
            counts["rows"] += delivery.transaction_count
            counts["accepted"] += delivery.transaction_count - rejected
            counts["rejects"] += rejected
            counts["held"] += bool(verdict.held_by)
            if verdict.held_by:
                reasons = "; ".join(f"{each.check.reason} ({each.actual})" for each in verdict.held_by)
                held.append(f"{delivery.delivery_id} ({delivery.window_from}..{delivery.window_until}): {reasons}")
    note = f"{counts['rejects']:,} of them rejected by a check"
    if held:
        note += f"; {len(held)} held until `tallyback release` (`tallyback holds` lists them): " + " | ".join(held[:3])
    return StageResult("validate", account.name, tuple(counts.items()), note)


def release(context: Context, delivery_id: str, person: str, reason: str) -> None:
    """Record that a person lets a held delivery through; once is enough. Stop if it is not held."""
    person = require_person(person)
    if not reason.strip():
        raise Stop(f"say why delivery {delivery_id} may go on: the reason is kept")
    with context.warehouse.transaction(APPROVER) as connection:
        lock(connection, f"release:{delivery_id}")
        query = (
            "SELECT parse_version, state FROM ops.validation WHERE delivery_id = %s ORDER BY parse_version DESC LIMIT 1"
        )
        row = connection.execute(query, (delivery_id,)).fetchone()
        if row is None:
            raise Stop(f"delivery {delivery_id} was not validated: check the id, or run `tallyback validate` first")
        parse_version, state = row
        if state != "held":
            raise Stop(f"delivery {delivery_id} is not held: there is nothing to release")
        connection.execute(
            "INSERT INTO ops.hold_release (delivery_id, parse_version, released_by, released_at, reason) "
            "VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (delivery_id, parse_version, person, context.known_at, reason.strip()),
        )


# What may be compared: answers of the same kinds of parts, for a partner may have several files or sites for a day.
_SERIES = """
    (SELECT coalesce(string_agg(DISTINCT part.media_type, ' ' ORDER BY part.media_type), '')
     FROM ops.delivery_part AS part WHERE part.delivery_id = d.delivery_id) AS series
"""


def _due(
    context: Context, account: PartnerAccount, facts: ConnectorFacts, delivery_ids: Sequence[str] | None
) -> list[_Delivery]:
    query = f"""
        SELECT d.delivery_id, {_SERIES}, p.parse_version, d.window_from, d.window_until, d.observed_at, p.row_count,
            p.transaction_count, p.reject_count, p.object_path
        FROM ops.delivery AS d
        JOIN ops.parse AS p ON p.delivery_id = d.delivery_id
        WHERE d.partner_account = %s AND p.parse_version = %s AND NOT EXISTS (
            SELECT 1 FROM ops.validation AS v WHERE v.delivery_id = p.delivery_id AND v.parse_version = p.parse_version)
        ORDER BY d.observed_at, d.window_from, d.delivery_id
    """
    with context.warehouse.transaction() as connection, connection.cursor(row_factory=class_row(_Delivery)) as cursor:
        due = cursor.execute(query, (account.name, facts.parse_version)).fetchall()
    return due if delivery_ids is None else [each for each in due if each.delivery_id in set(delivery_ids)]


def _groups(due: Sequence[_Delivery]) -> Iterator[list[_Delivery]]:
    """Yield the deliveries in order, small ones together: a check costs far more to set up than to run."""
    group: list[_Delivery] = []
    rows = 0
    for delivery in due:
        if group and (rows + delivery.transaction_count > GROUP_ROWS_MAX or len(group) == GROUP_DELIVERIES_MAX):
            yield group
            group, rows = [], 0
        group.append(delivery)
        rows += delivery.transaction_count
    if group:
        yield group


def _judged(context: Context, account: PartnerAccount, suite: Suite, group: Sequence[_Delivery]) -> list[_Verdict]:
    """Return what the checks say of each delivery of a group: of its rows, then of the whole of it."""
    rows = [_of_large(context, suite, group[0])] if len(group) == 1 else _of_small(context, suite, group)
    whole = _of_whole(context, account, suite, group, [rejects for _, rejects in rows])
    return [
        _Verdict((*outcomes, *of_whole), tuple(rejects))
        for (outcomes, rejects), of_whole in zip(rows, whole, strict=True)
    ]


_OfRows = tuple[list[Outcome], list[Finding]]


def _row_facts(context: Context, suite: Suite, rows: pa.Table, group: Sequence[_Delivery]) -> pa.Table:
    """Return rows, numbered over all deliveries of the group, with the facts of each beside it."""
    observed = pa.table(
        {
            "delivery_id": [delivery.delivery_id for delivery in group],
            "observed_at": pa.array([delivery.observed_at for delivery in group], pa.timestamp("us")),
        }
    )
    parameters: dict[str, Parameter] = {name: suite.parameters[name] for name in _ROW_PARAMETERS}
    return with_facts(rows, context.engine.run("validate/row_fact", {"row": rows, "delivery": observed}, parameters))


def _of_small(context: Context, suite: Suite, group: Sequence[_Delivery]) -> list[_OfRows]:
    """Return outcomes and rejects of the rows of several deliveries, checked as one table."""
    # To read all columns takes twice as long, and all that a row says is told of rejects alone.
    asked = sorted({*_OF_ROW_FACT, *(str(check.kwargs["column"]) for check in suite.rows)})
    tables = [pq.ParquetFile(context.lake.local(delivery.object_path)).read(asked) for delivery in group]
    bases = [sum(delivery.row_count for delivery in group[:place]) for place in range(len(group))]
    # A file of an older day may lack a column that a newer one has.
    rows = pa.concat_tables(map(renumbered, tables, bases), promote_options="default")
    facts = _row_facts(context, suite, rows, group)
    parts: list[pa.Table] = []
    offset = 0
    for table, base in zip(tables, bases, strict=True):
        parts.append(renumbered(facts.slice(offset, table.num_rows), -base))
        offset += table.num_rows
    checked: list[_OfRows] = []
    for delivery, outcomes in zip(group, check_together(suite.rows, parts), strict=True):
        has_rejects = any(each.failing for each in outcomes if each.check.severity is Severity.REJECT)
        whole = context.lake.read_table(delivery.object_path) if has_rejects else None
        checked.append((outcomes, [] if whole is None else findings_of(outcomes, whole, {Severity.REJECT})))
    return checked


def _of_large(context: Context, suite: Suite, delivery: _Delivery) -> _OfRows:
    """Return outcomes and rejects of the rows of one delivery, however many, in batches."""
    outcomes: dict[str, Outcome] = {check.name: Outcome(check, (), "as expected") for check in suite.rows}
    rejects: list[Finding] = []
    for batch in pq.ParquetFile(context.lake.local(delivery.object_path)).iter_batches(batch_size=BATCH_ROWS_MAX):
        rows = pa.table(batch)
        of_batch = run_checks(suite.rows, _row_facts(context, suite, rows, [delivery]))
        rejects += findings_of(of_batch, rows, {Severity.REJECT})
        for each in of_batch:
            if not each.is_passed:
                failing = outcomes[each.check.name].failing + each.failing
                outcomes[each.check.name] = Outcome(each.check, failing, each.actual)
    return list(outcomes.values()), rejects


def _of_whole(
    context: Context,
    account: PartnerAccount,
    suite: Suite,
    group: Sequence[_Delivery],
    rejects: Sequence[Sequence[Finding]],
) -> list[list[Outcome]]:
    """Return the outcomes of the checks of the whole, for each delivery of a group.

    A delivery is compared with those before it that were accepted, so what holds one changes the history of the next:
    all are judged again without those that are held until that changes nothing. Each round settles at least the next.
    """
    numbers = [sorted({reject.row_number for reject in of_one}) for of_one in rejects]
    relations: dict[str, Relation] = {
        "row": [context.lake.local(delivery.object_path) for delivery in group],
        "rejected": pa.Table.from_pylist(
            [
                {"delivery_id": delivery.delivery_id, "row_number": number}
                for delivery, of_one in zip(group, numbers, strict=True)
                for number in of_one
            ],
            schema=_REJECTED,
        ),
        "delivery": _told(account, group, [len(of_one) for of_one in numbers]),
        "history": _history(context, account, group),
    }
    parameters: dict[str, Parameter] = {name: suite.parameters[name] for name in _WHOLE_PARAMETERS}
    column = {"window_column": suite.parameters["window_column"]}
    relations["row_total"] = context.engine.run("validate/row_total", relations, column)
    held: list[int] = []
    while True:
        relations["held"] = pa.table([held], schema=_PLACE)
        facts = context.engine.run("validate/whole_fact", relations, parameters)
        outcomes = check_together(suite.whole, [facts.slice(place, 1) for place in range(len(group))])
        holding = [place for place, of_one in enumerate(outcomes, 1) if any(map(_holds, of_one))]
        if holding == held:
            return outcomes
        held = holding


def _told(account: PartnerAccount, group: Sequence[_Delivery], rejected: Sequence[int]) -> pa.Table:
    zone = ZoneInfo(account.zone)

    def midnight(day: date) -> datetime:
        return datetime.combine(day, time(), zone).astimezone(UTC).replace(tzinfo=None)

    rows = [
        {
            **{name: getattr(delivery, name) for name in _HISTORY.names},
            "place": place,
            "window_from_at": midnight(delivery.window_from),
            "window_until_at": midnight(delivery.window_until),
            "reject_count": delivery.reject_count + count,
        }
        for place, (delivery, count) in enumerate(zip(group, rejected, strict=True), 1)
    ]
    return pa.Table.from_pylist(rows, schema=_DELIVERY)


def _history(context: Context, account: PartnerAccount, group: Sequence[_Delivery]) -> pa.Table:
    """Return what was accepted of the account before: of each window the newest answer that passed or was released."""
    query = f"""
        SELECT DISTINCT ON (series, window_from, window_until)
            delivery_id, series, window_from, window_until, observed_at, row_count
        FROM (
            SELECT d.delivery_id, {_SERIES}, d.window_from, d.window_until, d.observed_at, p.row_count
            FROM ops.delivery AS d
            JOIN ops.parse AS p ON p.delivery_id = d.delivery_id
            JOIN ops.validation AS v ON v.delivery_id = p.delivery_id AND v.parse_version = p.parse_version
            LEFT JOIN ops.hold_release AS h ON h.delivery_id = v.delivery_id AND h.parse_version = v.parse_version
            WHERE d.partner_account = %s AND p.parse_version = %s AND d.observed_at <= %s
                AND (v.state = 'passed' OR h.delivery_id IS NOT NULL)
        ) AS accepted
        ORDER BY series, window_from, window_until, observed_at DESC, delivery_id DESC
    """
    with context.warehouse.transaction() as connection:
        return fetch_table(connection, query, _HISTORY, (account.name, group[0].parse_version, group[-1].observed_at))


def _stored(
    context: Context, account: PartnerAccount, group: Sequence[_Delivery], verdicts: Sequence[_Verdict]
) -> list[tuple[_Delivery, _Verdict]]:
    """Write the verdicts, accepted rows first; return those that no other run has written meanwhile."""
    paths = [
        _accepted(context, delivery, verdict.rejected_rows) if verdict.rejects else delivery.object_path
        for delivery, verdict in zip(group, verdicts, strict=True)
    ]
    version = group[0].parse_version
    with context.warehouse.transaction() as connection:
        lock(connection, f"validate:{account.name}")
        query = "SELECT delivery_id FROM ops.validation WHERE parse_version = %s AND delivery_id = ANY(%s)"
        asked = [delivery.delivery_id for delivery in group]
        known = {row[0] for row in connection.execute(query, (version, asked)).fetchall()}
        new = [each for each in zip(group, verdicts, paths, strict=True) if each[0].delivery_id not in known]
        columns = {
            "delivery_id": [delivery.delivery_id for delivery, _, _ in new],
            "parse_version": pa.array([version] * len(new), pa.int32()),
            "state": ["held" if verdict.held_by else "passed" for _, verdict, _ in new],
            "row_count": [delivery.transaction_count for delivery, _, _ in new],
            "accepted_count": [delivery.transaction_count - len(verdict.rejected_rows) for delivery, verdict, _ in new],
            "reject_count": [len(verdict.rejected_rows) for _, verdict, _ in new],
            "object_path": [path for _, _, path in new],
            "run_id": [context.run_id] * len(new),
        }
        copy_in(connection, "ops.validation", pa.table(columns))
        write_checked(
            connection,
            [Checked(each.delivery_id, version, verdict.outcomes, verdict.rejects) for each, verdict, _ in new],
        )
    return [(delivery, verdict) for delivery, verdict, _ in new]


def _accepted(context: Context, delivery: _Delivery, rejected: frozenset[int]) -> str:
    """Return the path of the rows that were not rejected."""
    context.temporary.mkdir(parents=True, exist_ok=True)
    numbers = pa.array(sorted(rejected), pa.int64())
    source = pq.ParquetFile(context.lake.local(delivery.object_path))
    # A folder of its own: a run that is tried again while it is still alive must not take the other's file away.
    with tempfile.TemporaryDirectory(prefix="validate-", dir=context.temporary) as folder:
        local = Path(folder) / f"{delivery.delivery_id}.parquet"
        with pq.ParquetWriter(local, source.schema_arrow, compression="zstd") as writer:
            for batch in source.iter_batches(batch_size=BATCH_ROWS_MAX):
                rows = pa.table(batch)
                writer.write_table(rows.filter(pc.invert(pc.is_in(rows["row_number"], numbers))))
        return context.lake.put_file(local, "validated", ".parquet").path
