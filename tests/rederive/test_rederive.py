"""What is stored follows from the landed bytes; where it does not, the difference is named, and nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from etl.core.configuration import Configuration
from etl.core.context import Context
from etl.core.decisions import BreakFilter, DecisionKind
from etl.core.embedded import EmbeddedPostgres
from etl.core.errors import Stop
from etl.core.lake import FolderLake
from etl.core.scratch import tables_of
from etl.core.warehouse import Warehouse
from etl.decide import Verdict, decide
from etl.rederive import DERIVED, rederive
from etl.remit import remit
from tests.chain.house import ACCOUNTS, ENTITY, SOURCE, House, known
from tests.kill.life import DAY, MINE, small_world
from tests.opening.desk import opened
from tests.remit.statements import line, load, statement

COUNTED = ("ops.parse", "ops.transaction_version", "ops.sale", "ops.match", "ops.break", "ledger.posting", "ops.reject")


@dataclass(frozen=True)
class Lived:
    """A small world that was lived once; its warehouse is a template for copies to tamper with."""

    postgres: EmbeddedPostgres
    name: str
    context: Context
    lake: Path

    def told(self, folder: Path, *tampers: str, lake: Path | None = None) -> list[tuple[str, str, str, str]]:
        """Return what differs after somebody with the owner's rights did `tampers` to a copy."""
        url, scratch = self.postgres.create_database("tampered", template=self.name), ""
        try:
            with psycopg.connect(url) as connection:
                for table in ("ledger.posting", "ledger.journal_entry", "ops.remittance", "ops.remittance_line"):
                    connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER refuse_change")
                connection.execute("ALTER TABLE ops.opening_line DISABLE TRIGGER refuse_change")
                for tamper in tampers:
                    assert connection.execute(tamper).rowcount > 0
                before = _counts(connection)
            scratch = self.postgres.create_database("scratch", template="migrated")
            here = replace(
                self.context,
                warehouse=Warehouse(url),
                lake=FolderLake(lake or self.lake),
                temporary=folder / "temporary",
            )
            steps: list[str] = []
            found = rederive(here, DAY, steps.append, scratch_url=scratch)
            assert steps
            with psycopg.connect(url) as connection:
                assert _counts(connection) == before
            folders = [sorted(path.name for path in each.iterdir()) for each in (lake or self.lake, self.lake)]
            assert folders[0] == folders[1]
        finally:
            self.postgres.drop_database("tampered")
            self.postgres.drop_database("scratch")
        return [(each.table, each.key, each.stored, each.follows) for each in found.differences]


def _counts(connection: psycopg.Connection) -> list[object]:
    return [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in COUNTED]


class _House(House):
    @property
    def context(self) -> Context:
        accounts = tuple(ACCOUNTS[name] for name in MINE)
        return replace(super().context, configuration=Configuration(ENTITY, accounts, (SOURCE,), (), "0" * 64))


@pytest.fixture(scope="module")
def lived(
    postgres: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lived]:
    name = "lived_from_raw"
    house = _House(postgres.create_database(name, template=migrated_template), tmp_path_factory.mktemp("lived"))
    (house.home / "temporary").mkdir()
    # It remembers what it saw, as a large house does: what is derived anew must not believe that.
    house.narrow_from = 1
    world = small_world()
    world = replace(world, reports=tuple(replace(each, is_released=True) for each in world.reports))
    house.refer(world.programs, world.rules, world.rates)
    house.track(world, world.tracked_until)
    house.land(world.reports)
    house.check(known(world.reports))
    house.let_through(world.reports)
    paid = (line("commission", "10.00", transaction_id="t1"), line("commission", "8.00", transaction_id="t6"))
    rows = statement(*paid, net="18", gross="18", bank_amount="18", invoiced_on="2026-03-05", received_on="2026-03-10")
    assert load(house.context, rows, "awin_main").count("rejects") == 0
    owed = ["cashback_payable,m-old,,EUR,5.00,2026-02-10"]
    owed += [f"commission_receivable,{name},,EUR,0,2026-02-10" for name in MINE]
    opened(
        replace(house.context, actor="Olga"), "\n".join(owed), "cashback_payable:EUR=5", "commission_receivable:EUR=0"
    )
    house.keep_books(DAY)
    remit(house.context, DAY)
    short = BreakFilter(kind="remittance_short")
    decide(replace(house.context, actor="Clara"), DAY, short, Verdict(DecisionKind.WRITE_OFF, "they are bankrupt"))
    remit(house.context, DAY)
    house.keep_books(DAY)
    house.proved(DAY)
    yield Lived(postgres, name, house.context, house.home / "lake")
    postgres.drop_database(name)


def test_an_opening_that_is_not_its_file_is_named(lived: Lived, tmp_path: Path) -> None:
    ((what, name, _, _),) = lived.told(tmp_path, "UPDATE ops.opening_line SET amount = 6 WHERE owner = 'm-old'")
    assert (what, name) == ("opening", "go-live revision 1")


