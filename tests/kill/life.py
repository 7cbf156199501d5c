"""A small life from reference data to a payment file at the bank, stage by stage, each on a copy of the one before."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.partners import connector_for
from connectors.providers.sepa.rail import SepaRail
from etl.accrue import accrue
from etl.check_clicks import check_clicks
from etl.clicks import load_clicks
from etl.close import begin, finish
from etl.core.configuration import Configuration, RemittanceLayout
from etl.core.connector import Answer, Part, Window
from etl.core.context import Context
from etl.core.decisions import BreakFilter, BreakState, DecisionKind
from etl.core.engine import Engine
from etl.core.errors import Retry, Stop
from etl.core.lake import FolderLake
from etl.core.warehouse import Warehouse
from etl.decide import Verdict, decide
from etl.export import freeze, transmit
from etl.land import land
from etl.parse import parse
from etl.payees import load_payees
from etl.payout import approve, select_and_reserve
from etl.rates import load_rates
from etl.reconcile import reconcile
from etl.reference import load_programs, load_rules
from etl.remit import remit
from etl.remittances import load_remittances
from etl.report import report
from etl.settle import Resolution, resolve, settle
from etl.validate import release, validate
from etl.verify import verify
from tests.chain.dialects import content_of
from tests.chain.house import ACCOUNTS, ENTITY, FACTS, SOURCE, Tracker, write_reference
from tests.chain.reported import WINDOWS, Report
from tests.chain.worlds import World, at
from tests.payout.office import BANK, IBANS, KEYRING, FolderInbox
from tests.reconcile.worlds import click, program, row
from tests.remit.statements import line, statement, write_csv

DAY = date(2026, 3, 12)
FEBRUARY = date(2026, 2, 1)
RAIL = SepaRail.of(BANK)
MINE = ("awin_main", "rakuten_main")
# What encryption makes anew each time, and numbers that a killed transaction used up.
LEFT_OUT = {
    "payee": ("name_encrypted", "iban_encrypted"),
    "batch": ("object_path",),
    "posting": ("debit", "credit"),
    "account": ("account_id",),
}


def small_world() -> World:
    """Return sales that are approved and matched, one that is not, one of a held delivery, and a broken row."""
    good = [
        row(
            f"t{number}", number, partner_program_id="9001", click_ref=f"click-{number}", status="approved",
            raw_status="approved", occurred_precision_seconds=60, occurred_at=at("03-01 10:00"),
        )
        | {"fault": None}
        for number in range(1, 4)
    ]  # fmt: skip
    stray = row("t4", 4, partner_program_id="9001", status="pending", raw_status="pending") | {"fault": None}
    broken = row("t5", 5, partner_program_id="9001", status="pending", raw_status="pending") | {"fault": "amount"}
    outside = row("t6", 1, partner_program_id="9001", status="approved", occurred_at=at("03-04")) | {"fault": None}
    # Further in the future than a clock may be wrong.
    early = row("t7", 2, partner_program_id="9001", status="approved", occurred_at=at("03-20")) | {"fault": None}
    british = row(
        "t8", 1, partner="rakuten", partner_program_id="41000", currency="GBP", processed_at=at("03-01 10:00")
    )
    reports = [
        Report("awin_main", WINDOWS[0], at("03-06 08:00"), (*good, stray, broken)),
        Report("awin_main", Window(date(2026, 3, 5), date(2026, 3, 6)), at("03-07 08:00"), (outside, early)),
        Report(
            "rakuten_main", WINDOWS[0], at("03-06 08:00"), (british | {"status": None, "fault": None},), network="3"
        ),
    ]
    clicks = [click(f"click-{number}") | {"committed_at": at("03-01 09:00")} for number in range(1, 4)]
    share = {
        "basis": "commission_share", "value": Decimal("0.5"), "cap": None, "currency": "EUR", "rounding": "half_even",
        "valid_from": at("01-01"), "valid_until": None, "commission_group": None, "component": "cashback",
    }  # fmt: skip
    return World(
        reports=tuple(reports),
        clicks=tuple(clicks),
        conversions=(),
        programs=(
            program("p1", partner_program_id="9001"),
            program("p4", "rakuten", partner_program_id="41000", currency="GBP"),
        ),
        rules=tuple({"rule_id": f"r-{name}", "program_id": name, **share} for name in ("p1", "p4")),
        rates={("GBP", date(2026, 2, 27)): Decimal("0.85"), ("GBP", date(2026, 3, 2)): Decimal("0.86")},
        tracked_until=at("03-12"),
        day=DAY,
    )


@dataclass(frozen=True)
class Payees:
    """A tracker that tells the members' account numbers."""

    members: tuple[str, ...]

    def payees(self, since: object, until: object) -> Iterator[pa.Table]:
        rows = [
            {
                "member_id": member,
                "name": "Erika Muster",
                "iban": IBANS[0],
                "changed_at": at("03-01"),
                "changed_by": "x",
            }
            for member in self.members
        ]
        yield pa.Table.from_pylist(rows)


