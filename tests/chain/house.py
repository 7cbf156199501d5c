"""One warehouse and lake in which a small world goes through every stage, from bytes to proved books."""

from __future__ import annotations

import csv
import itertools
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.partners import connector_for
from etl.accrue import accrue
from etl.clicks import load_clicks
from etl.core.configuration import ClickSource, Configuration, Entity, PartnerAccount, TrackedTable
from etl.core.connector import Answer, ChangeFeed, ConnectorFacts, Part, ReversalModel, VersionClock
from etl.core.context import Context, StageResult
from etl.core.engine import Engine
from etl.core.lake import FolderLake
from etl.core.schemas import ALIAS, CASHBACK_RULE, CLICK, CONVERSION, PROGRAM, TRANSACTION
from etl.core.warehouse import Warehouse
from etl.land import land
from etl.parse import parse
from etl.rates import load_rates
from etl.reconcile import reconcile
from etl.reference import load_aliases, load_programs, load_rules
from etl.remit import remit
from etl.validate import release, validate
from etl.verify import verify
from tests.chain.dialects import ZONES, content_of
from tests.chain.reported import CLOCKED, Report
from tests.chain.worlds import OVERLAP, World
from tests.reconcile.naive import Row

ENTITY = Entity("house", "EUR", "Europe/Berlin")
PAYABLE_ON = {f"{partner}_main": "approval" for partner in ZONES} | {"tradetracker_main": "partner_paid"}
ACCOUNTS = {
    f"{partner}_main": PartnerAccount(
        f"{partner}_main", partner, ENTITY.name, partner, zone, None, PAYABLE_ON[f"{partner}_main"]
    )
    for partner, zone in ZONES.items()
}
# No partner yet has a clock of its own on every row; this one's rows are put where parse would have put them.
CLOCKED_FACTS = ConnectorFacts(
    partner=CLOCKED,
    parse_version=1,
    version_clock=VersionClock.MODIFIED,
    clock_precision_seconds=60,
    reversal_model=ReversalModel.MUTATING,
    change_feed=ChangeFeed.CHANGE_DATE,
    states_scope=True,
    longest_window_days=31,
)
FACTS = {partner: connector_for(partner).facts for partner in ZONES if partner != CLOCKED} | {CLOCKED: CLOCKED_FACTS}
_TRACKED = TrackedTable("clicks", {}, "committed_at")
SOURCE = ClickSource("tracker", "tracker", int(OVERLAP.total_seconds()) // 60, _TRACKED, _TRACKED)
_GUARDS = "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'O'"
_TABLES = (
    "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('ref', 'ops', 'ledger', 'payout', 'pii')"
)
COMPARED = {
    "version": "SELECT * FROM ops.transaction_version ORDER BY partner_account, transaction_id, line_id, version_no",
    "sale": "SELECT * FROM ops.sale ORDER BY sale_id",
    "match": "SELECT * FROM ops.match ORDER BY partner_account, transaction_id, line_id",
    "break": "SELECT partner_account, transaction_id, line_id, kind, sale_id, expected, found, amount, currency,"
    " evidence_hash FROM ops.break ORDER BY partner_account, transaction_id, line_id, kind",
    "books": "SELECT document_id, kind, owner, currency || '/' || scale, effective_for, booked_on,"
    " sum(amount_minor)::bigint FROM mart.movement GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(amount_minor) <> 0"
    " ORDER BY 1, 2, 3, 4, 5, 6",
    "outcome": "SELECT * FROM ops.sale_outcome ORDER BY sale_id, currency",
    "reference": "SELECT * FROM ref.program ORDER BY program_id, valid_from",
    "reject": "SELECT delivery_id, row_number, stage, transaction_id, line_id, rule, value FROM ops.reject"
    " ORDER BY delivery_id, row_number, stage, rule",
}


@dataclass(frozen=True)
class Tracker:
    """A tracker whose rows are read by when they committed."""

    world: World
    # Rows that are not there yet, however early their clock is.
    hidden: frozenset[str] = frozenset()

    def _rows(
        self, rows: Iterable[Row], key: str, schema: pa.Schema, since: datetime | None, until: datetime
    ) -> Iterator[pa.Table]:
        found = [
            one
            for one in rows
            if one["committed_at"] < until
            and (since is None or one["committed_at"] >= since)
            and one[key] not in self.hidden
        ]
        yield pa.Table.from_pylist(found, schema=schema)

    def clicks(self, since: datetime | None, until: datetime) -> Iterator[pa.Table]:
        yield from self._rows(self.world.clicks, "click_id", CLICK, since, until)

    def conversions(self, since: datetime | None, until: datetime) -> Iterator[pa.Table]:
        yield from self._rows(self.world.conversions, "conversion_id", CONVERSION, since, until)


@dataclass
class House:
    """The warehouse at `url`, emptied before each life, and the stages over it."""

    url: str
    folder: Path
    lives: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    runs: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    home: Path = field(init=False)
    # From so many versions on only what is touched is looked at; None is as it is for everybody.
    narrow_from: int | None = None

    def __post_init__(self) -> None:
        # Nobody may empty a ledger; to begin again without a new database, the guards step aside.
        with psycopg.connect(self.url) as connection:
            for table, name in connection.execute(_GUARDS).fetchall():
                connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
        self.begin()

    def begin(self) -> None:
        """Empty the warehouse and begin with an empty lake."""
        if hasattr(self, "home"):
            shutil.rmtree(self.home)
        self.home = self.folder / str(next(self.lives))
        self.home.mkdir()
        with psycopg.connect(self.url) as connection:
            tables = [str(row[0]) for row in connection.execute(_TABLES).fetchall()]
            connection.execute(f"TRUNCATE {', '.join(tables)}")

    @property
    def context(self) -> Context:
        return Context(
            run_id=f"run-{next(self.runs)}",
            known_at=datetime.fromisoformat("2026-06-01T08:00"),
            configuration=Configuration(ENTITY, tuple(ACCOUNTS.values()), (SOURCE,), (), "0" * 64),
            warehouse=Warehouse(self.url),
            lake=FolderLake(self.home / "lake"),
            engine=Engine(memory_limit="500MB", threads=1),
            temporary=self.home / "temporary",
            actor="test",
        )

    def ask(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query, parameters).fetchall()

    # --- what comes in --------------------------------------------------------------------------------------------

    def land(self, reports: Sequence[Report]) -> int:
        """Land answers, each twice; return how many deliveries were new."""
        new = 0
        for account in dict.fromkeys(report.account for report in reports):
            own = [report for report in reports if report.account == account]
            if account == f"{CLOCKED}_main":
                new += sum(self._put(report) for report in own)
                continue
            answers = [self._answer(report) for report in own]
            connector = connector_for(ACCOUNTS[account].partner)
            new += land(self.context, ACCOUNTS[account], connector, answers * 2).count("new_deliveries")
        return new

    def _answer(self, report: Report) -> Answer:
        content, media_type = content_of(report)
        name = self.home / f"answer-{next(self.runs)}"
        name.write_bytes(content)
        # The name is part of what a delivery is: what was asked for, as a partner's would be.
        asked = f"{report.window}-{report.network}"
        return Answer(report.window, report.observed_at, (Part(name, asked, media_type),))

    def _put(self, report: Report) -> bool:
        """Put a report of canonical rows where parse would have put it; return whether it was not there."""
        delivery_id = name_of(report)
        if self.ask("SELECT 1 FROM ops.delivery WHERE delivery_id = %s", delivery_id):
            return False
        good = [told | {"delivery_id": delivery_id} for told in report.rows if told["fault"] is None]
        local = self.home / "parsed.parquet"
        pq.write_table(pa.Table.from_pylist(good, schema=TRANSACTION), local)
        stored = self.context.lake.put_file(local, "parsed", ".parquet")
        window, bad = report.window, [told for told in report.rows if told["fault"] is not None]
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "INSERT INTO ops.delivery VALUES (%s, %s, %s, %s, %s, %s, 'sha', 1, %s, false, 'r')",
                (
                    delivery_id, CLOCKED, report.account, window.from_on, window.until_on, report.observed_at,
                    report.states_scope,
                ),
            )  # fmt: skip
            connection.execute(
                "INSERT INTO ops.parse VALUES (%s, 1, %s, %s, %s, 0, %s, 'r')",
                (delivery_id, len(report.rows), len(good), len(bad), stored.path),
            )
            for told in bad:
                connection.execute(
                    "INSERT INTO ops.reject VALUES (%s, 1, %s, 'parse', %s, %s, 'malformed', NULL, NULL, 'bad', '')",
                    (delivery_id, told["row_number"], told["transaction_id"], told["line_id"]),
                )
        return True

    def check(self, accounts: Iterable[str]) -> int:
        """Parse and validate what has landed; return how many deliveries were parsed or checked."""
        done = 0
        for account in accounts:
            partner = ACCOUNTS[account].partner
            if partner != CLOCKED:
                done += parse(self.context, ACCOUNTS[account], connector_for(partner)).count("deliveries")
            done += validate(self.context, ACCOUNTS[account], FACTS[partner]).count("deliveries")
        return done

    def delivery_id(self, report: Report) -> str:
        """Return the id under which a report has landed."""
        if report.account == f"{CLOCKED}_main":
            return name_of(report)
        rows = self.ask(
            "SELECT d.delivery_id, p.object_path FROM ops.delivery AS d JOIN ops.delivery_part AS p USING (delivery_id)"
            " WHERE partner_account = %s AND observed_at = %s AND window_from = %s AND window_until = %s"
            " AND media_type = %s",
            *(report.account, report.observed_at, report.window.from_on, report.window.until_on),
            content_of(report)[1],
        )
        lake = self.home / "lake"
        (found,) = [str(row[0]) for row in rows if (lake / str(row[1])).read_bytes() == content_of(report)[0]]
        return found

    def let_through(self, reports: Iterable[Report]) -> None:
        """Let a person release those of the reports that are held and that they let through."""
        for report in reports:
            delivery_id = self.delivery_id(report)
            (state,) = self.ask("SELECT state FROM ops.validation WHERE delivery_id = %s", delivery_id)
            if report.is_released and state == ("held",):
                release(self.context, delivery_id, "Clara", "the partner says it is right")

    def refer(
        self,
        programs: Sequence[Row],
        rules: Sequence[Row],
        rates: Mapping[tuple[str, date], Decimal],
        aliases: Sequence[Row] = (),
    ) -> int:
        """Load reference data and rates; return how many rows that changed."""
        of_programs, of_rules, of_rates = write_reference(self.home, programs, rules, rates)
        results = [load_programs(self.context, of_programs), load_rules(self.context, of_rules)]
        if rates:
            results.append(load_rates(self.context, of_rates))
        if aliases:
            results.append(load_aliases(self.context, write_rows(self.home / "aliases.csv", aliases, ALIAS)))
        return sum(result.count("new") + result.count("changed") for result in results)

    def track(self, world: World, until: datetime, hidden: frozenset[str] = frozenset()) -> int:
        """Load the tracker; return how many rows were new."""
        result = load_clicks(self.context, SOURCE, Tracker(world, hidden), until)
        return result.count("clicks") + result.count("conversions")

    def decide(self, decisions: Iterable[Row]) -> None:
        """Record what people decided, and what a second person agreed to."""
        names = (
            "decision_id kind sale_id click_id undoes decided_at evidence_hash partner_account transaction_id line_id"
            " break_kind amount currency until_on needs_agreement"
        ).split()
        with psycopg.connect(self.url) as connection:
            for one in decisions:
                connection.execute(
                    f"INSERT INTO ops.decision (decided_by, reason, {', '.join(names)})"
                    f" VALUES ('Clara', 'asked', {', '.join(f'%({name})s' for name in names)})",
                    one,
                )
                if one["agreed_at"] is not None:
                    connection.execute(
                        "INSERT INTO ops.agreement VALUES (%(decision_id)s, 'Clara', 'Dan', %(agreed_at)s, 'so do I')",
                        one,
                    )

    # --- what follows ---------------------------------------------------------------------------------------------

    def keep_books(self, day: date) -> list[StageResult]:
        """Reconcile and accrue as of a day."""
        if self.narrow_from is None:
            return [reconcile(self.context, day, FACTS), accrue(self.context, day)]
        results = self._keep_books(day, self.narrow_from)
        before = self.everything()
        self.forget()
        again = self._keep_books(day, self.narrow_from)
        found = differing(before, self.everything())
        if found or written(again):
            raise AssertionError(f"{again}: {found}")
        return results

    def _keep_books(self, day: date, narrow_from: int) -> list[StageResult]:
        return [
            reconcile(self.context, day, FACTS, narrow_from=narrow_from),
            remit(self.context, day, narrow_from=narrow_from),
            accrue(self.context, day, narrow_from=narrow_from),
        ]

    def forget(self) -> None:
        """Let the next run look at everything."""
        with psycopg.connect(self.url) as connection:
            connection.execute("DELETE FROM ops.reconciled")
            connection.execute("DELETE FROM ops.remitted")
            connection.execute("DELETE FROM ops.accrued")

    def everything(self) -> dict[str, list[tuple[object, ...]]]:
        """Return all that must be the same whatever the order, split and repetition."""
        with psycopg.connect(self.url) as connection:
            return {name: connection.execute(query).fetchall() for name, query in COMPARED.items()}

    def proved(self, day: date) -> None:
        """Assert that the books prove themselves."""
        assert [check for check in verify(self.context, day) if not check.is_ok] == []


