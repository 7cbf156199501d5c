"""Generated answers of partners in their own dialects, and the clicks behind them: seeded, with planted defects.

Everything follows from a hash of the sale's number. `per_day` sales happen on each of `days` days; each comes from one
of `clicks_each` clicks of its own. About as many defects as in the sandbox's worlds: references that are missing, cut,
lower-cased, of nobody or of another program, orders told twice, clicks after the sale or out of the window; one row in
a thousand is no row of its dialect and must become a reject; three sales in a hundred of the partners that correct by
rows of their own are taken back in part ten days later.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

FIRST_ON = date(2025, 9, 1)
PROGRAMS = 200
PAGE_ROWS = 10_000
"""Sales of a page, where a partner answers in pages."""
PENDING_DAYS = 30
"""Sales of so many last days are still pending."""
CORRECTED_AFTER_DAYS = 10

# Of ten programs these are each partner's, so of ten sales, too.
PARTNER_OF_PROGRAM = ("awin",) * 4 + ("tradetracker",) * 3 + ("rakuten",) * 2 + ("cj",)
MEDIA_TYPES = {
    "awin": "application/json",
    "cj": "application/json;currency=EUR",
    "kelkoo": "text/xml;country=fr;currency=EUR",
    "rakuten": "text/csv;network=3",
    "tradetracker": "text/xml;site=1",
}


# A row of each dialect. Everything that a partner tells is in it, not only what a connector reads.
_DIALECTS = Path(__file__).with_name("dialects")
# When a partner told of a sale, where it says so: within two hours, on the day of the sale.
_TOLD = (
    "least(sold_at + to_seconds(CAST(hash(n, 'told') % 7200 AS BIGINT)), "
    "date_trunc('day', sold_at) + INTERVAL 86399 SECOND)"
)

_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:SOAP-ENC="http://schemas.xmlsoap.org/soap/encoding/" xmlns:ns1="https://ws.tradetracker.com/soap/affiliate" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><SOAP-ENV:Body><ns1:getConversionTransactionsResponse>'
    '<conversionTransactions SOAP-ENC:arrayType="ns1:ConversionTransaction[{count}]">'
)
_ENVELOPE_END = "</conversionTransactions></ns1:getConversionTransactionsResponse></SOAP-ENV:Body></SOAP-ENV:Envelope>"
_RAKUTEN_HEADER = (
    "\ufeffMember ID (U1),MID,Advertiser Name,Order ID,Transaction Date,Transaction Time,SKU,Sales,# of Items,"
    "Total Commission,Process Date,Process Time,Transaction ID,Referrer URL"
)


@dataclass(frozen=True, slots=True)
class Days:
    """Sales told of: those of [first, last); of partners that correct by rows also what is taken back of `corrected`.

    Days are numbers from 0, of `corrected` with parts of a day. `pending_from` is the first day whose sales are still
    pending. `told_day` is when rows of `corrected` were told, ten days after the sale if it is None; then, too, only
    three in a hundred are.
    """

    first: int
    last: int
    pending_from: int
    corrected: tuple[float, float] | None = None
    told_day: int | None = None


@dataclass(slots=True)
class Answers:
    """What partners say of `per_day` sales on each of `days` days."""

    days: int
    per_day: int
    clicks_each: int
    engine: duckdb.DuckDBPyConnection = field(init=False)

    def __post_init__(self) -> None:
        spill = tempfile.gettempdir()  # Not `.tmp` of the folder one happens to be in.
        self.engine = duckdb.connect(config={"memory_limit": "3GB", "threads": 2, "temp_directory": spill})
        self.engine.execute(self._filled("macros"))

    def _filled(self, name: str) -> str:
        text = (_DIALECTS / f"{name}.sql").read_text(encoding="utf-8")
        members = max(self.per_day * self.days // 8, 10)
        values = {"members": members, "per_day": self.per_day, "clicks_each": self.clicks_each, "first_on": FIRST_ON}
        for place, value in values.items():
            text = text.replace(f"${place}", str(value))
        return text

    def rows(self, dialect: str, days: Days, *, only_own: bool) -> Iterator[pa.Array]:
        """Yield the texts of rows in batches; `only_own` leaves out the sales of other partners' programs."""
        sales = f"SELECT *, {_TOLD} AS told_at FROM {self._sale(days.first, days.last, days.pending_from, 1)}"
        if days.corrected is not None:
            chosen = "hash(n, 'corrected') % 100 < 3" if days.told_day is None else "status <> 'declined'"
            told = (
                f"{_TOLD} + INTERVAL {CORRECTED_AFTER_DAYS} DAY"
                if days.told_day is None
                else f"TIMESTAMP '{FIRST_ON + timedelta(days=days.told_day)}' + to_seconds(CAST(n % 86400 AS BIGINT))"
            )
            of_before = self._sale(*days.corrected, days.pending_from, -0.25)
            sales += f" UNION ALL SELECT * REPLACE (CAST(minor AS BIGINT) AS minor), {told} AS told_at FROM {of_before}"
            sales += f" WHERE luck < 940 AND {chosen}"
        numbers = [str(number) for number in range(10) if PARTNER_OF_PROGRAM[number] == dialect]
        own = f"WHERE program % 10 IN ({', '.join(numbers)})" if only_own else ""
        text = f"SELECT {self._filled(dialect)} AS told FROM ({sales}) {own}"
        for batch in self.engine.sql(text).to_arrow_reader(100_000):
            if batch.num_rows:
                yield batch.column(0)

    def _sale(self, first: float, last: float, pending_from: int, part: float) -> str:
        return f"sale({round(first * self.per_day)}, {round(last * self.per_day)}, {pending_from}, {part})"

    def write(
        self, dialect: str, days: Days, folder: Path, name: str, *, only_own: bool = True, is_whole: bool = False
    ) -> list[Path]:
        """Write what a partner answers for these days, page by page where it has pages; return the files.

        `is_whole`: all in one, as if a page had no end.
        """
        folder.mkdir(parents=True, exist_ok=True)
        pieces = self.rows(dialect, days, only_own=only_own)
        if dialect in ("tradetracker", "cj") and not is_whole:
            pages = list(_paged(pieces)) or [pa.array([], pa.string())]
            return [
                _write_page(folder / f"{name}-{number:04d}", dialect, page, is_last=number == len(pages))
                for number, page in enumerate(pages, 1)
            ]
        return [write_whole(folder / name, dialect, pieces)]

    def __str__(self) -> str:
        sales = self.per_day * self.days
        return f"answers about {sales:,} sales, and {sales * self.clicks_each:,} clicks"

    @property
    def pending_from(self) -> int:
        """Return the first day whose sales are still pending when all are first told of."""
        return self.days - PENDING_DAYS

    def clicks(self, folder: Path) -> None:
        """Write one file of clicks a day under `folder`, named day=…, each ordered by click id."""
        count = self.days * self.per_day * self.clicks_each
        partners = ", ".join(f"'{name}'" for name in PARTNER_OF_PROGRAM)
        step = max(1, 20_000_000 // (self.per_day * self.clicks_each)) * self.per_day * self.clicks_each
        for first in range(0, count, step):
            self.engine.execute(f"""
                COPY (
                    SELECT click_id(i) AS click_id, ([{partners}])[program_of(i) % 10 + 1] AS partner,
                        'p' || CAST(program_of(i) AS VARCHAR) AS program_id, member_id(i) AS member_id, clicked_at,
                        CAST(clicked_at AS DATE) AS day
                    FROM (
                        SELECT i, CASE WHEN i % {self.clicks_each} = 0 THEN clicked(i // {self.clicks_each})
                            ELSE occurred(i // {self.clicks_each}) END AS clicked_at
                        FROM range({first}, {min(first + step, count)}) AS t(i)
                    )
                    ORDER BY day, click_id
                ) TO '{folder}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (day), APPEND)
            """)


def _paged(pieces: Iterator[pa.Array]) -> Iterator[pa.Array]:
    held: list[pa.Array] = []
    count = 0
    for piece in pieces:
        rest = piece
        while len(rest):
            taken = rest.slice(0, PAGE_ROWS - count)
            held.append(taken)
            count += len(taken)
            rest = rest.slice(len(taken))
            if count == PAGE_ROWS:
                yield pa.concat_arrays(held)
                held, count = [], 0
    if held:
        yield pa.concat_arrays(held)


def _bytes(texts: pa.Array) -> memoryview:
    """Return the texts one after the other, as they lie in memory."""
    _, offsets, data = texts.buffers()
    if data is None:
        return memoryview(b"")
    ends = memoryview(offsets).cast("i")
    return memoryview(data)[ends[texts.offset] : ends[texts.offset + len(texts)]]


def _write_page(path: Path, dialect: str, page: pa.Array, *, is_last: bool) -> Path:
    with path.open("wb") as out:
        if dialect == "cj":
            head = f'{{"data":{{"publisherCommissions":{{"count":{len(page)},"maxCommissionId":"{path.name}",'
            out.write(f'{head}"payloadComplete":{str(is_last).lower()},"records":['.encode())
            out.write(_bytes(page)[1:])
            out.write(b"]}}}")
        else:
            out.write(_ENVELOPE.format(count=len(page)).encode())
            out.write(_bytes(page))
            out.write(_ENVELOPE_END.encode())
    return path


def write_whole(path: Path, dialect: str, pieces: Iterator[pa.Array]) -> Path:
    """Write rows as one answer, however many; return the file."""
    before, after, skipped = {
        "awin": ("[", "]", 1),
        "kelkoo": ('<?xml version="1.0" encoding="UTF-8"?><trackings>', "</trackings>", 0),
        "rakuten": (_RAKUTEN_HEADER, "\n", 0),
        "tradetracker": (_ENVELOPE.format(count=""), _ENVELOPE_END, 0),
    }[dialect]
    with path.open("wb") as out:
        out.write(before.encode())
        has_begun = False
        for piece in pieces:
            out.write(_bytes(piece)[0 if has_begun else skipped :])
            has_begun = True
        if dialect == "rakuten" and not has_begun:
            out.write(b'\n"No Results Found"' + b"," * _RAKUTEN_HEADER.count(","))
        out.write(after.encode())
    return path


def click_days(folder: Path) -> list[tuple[date, Path]]:
    """Return the files that `Answers.clicks` wrote, with their days."""
    return sorted((date.fromisoformat(path.parent.name[4:]), path) for path in folder.glob("day=*/*.parquet"))
