"""Every cent of a payout is traced to the row of the partner's file and to the click, and back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from etl.core.errors import Stop
from etl.core.schemas import CLICK
from etl.trace import Node, NodeKind, trace
from tests.accrue.books import NOON, book, context, version, world


def _world(url: str, folder: Path) -> None:
    """Write a sale that was paid out, with the click, delivery and payout it hangs together with."""
    book(url, folder, world([version("3.1005"), replace(version("3.1005", "approved"), version_no=2)]))
    lake = context(url, folder).lake
    click = {"click_id": "c1", "partner": "awin", "program_id": "p1", "member_id": "member-1", "clicked_at": NOON}
    lake.put_table(pa.Table.from_pylist([click], schema=CLICK), "click/c.parquet")
    lake.put_table(pa.table({"row_number": [1, 2], "content_hash": ["h", "other"]}), "parsed/d.parquet")
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE ops.sale SET click_id = 'c1'")
        connection.execute(
            "INSERT INTO ops.tracked_file VALUES ('click', 'tracker', '2026-03-01', 'click/c.parquet', 1, 'r')"
        )
        connection.execute(
            "INSERT INTO ops.delivery VALUES ('d', 'awin', 'shop_a', '2026-03-01', '2026-03-02', '2026-03-02',"
            " 'abc', 1, true, false, 'r')"
        )
        connection.execute("INSERT INTO ops.delivery_part VALUES ('d', 1, 'page 1', 'json', 'abc', 1, 'raw/abc.json')")
        connection.execute("INSERT INTO ops.parse VALUES ('d', 1, 2, 2, 0, 0, 'parsed/d.parquet', 'r')")
        connection.execute(
            "INSERT INTO payout.batch VALUES ('b', 'house', 'sepa', 'bank', 'EUR', '2026-03-20', '2026-03-21',"
            " '2026-03-20', 1, 155, 'reserved')"
        )
        connection.execute("INSERT INTO payout.payout VALUES ('pay', 'b', 'member-1', 'EUR', 155, 1, 'e', 'reserved')")
        connection.execute("INSERT INTO payout.payout_line VALUES ('pay', 'sale', 'shop_a:1', 155)")


def _names(nodes: tuple[Node, ...], kind: NodeKind) -> set[str]:
    return {found.name for node in nodes for found in node.find(kind)}


def test_a_payout_leads_down_to_the_delivery_row_and_the_click(warehouse_url: str, tmp_path: Path) -> None:
    _world(warehouse_url, tmp_path)
    nodes = trace(context(warehouse_url, tmp_path), "pay")
    assert [node.kind for node in nodes] == [NodeKind.PAYOUT]
    assert _names(nodes, NodeKind.SALE) == {"shop_a:1"}
    assert _names(nodes, NodeKind.VERSION) == {"1 version 1", "1 version 2"}
    assert _names(nodes, NodeKind.ROW) == {"delivery d row 1"}
    assert _names(nodes, NodeKind.PART) == {"page 1"}
    assert _names(nodes, NodeKind.CLICK) == {"c1"}
    assert len(_names(nodes, NodeKind.POSTING)) >= 4
    row = next(nodes[0].find(NodeKind.ROW))
    assert ("parsed_row", "says the same") in row.facts
    assert json.loads(json.dumps([node.as_json() for node in nodes]))[0]["name"] == "pay"


@pytest.mark.parametrize("name", ["1", "shop_a:1", "c1"])
def test_a_transaction_sale_or_click_leads_up_to_the_payout_and_down_to_the_row(
    warehouse_url: str, tmp_path: Path, name: str
) -> None:
    _world(warehouse_url, tmp_path)
    nodes = trace(context(warehouse_url, tmp_path), name)
    assert _names(nodes, NodeKind.PAYOUT) == {"pay"}
    assert _names(nodes, NodeKind.CLICK) == {"c1"}
    assert _names(nodes, NodeKind.ROW) == {"delivery d row 1"}
    click = next(nodes[0].find(NodeKind.CLICK))
    assert ("member_id", "member-1") in click.facts


def test_a_click_that_led_nowhere_is_found_in_the_lake(warehouse_url: str, tmp_path: Path) -> None:
    _world(warehouse_url, tmp_path)
    with psycopg.connect(warehouse_url) as connection:
        connection.execute("UPDATE ops.sale SET click_id = NULL, clicked_at = NULL")
    (node,) = trace(context(warehouse_url, tmp_path), "c1")
    assert (node.kind, node.children) == (NodeKind.CLICK, ())
    assert dict(node.facts)["clicked_at"].startswith(str(date(2026, 3, 1)))


def test_a_name_nobody_knows_stops(warehouse_url: str, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="'nobody' is no payout"):
        trace(context(warehouse_url, tmp_path), "nobody")
