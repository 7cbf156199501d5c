"""A house to measure: a warehouse and a lake into which a year of deliveries goes, through the stages themselves.

The warehouse is a server of its own, with the durability of a real one. Reference data, rates and the clicks' files are
in it before a clock starts; deliveries wait as files, as a fetch would have left them.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import psycopg
from pydantic import SecretStr

from bench.answers import (
    CORRECTED_AFTER_DAYS,
    FIRST_ON,
    MEDIA_TYPES,
    PARTNER_OF_PROGRAM,
    PENDING_DAYS,
    PROGRAMS,
    Answers,
    Days,
    click_days,
)
from bench.measure import peak_mb
from connectors.partners import connector_for
from etl.core.configuration import Configuration, Entity, PartnerAccount
from etl.core.connector import Answer, Credentials, Part, Window
from etl.core.context import StageResult
from etl.core.embedded import EmbeddedPostgres
from etl.core.engine import Engine
from etl.core.lake import FolderLake
from etl.core.settings import Settings
from etl.core.warehouse import Warehouse, migrate
from etl.installation import Installation
from etl.land import land
from etl.pipeline import Task, run_stage
from etl.rates import load_rates
from etl.reference import load_programs, load_rules

CLICKS_EACH = 10
WINDOW_DAYS = 25
DAYS = 400
DAYS_OF_FEW = 100
FEW_ROWS = 40_000
"""Fewer rows than that are told of fewer days, so that a file still holds some."""
PARTNERS = tuple(dict.fromkeys(PARTNER_OF_PROGRAM))
ENTITY = Entity("bench", "EUR", "Europe/Berlin")
ACCOUNTS = {
    partner: PartnerAccount(f"{partner}_main", partner, ENTITY.name, partner, "UTC", None, "approval")
    for partner in PARTNERS
}
RECORDS_OF_A_DAY = 1.2
"""Of so many days' sales a file of corrections has as many rows as one of new sales: far fewer would be held."""
MEMORY = "1000MB"
MEMORY_OF_MANY = "3000MB"
MANY_ROWS = 2_000_000
"""From so many rows the engine has more: what a query must have at hand at once grows with them, if slowly."""
_CURRENCY = {"rakuten": "GBP"}
_VALID = "2020-01-01T00:00:00Z"
TABLES = ("ops.transaction_version", "ops.sale", "ops.match", "ops.break", "ledger.journal_entry", "ledger.posting")
"""Where the stages write a row or more for each row of a delivery."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An answer that waits on disk to be landed: its days by number, and its files."""

    partner: str
    first: int
    last: int
    observed_at: str
    files: list[str]

    def answer(self) -> Answer:
        """Return what a fetch would have returned."""
        window = Window(day_of(self.first), day_of(self.last))
        media_type = MEDIA_TYPES[self.partner]
        parts = tuple(Part(Path(file), Path(file).name, media_type) for file in self.files)
        return Answer(window, datetime.fromisoformat(self.observed_at), parts)


def day_of(number: int) -> date:
    """Return the day of that number."""
    return FIRST_ON + timedelta(days=number)


