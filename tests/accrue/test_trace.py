"""Every cent of a payout is traced to the row of the partner's file and to the click, and back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from etl.cli.layout import Branch
from etl.cli.traced import branch
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


def test_a_version_that_no_row_told_says_why(warehouse_url: str, tmp_path: Path) -> None:
    _world(warehouse_url, tmp_path)
    said = []
    for raw_status in ("moved to shop_b:n1", "approved"):
        with psycopg.connect(warehouse_url) as connection:
            connection.execute(
                "UPDATE ops.transaction_version SET row_number = 0, raw_status = %s WHERE version_no = 2", (raw_status,)
            )
        nodes = trace(context(warehouse_url, tmp_path), "shop_a:1")
        said += [dict(row.facts)["row"] for node in nodes for row in node.find(NodeKind.ROW) if row.name.endswith("0")]
    assert said == ["none: moved to shop_b:n1", "none: a complete answer without this transaction"]


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


def test_an_entry_a_delivery_its_row_and_a_member_lead_to_the_same_sale(warehouse_url: str, tmp_path: Path) -> None:
    _world(warehouse_url, tmp_path)
    here = context(warehouse_url, tmp_path)
    with psycopg.connect(warehouse_url) as connection:
        connection.execute("UPDATE ops.transaction_version SET delivery_id = 'deadbeef01'")
        connection.execute("UPDATE ops.delivery_part SET delivery_id = 'd'")
        connection.execute(
            "INSERT INTO ops.delivery (SELECT 'deadbeef01', partner, partner_account, window_from, window_until,"
            " observed_at, sha256, byte_count, states_scope, is_secret_blanked, landed_run FROM ops.delivery)"
        )
        row = {"row_number": [1], "transaction_id": ["1"], "line_id": [""], "status": ["approved"], "currency": ["EUR"]}
        amounts = {"sale_amount": [Decimal("31.005")], "commission_amount": [Decimal("3.1005")], "content_hash": ["h"]}
        here.lake.put_table(pa.table(row | amounts), "parsed/e.parquet")
        connection.execute("INSERT INTO ops.parse VALUES ('deadbeef01', 1, 2, 1, 1, 0, 'parsed/e.parquet', 'r')")
        connection.execute(
            "INSERT INTO ops.reject VALUES ('deadbeef01', 1, 2, 'parse', 't', '', 'money', 'amount', 'x', 'none', '')"
        )
    (entry,) = trace(here, "2026/1")
    assert (entry.kind, entry.name) == (NodeKind.ENTRY, "2026/1")
    assert _names((entry,), NodeKind.SALE) == {"shop_a:1"}
    assert all(each.name.startswith("2026/1 ") for each in entry.children if each.kind is NodeKind.POSTING)
    (delivery,) = trace(here, "deadbeef")
    assert [child.kind for child in delivery.children] == [NodeKind.REJECT, NodeKind.VERSION, NodeKind.VERSION]
    (good,) = trace(here, "deadbeef01:1")
    assert _names((good,), NodeKind.SALE) == {"shop_a:1"}
    assert _names((good,), NodeKind.PAYOUT) == {"pay"}
    (bad,) = trace(here, "deadbeef01:2")
    assert [(child.kind, dict(child.facts)["reason"]) for child in bad.children] == [(NodeKind.REJECT, "none")]
    (beyond,) = trace(here, "deadbeef01:3")
    assert "no" in dict(beyond.facts)["row"]
    (member,) = trace(here, "member-1")
    assert dict(member.facts) == {"cashback_payable EUR": "1.5500"}
    assert [(child.kind, child.name) for child in member.children] == [
        (NodeKind.PAYOUT, "pay"),
        (NodeKind.SALE, "shop_a:1"),
    ]


def test_a_whole_way_of_a_cent_fits_on_a_screen(warehouse_url: str, tmp_path: Path) -> None:
    _world(warehouse_url, tmp_path)
    (node,) = trace(context(warehouse_url, tmp_path), "pay")
    lines: list[str] = []

    def say(of: Branch, depth: int) -> None:
        lines.append(" " * 4 * depth + f"{of[0]}  {of[1]}")
        for below in of[2]:
            say(below, depth + 1)

    say(branch(node), 0)
    assert len(lines) <= 40
    words = "\n".join(lines)
    assert "commission_receivable(shop_a) <- commission_income(shop_a)  3.1005 EUR" in words
    assert "version 1 version 2  2026-03-01  approved  sale 31.0050  commission 3.1005 EUR" in words
    assert "click c1  2026-03-01 12:00:00 UTC  member member-1  program p1" in words