def differing(
    before: dict[str, list[tuple[object, ...]]], now: dict[str, list[tuple[object, ...]]]
) -> dict[str, tuple[list[tuple[object, ...]], list[tuple[object, ...]]]]:
    """Return the rows of each table that are not in both."""
    return {
        name: (
            [row for row in before[name] if row not in now[name]],
            [row for row in now[name] if row not in before[name]],
        )
        for name in before
        if before[name] != now[name]
    }


def written(results: Iterable[StageResult]) -> int:
    """Return how many rows reconcile and accrue wrote."""
    words = ("new", "changed", "gone", "documents", "entries", "postings")
    return sum(count for result in results for name, count in result.counts if name.split("_")[0] in words)


def name_of(report: Report) -> str:
    """Return the id of a report that has no bytes."""
    return f"{report.account}/{report.window}/{report.observed_at}/{report.states_scope}/" + "/".join(
        str(told["content_hash"])[:12] + str(told["transaction_id"]) + str(told["fault"]) for told in report.rows
    )


def known(reports: Iterable[Report]) -> list[str]:
    """Return the accounts of reports."""
    return list(dict.fromkeys(report.account for report in reports))


def write_reference(
    folder: Path, programs: Sequence[Row], rules: Sequence[Row], rates: Mapping[tuple[str, date], Decimal]
) -> tuple[Path, Path, Path]:
    """Write the files of programs, rules and rates, and return where."""
    paths = folder / "programs.csv", folder / "cashback_rules.csv", folder / "eurofxref-hist.csv"
    for path, rows, schema in zip(paths, (programs, rules), (PROGRAM, CASHBACK_RULE), strict=False):
        write_rows(path, rows, schema)
    currencies = sorted({currency for currency, _ in rates})
    lines = [
        [str(on), *(str(rates.get((currency, on), "N/A")) for currency in currencies)]
        for on in sorted({on for _, on in rates}, reverse=True)
    ]
    paths[2].write_text("".join(f"{','.join(line)}\n" for line in [["Date", *currencies], *lines]))
    return paths


def write_rows(path: Path, rows: Iterable[Row], schema: pa.Schema) -> Path:
    """Write rows as CSV with the columns of a schema, and return where."""
    with path.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(schema.names)
        writer.writerows([_cell(one[name]) for name in schema.names] for one in rows)
    return path


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value.isoformat()}Z" if isinstance(value, datetime) else str(value)
