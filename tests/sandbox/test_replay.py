"""What was delivered comes again in other orders: the books are those of the world, and a wrong one is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from etl.accrue import accrue
from etl.reconcile import reconcile
from sandbox.replay import WAYS, main, replay
from tests.adjust.desk import adjusted
from tests.kill.life import DAY, FACTS, MINE, STAGES, Life, small_world
from tests.opening.desk import opened

LIVED = (
    "reference", "rates", "clicks", "land", "parse", "validate", "release", "reconcile", "remittances",
    "remit", "accrue",
)  # fmt: skip
OWED = "\n".join(
    (
        "cashback_payable,m-old,,EUR,5.00,2026-02-10",
        *(f"commission_receivable,{name},,EUR,0,2026-02-10" for name in MINE),
    )
)


def test_the_books_are_the_same_but_for_what_was_changed_by_hand(
    warehouse_url: str, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    life = Life(warehouse_url, tmp_path / "home", small_world())
    for name in LIVED:
        STAGES[name](life)
    # The world remembers what it saw, as a large one does: a replay must not believe that.
    reconcile(life.context, DAY, FACTS, narrow_from=1)
    accrue(life.context, DAY, narrow_from=1)
    opened(replace(life.context, actor="Olga"), OWED, "cashback_payable:EUR=5", "commission_receivable:EUR=0")
    adjusted(life.context, "goodwill", "member-of-click-1", "3.00")
    with psycopg.connect(life.url) as connection:
        connection.execute("UPDATE ops.transaction_version SET commission_amount = 11 WHERE transaction_id = 't2'")
    before = life.rows()
    told: list[str] = []
    way = replace(WAYS[-1], step_count=2)
    count, found = replay(life.context, DAY, way, told.append, database_url)
    assert count == 3 * 3
    assert [(one.table, one.stored, one.follows) for one in found] == [
        ("version", "commission_amount 11.0000", "commission_amount 10.0000")
    ]
    assert len(told) == 2
    assert life.rows() == before


def test_a_world_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "--name", "nowhere"]) == 2
    assert "run `make demo` first" in capsys.readouterr().err
