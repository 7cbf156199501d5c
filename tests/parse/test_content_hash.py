"""The content hash: the same in SQL and in Python, blind to provenance, and sensitive to every business column."""

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.core.engine import Engine, query_text
from etl.core.schemas import TRANSACTION
from tests.parse.answers import RAKUTEN_ROW as RAKUTEN
from tests.parse.answers import awin_answer, awin_row, parsed, rakuten_answer, tradetracker_answer, tradetracker_row
from tests.parse.content import ORDER, content_hash

TEXT = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12))
INSTANT = st.one_of(st.none(), st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
AMOUNT = st.decimals(-(10**13), 10**13, places=4)
VALUES = {"string": TEXT, "timestamp[us]": INSTANT, "decimal128(18, 4)": AMOUNT, "bool": st.booleans()}
ROW = st.fixed_dictionaries({name: VALUES[str(TRANSACTION.field(name).type)] for name in ORDER})


def hashed(rows: list[dict[str, Any]]) -> list[str]:
    schema = pa.schema([pa.field(name, TRANSACTION.field(name).type) for name in ORDER])
    with Engine().connect() as connection:
        connection.execute(query_text("parse/macros"))
        connection.register("rows", pa.Table.from_pylist(rows, schema=schema))
        return [str(row[0]) for row in connection.execute("SELECT content_hash(rows) FROM rows").fetchall()]


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=8))
def test_sql_and_python_hash_the_same(rows: list[dict[str, Any]]) -> None:
    assert hashed(rows) == [content_hash(row) for row in rows]


def test_every_business_column_counts_and_a_value_cannot_pose_as_two() -> None:
    row: dict[str, Any] = dict.fromkeys(ORDER) | {"partner_paid": False}
    row |= {"sale_amount": Decimal(1), "commission_amount": Decimal(1)}
    variants = [row]
    for name in ORDER:
        other: Any = {"bool": True, "timestamp[us]": datetime(2026, 1, 1), "decimal128(18, 4)": Decimal(2)}.get(
            str(TRANSACTION.field(name).type), "x"
        )
        variants.append(row | {name: other})
    variants.append(row | {"order_ref": "a;click_ref1:b", "click_ref": None})
    variants.append(row | {"order_ref": "a", "click_ref": "b"})
    assert len(set(hashed(variants))) == len(variants)


def test_the_hash_of_parsed_rows_is_that_of_python_and_blind_to_where_they_came_from(tmp_path: Path) -> None:
    answers = {
        "awin": awin_answer(awin_row(), awin_row()),
        "tradetracker": tradetracker_answer(tradetracker_row(), tradetracker_row()),
        "rakuten": rakuten_answer(RAKUTEN, RAKUTEN),
    }
    for partner, answer in answers.items():
        rows = parsed(partner, tmp_path, answer)[0].to_pylist()
        assert len(rows) == 2
        assert {row["content_hash"] for row in rows} == {content_hash(rows[0])}
