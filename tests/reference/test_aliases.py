"""Keys that moved, from CSV: loaded once, corrected by a higher revision, and refused as a whole where one is wrong."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import psycopg
import pytest

from etl.core.context import Context
from etl.core.errors import Stop
from etl.reference import load_aliases
from tests.accrue.books import context

HEADER = "alias_id,revision,former_account,former_transaction_id,partner_account,transaction_id,moved_on,state,reason\n"
FIRST = "m1,1,shop_a,700,shop_b,41000,2026-04-01,in_force,the shop moved\n"


def loaded(given: Context, folder: Path, *lines: str) -> tuple[int, int]:
    path = folder / "aliases.csv"
    path.write_text(HEADER + "".join(lines), encoding="utf-8")
    result = load_aliases(given, path)
    return result.count("new"), result.count("known")


@pytest.fixture
def given(warehouse_url: str, tmp_path: Path) -> Context:
    return context(warehouse_url, tmp_path)


def test_a_second_load_writes_nothing_and_a_higher_revision_is_new(
    given: Context, warehouse_url: str, tmp_path: Path
) -> None:
    assert loaded(given, tmp_path, FIRST) == (1, 0)
    assert loaded(given, tmp_path, FIRST) == (0, 1)
    void = FIRST.replace("m1,1,", "m1,2,").replace("in_force,the shop moved", "void,it did not")
    assert loaded(given, tmp_path, FIRST, void) == (1, 1)
    with psycopg.connect(warehouse_url) as connection:
        rows = connection.execute("SELECT revision, state, moved_on FROM ref.alias ORDER BY revision").fetchall()
    assert rows == [(1, "in_force", date(2026, 4, 1)), (2, "void", date(2026, 4, 1))]


def test_what_is_wrong_is_named_and_nothing_is_loaded(given: Context, warehouse_url: str, tmp_path: Path) -> None:
    loaded(given, tmp_path, FIRST)
    good = "m9,1,shop_a,900,shop_b,901,2026-04-01,in_force,good\n"
    second = FIRST.replace("m1", "m2")
    for line, said in (
        (FIRST.replace("700", "701"), "line 2: revision 1 of alias m1 says something else"),
        (second.replace("shop_b", "nobody"), "column partner_account: 'nobody' is no configured"),
        (second.replace("shop_b,41000", "shop_a,700"), "the key and the one it moved to are the"),
        (second.replace("41000", "41001"), "shop_a:700 moves away by alias m1 and by m2"),
        (second.replace("m2,1", "m2,0"), "column revision"),
        (second.replace("2026-04-01", "1.4.2026"), "column moved_on"),
        (second.replace("the shop moved", ""), "column reason"),
    ):
        with pytest.raises(Stop, match=said):
            loaded(given, tmp_path, line, good)
    with psycopg.connect(warehouse_url) as connection:
        assert connection.execute("SELECT count(*) FROM ref.alias").fetchone() == (1,)
