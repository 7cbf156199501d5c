"""Parse landed deliveries: flattened text becomes canonical transactions, or rejects that say what was wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.core.configuration import PartnerAccount
from etl.core.connector import Connector
from etl.core.context import Context, StageResult
from etl.core.engine import Engine
from etl.core.errors import Stop
from etl.core.schemas import TRANSACTION
from etl.core.warehouse import Connection, copy_in, lock
from etl.core.warehouse import fetch as fetch_table

RAW_BYTES_MAX = 4_096
REJECTS_MAX = 100_000
"""More of one delivery are no wrong rows but another dialect, and would not fit in memory."""

REJECT = pa.schema(
    [
        pa.field("row_number", pa.int64(), nullable=False),
        pa.field("transaction_id", pa.string()),
        pa.field("line_id", pa.string()),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("column_name", pa.string()),
        pa.field("value", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("raw", pa.string(), nullable=False),
    ]
)
_DUE = pa.schema([pa.field("delivery_id", pa.string())])
_PART = pa.schema([pa.field("object_path", pa.string()), pa.field("media_type", pa.string())])


@dataclass(frozen=True, slots=True)
class Source:
    """One part of a delivery on local disk."""

    path: Path
    media_type: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """Some rows of a delivery, each in one of them: transactions (schema TRANSACTION) and rejects (schema REJECT)."""

    transactions: pa.Table
    rejects: pa.Table


def parse(
    context: Context, account: PartnerAccount, connector: Connector, delivery_ids: Sequence[str] | None = None
) -> StageResult:
    """Return what was parsed: all deliveries of the account that lack a parse of this parse_version, or those named.

    Each delivery commits on its own. A delivery that cannot be parsed at all does not keep the others from it: Stop is
    raised at the end, naming it and what is wrong with it.
    """
    due = _due(context, account, connector, delivery_ids)
    counts = {"deliveries": 0, "rows": 0, "transactions": 0, "rejects": 0}
    broken: list[str] = []
    for delivery_id in due:
        try:
            done = _parse_delivery(context, account, connector, delivery_id)
        except Stop as error:
            broken.append(f"delivery {delivery_id[:12]}: {error}")
            continue
        for name, count in done.items():
            counts[name] += count
    if broken:
        raise Stop(f"{account.name}: {len(broken)} of {len(due)} deliveries cannot be parsed. " + " ".join(broken))
    note = f"{counts['rows']:,} rows of {counts['deliveries']} deliveries, {counts['rejects']:,} rejects"
    return StageResult("parse", account.name, tuple(counts.items()), note)


def parsed_batches(
    engine: Engine, connector: Connector, account: PartnerAccount, delivery_id: str, sources: Sequence[Source]
) -> Iterator[Parsed]:
    """Yield the rows of a delivery, some at a time; row numbers go on over its parts. Needs no warehouse."""
    before = 0
    for source in sources:
        in_part = 0
        for batch in connector.flatten((source.path,)):
            flat = _numbered(batch, before, source.media_type)
            in_part += flat.num_rows
            yield _parsed(engine, connector, account, delivery_id, flat)
        before += in_part


def _numbered(batch: pa.RecordBatch, before: int, media_type: str) -> pa.Table:
    table = pa.table(batch)
    numbers = pc.add(table["row_number"], pa.scalar(before, pa.int64()))
    table = table.set_column(table.schema.get_field_index("row_number"), "row_number", numbers)
    return table.append_column("media_type", pa.repeat(pa.scalar(media_type, pa.string()), table.num_rows))


def _parsed(engine: Engine, connector: Connector, account: PartnerAccount, delivery_id: str, flat: pa.Table) -> Parsed:
    parameters = {
        "partner": account.partner,
        "partner_account": account.name,
        "zone": account.zone,
        "delivery_id": delivery_id,
    }
    judged = engine.run(f"parse/{connector.facts.partner}", {"flat": flat}, parameters)
    if not judged["row_number"].equals(flat["row_number"]):
        raise Stop(
            f"sql/parse/{connector.facts.partner}.sql lost, doubled or reordered rows ({flat.num_rows} in, "
            f"{judged.num_rows} out): correct it."
        )
    is_good = pc.is_null(judged["reject_rule"])
    good = judged.filter(is_good).select(TRANSACTION.names).cast(TRANSACTION)
    return Parsed(good, _rejects(flat, judged, pc.invert(is_good)))


def _rejects(flat: pa.Table, judged: pa.Table, is_bad: pa.ChunkedArray) -> pa.Table:
    bad = judged.filter(is_bad)
    raw = [_raw(row) for row in flat.filter(is_bad).to_pylist()]
    columns = {
        "row_number": bad["row_number"],
        "transaction_id": bad["transaction_id"],
        "line_id": bad["line_id"],
        "rule": bad["reject_rule"],
        "column_name": bad["reject_column"],
        "value": bad["reject_value"],
        "reason": bad["reject_reason"],
        "raw": pa.array(raw, pa.string()),
    }
    return pa.table(columns).cast(REJECT)


def _raw(row: dict[str, object]) -> str:
    """Return a flattened row as JSON of what it says, cut to `RAW_BYTES_MAX` bytes of UTF-8."""
    told = {
        name: value for name, value in row.items() if value is not None and name not in ("row_number", "media_type")
    }
    encoded = json.dumps(told, ensure_ascii=False).encode()
    return encoded[:RAW_BYTES_MAX].decode("utf-8", "ignore")


def _due(
    context: Context, account: PartnerAccount, connector: Connector, delivery_ids: Sequence[str] | None
) -> list[str]:
    query = """
        SELECT d.delivery_id
        FROM ops.delivery AS d
        WHERE d.partner_account = %s
          AND NOT EXISTS (SELECT 1 FROM ops.parse AS p WHERE p.delivery_id = d.delivery_id AND p.parse_version = %s)
        ORDER BY d.observed_at, d.window_from, d.delivery_id
    """
    with context.warehouse.transaction() as connection:
        found = fetch_table(connection, query, _DUE, (account.name, connector.facts.parse_version))
    due: list[str] = found["delivery_id"].to_pylist()
    return due if delivery_ids is None else [each for each in due if each in set(delivery_ids)]


def _parse_delivery(
    context: Context, account: PartnerAccount, connector: Connector, delivery_id: str
) -> dict[str, int]:
    version = connector.facts.parse_version
    folder = context.temporary / "parse" / context.run_id
    folder.mkdir(parents=True, exist_ok=True)
    local = folder / f"{delivery_id}.parquet"
    rejects: list[pa.Table] = []
    transaction_count = 0
    try:
        with pq.ParquetWriter(local, TRANSACTION, compression="zstd") as writer:
            for some in parsed_batches(context.engine, connector, account, delivery_id, _sources(context, delivery_id)):
                if some.transactions.num_rows:
                    writer.write_table(some.transactions)
                transaction_count += some.transactions.num_rows
                rejects.append(some.rejects)
                _must_be_few(rejects, transaction_count)
        stored = context.lake.put_file(local, "parsed", ".parquet")
    finally:
        local.unlink(missing_ok=True)
    rejected = pa.concat_tables(rejects) if rejects else REJECT.empty_table()
    row_count = transaction_count + rejected.num_rows
    with context.warehouse.transaction() as connection:
        lock(connection, f"parse:{account.name}")
        if _is_parsed(connection, delivery_id, version):
            return {}
        copy_in(
            connection,
            "ops.parse",
            pa.table(
                {
                    "delivery_id": [delivery_id],
                    "parse_version": [version],
                    "row_count": [row_count],
                    "transaction_count": [transaction_count],
                    "reject_count": [rejected.num_rows],
                    "unkeyed_reject_count": [rejected["transaction_id"].null_count],
                    "object_path": [stored.path],
                    "run_id": [context.run_id],
                }
            ),
        )
        copy_in(connection, "ops.reject", _stored_rejects(rejected, delivery_id, version))
    return {"deliveries": 1, "rows": row_count, "transactions": transaction_count, "rejects": rejected.num_rows}


def _must_be_few(rejects: Sequence[pa.Table], transaction_count: int) -> None:
    count = sum(table.num_rows for table in rejects)
    if count > REJECTS_MAX:
        last = rejects[-1].slice(rejects[-1].num_rows - 1).to_pylist()[0] if rejects[-1].num_rows else {}
        raise Stop(
            f"more than {REJECTS_MAX:,} rows are rejected and {transaction_count:,} accepted; the last reject says: "
            f"{last.get('reason')}. This is another dialect: correct the parser and raise its parse_version."
        )


def _sources(context: Context, delivery_id: str) -> list[Source]:
    query = "SELECT object_path, media_type FROM ops.delivery_part WHERE delivery_id = %s ORDER BY part_no"
    with context.warehouse.transaction() as connection:
        rows = fetch_table(connection, query, _PART, (delivery_id,)).to_pylist()
    return [Source(context.lake.local(row["object_path"]), row["media_type"]) for row in rows]


def _is_parsed(connection: Connection, delivery_id: str, version: int) -> bool:
    query = "SELECT delivery_id FROM ops.parse WHERE delivery_id = %s AND parse_version = %s"
    return bool(fetch_table(connection, query, _DUE, (delivery_id, version)).num_rows)


def _stored_rejects(rejects: pa.Table, delivery_id: str, version: int) -> pa.Table:
    count = rejects.num_rows
    return (
        rejects.append_column("delivery_id", pa.repeat(pa.scalar(delivery_id, pa.string()), count))
        .append_column("parse_version", pa.repeat(pa.scalar(version, pa.int32()), count))
        .append_column("stage", pa.repeat(pa.scalar("parse", pa.string()), count))
    )
