"""The page of canonical tables says what the schemas say: columns, order, types, and which may be null."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from etl.core.schemas import TABLES, TRANSACTION

PAGE = Path(__file__).resolve().parents[2] / "docs" / "canonical-tables.md"
ROW = re.compile(r"^\| (\w+) \| ([\w(),]+) \| (yes|no) \| .+ \|$", re.MULTILINE)
TYPES = {
    pa.string(): "text",
    pa.bool_(): "boolean",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp",
}


def written(kind: pa.DataType) -> str:
    return f"decimal({kind.precision},{kind.scale})" if pa.types.is_decimal128(kind) else TYPES[kind]


def section(name: str) -> str:
    return PAGE.read_text(encoding="utf-8").split(f"\n## {name}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", TABLES)
def test_the_page_tells_every_column_as_the_schema_has_it(name: str) -> None:
    told = [(column, kind, null == "yes") for column, kind, null in ROW.findall(section(name))]
    repeated = len(TRANSACTION) if name == "version" else 0
    assert told == [(each.name, written(each.type), each.nullable) for each in list(TABLES[name])[repeated:]]
    assert told


def test_the_page_has_no_table_that_is_not_there() -> None:
    assert re.findall(r"^## (\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE) == list(TABLES)
