"""Parsed deliveries for the tests of validation, put where parse would have put them."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from etl.core.configuration import Configuration, Entity, PartnerAccount
from etl.core.connector import ChangeFeed, ConnectorFacts, ReversalModel, VersionClock
from etl.core.context import Context, StageResult
from etl.core.engine import Engine
from etl.core.lake import FolderLake
from etl.core.schemas import TRANSACTION
from etl.core.warehouse import Warehouse
from etl.validate import validate

ACCOUNT = PartnerAccount("awin_main", "awin", "cashback", "awin", "Europe/Berlin", None, "approval")
FACTS = ConnectorFacts(
    partner="awin",
    parse_version=1,
    version_clock=VersionClock.OBSERVED,
    clock_precision_seconds=1,
    reversal_model=ReversalModel.MUTATING,
    change_feed=ChangeFeed.ROLLING_REREAD,
    states_scope=True,
    longest_window_days=31,
)
FIRST_DAY = date(2026, 9, 1)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def row(number: int, **changes: object) -> dict[str, object]:
    """Return a transaction that passes every check, changed as asked."""
    usual: dict[str, object] = {
        **dict.fromkeys(TRANSACTION.names),
        "partner": "awin",
        "partner_account": "awin_main",
        "transaction_id": f"t{number}",
        "line_id": "",
        "kind": "sale",
        "partner_program_id": "123",
        "occurred_at": instant("2026-09-01T12:00:00"),
        "occurred_precision_seconds": 60,
        "status": "pending",
        "raw_status": "pending",
        "partner_paid": False,
        "sale_amount": Decimal("100.0000"),
        "commission_amount": Decimal("5.0000"),
        "currency": "EUR",
        "row_number": number,
        "content_hash": f"h{number}",
    }
    return usual | changes


@dataclass(slots=True)
class Desk:
    """One account's deliveries in a warehouse."""

    url: str
    folder: Path
    delivered: int = 0
    context: Context = field(init=False)

    def __post_init__(self) -> None:
        entity = Entity("cashback", "EUR", "Europe/Berlin")
        self.context = Context(
            run_id="run-1",
            known_at=instant("2026-11-23T08:00:00"),
            configuration=Configuration(entity, (ACCOUNT,), (), (), "0"),
            warehouse=Warehouse(self.url),
            lake=FolderLake(self.folder / "lake"),
            engine=Engine(),
            temporary=self.folder / "temporary",
            actor="service",
        )

    def deliver(
        self, rows: list[dict[str, object]], *, reject_count: int = 0, on: date = FIRST_DAY, later_days: int = 0
    ) -> str:
        """Land and parse a delivery of the day `on`; return its id."""
        self.delivered += 1
        delivery_id = f"d{self.delivered}"
        for each in rows:
            each["delivery_id"] = delivery_id
        self.folder.mkdir(parents=True, exist_ok=True)
        local = self.folder / "parsed.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=TRANSACTION), local)
        stored = self.context.lake.put_file(local, "parsed", ".parquet")
        observed_at = instant(f"{on + timedelta(days=1)}T06:00:00") + timedelta(days=later_days, seconds=self.delivered)
        until = on + timedelta(days=1)
        self.change(
            "INSERT INTO ops.delivery VALUES (%s, 'awin', 'awin_main', %s, %s, %s, 'sha', 1, true, false, 'r')",
            *(delivery_id, on, until, observed_at),
        )
        self.change(
            "INSERT INTO ops.parse VALUES (%s, 1, %s, %s, %s, 0, %s, 'r')",
            *(delivery_id, len(rows) + reject_count, len(rows), reject_count, stored.path),
        )
        return delivery_id

    def validate(self) -> StageResult:
        return validate(self.context, ACCOUNT, FACTS)

    def state(self, delivery_id: str) -> tuple[object, ...]:
        query = "SELECT state, row_count, accepted_count, reject_count FROM ops.validation WHERE delivery_id = %s"
        return self.ask(query, delivery_id)[0]

    def accepted(self, delivery_id: str) -> list[int]:
        path = self.ask("SELECT object_path FROM ops.validation WHERE delivery_id = %s", delivery_id)[0][0]
        numbers: list[int] = self.context.lake.read_table(str(path))["row_number"].to_pylist()
        return numbers

    def failed(self, delivery_id: str) -> dict[str, int]:
        query = "SELECT check_name, failing_rows FROM ops.check_result WHERE delivery_id = %s AND NOT is_passed"
        return {str(name): int(str(count)) for name, count in self.ask(query, delivery_id)}

    def ask(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query, parameters).fetchall()

    def change(self, statement: str, *parameters: object) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statement, parameters)
