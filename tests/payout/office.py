"""A small office for the tests of payouts: books with debts to members, payees, one bank whose inbox is a folder."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path

import psycopg
import pyarrow as pa

from connectors.providers.sepa.rail import SepaRail
from etl.core.configuration import Bank, Configuration, Entity
from etl.core.context import Context
from etl.core.encryption import KeyRing, blind_index, encrypt
from etl.core.engine import Engine
from etl.core.errors import Retry
from etl.core.lake import FolderLake
from etl.core.ledger import FLOW, post
from etl.core.payee import IBAN_COLUMN, NAME_COLUMN, payee_place
from etl.core.payouts import Batch
from etl.core.warehouse import Warehouse
from etl.export import freeze, transmit
from etl.payout import Selection, approve, select_and_reserve

KEYRING = KeyRing(keys={"k1": bytes(range(32))}, current="k1", index="k1")
BANK = Bank("house_bank", "sepa", "house_bank", "in", "EUR", "Cashback GmbH", "DE89370400440532013000")
RAIL = SepaRail.of(BANK)
TODAY = date(2026, 11, 23)
LONG_AGO = date(2026, 9, 1)
IBANS = ("FR1420041010050500013M02606", "BE68539007547034", "DE89370400440532013000")
SALE = (
    "INSERT INTO ops.sale (sale_id, partner, partner_account, occurred_at, sale_on, outcome, earns_cashback, "
    "is_payout_held) VALUES (%s, 'awin', 'awin_main', '2026-08-01', '2026-08-01', 'matched', true, %s) "
    "ON CONFLICT (sale_id) DO UPDATE SET is_payout_held = excluded.is_payout_held"
)


@dataclass(slots=True)
class FolderInbox:
    """A bank's inbox that is a folder; `fails_at` names the step at which the line breaks, before or after its work."""

    folder: Path
    fails_at: str = ""

    def _step(self, name: str) -> None:
        if self.fails_at == name:
            raise Retry(f"the line broke at {name}")

    def exists(self, name: str) -> bool:
        return (self.folder / name).exists()

    def put_part(self, content: bytes, name: str) -> None:
        self._step("before put")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{name}.part").write_bytes(content[: len(content) // 2])
        self._step("within put")
        (self.folder / f"{name}.part").write_bytes(content)
        self._step("after put")

    def finish(self, name: str) -> None:
        self._step("before finish")
        (self.folder / f"{name}.part").rename(self.folder / name)
        self._step("after finish")

    def read_back(self, name: str) -> bytes | None:
        place = self.folder / name
        return place.read_bytes() if place.exists() else None

    def collect(self) -> None:
        """Take delivered files away, as a bank does, so that none of them can hide a second delivery."""
        taken = self.folder.parent / "taken"
        taken.mkdir(parents=True, exist_ok=True)
        for place in self.folder.glob("*.xml"):
            place.rename(taken / f"{len(list(taken.iterdir())):03d}-{place.name}")

    def delivered(self) -> list[bytes]:
        self.collect()
        return [place.read_bytes() for place in sorted((self.folder.parent / "taken").iterdir())]


@dataclass(slots=True)
class Office:
    """One entity's books in a warehouse, and what its people do."""

    url: str
    folder: Path
    entity: str = "cashback"
    inbox: FolderInbox = field(init=False)
    context: Context = field(init=False)

    def __post_init__(self) -> None:
        self.inbox = FolderInbox(self.folder / "bank" / "in")
        entity = Entity(self.entity, "EUR", "Europe/Berlin")
        self.context = Context(
            run_id="run-1",
            known_at=datetime.fromisoformat("2026-11-23T08:15:30"),
            configuration=Configuration(entity, (), (), (BANK,), "0"),
            warehouse=Warehouse(self.url),
            lake=FolderLake(self.folder / "lake"),
            engine=Engine(),
            temporary=self.folder / "temporary",
            actor="service",
        )

    def owe(
        self,
        member: str,
        document: str,
        amount: int,
        on: date = LONG_AGO,
        *,
        kind: str = "sale",
        held: bool = False,
        by: str = "run",
    ) -> None:
        """Book that we owe a member more (or, negative, less) for a document."""
        self.owe_all([(member, document, amount)], on, kind=kind, held=held, by=by)

    def owe_all(
        self,
        owed: Sequence[tuple[str, str, int]],
        on: date = LONG_AGO,
        *,
        kind: str = "sale",
        held: bool = False,
        by: str = "run",
    ) -> None:
        """Book several debts (member, document, amount) at once."""
        flows = []
        for member, document, amount in owed:
            legs = ("cashback_confirmed", "cashback_payable")
            debit, credit = legs if amount > 0 else reversed(legs)
            flow = (document, debit, member, credit, member, "EUR/2", abs(amount), on, "cashback", None, None)
            flows.append(dict(zip(FLOW.names, flow, strict=True)))
        with self.context.warehouse.transaction() as connection:
            for _, document, _ in owed if kind == "sale" else ():
                connection.execute(SALE, (document, held))
            table = pa.Table.from_pylist(flows, schema=FLOW)
            posted_at = self.context.known_at
            post(connection, self.entity, kind, table, run_id="run-0", created_by=by, posted_at=posted_at)

    def payee(self, member: str, *, version: int = 1, iban: str = IBANS[0], by: str = "member") -> None:
        """Give a member a payee."""
        name = encrypt(KEYRING, "Erika Mustermann", payee_place(NAME_COLUMN, member, version))
        sealed = encrypt(KEYRING, iban, payee_place(IBAN_COLUMN, member, version))
        with self.context.warehouse.transaction() as connection:
            connection.execute(
                "INSERT INTO pii.payee VALUES (%s, %s, %s, %s, %s, '****', %s, now(), %s) ON CONFLICT DO NOTHING",
                (member, version, name, sealed, blind_index(KEYRING, iban), iban[:2], by),
            )

    def select(self, *, threshold: int = 1, maturity: int = 30, day: date = TODAY, by: str = "Anna") -> Selection:
        return select_and_reserve(
            self.context,
            BANK,
            day,
            threshold_minor=threshold,
            maturity_days=maturity,
            execute_on=day,
            released_by=by,
            rail=RAIL,
            keyring=KEYRING,
        )

    def selected(self) -> Batch:
        batch = self.select().batch
        assert batch is not None
        return batch

    def freeze(self, batch: Batch) -> Batch:
        return freeze(self.context, batch.batch_id, RAIL, KEYRING)

    def approve(self, batch: Batch, person: str = "Ben") -> Batch:
        return approve(self.context, batch.batch_id, str(batch.sha256), person)

    def transmit(self, batch: Batch, fails_at: str = "") -> Batch:
        inbox = replace(self.inbox, fails_at=fails_at)
        return transmit(self.context, batch.batch_id, RAIL, KEYRING, inbox)

    def approved(self) -> Batch:
        return self.approve(self.freeze(self.selected()))

    def balance(self, kind: str, owner: str | None = None) -> int:
        """Return a balance in cents, credit positive."""
        query = "SELECT coalesce(sum(-balance_minor), 0) FROM mart.balance WHERE entity = %s AND kind = %s"
        rows = self.ask(query + (" AND owner = %s" if owner else ""), self.entity, kind, *([owner] if owner else []))
        return int(str(rows[0][0]))

    def ask(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query, parameters).fetchall()

    def change(self, statement: str, *parameters: object) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statement, parameters)
