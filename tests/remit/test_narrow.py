"""What remit looks at of a day's changes gives what looking at everything does, whatever changed.

TALLYBACK_EXAMPLES=500 tries as many worlds by hand.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from etl.core.configuration import Entity
from etl.core.context import Context, StageResult
from etl.core.touched import TOUCHED_ROW, touch_rows
from etl.remit import Decision, DecisionKind, decide, remit
from tests.accrue import naive as accruing
from tests.accrue.books import ENTITY, context, sale, version, world, write
from tests.accrue.test_properties import FIRST, LAST
from tests.engine import A_FEW_AT_ONCE
from tests.remit import naive
from tests.remit.statements import line, load, statement, stored
from tests.remit.test_properties import _empty, _statements, _write_off
from tests.remit.worlds import lost_ones, worlds

NOW = datetime.fromisoformat("2026-06-20T12:00")
_OF_BREAK = "partner_account, transaction_id, line_id, kind, sale_id, expected, found, amount, currency, evidence_hash"
KEPT = {
    "allocation": "SELECT * FROM ops.remittance_allocation ORDER BY 1, 2, 3, 4, 5",
    "break": f"SELECT {_OF_BREAK} FROM ops.break ORDER BY 1, 2, 3, 4",
    "outcome": "SELECT * FROM ops.sale_outcome ORDER BY 1, 2",
    "books": "SELECT document_kind, document_id, kind, owner, currency, effective_for, sum(amount_minor), count(*)"
    " FROM mart.movement GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6",
}


class Life:
    """A warehouse whose facts change, in steps, and remit after each."""

    def __init__(self, url: str, folder: Path, entity: Entity = ENTITY) -> None:
        self.url, self.folder, self.entity = url, folder, entity
        self.facts = world((), sales=())
        self.runs = 0
        _empty(url)
        with psycopg.connect(url) as connection:
            connection.execute(
                "TRUNCATE ops.remitted, ops.remitted_account, ops.touched_row, ops.sale_outcome, ops.break"
            )

    def context(self) -> Context:
        self.runs += 1
        return context(self.url, self.folder, f"run-{self.runs}", NOW, self.entity)

    def change(self, facts: accruing.World) -> None:
        """Write other facts, and tell of them what reconcile would."""
        rows = set(self.facts.versions) ^ set(facts.versions)
        sales = {one.sale_id for one in set(self.facts.sales) ^ set(facts.sales)}
        told = [
            (one.sale_id, one.partner_account or one.sale_id.partition(":")[0], one.transaction_id, one.payment_ref)
            for one in rows
        ]
        columns = [list(column) for column in zip(*told, strict=True)] or [[]] * 4
        write(self.url, facts)
        here = self.context()
        with here.warehouse.transaction() as connection:
            touch_rows(
                connection,
                pa.table([pa.array(column, pa.string()) for column in columns], schema=TOUCHED_ROW),
                pa.chunked_array([pa.array(sorted(sales), pa.string())]),
            )
        self.facts = facts

    def load(self, one: naive.Remittance) -> None:
        rows = _statements(one)
        assert load(self.context(), rows, one.account, name=f"{self.runs}.csv").count("rejects") == 0

    def remit(self, day: date) -> StageResult:
        """Run narrowed; then forget, look at everything, two sales at a time, and find that it is the same."""
        result = remit(self.context(), day, narrow_from=1)
        kept = {name: stored(self.url, query) for name, query in KEPT.items()}
        with psycopg.connect(self.url) as connection:
            connection.execute("DELETE FROM ops.remitted")
        whole = remit(replace(self.context(), engine=A_FEW_AT_ONCE), day, narrow_from=1)
        assert {name: stored(self.url, query) for name, query in KEPT.items()} == kept
        told = [dict(each.counts) for each in (result, whole)]
        for counts in told:
            for name in ("new_allocations", "gone_allocations", "postings", "looked_at"):
                del counts[name]
        assert told[0] == told[1]
        written = [whole.count(name) for name in ("new_allocations", "gone_allocations", "postings")]
        assert written == [0, 0, 0]
        return result


@given(worlds(), st.randoms(use_true_random=False), st.data(), st.booleans())
@settings(
    max_examples=int(os.environ.get("TALLYBACK_EXAMPLES", "2")),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_whatever_changes_what_is_narrowed_is_what_looking_at_everything_says(
    warehouse_url: str,
    tmp_path: Path,
    given_world: tuple[accruing.World, list[naive.Remittance]],
    chance: random.Random,
    data: st.DataObject,
    is_oldest_first: bool,
) -> None:
    facts, told = given_world
    entity = replace(ENTITY, lump_sums="oldest_first") if is_oldest_first else ENTITY
    life = Life(warehouse_url, tmp_path, entity)
    news: list[object] = [one for one in told if all(each.transaction_id or not each.line_id for each in one.lines)]
    news += data.draw(lost_ones(facts))
    # Rows may be taken back, too: a delivery that is read anew says something else.
    news += [chance.randint(0, len(facts.versions)) for _ in range(3)]
    chance.shuffle(news)
    day = FIRST + timedelta(days=chance.randint(0, 90))
    life.change(replace(facts, versions=facts.versions[: chance.randint(0, len(facts.versions))]))
    for number, one in enumerate([*news, len(facts.versions)]):
        if isinstance(one, naive.Remittance):
            life.load(one)
            if one.is_withheld:
                decide(life.context(), Decision(DecisionKind.WITHHOLD, f"{one.account}:{one.remittance_id}", "why not"))
        elif isinstance(one, naive.WriteOff):
            _write_off(warehouse_url, number, one)
        else:
            assert isinstance(one, int)
            shown = replace(facts, versions=facts.versions[:one])
            if chance.random() < 0.3:
                gone = chance.choice(facts.sales)
                shown = replace(shown, sales=tuple(each for each in facts.sales if each is not gone))
            life.change(shown)
        if chance.random() < 0.7:
            day = max(day - timedelta(days=3), day + timedelta(days=chance.choice((-1, 0, 1, 5, 100))))
            life.remit(min(day, LAST + timedelta(days=150)))


MANY = [
    (sale(f"{account}:{place}"), version("10", "approved", sale_id=f"{account}:{place}", transaction_id=f"{place}"))
    for account in ("shop_a", "shop_c")
    for place in range(5)
]


@pytest.fixture
def life(warehouse_url: str, tmp_path: Path) -> Life:
    known = Life(warehouse_url, tmp_path)
    known.change(world([one for _, one in MANY], sales=tuple(one for one, _ in MANY)))
    return known


def _pay(life: Life, *lines: dict[str, str], account: str = "shop_a", **head: str) -> None:
    assert load(life.context(), statement(*lines, **head), account, name=f"{life.runs}.csv").count("rejects") == 0


def _declined(life: Life, place: int) -> accruing.World:
    """Return the facts with one row declined since."""
    row = life.facts.versions[place]
    later = replace(row, version_no=2, status="declined", effective_on=row.effective_on + timedelta(days=20))
    return replace(life.facts, versions=(*life.facts.versions, later))


def test_only_what_changed_is_looked_at(life: Life) -> None:
    day = LAST
    assert life.remit(day).count("looked_at") == 10
    assert life.remit(day).count("looked_at") == 0
    life.change(_declined(life, 0))
    assert life.remit(day).count("looked_at") == 1
    # Money for one sale is news of its account.
    _pay(life, line("commission", "10.00", transaction_id="3"))
    assert life.remit(day).count("looked_at") == 5
    assert life.remit(day).count("paid") == 1
    # A sale that no line names changes alone, one that a line names takes its account along.
    life.change(_declined(life, 1))
    assert life.remit(day).count("looked_at") == 1
    life.change(_declined(life, 3))
    result = life.remit(day)
    assert (result.count("looked_at"), result.count("over")) == (5, 1)


def test_a_row_that_is_gone_takes_back_what_was_paid_for_it(life: Life) -> None:
    _pay(life, line("commission", "10.00", transaction_id="3"))
    assert life.remit(LAST).count("paid") == 1
    life.change(replace(life.facts, versions=tuple(one for one in life.facts.versions if one.transaction_id != "3")))
    assert life.remit(LAST).count("gone_allocations") == 1


def test_a_sum_is_looked_for_again_when_a_sale_of_its_account_changes(life: Life) -> None:
    _pay(life, net="40", gross="40", bank_amount="40", period_from="2026-03-01", period_until="2026-04-01")
    assert life.remit(LAST).count("new_allocations") == 0
    life.change(_declined(life, 4))
    assert life.remit(LAST).count("new_allocations") == 4


def test_a_day_alone_makes_what_is_not_paid_late(life: Life) -> None:
    _pay(life, line("commission", "10.00", transaction_id="3"))
    due_on = date(2026, 3, 1)
    assert life.remit(due_on + timedelta(days=90)).count("open_breaks") == 0
    result = life.remit(due_on + timedelta(days=91))
    assert (result.count("looked_at"), result.count("open_breaks")) == (0, 9)


def test_a_rate_that_comes_later_is_booked_with_the_money(life: Life) -> None:
    dollars = {"currency": "USD", "bank_currency": "USD"}
    facts = life.facts
    rows = tuple(replace(one, currency="USD") for one in facts.versions)
    life.change(replace(facts, versions=rows))
    _pay(life, line("commission", "10.00", transaction_id="3"), **dollars)
    assert life.remit(LAST).count("postings") > 0
    rates = {("USD", date(2026, 4, 15)): Decimal("1.25"), ("USD", date(2026, 4, 16)): Decimal("1.5")}
    life.change(replace(life.facts, rates=rates))
    result = life.remit(LAST)
    assert (result.count("looked_at"), result.count("postings") > 0) == (5, True)
    assert life.remit(LAST).count("looked_at") == 0
