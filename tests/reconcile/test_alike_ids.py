"""Click ids that begin alike (a tracker's prefix, ids in the order of time): few clicks are possible all the same."""

from __future__ import annotations

import pyarrow as pa
import pytest

from etl.core.engine import query_text, register
from etl.core.schemas import CLICK, CONVERSION, INSTANT, TEXT
from etl.match import TRUNCATED_LENGTHS, run_step
from tests.engine import ENGINE
from tests.reconcile.worlds import click

# 29 characters: with the first digit of a number there are 30, to which a network may cut.
IDS = [f"tracker-of-one-house-2026-03-{number:03}X" for number in range(500)]
CUT, LOWERED, NOBODYS = IDS[123][:30], IDS[321].lower(), IDS[0][:29] + "none"
CLICKS = pa.Table.from_pylist([click(name) for name in IDS], schema=CLICK)
TRUNCATION = pa.table({"ref_length": pa.array(TRUNCATED_LENGTHS, pa.int32())})
SALE = pa.schema(
    [(name, TEXT) for name in ("sale_id", "partner", "program_id", "click_ref", "order_ref")]
    + [("partner_clicked_at", INSTANT), ("partner_clicked_precision_seconds", pa.int32())]
    + [(name, pa.bool_()) for name in ("is_reduction", "is_ref_mixed", "is_click_unexpected")]
)


def relations(*refs: str) -> dict[str, pa.Table]:
    """Return what is looked for in `CLICKS`: a sale for each of the references, which are no click's as they stand."""
    asked = dict.fromkeys(("is_reduction", "is_ref_mixed", "is_click_unexpected"), False)
    of_program = {"partner": "awin", "program_id": "p1"}
    sales = [dict.fromkeys(SALE.names) | asked | of_program | {"sale_id": ref, "click_ref": ref} for ref in refs]
    grouped = pa.Table.from_pylist(sales, schema=SALE)
    exact = {"grouped_sale": grouped, "exact_click": CLICK.empty_table()}
    folded = run_step(ENGINE, "prepare/folded_ref", exact, {})
    return {"grouped_sale": grouped, "folded_ref": folded, "truncation": TRUNCATION}


@pytest.mark.parametrize(
    ("refs", "count"), [([LOWERED], 1), ([CUT], 100), ([NOBODYS], 0), ([], 0), ([LOWERED, CUT, NOBODYS], 101)]
)
def test_where_ids_begin_alike_only_those_a_reference_may_mean_are_possible(refs: list[str], count: int) -> None:
    given = relations(*refs)
    queried, _, _ = query_text("reconcile/candidate_click").partition(",\nnamed AS (")
    with ENGINE.connect() as connection:
        for name, table in {**given, "click": CLICKS, "conversion": CONVERSION.empty_table()}.items():
            register(connection, name, table)
        assert connection.execute(f"{queried} SELECT count(*) FROM possible").fetchall() == [(count,)]
    narrowly = {
        "tracked_click": CLICKS,
        "named": pa.table({"click_id": [IDS[7]]}),
        "bent_ref": given["folded_ref"],
        "truncation": TRUNCATION,
    }
    assert run_step(ENGINE, "prepare/possible_click", narrowly, {}).num_rows == count + 1
