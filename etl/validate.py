"""Check what was parsed: wrong rows are rejected, strange deliveries are held until a person releases them.

Row checks and checks of the whole are Great Expectations suites (`expectations/`); what must be exact or needs history
is computed in SQL (`sql/validate`) and judged as a small table. Accepted rows are Parquet in the lake.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
from etl.core.engine import Parameter
from etl.core.errors import Stop
from etl.core.expectations import BATCH_ROWS_MAX, Check, Outcome, Severity, Suite, load_suite, run_checks
from etl.core.warehouse import APPROVER, Connection, copy_in, lock
from etl.core.warehouse import fetch as fetch_table

RAW_BYTES_MAX = 4_096
HISTORY_DELIVERIES_MAX = 60
GROUP_ROWS_MAX = 50_000
GROUP_DELIVERIES_MAX = 200
SHOWN_VALUES = 5
_ROW_PARAMETERS = ("sale_amount_max", "commission_amount_max")
_WHOLE_PARAMETERS = (
    "window_column",
    "deliveries_min",
    "rejects_min",
    "silence_rows_min",
    "volume_rows_min",
    "mad_factor",
)
_HISTORY = pa.schema([pa.field("row_count", pa.int64())])


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A parsed delivery that was not validated yet."""

    delivery_id: str
    parse_version: int
    window_from: date
    window_until: date
    observed_at: datetime
    row_count: int
    transaction_count: int
    reject_count: int
    object_path: str


@dataclass(frozen=True, slots=True)
class _Reject:
    """Why one row stays out."""

    row_number: int
    check: Check
    transaction_id: str | None
    line_id: str | None
    value: str | None
    raw: str


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the checks say of a delivery."""

    outcomes: tuple[Outcome, ...]
    rejects: tuple[_Reject, ...]

    @property
    def rejected_rows(self) -> frozenset[int]:
        return frozenset(reject.row_number for reject in self.rejects)

    @property
    def held_by(self) -> tuple[Outcome, ...]:
        return tuple(each for each in self.outcomes if not each.is_passed and each.check.severity is Severity.HOLD)


def validate(
    context: Context, account: PartnerAccount, facts: ConnectorFacts, delivery_ids: Sequence[str] | None = None
) -> StageResult:
    """Check all parsed deliveries of the account that were not checked yet, or those named; each commits on its own.

    A second run finds nothing to do. The note names what is held and why.
    """
    suite = load_suite("transaction", account.partner)
    counts = {"deliveries": 0, "rows": 0, "accepted": 0, "rejects": 0, "held": 0}
    held: list[str] = []
    for group in _groups(_due(context, account, facts, delivery_ids)):
        together = len(group) > 1
        verdicts = (
            _judge_together(context, account, suite, group) if together else [_judge(context, account, suite, group[0])]
        )
        for delivery, verdict in zip(group, verdicts, strict=True):
            if not _store(context, account, delivery, verdict):
                continue
            rejected = len(verdict.rejected_rows)
            counts["deliveries"] += 1
            counts["rows"] += delivery.transaction_count
            counts["accepted"] += delivery.transaction_count - rejected
            counts["rejects"] += rejected
            counts["held"] += bool(verdict.held_by)
            if verdict.held_by:
                reasons = "; ".join(f"{each.check.reason} ({each.actual})" for each in verdict.held_by)
                held.append(f"{delivery.delivery_id} ({delivery.window_from}..{delivery.window_until}): {reasons}")
    note = f"{counts['rows']:,} rows of {counts['deliveries']} deliveries, {counts['rejects']:,} rejects"
    if held:
        note += f"; {len(held)} held until `tallyback release`: " + " | ".join(held[:10])
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


def validate_clicks(context: Context, source: str) -> StageResult:
    """Check the tracked clicks of a source that were not checked yet; findings are stored and shown, nothing is held.

    A finding is stored under the path of the file that holds the click; its row number is the place in that file.
    """
    suite = load_suite("click")
    query = (
        "SELECT object_path FROM ops.tracked_file AS f WHERE relation = 'click' AND source = %s AND NOT EXISTS "
        "(SELECT 1 FROM ops.check_result AS c WHERE c.delivery_id = f.object_path) ORDER BY day, object_path"
    )
    counts = {"files": 0, "rows": 0, "findings": 0}
    with context.warehouse.transaction() as connection:
        lock(connection, f"validate:clicks:{source}")
        for (object_path,) in connection.execute(query, (source,)).fetchall():
            clicks = context.lake.read_table(str(object_path))
            clicks = clicks.append_column("row_number", pa.array(range(1, clicks.num_rows + 1), pa.int64()))
            found = context.engine.run("validate/click_fact", {"click": clicks}, {"known_at": context.known_at})
            outcomes = run_checks(suite.rows, _with_facts(clicks, found))
            # Its id is enough to find a click; what else it says may be personal where it should not be.
            rejects = _rejects(outcomes, clicks.select(["row_number", "click_id"]), set(Severity))
            _write(connection, str(object_path), 0, outcomes, rejects)
            counts["files"] += 1
            counts["rows"] += clicks.num_rows
            counts["findings"] += len(rejects)
    note = f"{counts['rows']:,} clicks of {counts['files']} files, {counts['findings']:,} findings"
    return StageResult("validate", source, tuple(counts.items()), note)


def _due(
    context: Context, account: PartnerAccount, facts: ConnectorFacts, delivery_ids: Sequence[str] | None
) -> list[_Delivery]:
    query = """
        SELECT d.delivery_id, p.parse_version, d.window_from, d.window_until, d.observed_at, p.row_count,
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
    """Yield the deliveries in order, small ones together: an expectation costs far more to set up than to run."""
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