@dataclass(frozen=True)
class Life:
    """One warehouse and one folder at some moment of a life."""

    url: str
    home: Path
    world: World

    @property
    def context(self) -> Context:
        return Context(
            run_id="run-1",
            known_at=at("03-12 08:00"),
            configuration=Configuration(ENTITY, tuple(ACCOUNTS[name] for name in MINE), (SOURCE,), (BANK,), "0" * 64),
            warehouse=Warehouse(self.url),
            lake=FolderLake(self.home / "lake"),
            engine=Engine(memory_limit="500MB", threads=1),
            temporary=self.home / "temporary",
            actor="Clara",
        )

    @property
    def inbox(self) -> FolderInbox:
        return FolderInbox(self.home / "bank" / "in")

    def copied(self, url: str, home: Path) -> Life:
        """Return the same moment in another place; the warehouse there is a copy already."""
        shutil.copytree(self.home, home)
        return replace(self, url=url, home=home)

    def ask(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query, parameters).fetchall()

    def rows(self) -> dict[str, list[str]]:
        """Return all rows of the warehouse, as text, by table."""
        out = {}
        with psycopg.connect(self.url) as connection:
            tables = connection.execute(
                "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN"
                " ('ref', 'ops', 'ledger', 'payout', 'pii') ORDER BY 1, 2"
            ).fetchall()
            for schema, table in tables:
                taken = "".join(f" - '{name}'" for name in LEFT_OUT.get(str(table), ()))
                found = connection.execute(f"SELECT (to_jsonb(t){taken})::text FROM {schema}.{table} AS t").fetchall()
                out[f"{schema}.{table}"] = sorted(str(row[0]) for row in found)
            out["mart.posting"] = sorted(
                str(row) for row in connection.execute("SELECT * FROM mart.posting").fetchall()
            )
        return out

    def files(self) -> dict[str, bytes]:
        """Return what stands in the lake and among the reports, each Parquet file of which must be whole."""
        out = {}
        for folder in ("lake", "reports"):
            for path in sorted((self.home / folder).rglob("*")):
                is_hidden = any(part.startswith(".") for part in path.relative_to(self.home).parts)
                if path.is_file() and not is_hidden:
                    if path.suffix == ".parquet":
                        pq.ParquetFile(path).read()
                    if path.suffix != ".sealed":
                        out[path.relative_to(self.home).as_posix()] = path.read_bytes()
        return out


def _reference(life: Life) -> None:
    programs, rules, _ = write_reference(life.home, life.world.programs, life.world.rules, life.world.rates)
    load_programs(life.context, programs)
    load_rules(life.context, rules)


def _rates(life: Life) -> None:
    _, _, rates = write_reference(life.home, life.world.programs, life.world.rules, life.world.rates)
    load_rates(life.context, rates)


def _clicks(life: Life) -> None:
    load_clicks(life.context, SOURCE, Tracker(life.world), life.world.tracked_until)


def _check_clicks(life: Life) -> None:
    check_clicks(life.context, SOURCE.name)


def _payees(life: Life) -> None:
    members = tuple(one["member_id"] for one in life.world.clicks)
    load_payees(life.context, SOURCE, Payees(members), KEYRING, life.world.tracked_until)


def _land(life: Life) -> None:
    for number, told in enumerate(life.world.reports):
        content, media_type = content_of(told)
        path = life.home / f"answer-{number}"
        path.write_bytes(content)
        account = ACCOUNTS[told.account]
        answer = Answer(told.window, told.observed_at, (Part(path, str(told.window), media_type),))
        land(life.context, account, connector_for(account.partner), [answer])


