"""parse: landed answers of each dialect become Parquet of canonical transactions, and rejects.

Ours is the stage `etl.parse.parse` on one delivery of each partner, rejects and warehouse rows included. The floor is
what reads the same bytes and knows nothing of them: for CSV pyarrow, as text columns, written as Parquet; for JSON
DuckDB's reader, as text columns, written as Parquet (pyarrow reads no arrays); for XML lxml.iterparse, which counts the
rows and writes nothing. Awin, TradeTracker, Rakuten and Kelkoo answer in one file, CJ in pages of 10,000 records.
Peak memory is also told for a file a fifth as large: what streams needs no more for the larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from bench.answers import MEDIA_TYPES, Answers, Days
from bench.measure import Case, Timing, interleaved
from bench.result import Result
from bench.world import House, day_of
from connectors.partners import connector_for
from etl.core.configuration import Configuration, Entity, PartnerAccount
from etl.core.connector import Answer, Part, Window
from etl.core.context import Context
from etl.core.errors import Stop

ROWS = 500_000
DAYS = 20
SMALLER = 5
ZONES = {
    "awin": "Europe/Berlin",
    "tradetracker": "Europe/Amsterdam",
    "rakuten": "UTC",
    "cj": "UTC",
    "kelkoo": "Europe/Paris",
}
DIALECTS = tuple(ZONES)
IN_ONE_FILE = frozenset(DIALECTS) - {"cj"}


def _account(dialect: str) -> PartnerAccount:
    return PartnerAccount(f"{dialect}_main", dialect, "bench", dialect, ZONES[dialect], "EUR", "approval")


def _context(folder: Path, dialect: str) -> Context:
    installation = House(folder).installation()
    configuration = Configuration(Entity("bench", "EUR", "Europe/Berlin"), (_account(dialect),), (), (), "0" * 64)
    known_at = datetime.combine(day_of(DAYS), datetime.min.time())
    return Context(
        run_id=f"parse-{dialect}",
        known_at=known_at,
        configuration=configuration,
        warehouse=installation.warehouse,
        lake=installation.lake,
        engine=installation.engine,
        temporary=folder / "temporary",
        actor="bench",
    )


def _files(folder: Path, name: str, dialect: str) -> list[Path]:
    return sorted((folder / name / dialect).iterdir())


def landed(dialect: str, name: str, folder: Path) -> None:
    """Import what the stage needs, and land the delivery in a fresh warehouse."""
    from etl import parse
    from etl.land import land

    House(folder).refresh()
    files = _files(folder, name, dialect)
    parts = tuple(Part(file, file.name, MEDIA_TYPES[dialect]) for file in files)
    answer = Answer(Window(day_of(0), day_of(DAYS)), datetime.combine(day_of(DAYS), datetime.min.time()), parts)
    land(_context(folder, dialect), _account(dialect), connector_for(dialect), [answer])
    assert parse


def ours(dialect: str, folder: Path) -> int:
    """Parse the landed delivery."""
    from etl.parse import parse

    result = parse(_context(folder, dialect), _account(dialect), connector_for(dialect))
    told, rejected = result.count("rows"), result.count("rejects")
    if not rejected or told != result.count("transactions") + rejected:
        raise Stop(f"of {told:,} rows {rejected:,} are rejects: no row may be lost, and one in a thousand is wrong")
    return told


def read_csv(dialect: str, folder: Path) -> int:
    """Read the file as text columns and write them as Parquet."""
    (file,) = _files(folder, "answers", dialect)
    with file.open("rb") as head:
        names = head.readline().decode("utf-8-sig").strip().split(",")
    types = pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    count = 0
    with (
        pa_csv.open_csv(file, convert_options=types) as reader,
        pq.ParquetWriter(folder / "floor.parquet", reader.schema, compression="zstd") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


_TEXTS = "{}: 'VARCHAR'".format
_AMOUNT = "{}: 'STRUCT(amount VARCHAR, currency VARCHAR)'".format
_AWIN_COLUMNS = ", ".join(
    [
        *map(_TEXTS, "id advertiserId commissionStatus clickDate transactionDate validationDate type".split()),
        *map(_TEXTS, "declineReason amendReason orderRef paidToPublisher paymentId customerAcquisition".split()),
        *map(_AMOUNT, ("commissionAmount", "saleAmount")),
        "clickRefs: 'STRUCT(clickRef VARCHAR, clickRef2 VARCHAR)'",
        "transactionParts: 'STRUCT(commissionGroupCode VARCHAR)[]'",
    ]
)
_CJ_RECORD = ", ".join(
    f"{name} VARCHAR"
    for name in (
        "commissionId originalActionId original correctionReason actionStatus actionType validationStatus advertiserId"
        " orderId shopperId eventDate postingDate clickDate saleAmountPubCurrency pubCommissionAmountPubCurrency"
    ).split()
)
_CJ_COLUMNS = f"{{data: 'STRUCT(publisherCommissions STRUCT(records STRUCT({_CJ_RECORD})[]))'}}"


def read_json(dialect: str, folder: Path) -> int:
    """Read the files as text columns and write them as Parquet."""
    files = ", ".join(f"'{file}'" for file in _files(folder, "answers", dialect))
    if dialect == "awin":
        query = f"SELECT * FROM read_json([{files}], format = 'array', columns = {{{_AWIN_COLUMNS}}})"
    else:
        query = (
            "SELECT unnest(record) FROM (SELECT unnest(data.publisherCommissions.records) AS record FROM read_json("
            f"[{files}], format = 'unstructured', maximum_object_size = 16777216, columns = {_CJ_COLUMNS}))"
        )
    out = folder / "floor.parquet"
    spill = str(folder / "spill")
    with duckdb.connect(config={"memory_limit": "3GB", "threads": 2, "temp_directory": spill}) as engine:
        engine.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")
    return int(pq.ParquetFile(out).metadata.num_rows)


def read_xml(dialect: str, folder: Path) -> int:
    """Count the rows of the file with lxml.iterparse."""
    from lxml import etree

    (file,) = _files(folder, "answers", dialect)
    count = 0
    for _, element in etree.iterparse(file, tag={"tradetracker": "item", "kelkoo": "tracking"}[dialect]):
        count += 1
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]
    return count


FLOORS = {"awin": read_json, "cj": read_json, "rakuten": read_csv, "tradetracker": read_xml, "kelkoo": read_xml}


def generate(folder: Path, name: str, rows: int, dialects: Sequence[str] = DIALECTS) -> None:
    """Write an answer of each of these dialects under `folder`/`name`."""
    answers = Answers(DAYS, max(rows // DAYS, 1), 1)
    days = Days(0, DAYS, DAYS - 5)
    for dialect in dialects:
        is_whole = dialect in IN_ONE_FILE
        answers.write(dialect, days, folder / name / dialect, dialect, only_own=False, is_whole=is_whole)


def run(folder: Path, rows: int | None, repeat: int, told: Callable[[str], None]) -> Result:
    """Return how parsing compares with reading, added up over the dialects; the notes tell each."""
    wanted = rows or ROWS
    told(f"{wanted:,} rows of each dialect are generated, and a fifth of that")
    generate(folder, "answers", wanted)
    generate(folder, "smaller", wanted // SMALLER)
    house = House(folder)
    timings: dict[str, dict[str, Timing]] = {}
    try:
        house.found()
        for dialect in DIALECTS:
            told(f"{dialect}:")
            cases = [
                Case("ours", partial(ours, dialect), partial(landed, dialect, "answers")),
                Case("floor", partial(FLOORS[dialect], dialect)),
            ]
            smaller = [Case("ours, a fifth", partial(ours, dialect), partial(landed, dialect, "smaller"))]
            timings[dialect] = interleaved(cases, folder, repeat, told) | interleaved(smaller, folder, 1, told)
    finally:
        house.server.remove()
    return _result(folder, timings)


def _result(folder: Path, timings: dict[str, dict[str, Timing]]) -> Result:
    notes: dict[str, float | int | str] = {}
    for dialect, timing in timings.items():
        mine, floor, smaller = timing["ours"], timing["floor"], timing["ours, a fifth"]
        megabytes = sum(file.stat().st_size for file in _files(folder, "answers", dialect)) / 1e6
        notes |= {
            f"{dialect}_rows_per_second": round(mine.rows / mine.seconds),
            f"{dialect}_mb_per_second": round(megabytes / mine.seconds),
            f"{dialect}_share_of_floor_speed": round(floor.seconds / mine.seconds, 2),
            f"{dialect}_processor_us_a_row": round(mine.processor_seconds / mine.rows * 1e6, 1),
            f"{dialect}_floor_processor_us_a_row": round(floor.processor_seconds / floor.rows * 1e6, 1),
            f"{dialect}_peak_mb": mine.peak_mb,
            f"{dialect}_peak_mb_of_a_fifth": smaller.peak_mb,
        }
    mine, floor = (added([each[name] for each in timings.values()]) for name in ("ours", "floor"))
    return Result("parse", mine.rows, mine, floor, notes=notes)


def added(timings: list[Timing]) -> Timing:
    """Return what they took one after the other, and the largest memory of any."""
    return Timing(
        sum(each.rows for each in timings),
        sum(each.seconds for each in timings),
        max(each.peak_mb for each in timings),
        sum(each.processor_seconds for each in timings),
    )