def _judge_together(
    context: Context, account: PartnerAccount, suite: Suite, deliveries: Sequence[_Delivery]
) -> list[_Verdict]:
    """Return what `_judge` says of each of several small deliveries, their rows checked as one table."""
    parameters: dict[str, Parameter] = {name: suite.parameters[name] for name in _ROW_PARAMETERS}
    tables: list[pa.Table] = []
    bases = [0]
    for delivery in deliveries:
        rows = context.lake.read_table(delivery.object_path)
        parameters["observed_at"] = delivery.observed_at
        tables.append(_with_facts(rows, context.engine.run("validate/row_fact", {"row": rows}, parameters)))
        bases.append(bases[-1] + delivery.row_count)
    # A delivery's rows are numbered from 1 to its row count; beside others they stand above those before.
    of_rows = run_checks(suite.rows, pa.concat_tables(map(_renumbered, tables, bases)))
    outcomes: list[list[Outcome]] = []
    rejects: list[list[_Reject]] = []
    facts: list[pa.Table] = []
    for place, delivery in enumerate(deliveries):
        outcomes.append([_part(each, tables[place], bases[place], bases[place + 1]) for each in of_rows])
        rejects.append(_rejects(outcomes[place], tables[place], {Severity.REJECT}))
        rejected = sorted({reject.row_number for reject in rejects[place]})
        local = context.lake.local(delivery.object_path)
        facts.append(_whole_fact(context, account, suite, delivery, local, rejected))
    of_whole = run_checks(suite.whole, pa.concat_tables(map(_renumbered, facts, range(len(facts)))))
    for place, fact in enumerate(facts):
        outcomes[place] += [_part(each, fact, place, place + 1) for each in of_whole]
    return [_Verdict(tuple(of), tuple(out)) for of, out in zip(outcomes, rejects, strict=True)]


def _renumbered(table: pa.Table, base: int) -> pa.Table:
    numbers = pc.add(table["row_number"], pa.scalar(base, pa.int64()))
    return table.set_column(table.schema.get_field_index("row_number"), "row_number", numbers)


def _part(outcome: Outcome, table: pa.Table, low: int, high: int) -> Outcome:
    """Return the outcome for the rows numbered above `low` up to `high`, by their own numbers, which start at 1."""
    failing = tuple(number - low for number in outcome.failing if low < number <= high)
    if not failing:
        return Outcome(outcome.check, (), "as expected")
    found = table.filter(pc.is_in(table["row_number"], pa.array(failing[:SHOWN_VALUES], pa.int64())))
    shown = dict.fromkeys(str(value) for value in found[str(outcome.check.kwargs["column"])].to_pylist())
    return Outcome(outcome.check, failing, ", ".join(shown))


