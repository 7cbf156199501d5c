"""Judge flattened deliveries: one SELECT of sql/parse says what the rows of many mean, or the next rows of a large one.

To plan such a query takes far longer than to judge a day's file. What is judged together changes nothing: rows come
back delivery by delivery, in the pieces in which they were flattened.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from etl.core.ahead import read_ahead
from etl.core.configuration import PartnerAccount
from etl.core.connector import Connector
from etl.core.engine import SqlEngine
from etl.core.errors import Stop
from etl.core.schemas import TRANSACTION

RAW_BYTES_MAX = 4_096
GROUP_ROWS = 65_536
GROUP_BYTES = 64 * 1024 * 1024
GROUP_DELIVERIES = 500
"""What one SELECT judges, and one transaction commits, ends at the first of these; one flattened batch always fits."""
GROUPS_AHEAD = 1
"""Bytes are flattened in Python and judged in the engine, so the next rows are flattened meanwhile: so many groups."""
JUDGED_AT_ONCE = 2
"""The engine judges a group in one thread; so many groups at once, and one more waits for it."""

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


@dataclass(frozen=True, slots=True)
class Source:
    """One part of a delivery on local disk."""

    path: Path
    media_type: str


@dataclass(slots=True)
class Delivery:
    """A delivery to parse; `error` is set once it is known that it cannot be, and its reading ends there.

    `sources` are asked for when its turn comes: to bring one from the lake may fail too.
    """

    delivery_id: str
    sources: Iterable[Source]
    error: Stop | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one flattened batch, each in one of them: transactions (TRANSACTION) and rejects (REJECT)."""

    transactions: pa.Table
    rejects: pa.Table


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one SELECT said of a delivery: its next rows, and whether they are the last."""

    delivery: Delivery
    rows: Sequence[Rows]
    is_ended: bool


def parsed_groups(
    engine: SqlEngine, connector: Connector, account: PartnerAccount, deliveries: Iterable[Delivery]
) -> Generator[list[Parsed], None, None]:
    """Yield what each SELECT said, delivery by delivery in their order; needs no warehouse.

    Every delivery ends once, in the group that holds its last rows. One that cannot be parsed ends with its `error`;
    whoever reads the groups may set it too.
    """
    with ThreadPoolExecutor(JUDGED_AT_ONCE, thread_name_prefix="judge") as judges:
        waiting: deque[Future[list[Parsed]]] = deque()
        with contextlib.closing(read_ahead(_groups(connector, deliveries), GROUPS_AHEAD)) as groups:
            for group in groups:
                waiting.append(judges.submit(group.parsed, engine, connector, account))
                if len(waiting) > JUDGED_AT_ONCE:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _groups(connector: Connector, deliveries: Iterable[Delivery]) -> Iterator[_Group]:
    """Yield what is judged together, in order."""
    group = _Group()
    for delivery, flat in _read(connector, deliveries):
        if not group.deliveries or group.deliveries[-1] is not delivery:
            group.open(delivery)
        if flat is None:
            group.ended.add(delivery.delivery_id)
            if len(group.deliveries) == GROUP_DELIVERIES:
                yield group
                group = _Group()
            continue
        if not group.has_room(flat):
            yield group
            group = _Group()
            group.open(delivery)
        if delivery.error is None:
            group.add(flat)
    if group.deliveries:
        yield group


def _read(connector: Connector, deliveries: Iterable[Delivery]) -> Iterator[tuple[Delivery, pa.Table | None]]:
    """Yield the flattened rows of the deliveries, some at a time, and None at the end of each.

    A delivery whose bytes cannot be read, or whose error was set by whoever judged it, ends there.
    """
    for delivery in deliveries:
        try:
            for flat in _flattened(connector, delivery):
                if delivery.error is not None:
                    break
                yield delivery, flat
        except Stop as error:
            delivery.error = error
        yield delivery, None


def _flattened(connector: Connector, delivery: Delivery) -> Iterator[pa.Table]:
    """Yield the flattened rows of a delivery, some at a time; row numbers go on over its parts."""
    before = 0
    for source in delivery.sources:
        in_part = 0
        for batch in connector.flatten((source.path,)):
            in_part += batch.num_rows
            yield _numbered(batch, before, source.media_type, delivery.delivery_id)
        before += in_part


def _numbered(batch: pa.RecordBatch, before: int, media_type: str, delivery_id: str) -> pa.Table:
    table = pa.table(batch)
    numbers = pc.add(table["row_number"], pa.scalar(before, pa.int64()))
    table = table.set_column(table.schema.get_field_index("row_number"), "row_number", numbers)
    for name, value in (("media_type", media_type), ("delivery_id", delivery_id)):
        table = table.append_column(name, pa.repeat(pa.scalar(value, pa.string()), table.num_rows))
    return table


@dataclass(slots=True)
class _Group:
    """Small deliveries, or the next rows of a large one, that one SELECT judges."""

    deliveries: list[Delivery] = field(default_factory=list)
    flats: dict[str, list[pa.Table]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    row_count: int = 0
    byte_count: int = 0

    def open(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.flats[delivery.delivery_id] = []

    def has_room(self, flat: pa.Table) -> bool:
        is_over = self.row_count + flat.num_rows > GROUP_ROWS or self.byte_count + flat.nbytes > GROUP_BYTES
        return self.row_count == 0 or not is_over

    def add(self, flat: pa.Table) -> None:
        self.flats[self.deliveries[-1].delivery_id].append(flat)
        self.row_count += flat.num_rows
        self.byte_count += flat.nbytes

    def parsed(self, engine: SqlEngine, connector: Connector, account: PartnerAccount) -> list[Parsed]:
        """Return what the SELECT says of each delivery; if it fails for all together, of each alone."""
        for delivery in self.deliveries:
            if delivery.error is not None:
                self.flats[delivery.delivery_id] = []
        try:
            rows = _judged(engine, connector, account, self.flats)
        except (Stop, duckdb.Error):
            rows = {}
            for delivery in self.deliveries:
                alone = {delivery.delivery_id: self.flats[delivery.delivery_id]}
                try:
                    rows |= _judged(engine, connector, account, alone)
                except Stop as error:
                    delivery.error = error
                except duckdb.Error as error:
                    told = str(error).partition("\n")[0][:200]
                    delivery.error = Stop(f"sql/parse/{connector.facts.partner}.sql fails on it ({told}): correct it.")
        return [
            Parsed(each, rows.get(each.delivery_id, ()), each.delivery_id in self.ended) for each in self.deliveries
        ]


def _judged(
    engine: SqlEngine, connector: Connector, account: PartnerAccount, flats: dict[str, list[pa.Table]]
) -> dict[str, list[Rows]]:
    """Return by delivery what its flattened rows mean, batch by batch, all judged by one SELECT."""
    # In the order in which the SELECT answers.
    ordered = [(delivery_id, flat) for delivery_id in sorted(flats) for flat in flats[delivery_id]]
    if not ordered:
        return {}
    parameters = {"partner": account.partner, "partner_account": account.name, "zone": account.zone}
    # In one chunk: the engine pays for each anew.
    flat = pa.concat_tables([each for _, each in ordered]).combine_chunks()
    # Not put in order, which costs a sixth of it: the rows lie so already, and that is looked at here.
    judged = engine.run(f"parse/{connector.facts.partner}", {"flat": flat}, parameters, is_ordered=False)
    if not all(judged[name].equals(flat[name]) for name in ("delivery_id", "row_number")):
        raise Stop(
            f"sql/parse/{connector.facts.partner}.sql lost, doubled or reordered rows ({flat.num_rows} in, "
            f"{judged.num_rows} out): correct it."
        )
    transactions = judged.select(TRANSACTION.names)
    rows: dict[str, list[Rows]] = {}
    offset = 0
    for delivery_id, each in ordered:
        said, good = judged.slice(offset, each.num_rows), transactions.slice(offset, each.num_rows)
        rejects = REJECT.empty_table()
        if said["reject_rule"].null_count < each.num_rows:
            is_bad = pc.is_valid(said["reject_rule"])
            good, rejects = good.filter(pc.invert(is_bad)), _rejects(each, said, is_bad)
        rows.setdefault(delivery_id, []).append(Rows(good.cast(TRANSACTION), rejects))
        offset += each.num_rows
    return rows


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
    ours = ("row_number", "media_type", "delivery_id")
    told = {name: value for name, value in row.items() if value is not None and name not in ours}
    encoded = json.dumps(told, ensure_ascii=False).encode()
    return encoded[:RAW_BYTES_MAX].decode("utf-8", "ignore")