def _parse(life: Life) -> None:
    for name in MINE:
        parse(life.context, ACCOUNTS[name], connector_for(ACCOUNTS[name].partner))


def _validate(life: Life) -> None:
    for name in MINE:
        validate(life.context, ACCOUNTS[name], FACTS[ACCOUNTS[name].partner])


def _release(life: Life) -> None:
    for (delivery_id,) in life.ask("SELECT delivery_id FROM ops.validation WHERE state = 'held'"):
        release(life.context, str(delivery_id), "Clara", "asked the partner")


def _reconcile(life: Life) -> None:
    reconcile(life.context, DAY, FACTS)


def _decide(life: Life) -> None:
    open_ones = BreakFilter(kind="unmatched", states=(BreakState.OPEN,))
    decide(life.context, DAY, open_ones, Verdict(DecisionKind.NO_CASHBACK, "none was clicked"))


def _accrue(life: Life) -> None:
    accrue(life.context, DAY)


def _select(life: Life) -> None:
    select_and_reserve(
        life.context,
        BANK,
        DAY,
        threshold_minor=1,
        maturity_days=0,
        execute_on=DAY + timedelta(days=1),
        released_by="Anna",
        rail=RAIL,
        keyring=KEYRING,
    )


def _batch_id(life: Life) -> str:
    ((batch_id,),) = life.ask("SELECT batch_id FROM payout.batch")
    return str(batch_id)


def _freeze(life: Life) -> None:
    freeze(life.context, _batch_id(life), RAIL, KEYRING)


def _approve(life: Life) -> None:
    ((sha256,),) = life.ask("SELECT sha256 FROM payout.batch")
    approve(life.context, _batch_id(life), str(sha256), "Ben")


def _transmit(life: Life) -> None:
    """Send; where nobody knows whether the file arrived, look at the bank, say so, and go on."""
    try:
        transmit(life.context, _batch_id(life), RAIL, KEYRING, life.inbox)
    except Stop as error:
        assert "tallyback payout resolve" in str(error)
        said = Resolution.SENT if life.inbox.folder.exists() and life.inbox.delivered() else Resolution.NOT_SENT
        resolve(life.context, _batch_id(life), said, "Ben", "asked the bank")
        transmit(life.context, _batch_id(life), RAIL, KEYRING, life.inbox)


def _settle(life: Life) -> None:
    settle(life.context, _batch_id(life), DAY + timedelta(days=1))


def _remittances(life: Life) -> None:
    paid = statement(
        line("commission", "10.00", transaction_id="t1"), invoiced_on="2026-03-05", received_on="2026-03-10"
    )
    path = write_csv(life.home / "remittance.csv", paid)
    load_remittances(life.context, path, ACCOUNTS["awin_main"], RemittanceLayout())


def _remit(life: Life) -> None:
    remit(life.context, DAY)


def _begin_close(life: Life) -> None:
    if not life.ask("SELECT 1 FROM ref.period WHERE state <> 'open'"):
        with contextlib.suppress(Retry, Stop):  # The other one of two has begun.
            begin(life.context, FEBRUARY)


def _finish_close(life: Life) -> None:
    if not life.ask("SELECT 1 FROM ref.period WHERE state = 'closed'"):
        with contextlib.suppress(Retry, Stop):  # The other one of two has finished.
            finish(life.context, FEBRUARY, verify)


def _report(life: Life) -> None:
    report(life.context, date(2026, 3, 1), DAY, life.home / "reports")


STAGES: dict[str, Callable[[Life], None]] = {
    "reference": _reference,
    "rates": _rates,
    "clicks": _clicks,
    "check_clicks": _check_clicks,
    "payees": _payees,
    "land": _land,
    "parse": _parse,
    "validate": _validate,
    "release": _release,
    "reconcile": _reconcile,
    "decide": _decide,
    "accrue": _accrue,
    "select": _select,
    "freeze": _freeze,
    "approve": _approve,
    "transmit": _transmit,
    "settle": _settle,
    "remittances": _remittances,
    "remit": _remit,
    "begin_close": _begin_close,
    "finish_close": _finish_close,
    "report": _report,
}
