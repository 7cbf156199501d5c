"""The file command's core: two files in the canonical schemas, written once and the same twice."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.core.errors import Stop
from etl.core.schemas import BREAK, CLICK, CONVERSION, MATCH, PROGRAM, TRANSACTION
from etl.match import match_files
from tests.engine import ENGINE
from tests.reconcile.naive import Row
from tests.reconcile.worlds import at, click, conversion, program, row


def write(folder: Path, transactions: list[Row]) -> tuple[Path, Path, Path, Path]:
    rows = [{**one, "delivery_id": "file"} for one in transactions]
    for name, schema, content in (
        ("click", CLICK, [click("c1"), click("c1"), click("c2", "03-01 09:30")]),
        ("transaction", TRANSACTION, rows),
        ("program", PROGRAM, [program()]),
        ("conversion", CONVERSION, [conversion("v1", "c2", "o2")]),
    ):
        pq.write_table(pa.Table.from_pylist(content, schema=schema), folder / f"{name}.parquet")
    return (
        folder / "click.parquet",
        folder / "transaction.parquet",
        folder / "program.parquet",
        folder / "conversion.parquet",
    )


def test_files_are_matched_without_a_warehouse_and_the_same_twice(tmp_path: Path) -> None:
    back = row(
        "t3", 3, original_transaction_id="t1", occurred_at=at("05-20"),
        sale_amount=Decimal("-50.0000"), commission_amount=Decimal("-5.0000"),
    )  # fmt: skip
    files = write(tmp_path, [row(click_ref="c1"), row("t2", 2, order_ref="o2"), back, row("t4", 4)])
    counts = match_files(*files, tmp_path / "out", ENGINE)
    assert counts == (("transactions", 4), ("sales", 3), ("matched", 3), ("unmatched", 1), ("breaks", 1))
    match = pq.read_table(tmp_path / "out" / "match.parquet")
    assert match.schema.equals(MATCH)
    assert [(one["transaction_id"], one["click_id"], one["rule"]) for one in match.to_pylist()] == [
        ("t1", "c1", "click_ref"),
        ("t2", "c2", "order_ref"),
        ("t3", "c1", "original"),
        ("t4", None, None),
    ]
    breaks = pq.read_table(tmp_path / "out" / "break.parquet")
    assert breaks.schema.equals(BREAK)
    assert [(one["transaction_id"], one["kind"]) for one in breaks.to_pylist()] == [("t4", "unmatched")]
    before = (tmp_path / "out" / "match.parquet").read_bytes()
    match_files(*files, tmp_path / "out", ENGINE)
    assert (tmp_path / "out" / "match.parquet").read_bytes() == before


def test_nothing_to_match_gives_empty_files(tmp_path: Path) -> None:
    clicks, transactions, programs, _ = write(tmp_path, [])
    assert dict(match_files(clicks, transactions, programs, None, tmp_path, ENGINE))["transactions"] == 0
    assert pq.read_table(tmp_path / "match.parquet").num_rows == 0


def test_a_file_that_lacks_a_column_is_named_with_it(tmp_path: Path) -> None:
    clicks, transactions, _, _ = write(tmp_path, [])
    with pytest.raises(Stop, match="lacks the columns program_id"):
        match_files(clicks, transactions, transactions.with_name("conversion.parquet"), None, tmp_path, ENGINE)
    with pytest.raises(Stop, match="there is no file"):
        match_files(clicks, tmp_path / "nowhere.parquet", transactions, None, tmp_path, ENGINE)