def _judge(context: Context, account: PartnerAccount, suite: Suite, delivery: _Delivery) -> _Verdict:
    outcomes: dict[str, Outcome] = {check.name: Outcome(check, (), "as expected") for check in suite.rows}
    rejects: list[_Reject] = []
    path = context.lake.local(delivery.object_path)
    parameters: dict[str, Parameter] = {name: suite.parameters[name] for name in _ROW_PARAMETERS}
    parameters["observed_at"] = delivery.observed_at
    for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH_ROWS_MAX):
        rows = pa.table(batch)
        found = context.engine.run("validate/row_fact", {"row": rows}, parameters)
        of_batch = run_checks(suite.rows, _with_facts(rows, found))
        rejects += _rejects(of_batch, rows, {Severity.REJECT})
        for each in of_batch:
            if not each.is_passed:
                failing = outcomes[each.check.name].failing + each.failing
                outcomes[each.check.name] = Outcome(each.check, failing, each.actual)
    rejected = sorted({reject.row_number for reject in rejects})
    fact = _whole_fact(context, account, suite, delivery, path, rejected)
    return _Verdict((*outcomes.values(), *run_checks(suite.whole, fact)), tuple(rejects))


def _whole_fact(
    context: Context, account: PartnerAccount, suite: Suite, delivery: _Delivery, path: Path, rejected: Sequence[int]
) -> pa.Table:
    zone = ZoneInfo(account.zone)

    def midnight(day: date) -> datetime:
        return datetime.combine(day, time(), zone).astimezone(UTC).replace(tzinfo=None)

    query = """
        SELECT p.row_count
        FROM ops.delivery AS d
        JOIN ops.parse AS p ON p.delivery_id = d.delivery_id AND p.parse_version = %s
        WHERE d.partner_account = %s AND d.window_until - d.window_from = %s AND d.delivery_id <> %s
            AND (d.observed_at, d.window_from, d.delivery_id) < (%s, %s, %s)
        ORDER BY d.observed_at DESC, d.window_from DESC, d.delivery_id DESC
        LIMIT %s
    """
    days = (delivery.window_until - delivery.window_from).days
    place = (delivery.observed_at, delivery.window_from, delivery.delivery_id)
    bounds = (delivery.parse_version, account.name, days, delivery.delivery_id, *place, HISTORY_DELIVERIES_MAX)
    with context.warehouse.transaction() as connection:
        history = fetch_table(connection, query, _HISTORY, bounds)
    parameters: dict[str, Parameter] = {name: suite.parameters[name] for name in _WHOLE_PARAMETERS}
    parameters |= {
        "window_from_at": midnight(delivery.window_from),
        "window_until_at": midnight(delivery.window_until),
        "observed_at": delivery.observed_at,
        "row_count": delivery.row_count,
        "reject_count": delivery.reject_count + len(rejected),
    }
    refused = pa.table({"row_number": pa.array(rejected, pa.int64())})
    fact = context.engine.run("validate/whole_fact", {"row": path, "rejected": refused, "history": history}, parameters)
    return fact.append_column("row_number", pa.array([1], pa.int64()))


def _with_facts(rows: pa.Table, found: pa.Table) -> pa.Table:
    """Return the rows with the facts beside them, both by ascending row number."""
    rows = rows.sort_by("row_number")
    if not rows["row_number"].equals(found["row_number"]):
        raise Stop("sql/validate lost, doubled or renumbered rows: correct it")
    for name in found.column_names:
        if name != "row_number":
            rows = rows.append_column(name, found[name])
    return rows


