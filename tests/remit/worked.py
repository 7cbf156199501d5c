"""How a worked example is run, and what it looks at: money by account, breaks, what was paid, outcomes."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from etl.accrue import accrue
from etl.remit import ageing, remit
from etl.verify import verify
from tests.accrue import naive
from tests.accrue.books import balances, context, read, sale, version, write
from tests.remit.statements import line, load, stored

NOW = datetime.fromisoformat("2026-06-01T12:00")
DAY = date(2026, 5, 20)
APPROVED = version("10", "approved")
ONE = line("commission", "10.00", transaction_id="1")


MARCH = (
    version("10", "approved", effective_on=date(2026, 3, 5)),
    version("20.5", "approved", sale_id="shop_a:2", transaction_id="2", effective_on=date(2026, 3, 31)),
    version("7", "approved", sale_id="shop_a:3", transaction_id="3", effective_on=date(2026, 4, 1)),
    version("6", "pending", sale_id="shop_a:4", transaction_id="4", effective_on=date(2026, 3, 8)),
)
SALES = tuple(sale(f"shop_a:{number}") for number in range(1, 5))


def run(url: str, folder: Path, facts: naive.World, *rows: dict[str, str], account: str = "shop_a") -> None:
    """Write the facts, load the rows, allocate and accrue."""
    write(url, facts)
    here = context(url, folder, known_at=NOW)
    if rows:
        assert load(here, rows, account).count("rejects") == 0
    remit(here, DAY)
    accrue(here, DAY)


def again(url: str, folder: Path) -> None:
    """Assert that a second run changes nothing, and that the books prove."""
    later = context(url, folder, "run-2", NOW)
    result = remit(later, DAY)
    assert [result.count(name) for name in ("new_allocations", "gone_allocations", "postings")] == [0, 0, 0]
    assert accrue(later, DAY).count("postings") == 0
    assert [check for check in verify(later, DAY) if not check.is_ok] == []


def money(url: str) -> dict[tuple[str, str], int]:
    return dict(balances(read(url, "remittance")))


def breaks(url: str) -> list[tuple[object, ...]]:
    return stored(url, "SELECT kind, transaction_id, amount FROM ops.break ORDER BY kind, transaction_id, line_id")


def paid(url: str) -> list[tuple[object, ...]]:
    return stored(url, "SELECT transaction_id, amount_minor, rule FROM ops.remittance_allocation ORDER BY 1, 2")


def outcomes(url: str, folder: Path, day: date = DAY) -> dict[str, tuple[str, int, str | None]]:
    rows = ageing(context(url, folder, known_at=NOW), day).sales.to_pylist()
    return {row["sale_id"]: (row["outcome"], row["open_minor"], row["age"]) for row in rows}
