"""The warehouse of a firm that lives day by day: what comes in put where it belongs, the stages, and the books read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from etl.accrue import accrue
from etl.clicks import load_clicks
from etl.close import begin as begin_closing
from etl.close import finish
from etl.core.configuration import Configuration, Entity, PartnerAccount
from etl.core.context import Context, StageResult
from etl.core.engine import Engine
from etl.core.errors import Stop
from etl.core.lake import FolderLake
from etl.core.schemas import TRANSACTION
from etl.core.warehouse import Warehouse
from etl.reconcile import reconcile
from etl.remit import remit
from etl.revalue import revalue
from etl.verify import Check, verify
from tests.accrue.books import read
from tests.books.known import MEMBERS, PARTNERS, PAYABLE_ON, Known
from tests.chain.dialects import ZONES
from tests.chain.house import _GUARDS, FACTS, SOURCE, House, Tracker
from tests.chain.worlds import World
from tests.payout.office import BANK, Office
from tests.reconcile.naive import Delivery

ENTITY = Entity("house", "EUR", "Europe/Berlin")
ACCOUNTS = {
    f"{partner}_main": PartnerAccount(
        f"{partner}_main", partner, ENTITY.name, partner, zone, None, PAYABLE_ON[f"{partner}_main"]
    )
    for partner, zone in ZONES.items()
    if partner in PARTNERS
}
# Of a month: sums by account without revaluation, and with it the entries with their hashes.
Snapshot = tuple[dict[tuple[object, ...], object], list[tuple[object, ...]]]


@dataclass
class Firm(House):
    """A house that keeps its guards, and has a day, a bank and people who pay out and close."""

    known: Known = field(default_factory=Known)
    office: Office = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Empty the warehouse, with the guards aside for that moment, and begin with nothing known."""
        with psycopg.connect(self.url) as connection:
            guards = connection.execute(_GUARDS).fetchall()
            for table, name in guards:
                connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
        super().begin()
        with psycopg.connect(self.url) as connection:
            for table, name in guards:
                connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER {name}")
        (self.home / "temporary").mkdir()
        self.known = Known()
        self.office = Office(self.url, self.home, entity=ENTITY.name)
        for member in MEMBERS:
            self.office.payee(member)
        self.refer(self.known.programs, self.known.rules, self.known.rates)

    @property
    def context(self) -> Context:
        return self.by("service")

    def by(self, actor: str) -> Context:
        """Return the context of a person or service, a minute after the one before."""
        return Context(
            run_id=f"run-{next(self.runs)}",
            known_at=self.known.tick(),
            configuration=Configuration(ENTITY, tuple(ACCOUNTS.values()), (SOURCE,), (BANK,), "0" * 64),
            warehouse=Warehouse(self.url),
            lake=FolderLake(self.home / "lake"),
            engine=Engine(memory_limit="500MB", threads=1),
            temporary=self.home / "temporary",
            actor=actor,
        )

    def at_desk(self) -> Office:
        """Return the office with the time it is."""
        self.office.context = self.context
        return self.office

    # --- what comes in --------------------------------------------------------------------------------------------

    def deliver(self, delivery: Delivery, from_on: date, until_on: date) -> bool:
        """Put a delivery where validate would have left it; return whether it was not there."""
        if self.ask("SELECT 1 FROM ops.delivery WHERE delivery_id = %s", delivery.delivery_id):
            return False
        local = self.home / "accepted.parquet"
        rows = [told | {"delivery_id": delivery.delivery_id} for told in delivery.rows]
        pq.write_table(pa.Table.from_pylist(rows, schema=TRANSACTION), local)
        path, count = FolderLake(self.home / "lake").put_file(local, "parsed", ".parquet").path, len(rows)
        name, account = delivery.delivery_id, delivery.partner_account
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "INSERT INTO ops.delivery VALUES (%s, %s, %s, %s, %s, %s, 'sha', 1, %s, false, 'r')",
                (
                    name, account.removesuffix("_main"), account, from_on, until_on, delivery.observed_at,
                    delivery.states_scope,
                ),
            )  # fmt: skip
            connection.execute(
                "INSERT INTO ops.parse VALUES (%s, 1, %s, %s, 0, 0, %s, 'r')", (name, count, count, path)
            )
            connection.execute(
                "INSERT INTO ops.validation VALUES (%s, 1, 'passed', %s, %s, 0, %s, 'r')", (name, count, count, path)
            )
        return True

    def track_clicks(self) -> int:
        """Read the tracker up to now; return how many clicks were new."""
        self.known.tracked_until = self.known.tick()
        world = World((), tuple(self.known.clicks), (), (), (), {}, self.known.now, self.known.day)
        return load_clicks(self.context, SOURCE, Tracker(world), self.known.tracked_until).count("clicks")

    # --- what follows ---------------------------------------------------------------------------------------------

    def keep_books(self, day: date | None = None) -> list[StageResult]:
        """Reconcile, allocate and accrue as of today."""
        day = day or self.known.day
        return [reconcile(self.context, day, FACTS), remit(self.context, day), accrue(self.context, day)]

    def close(self, month: date) -> bool:
        """Let a person try to close a month; what blocks leaves it closing."""
        begin_closing(self.by("Ann Auditor"), month)
        try:
            revalue(self.by("Ann Auditor"), month)
            finish(self.by("Ann Auditor"), month, verify)
        except Stop as error:
            assert any(word in str(error) for word in ("cannot be closed yet", "rate")), error
            return False
        return True

    def differing(self) -> list[Check]:
        """Return the checks of verify that do not hold."""
        return [check for check in verify(self.context, self.known.day) if not check.is_ok]

    def books(self, document_kind: str) -> dict[tuple[str, str, str, str, date], int]:
        """Return the sums of the ledger per document, account and effective day."""
        return read(self.url, document_kind)

    def month(self, starts_on: date) -> Snapshot:
        """Return all that is booked in a month but its revaluation, and the hashes of its entries."""
        sums = self.ask(
            "SELECT document_kind, document_id, kind, owner, currency, scale, sum(amount_minor)::bigint"
            " FROM mart.movement WHERE date_trunc('month', booked_on) = %s AND document_kind <> 'revaluation'"
            " GROUP BY 1, 2, 3, 4, 5, 6",
            starts_on,
        )
        entries = self.ask(
            "SELECT year, number, hash FROM ledger.journal_entry WHERE date_trunc('month', booked_on) = %s"
            " ORDER BY year, number",
            starts_on,
        )
        return {row[:-1]: row[-1] for row in sums}, entries
