"""What checks found in rows: several tables checked as one, each failing row told apart, and stored with what it says.

Great Expectations costs far more to set up than to run, so small tables are put together; what is found is the same.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.errors import Stop
from etl.core.expectations import Check, Outcome, Severity, run_checks
from etl.core.warehouse import Connection, copy_in

RAW_BYTES_MAX = 4_096
SHOWN_VALUES = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that failed on one row."""

    row_number: int
    check: Check
    transaction_id: str | None
    line_id: str | None
    value: str | None
    raw: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What the checks found in one table, named as `ops.check_result` and `ops.reject` name it."""

    name: str
    parse_version: int
    outcomes: tuple[Outcome, ...]
    findings: tuple[Finding, ...]


def check_together(checks: Sequence[Check], tables: Sequence[pa.Table]) -> list[list[Outcome]]:
    """Return what the checks found in each table, its rows numbered from 1; all are checked as one.

    Row numbers of a table need not be without gaps, but each must be above 0.
    """
    highest = [pc.max(table["row_number"]).as_py() or 0 for table in tables]
    bases = [0, *accumulate(highest)]
    found = run_checks(checks, pa.concat_tables(map(renumbered, tables, bases)))
    return [
        [_part(outcome, table, base, base + high) for outcome in found]
        for table, base, high in zip(tables, bases, highest, strict=False)
    ]


def renumbered(table: pa.Table, base: int) -> pa.Table:
    """Return the table with its row numbers moved up by `base`."""
    numbers = pc.add(table["row_number"], pa.scalar(base, pa.int64()))
    return table.set_column(table.schema.get_field_index("row_number"), "row_number", numbers)


def _part(outcome: Outcome, table: pa.Table, low: int, high: int) -> Outcome:
    failing = tuple(number - low for number in outcome.failing if low < number <= high)
    if not failing:
        return Outcome(outcome.check, (), "as expected")
    found = table.filter(pc.is_in(table["row_number"], pa.array(failing[:SHOWN_VALUES], pa.int64())))
    shown = dict.fromkeys(str(value) for value in found[str(outcome.check.kwargs["column"])].to_pylist())
    return Outcome(outcome.check, failing, ", ".join(shown))


def with_facts(rows: pa.Table, facts: pa.Table) -> pa.Table:
    """Return the rows with the facts of sql/validate beside them, both by ascending row number."""
    if not rows["row_number"].equals(facts["row_number"]):
        # Hardly ever: rows lie in the order in which they were parsed.
        rows = rows.sort_by("row_number")
    if not rows["row_number"].equals(facts["row_number"]):
        raise Stop("sql/validate lost, doubled or renumbered rows: correct it")
    for name in facts.column_names:
        if name != "row_number":
            rows = rows.append_column(name, facts[name])
    return rows


def findings_of(outcomes: Sequence[Outcome], rows: pa.Table, severities: Collection[Severity]) -> list[Finding]:
    """Return one finding for each row and check of these severities that failed on it, with all that `rows` says."""
    checks: dict[int, list[Check]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.check.severity in severities:
            for number in outcome.failing:
                checks[number].append(outcome.check)
    if not checks:
        return []
    bad = rows.filter(pc.is_in(rows["row_number"], pa.array(sorted(checks), pa.int64())))
    findings: list[Finding] = []
    for row in bad.to_pylist():
        for check in checks[row["row_number"]]:
            value = row.get(check.shows)
            findings.append(
                Finding(
                    row_number=row["row_number"],
                    check=check,
                    transaction_id=row.get("transaction_id"),
                    line_id=row.get("line_id"),
                    value=None if value is None else str(value)[:RAW_BYTES_MAX],
                    raw=_raw(row),
                )
            )
    return findings


def _raw(row: Mapping[str, object]) -> str:
    """Return a row as JSON of what it says, amounts as text, cut to `RAW_BYTES_MAX` bytes of UTF-8."""
    told = {name: str(value) for name, value in row.items() if value is not None and name != "row_number"}
    return json.dumps(told, ensure_ascii=False).encode()[:RAW_BYTES_MAX].decode("utf-8", "ignore")


def write_checked(connection: Connection, tables: Sequence[Checked]) -> None:
    """Store what was found: a row of `ops.check_result` for each check, one of `ops.reject` for each finding."""
    results = [(table, outcome) for table in tables for outcome in table.outcomes]
    columns = {
        "delivery_id": [table.name for table, _ in results],
        "parse_version": pa.array([table.parse_version for table, _ in results], pa.int32()),
        "check_name": [outcome.check.name for _, outcome in results],
        "severity": [str(outcome.check.severity) for _, outcome in results],
        "is_passed": [outcome.is_passed for _, outcome in results],
        "expected": [outcome.check.expected for _, outcome in results],
        "actual": [outcome.actual for _, outcome in results],
        "failing_rows": pa.array([len(outcome.failing) for _, outcome in results], pa.int64()),
    }
    copy_in(connection, "ops.check_result", pa.table(columns))
    rejects = [(table, finding) for table in tables for finding in table.findings]
    columns = {
        "delivery_id": [table.name for table, _ in rejects],
        "parse_version": pa.array([table.parse_version for table, _ in rejects], pa.int32()),
        "row_number": pa.array([each.row_number for _, each in rejects], pa.int64()),
        "stage": ["validate"] * len(rejects),
        "transaction_id": pa.array([each.transaction_id for _, each in rejects], pa.string()),
        "line_id": pa.array([each.line_id for _, each in rejects], pa.string()),
        "rule": [each.check.name for _, each in rejects],
        "column_name": [each.check.shows for _, each in rejects],
        "value": pa.array([each.value for _, each in rejects], pa.string()),
        "reason": [each.check.reason for _, each in rejects],
        "raw": [each.raw for _, each in rejects],
    }
    copy_in(connection, "ops.reject", pa.table(columns))
