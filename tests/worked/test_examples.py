"""Every worked example comes out as it was worked by hand, the books prove, and the page tells the same."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from etl.verify import verify
from tests.worked.examples import LAST, Example, Life, read_examples
from tests.worked.page import page

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLES = read_examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.title)
def test_an_example_comes_out_as_it_was_worked_by_hand(example: Example, warehouse_url: str, tmp_path: Path) -> None:
    life = Life(warehouse_url, tmp_path, example)
    life.live()
    assert Counter(life.journal()) == Counter(example.journal)
    assert Counter(life.balances()) == Counter(example.balances)
    assert [check.name for check in verify(life.desk(LAST), LAST) if not check.is_ok] == []


def test_the_page_is_made_of_the_examples() -> None:
    told = (DOCS / "worked-examples.md").read_text(encoding="utf-8")
    assert told == page(), "run: python -m tests.worked.page > docs/worked-examples.md"


def test_every_kind_of_account_that_is_booked_is_in_an_example() -> None:
    chart = (DOCS / "chart-of-accounts.md").read_text(encoding="utf-8")
    events = chart.partition("## Events")[2]
    named = {name for name in re.findall(r"`([a-z_]+)`", events) if "_" in name or name in ("border", "bank")}
    used = {cell.partition("(")[0] for one in EXAMPLES for row in one.journal for cell in row[2:4]}
    assert named - used <= {"partner_set_off", "commission_receivable", "bad_debt"}
    assert len(used) > 20