def test_what_is_stored_follows_from_the_landed_bytes(lived: Lived, tmp_path: Path) -> None:
    assert lived.told(tmp_path) == []
    with lived.context.warehouse.transaction() as connection:
        counts = _counts(connection)
        tables = tables_of(connection, ("ref", "ops", "payout"))
    # A table is an input unless it is named; one that follows and is not named would prove itself.
    assert set(DERIVED) < set(tables)
    # The world would prove nothing if it held nothing.
    assert all(row != (0,) for row in counts)


TAMPERED = (
    "UPDATE ops.transaction_version SET commission_amount = 100 WHERE transaction_id = 't2'",
    "DELETE FROM ops.match WHERE transaction_id = 't3'",
    "UPDATE ops.sale SET member_id = 'friend' WHERE sale_id = 'awin_main:t2'",
    "DELETE FROM ops.reject WHERE transaction_id = 't5'",
    "UPDATE ops.validation SET state = 'held' WHERE delivery_id ="
    " (SELECT delivery_id FROM ops.delivery WHERE partner_account = 'rakuten_main')",
    "DELETE FROM ops.break WHERE kind = 'unmatched' AND transaction_id = 't4'",
    "UPDATE ops.remittance_allocation SET amount_minor = 99",
    "UPDATE ledger.posting SET amount = amount + 1 WHERE document_id = 'awin_main:t3' AND component = 'commission'",
    "DELETE FROM ledger.posting WHERE document_id = 'awin_main:t1' AND component = 'commission'",
    "UPDATE ledger.posting SET amount = amount - 1 WHERE document_kind = 'write_off'",
)
NAMED = (
    ("reject", "row_number 5, stage parse", "nothing", "transaction_id t5"),
    ("checked delivery", "delivery_id ", "state held", "state passed"),
    ("version", "account awin_main, transaction_id t2, version_no 1", "commission_amount 100.0000", "amount 10.0000"),
    ("sale", "sale_id awin_main:t2", "member_id friend", "member_id member-of-click-2"),
    ("match", "transaction_id t3", "nothing", "partner awin, outcome matched, click_id click-3, rule click_ref"),
    ("break", "transaction_id t4, kind unmatched", "nothing", "expected a click"),
    ("allocation", "remittance_id R-1, line_no 1, transaction_id t1", "amount_minor 99", "amount_minor 100000"),
    ("allocation", "remittance_id R-1, line_no 2, transaction_id t6", "amount_minor 99", "amount_minor 80000"),
    ("ledger", "awin_main:t1, account commission_income, owner awin_main, asset EUR/4", "nothing", "-100000"),
    ("ledger", "awin_main:t1, account commission_receivable, owner awin_main", "nothing", "amount_minor 100000"),
    ("ledger", "awin_main:t3, account commission_income, owner awin_main", "amount_minor -100001", "-100000"),
    ("ledger", "awin_main:t3, account commission_receivable, owner awin_main", "100001", "amount_minor 100000"),
    ("ledger", "document write_off, id awin_main:t6, account bad_debt", "amount_minor 19999", "amount_minor 20000"),
    ("ledger", "write_off, id awin_main:t6, account commission_receivable", "minor -19999", "minor -20000"),
)


def test_what_was_tampered_with_is_named_with_what_follows(lived: Lived, tmp_path: Path) -> None:
    found = lived.told(tmp_path, *TAMPERED)
    assert len(found) == len(NAMED)
    for one, named in zip(found, NAMED, strict=True):
        assert one[0] == named[0]
        assert all(part in text for part, text in zip(named[1:], one[1:], strict=True)), (one, named)


def test_a_delivery_that_is_not_as_it_was_landed_is_named(lived: Lived, tmp_path: Path) -> None:
    tamper = "UPDATE ops.delivery SET observed_at = '2026-03-01' WHERE partner_account = 'rakuten_main'"
    ((table, key, _, _),) = lived.told(tmp_path, tamper)
    assert (table, "rakuten_main 2026-02-27..2026-03-10 observed at 2026-03-01" in key) == ("recorded delivery", True)


@pytest.mark.parametrize(
    ("folder", "what", "damage"),
    [
        ("raw", "landed object", lambda path: path.write_bytes(path.read_bytes()[:-1] + b" ")),
        ("parsed", "parsed object", lambda path: path.write_bytes(path.read_bytes() + b"!")),
        ("tracked", "click object", lambda path: path.unlink()),
        ("remittances", "remittance object", lambda path: path.write_bytes(b"")),
    ],
)
def test_a_damaged_object_is_named_and_nothing_is_derived_from_it(
    lived: Lived, tmp_path: Path, folder: str, what: str, damage: Callable[[Path], object]
) -> None:
    lake = shutil.copytree(lived.lake, tmp_path / "lake")
    victim = sorted(path for path in (lake / folder).rglob("*") if path.is_file())[0]
    victim.chmod(0o644)
    damage(victim)
    found = lived.told(tmp_path, lake=lake)
    assert found
    assert {one[0] for one in found} <= {what, "checked object"}
    assert all(str(victim.relative_to(lake)) in one[1] for one in found)


def test_a_scratch_database_with_something_in_it_is_refused(lived: Lived, tmp_path: Path) -> None:
    here = replace(lived.context, temporary=tmp_path)
    with pytest.raises(Stop, match="empty database"):
        rederive(here, DAY, lambda _: None, scratch_url=lived.postgres.url(lived.name))
