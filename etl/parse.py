"""Parse landed deliveries: flattened text becomes canonical transactions, or rejects that say what was wrong.

The object of a delivery is the same bytes, under the same path, however often and in whatever company it is parsed.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.core.ahead import read_ahead
from etl.core.configuration import PartnerAccount
from etl.core.connector import Connector
from etl.core.context import Context, StageResult
from etl.core.delivery import UNREAD
from etl.core.errors import Stop
from etl.core.judgement import REJECT, Delivery, Rows, Source, parsed_groups
from etl.core.lake import Lake
from etl.core.schemas import TRANSACTION
from etl.core.warehouse import copy_in, lock
from etl.core.warehouse import fetch as fetch_table

WRITTEN_AHEAD = 1
"""Rows go to the lake, before the warehouse names them, while those before are committed: so many groups."""
REJECTS_MAX = 100_000
"""More of one delivery are no wrong rows but another dialect, and would not fit in memory."""

_DUE = pa.schema([pa.field("delivery_id", pa.string())])
_UNREAD = pa.schema([*_DUE, pa.field("window_from", pa.date32()), pa.field("window_until", pa.date32())])
_DUE_PART = pa.schema([*_DUE, pa.field("object_path", pa.string()), pa.field("media_type", pa.string())])


def parse(
    context: Context, account: PartnerAccount, connector: Connector, delivery_ids: Sequence[str] | None = None
) -> StageResult:
    """Return what was parsed: all deliveries of the account that lack a parse of this parse_version, or those named.

    Deliveries judged together commit together. One that cannot be parsed at all does not keep the others from it: Stop
    is raised at the end, naming it and what is wrong with it, unless a later delivery that could be parsed tells all of
    it again; the note counts it then.
    """
    due = _due(context, account, connector, delivery_ids)
    counts = {"deliveries": 0, "rows": 0, "transactions": 0, "rejects": 0}
    broken: dict[str, str] = {}
    context.temporary.mkdir(parents=True, exist_ok=True)
    # A folder of its own: a run that is tried again while it is still alive must not write into the other's files.
    with (
        tempfile.TemporaryDirectory(prefix="parse-", dir=context.temporary) as folder,
        contextlib.closing(_written(context, account, connector, due, Path(folder))) as groups,
        contextlib.closing(read_ahead(groups, WRITTEN_AHEAD)) as written,
    ):
        for ended in written:
            for file in ended:
                if file.delivery.error is not None:
                    named = f"delivery {file.delivery.delivery_id[:12]}"
                    broken[file.delivery.delivery_id] = f"{named}: {file.delivery.error}"
            whole = [file for file in ended if file.delivery.error is None]
            for name, count in _committed(context, account, connector.facts.parse_version, whole).items():
                counts[name] += count
    waiting = _unread(context, account) & broken.keys() if broken else set()
    if waiting:
        told = " ".join(broken[delivery_id] for delivery_id in sorted(waiting))
        raise Stop(f"{account.name}: {len(waiting)} of {len(due)} deliveries cannot be parsed. {told}")
    note = f"{counts['rows']:,} rows, {counts['rejects']:,} rejects"
    if broken:
        note += f"; {len(broken)} that cannot be read, told again since by later ones"
    return StageResult("parse", account.name, tuple(counts.items()), note)


def _written(
    context: Context, account: PartnerAccount, connector: Connector, due: Sequence[Delivery], folder: Path
) -> Generator[list[_File], None, None]:
    """Yield the deliveries that ended, group by group as they were judged, each with its rows in the lake."""
    files: dict[str, _File] = {}
    with contextlib.closing(parsed_groups(context.engine, connector, account, due)) as groups:
        for group in groups:
            ended: list[_File] = []
            for parsed in group:
                delivery = parsed.delivery
                file = files.setdefault(delivery.delivery_id, _File(delivery, folder))
                file.add(parsed.rows)
                if parsed.is_ended:
                    ended.append(files.pop(delivery.delivery_id))
                    file.store(context.lake)
            yield ended


class _File:
    """The Parquet file that a delivery becomes, row group by row group, and the rejects beside it."""

    def __init__(self, delivery: Delivery, folder: Path) -> None:
        self.delivery = delivery
        self.transaction_count = 0
        self.object_path: str | None = None
        self._local = folder / f"{delivery.delivery_id}.parquet"
        self._rejects: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None

    @property
    def rejects(self) -> pa.Table:
        return pa.concat_tables(self._rejects) if self._rejects else REJECT.empty_table()

    def add(self, rows: Sequence[Rows]) -> None:
        """Append rows; sets the delivery's error if too many are rejected."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._local, TRANSACTION, compression="zstd")
        for each in rows:
            # A row group a batch, so that its bytes do not depend on what was judged with it.
            if each.transactions.num_rows:
                self._writer.write_table(each.transactions)
            self.transaction_count += each.transactions.num_rows
            self._rejects.append(each.rejects)
            if self.delivery.error is None:
                self.delivery.error = _too_many(self._rejects, self.transaction_count)
            if self.delivery.error is not None:
                self._rejects.clear()
                return

    def store(self, lake: Lake) -> None:
        """End the file, and bring it to the lake unless the delivery cannot be parsed."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self.delivery.error is None:
            self.object_path = lake.put_file(self._local, "parsed", ".parquet").path
        self._local.unlink()


def _too_many(rejects: Sequence[pa.Table], transaction_count: int) -> Stop | None:
    count = sum(table.num_rows for table in rejects)
    if count <= REJECTS_MAX:
        return None
    last = rejects[-1].slice(rejects[-1].num_rows - 1).to_pylist()[0] if rejects[-1].num_rows else {}
    return Stop(
        f"more than {REJECTS_MAX:,} rows are rejected and {transaction_count:,} accepted; the last reject says: "
        f"{last.get('reason')}. This is another dialect: correct the parser and raise its parse_version."
    )


def _unread(context: Context, account: PartnerAccount) -> set[str]:
    with context.warehouse.transaction() as connection:
        return set(fetch_table(connection, UNREAD, _UNREAD, (account.name,))["delivery_id"].to_pylist())


def _due(
    context: Context, account: PartnerAccount, connector: Connector, delivery_ids: Sequence[str] | None
) -> list[Delivery]:
    query = """
        SELECT d.delivery_id, part.object_path, part.media_type
        FROM ops.delivery AS d
        LEFT JOIN ops.delivery_part AS part ON part.delivery_id = d.delivery_id
        WHERE d.partner_account = %s
          AND (%s OR d.delivery_id = ANY(%s))
          AND NOT EXISTS (SELECT 1 FROM ops.parse AS p WHERE p.delivery_id = d.delivery_id AND p.parse_version = %s)
        ORDER BY d.observed_at, d.window_from, d.delivery_id, part.part_no
    """
    parameters = (account.name, delivery_ids is None, list(delivery_ids or ()), connector.facts.parse_version)
    with context.warehouse.transaction() as connection:
        found = fetch_table(connection, query, _DUE_PART, parameters)
    parts: dict[str, list[tuple[str | None, str]]] = {}
    for row in found.to_pylist():
        parts.setdefault(row["delivery_id"], []).append((row["object_path"], row["media_type"]))
    return [Delivery(delivery_id, _sources(context, each)) for delivery_id, each in parts.items()]


def _sources(context: Context, parts: Sequence[tuple[str | None, str]]) -> Iterator[Source]:
    for object_path, media_type in parts:
        if object_path is None:
            raise Stop("it has no part, and even an empty answer has one: restore ops.delivery_part from the backup.")
        # Whoever asks for the next part is done with this one.
        with context.lake.borrowed(object_path) as local:
            yield Source(local, media_type)


def _committed(context: Context, account: PartnerAccount, version: int, files: Sequence[_File]) -> dict[str, int]:
    """Write the rows of files in the lake in one transaction, those not parsed meanwhile; return the counts."""
    if not files:
        return {}
    with context.warehouse.transaction() as connection:
        lock(connection, f"parse:{account.name}")
        query = "SELECT delivery_id FROM ops.parse WHERE parse_version = %s AND delivery_id = ANY(%s)"
        asked = [file.delivery.delivery_id for file in files]
        known = set(fetch_table(connection, query, _DUE, (version, asked))["delivery_id"].to_pylist())
        rows: list[dict[str, object]] = []
        rejected: list[pa.Table] = []
        for file in files:
            delivery_id, rejects = file.delivery.delivery_id, file.rejects
            if delivery_id in known:
                continue
            row: dict[str, object] = {
                "delivery_id": delivery_id,
                "parse_version": version,
                "row_count": file.transaction_count + rejects.num_rows,
                "transaction_count": file.transaction_count,
                "reject_count": rejects.num_rows,
                "unkeyed_reject_count": rejects["transaction_id"].null_count,
                "object_path": file.object_path,
                "run_id": context.run_id,
            }
            rows.append(row)
            rejected.append(_stored_rejects(rejects, delivery_id, version))
        if rows:
            table = pa.Table.from_pylist(rows)
            copy_in(connection, "ops.parse", table)
            copy_in(connection, "ops.reject", pa.concat_tables(rejected))
            sums = {name: pc.sum(table[f"{name}_count"]).as_py() for name in ("row", "transaction", "reject")}
    return {"deliveries": len(rows), **{f"{name}s": count for name, count in sums.items()}} if rows else {}


def _stored_rejects(rejects: pa.Table, delivery_id: str, version: int) -> pa.Table:
    count = rejects.num_rows
    return (
        rejects.append_column("delivery_id", pa.repeat(pa.scalar(delivery_id, pa.string()), count))
        .append_column("parse_version", pa.repeat(pa.scalar(version, pa.int32()), count))
        .append_column("stage", pa.repeat(pa.scalar("parse", pa.string()), count))
    )