def answers_about(rows: int) -> Answers:
    """Return what tells of about so many sales."""
    days = DAYS if rows >= FEW_ROWS else DAYS_OF_FEW
    return Answers(days, max(rows // days, 1), CLICKS_EACH)


def round_days(answers: Answers) -> int:
    """Return of how many days the sales are a hundredth of all."""
    return answers.days // 100


def first_load(answers: Answers, folder: Path) -> list[Waiting]:
    """Write what every partner says of all days, as a house that begins would ask for it; return the answers."""
    waiting = []
    now = day_of(answers.days)

    def days_of(first: int, last: int, *, is_corrected: bool) -> Days:
        before = (max(first - CORRECTED_AFTER_DAYS, 0), max(last - CORRECTED_AFTER_DAYS, 0))
        return Days(first, last, answers.pending_from, before if is_corrected else None)

    for partner in ("awin", "tradetracker", "cj"):
        for first in range(0, answers.days, WINDOW_DAYS):
            days = days_of(first, first + WINDOW_DAYS, is_corrected=partner == "cj")
            waiting.append(_written(answers, folder, partner, days, now))
    for day in range(answers.days):
        waiting.append(_written(answers, folder, "rakuten", days_of(day, day + 1, is_corrected=True), day_of(day + 1)))
    return waiting


def changed_later(answers: Answers, folder: Path, round_no: int) -> list[Waiting]:
    """Write what partners say when a hundredth of all sales has changed; return the answers.

    Those that change a row are asked again for the days of the sales; those that correct by rows tell them in new days.
    """
    count = round_days(answers)
    first = answers.pending_from + round_no * count
    told = answers.days + round_no * count
    now = day_of(told + count)
    days = Days(first, first + count, answers.days)
    waiting = [_written(answers, folder, partner, days, now) for partner in ("awin", "tradetracker")]
    records = Days(told, told, answers.days, corrected=(first, first + count), told_day=told)
    waiting.append(_written(answers, folder, "cj", records, now, until=told + count))
    for number in range(count):
        day, of_sales = told + number, first + number
        rows = Days(day, day, answers.days, corrected=(of_sales, of_sales + RECORDS_OF_A_DAY), told_day=day)
        waiting.append(_written(answers, folder, "rakuten", rows, day_of(day + 1), until=day + 1))
    return waiting


def _written(
    answers: Answers, folder: Path, partner: str, days: Days, observed_on: date, until: int | None = None
) -> Waiting:
    name = f"{partner}-{days.first:03d}-{days.last:03d}-{observed_on}"
    files = answers.write(partner, days, folder / partner, name)
    return Waiting(partner, days.first, until or days.last, f"{observed_on}T05:00:00", [str(file) for file in files])


def keep_waiting(folder: Path, name: str, day: int, waiting: list[Waiting]) -> None:
    """Remember answers under a name, and the day on which they are dealt with, for another process."""
    told = {"day": day, "waiting": [asdict(each) for each in waiting]}
    (folder / f"{name}.json").write_text(json.dumps(told), encoding="utf-8")


def waiting_of(folder: Path, name: str) -> tuple[date, list[Waiting]]:
    """Return the day and the answers that were remembered under a name."""
    told = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return day_of(told["day"]), [Waiting(**each) for each in told["waiting"]]


@dataclass(frozen=True, slots=True)
class House:
    """The warehouse and the lake under a folder. The warehouse is `database`, and is copied from `<database>_fresh`."""

    database: ClassVar[str] = "bench"
    folder: Path

    @property
    def server(self) -> EmbeddedPostgres:
        """Return the server, running or not."""
        return EmbeddedPostgres(self.folder / "postgres")

    @property
    def fresh(self) -> str:
        """Return the name of the database that a warehouse without deliveries is copied from."""
        return f"{self.database}_fresh"

    @property
    def url(self) -> str:
        """Return the URL of the warehouse."""
        return self.server.url(self.database)

    def installation(self) -> Installation:
        """Return the house opened for use."""
        return Installation(
            settings=Settings(warehouse_url=SecretStr(self.url), temporary=self.folder / "temporary"),
            configuration=Configuration(ENTITY, tuple(ACCOUNTS.values()), (), (), "0" * 64),
            warehouse=Warehouse(self.url),
            lake=FolderLake(self.folder / "lake"),
            engine=Engine(self._memory(), temporary=self.folder / "spill"),
        )

    def _memory(self) -> str:
        told = self.folder / "memory"
        return told.read_text(encoding="ascii") if told.exists() else MEMORY

    def found(self) -> None:
        """Start the server and make what a fresh warehouse is copied from."""
        self.server.start()
        migrate(self.server.create_database(self.fresh))

    def build(self, answers: Answers) -> None:
        """Do that, with reference data, rates and clicks in it."""
        answers.clicks(self.folder / "clicks")
        memory = MEMORY_OF_MANY if answers.days * answers.per_day >= MANY_ROWS else MEMORY
        (self.folder / "memory").write_text(memory, encoding="ascii")
        self.found()
        self.refresh()
        context = self.installation().context(
            "setup", datetime.combine(day_of(answers.days), datetime.min.time()), "bench"
        )
        for load, name, lines in (
            (load_programs, "programs.csv", _programs()),
            (load_rules, "rules.csv", _rules()),
            (load_rates, "rates.csv", _rates(answers.days + PENDING_DAYS + 10)),
        ):
            path = self.folder / name
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            load(context, path)
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor:
            with cursor.copy("COPY ops.tracked_file FROM STDIN") as copy:
                for day, path in click_days(self.folder / "clicks"):
                    place = f"tracked/click/tracker/{path.relative_to(self.folder / 'clicks')}"
                    copy.write_row(("click", "tracker", day, place, 0, "setup"))
            until = day_of(answers.days + PENDING_DAYS)
            cursor.execute("INSERT INTO ops.click_seal VALUES ('tracker', %s, %s)", (until, until))
        self.server.drop_database(self.fresh)
        self.server.create_database(self.fresh, template=self.database)

    def refresh(self) -> None:
        """Begin again: an empty lake but for the clicks, a warehouse without deliveries."""
        self.server.drop_database(self.database)
        self.server.create_database(self.database, template=self.fresh)
        for name in ("lake", "temporary", "spill"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        tracked = self.folder / "lake" / "tracked" / "click"
        tracked.mkdir(parents=True)
        (tracked / "tracker").symlink_to(self.folder / "clicks")


def _programs() -> list[str]:
    head = "program_id,merchant_id,partner,partner_program_id,name,currency,commission_rate,lookback_days"
    lines = [f"{head},validation_days,valid_from,valid_until"]
    for number in range(PROGRAMS):
        partner = PARTNER_OF_PROGRAM[number % 10]
        named = f"p{number},m{number % 150},{partner},{10_000 + number},Shop {number}"
        lines.append(f"{named},{_CURRENCY.get(partner, 'EUR')},0.05,30,30,{_VALID},")
    return lines


def _rules() -> list[str]:
    return ["rule_id,program_id,basis,value,cap,currency,rounding,valid_from,valid_until"] + [
        f"r{number},p{number},commission_share,0.5,,EUR,half_even,{_VALID}," for number in range(PROGRAMS)
    ]


def _rates(until: int) -> list[str]:
    return ["Date,GBP,"] + [f"{day_of(number)},0.8{number % 90 + 10}," for number in range(-5, until)]


def run_day(house: House, name: str) -> dict[str, float | int]:
    """Run all stages over the answers kept under `name`; return each stage's seconds and what was counted.

    Raises ValueError if a delivery is held, as then its rows would not have gone the whole way.
    """
    installation = house.installation()
    day, waiting = waiting_of(house.folder, name)
    known_at = datetime.combine(day, datetime.min.time()) + timedelta(hours=6)
    seconds: dict[str, float] = {}
    counts: dict[str, int] = {}
    worked = time.process_time()

    def told(stage: str, begun: float, result: StageResult) -> None:
        nonlocal worked
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - begun
        # Of this process, all threads; PostgreSQL's are not in it.
        now = time.process_time()
        seconds[f"{stage}_processor"] = seconds.get(f"{stage}_processor", 0.0) + now - worked
        worked = now
        counts[f"peak_mb_until_{stage}"] = peak_mb()
        for what, count in result.counts:
            counts[f"{stage}_{what}"] = counts.get(f"{stage}_{what}", 0) + count

    def run(stage: str, key: str) -> None:
        begun = time.perf_counter()
        task = Task(stage, key, day)
        run_id = f"{name}/{stage}/{key}/{time.time_ns()}"
        told(stage, begun, run_stage(
            installation, task, run_id=run_id, known_at=known_at, actor="bench", credentials=lambda _: Credentials({})
        ))  # fmt: skip

    context = installation.context(f"{name}/land", known_at, "bench")
    for partner, account in ACCOUNTS.items():
        begun = time.perf_counter()
        answers = [each.answer() for each in waiting if each.partner == partner]
        told("land", begun, land(context, account, connector_for(partner), answers))
    for account in ACCOUNTS.values():
        run("parse", account.name)
        run("validate", account.name)
    for stage in ("reconcile", "remit", "accrue"):
        run(stage, ENTITY.name)
    if counts["validate_held"]:
        raise ValueError(f"{counts['validate_held']} deliveries are held: the generator is wrong")
    return {**{f"{stage}_seconds": round(spent, 2) for stage, spent in seconds.items()}, **counts}


@contextmanager
def postgres_memory(server: EmbeddedPostgres) -> Iterator[list[int]]:
    """Yield a list whose one number is, at the end, the largest memory of the server's processes seen, in MB.

    What they share counts once. Looked at twice a second.
    """
    peak = [0]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            peak[0] = max(peak[0], _resident_mb(server))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _resident_mb(server: EmbeddedPostgres) -> int:
    postmaster = server.postmaster()
    if postmaster is None:
        return 0
    kilobytes = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":" in line)
            if postmaster.pid not in (int(fields["PPid"]), int(fields["Pid"])):
                continue
            told = (status.parent / "smaps_rollup").read_text(encoding="ascii").splitlines()
        except OSError:
            continue  # It has ended meanwhile.
        kilobytes += sum(int(line.split()[1]) for line in told if line.startswith("Pss:"))
    return kilobytes // 1024