def _rejects(outcomes: Sequence[Outcome], rows: pa.Table, severities: set[Severity]) -> list[_Reject]:
    """Return one reject for each row and check of these severities that failed on it."""
    checks: dict[int, list[Check]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.check.severity in severities:
            for number in outcome.failing:
                checks[number].append(outcome.check)
    if not checks:
        return []
    bad = rows.filter(pc.is_in(rows["row_number"], pa.array(sorted(checks), pa.int64())))
    rejects: list[_Reject] = []
    for row in bad.to_pylist():
        for check in checks[row["row_number"]]:
            value = row.get(check.shows)
            rejects.append(
                _Reject(
                    row_number=row["row_number"],
                    check=check,
                    transaction_id=row.get("transaction_id"),
                    line_id=row.get("line_id"),
                    value=None if value is None else str(value)[:RAW_BYTES_MAX],
                    raw=_raw(row),
                )
            )
    return rejects


def _raw(row: Mapping[str, object]) -> str:
    """Return a row as JSON of what it says, amounts as text, cut to `RAW_BYTES_MAX` bytes of UTF-8."""
    told = {name: str(value) for name, value in row.items() if value is not None and name != "row_number"}
    return json.dumps(told, ensure_ascii=False).encode()[:RAW_BYTES_MAX].decode("utf-8", "ignore")


def _store(context: Context, account: PartnerAccount, delivery: _Delivery, verdict: _Verdict) -> bool:
    """Write the verdict, accepted rows first; return False if another run has done it meanwhile."""
    rejected = verdict.rejected_rows
    object_path = _accepted(context, delivery, rejected) if rejected else delivery.object_path
    with context.warehouse.transaction() as connection:
        lock(connection, f"validate:{account.name}")
        known = "SELECT 1 FROM ops.validation WHERE delivery_id = %s AND parse_version = %s"
        if connection.execute(known, (delivery.delivery_id, delivery.parse_version)).fetchone() is not None:
            return False
        columns = {
            "delivery_id": [delivery.delivery_id],
            "parse_version": [delivery.parse_version],
            "state": ["held" if verdict.held_by else "passed"],
            "row_count": [delivery.transaction_count],
            "accepted_count": [delivery.transaction_count - len(rejected)],
            "reject_count": [len(rejected)],
            "object_path": [object_path],
            "run_id": [context.run_id],
        }
        copy_in(connection, "ops.validation", pa.table(columns))
        _write(connection, delivery.delivery_id, delivery.parse_version, verdict.outcomes, verdict.rejects)
    return True


def _accepted(context: Context, delivery: _Delivery, rejected: frozenset[int]) -> str:
    """Return the path of the rows that were not rejected."""
    folder = context.temporary / "validate" / context.run_id
    folder.mkdir(parents=True, exist_ok=True)
    local = folder / f"{delivery.delivery_id}.parquet"
    numbers = pa.array(sorted(rejected), pa.int64())
    source = pq.ParquetFile(context.lake.local(delivery.object_path))
    try:
        with pq.ParquetWriter(local, source.schema_arrow, compression="zstd") as writer:
            for batch in source.iter_batches(batch_size=BATCH_ROWS_MAX):
                rows = pa.table(batch)
                writer.write_table(rows.filter(pc.invert(pc.is_in(rows["row_number"], numbers))))
        return context.lake.put_file(local, "validated", ".parquet").path
    finally:
        local.unlink(missing_ok=True)


def _write(
    connection: Connection,
    delivery_id: str,
    parse_version: int,
    outcomes: Sequence[Outcome],
    rejects: Sequence[_Reject],
) -> None:
    results = {
        "delivery_id": [delivery_id] * len(outcomes),
        "parse_version": pa.array([parse_version] * len(outcomes), pa.int32()),
        "check_name": [each.check.name for each in outcomes],
        "severity": [str(each.check.severity) for each in outcomes],
        "is_passed": [each.is_passed for each in outcomes],
        "expected": [each.check.expected for each in outcomes],
        "actual": [each.actual for each in outcomes],
        "failing_rows": pa.array([len(each.failing) for each in outcomes], pa.int64()),
    }
    copy_in(connection, "ops.check_result", pa.table(results))
    columns = {
        "delivery_id": [delivery_id] * len(rejects),
        "parse_version": pa.array([parse_version] * len(rejects), pa.int32()),
        "row_number": pa.array([each.row_number for each in rejects], pa.int64()),
        "stage": ["validate"] * len(rejects),
        "transaction_id": pa.array([each.transaction_id for each in rejects], pa.string()),
        "line_id": pa.array([each.line_id for each in rejects], pa.string()),
        "rule": [each.check.name for each in rejects],
        "column_name": [each.check.shows for each in rejects],
        "value": pa.array([each.value for each in rejects], pa.string()),
        "reason": [each.check.reason for each in rejects],
        "raw": [each.raw for each in rejects],
    }
    copy_in(connection, "ops.reject", pa.table(columns))
