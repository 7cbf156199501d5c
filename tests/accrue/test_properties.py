"""Random small worlds: the pipeline and the naive reference agree, whatever the order of arrival."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from etl.accrue import accrue
from etl.core.schemas import CASHBACK_RULE, COMMISSION_TOLERANCE, CONTRACT_TERM, FX_RATE, PROGRAM
from etl.core.target import PAYMENT, PROGRAM_SETTING, SALE_FACT, VERSION_FACT, Facts, target
from etl.verify import verify
from tests.accrue import naive
from tests.accrue.books import ACCOUNTS, BEGIN, context, empty_the_books, read, rule, sale, version, world, write
from tests.engine import ENGINE

FIRST = date(2026, 3, 1)
LAST = date(2026, 6, 1)
STATUSES = ("pending", "pending", "approved", "approved", "declined", None)


def _days(least: int, most: int) -> st.SearchStrategy[date]:
    return st.integers(least, most).map(lambda offset: FIRST + timedelta(days=offset))


def _decimals(least: str, most: str, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(Decimal(least), Decimal(most), places=places, allow_nan=False)


@st.composite
def _row(draw: st.DrawFn, sale_id: str, line: int, currency: str) -> list[naive.Version]:
    """Return the versions of one row, in order, with amounts and statuses that wander."""
    count = draw(st.integers(1, 4))
    days = sorted(draw(st.lists(_days(0, 60), min_size=count, max_size=count)))
    return [
        naive.Version(
            sale_id,
            f"{sale_id}-{line}",
            draw(st.sampled_from(("", "a"))) if number == 1 else "",
            number,
            on,
            draw(st.sampled_from(STATUSES)),
            draw(_decimals("-80", "400", 2)),
            draw(_decimals("0", "40", 4) | _decimals("-8", "40", 4)),
            "USD" if draw(st.integers(0, 19)) == 19 else currency,
            draw(st.sampled_from(("sale", "sale", "sale", "lead"))),
            draw(st.booleans()),
            number > 1 and draw(st.integers(0, 5)) == 5,
            commission_group=draw(st.sampled_from((None, "toys", "toys", "several"))),
            customer_type=draw(st.sampled_from((None, "new", "existing"))),
        )
        for number, on in enumerate(days, start=1)
    ]


@st.composite
def _sale(draw: st.DrawFn, place: int) -> tuple[naive.Sale, list[naive.Version]]:
    account = draw(st.sampled_from(tuple(ACCOUNTS)))
    sale_on = draw(_days(0, 20))
    occurred_at = datetime.combine(sale_on, time(10))
    found = sale(
        f"{account}:{place}",
        program_id=draw(st.sampled_from(("p1", "p1", "p1", "p2", "p2", None))),
        occurred_at=occurred_at,
        sale_on=sale_on,
        clicked_at=occurred_at - timedelta(hours=draw(st.integers(1, 200))),
        member_id=draw(st.sampled_from(("m1", "m2"))),
        earns_cashback=draw(st.integers(0, 5)) < 5,
    )
    if draw(st.integers(0, 5)) == 5:
        found = replace(found, outcome="unmatched", clicked_at=None, member_id=None)
    currency = draw(st.sampled_from(("EUR", "EUR", "EUR", "USD", "JPY")))
    rows = [draw(_row(found.sale_id, line, currency)) for line in range(draw(st.integers(1, 3)))]
    # A line keeps its id through all its versions.
    named = [replace(each, line_id=row[0].line_id) for row in rows for each in row]
    return found, named


@st.composite
def _rules(draw: st.DrawFn, program_id: str) -> list[naive.Rule]:
    changes_at = datetime.combine(draw(_days(-10, 20)), time(0))
    spans = [(BEGIN, changes_at), (changes_at, draw(st.sampled_from((None, changes_at + timedelta(days=10)))))]
    found = []
    for number, (begin, end) in enumerate(spans):
        basis = draw(st.sampled_from(("commission_share", "sale_rate", "fixed")))
        places = {"commission_share": ("0", "1.2", 3), "sale_rate": ("0", "0.1", 6), "fixed": ("0", "9", 4)}[basis]
        found.append(
            naive.Rule(
                f"{program_id}-{number}",
                program_id,
                basis,
                draw(_decimals(*places)),
                draw(st.none() | _decimals("0", "12", 2)),
                draw(st.sampled_from(("EUR", "EUR", "JPY", "KWD"))),
                draw(st.sampled_from(("half_even", "half_up"))),
                begin,
                end,
            )
        )
    return [*found, *draw(_more_rules(found))]


@st.composite
def _more_rules(draw: st.DrawFn, plain: list[naive.Rule]) -> list[naive.Rule]:
    """Return rules of one group, which share currency, cap and rounding with those of all others, and bonuses."""
    found = []
    for each in plain:
        if draw(st.booleans()):
            basis = "fixed" if each.basis == "fixed" else draw(st.sampled_from(("commission_share", "sale_rate")))
            value = draw(_decimals("0", "1.2", 3))
            found.append(
                replace(each, rule_id=f"{each.rule_id}-toys", basis=basis, value=value, commission_group="toys")
            )
        if draw(st.integers(0, 3)) == 3:
            bonus = {"basis": "fixed", "value": draw(_decimals("0", "5", 2)), "cap": None, "currency": "EUR"}
            found.append(replace(each, rule_id=f"{each.rule_id}-bonus", component="bonus", **bonus))
    return found


@st.composite
def worlds(draw: st.DrawFn) -> naive.World:
    """Return a world of up to three sales, two programs with changing rules, and rates with gaps."""
    sales = [draw(_sale(place)) for place in range(draw(st.integers(1, 3)))]
    programs = [
        naive.Program(name, draw(st.none() | _decimals("0", "0.3", 4)), draw(st.none() | st.integers(0, 40)))
        for name in ("p1", "p2")
    ]
    typical = {"USD": ("1.0512", "1.2", 4), "JPY": ("150", "175", 2), "KWD": ("0.33", "0.36", 5)}
    rates = {
        (currency, on): draw(_decimals(*span))
        for currency, span in typical.items()
        for on in draw(st.sets(_days(-3, 25), min_size=1, max_size=4))
    }
    return naive.World(
        tuple(each for _, versions in sales for each in versions),
        tuple(found for found, _ in sales),
        tuple(programs),
        tuple(found for program in programs for found in draw(_rules(program.program_id))),
        rates,
        dict(ACCOUNTS),
        tuple(draw(_payments([each for _, versions in sales for each in versions]))),
        tuple(draw(_terms())),
        tolerance=draw(st.sampled_from(({}, {"shop_a": (Decimal("0.5"), Decimal("0.02"))}))),
        program_payable_on=draw(st.sampled_from(({}, {("shop_a", "p1"): "funded", ("shop_c", "p2"): "approval"}))),
    )


@st.composite
def _terms(draw: st.DrawFn) -> list[naive.Term]:
    """Return contract terms of one program, or none: for some groups and customers, from some day on."""
    begins_at = datetime.combine(draw(_days(-10, 10)), time(0))
    scopes = draw(st.sets(st.tuples(st.sampled_from((None, "toys")), st.sampled_from((None, "new"))), max_size=3))
    found = []
    for number, (group, customer) in enumerate(sorted(scopes, key=str)):
        basis = draw(st.sampled_from(("rate", "rate", "fixed")))
        value = draw(_decimals("0", "0.3", 6) if basis == "rate" else _decimals("0", "20", 2))
        end = draw(st.sampled_from((None, begins_at + timedelta(days=9))))
        found.append(naive.Term(f"c{number}", "p1", group, customer, basis, value, "EUR", begins_at, end))
    return found


@st.composite
def _payments(draw: st.DrawFn, versions: list[naive.Version]) -> list[naive.Payment]:
    """Return what remittances paid of some rows: nothing, a part, the whole, more, late, or carried forward."""
    latest = {(each.sale_id, each.transaction_id, each.line_id): each for each in versions}
    found = []
    for row in latest.values():
        for _ in range(draw(st.sampled_from((0, 1, 1, 2)))):
            whole = int(row.commission_amount * 10000)
            received_on = draw(_days(0, 70))
            found.append(
                naive.Payment(
                    row.sale_id,
                    row.transaction_id,
                    draw(st.sampled_from(("", row.line_id))),
                    draw(st.sampled_from((row.currency, row.currency, row.currency, "EUR"))),
                    draw(st.sampled_from((whole, whole, whole - 30, whole - 200, whole + 500))),
                    received_on,
                    draw(st.sampled_from((received_on, received_on, received_on + timedelta(days=9), None))),
                    draw(st.booleans()),
                )
            )
    return found


def _facts(facts: naive.World) -> Facts:
    programs = [
        {
            **asdict(each), "merchant_id": "m", "partner": "awin", "partner_program_id": each.program_id, "name": "n",
            "currency": "EUR", "lookback_days": 30, "valid_from": BEGIN, "valid_until": None,
        }
        for each in facts.programs
    ]  # fmt: skip
    rates = [
        {"rate_on": on, "base": "EUR", "quote": currency, "rate": rate, "source": "ecb"}
        for (currency, on), rate in facts.rates.items()
    ]
    return Facts(
        version=_table(
            [asdict(each) | {"partner_account": each.sale_id.partition(":")[0]} for each in facts.versions],
            VERSION_FACT,
        ),
        sale=_table([asdict(each) for each in facts.sales], SALE_FACT),
        program=_table(programs, PROGRAM),
        cashback_rule=_table([asdict(each) for each in facts.rules], CASHBACK_RULE),
        fx_rate=_table(rates, FX_RATE),
        account_setting=pa.table([list(ACCOUNTS), list(ACCOUNTS.values())], ["partner_account", "cashback_payable_on"]),
        base_currency="EUR",
        payment=_table([asdict(each) for each in facts.payments], PAYMENT),
        contract_term=_table([asdict(each) for each in facts.terms], CONTRACT_TERM),
        commission_tolerance=_table(
            [
                {"partner_account": name, "amount": amount, "share": share}
                for name, (amount, share) in facts.tolerance.items()
            ],
            COMMISSION_TOLERANCE,
        ),
        program_setting=_table(
            [
                {"partner_account": account, "program_id": program, "cashback_payable_on": payable_on}
                for (account, program), payable_on in facts.program_payable_on.items()
            ],
            PROGRAM_SETTING,
        ),
    )


def _table(rows: list[dict[str, object]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def _target_books(facts: naive.World, day: date) -> naive.Books:
    out: naive.Books = {}
    for flow in target(ENGINE, _facts(facts), day).flows.to_pylist():
        for side, sign in (("debit", 1), ("credit", -1)):
            key = (
                flow["document_id"],
                flow[f"{side}_kind"],
                flow[f"{side}_owner"],
                flow["asset"],
                flow["effective_for"],
            )
            out[key] = out.get(key, 0) + sign * flow["amount"]
    return {key: amount for key, amount in out.items() if amount}


@given(worlds(), _days(0, 90))
@settings(
    max_examples=45,
    deadline=None,
    # A failing world is shown as it was found: shrinking it takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_the_target_is_what_the_naive_reference_says(facts: naive.World, day: date) -> None:
    assert _target_books(facts, day) == naive.books(facts, day)


def test_the_worlds_tried_are_not_empty() -> None:
    facts = world([version("3.1005"), version("10", "approved", line_id="b")], rules=(rule("0.333"),))
    assert len(_target_books(facts, LAST)) >= 8


@given(worlds(), st.data())
@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_facts_in_any_order_split_and_repetition_make_the_same_books(
    warehouse_url: str, tmp_path: Path, facts: naive.World, data: st.DataObject
) -> None:
    empty_the_books(warehouse_url)
    # What an account tolerates, and when it pays, is configuration, which stays as it is.
    facts = replace(facts, tolerance={}, program_payable_on={})
    cut_over, is_opened = data.draw(st.none() | _days(0, 60), label="cut-over"), False
    for number, day in enumerate(sorted(data.draw(st.lists(_days(0, 90), max_size=2), label="days"))):
        part = replace(
            facts,
            versions=tuple(each for each in facts.versions if data.draw(st.booleans())),
            payments=tuple(each for each in facts.payments if data.draw(st.booleans())),
            rules=tuple(each for each in facts.rules if data.draw(st.booleans())),
            terms=tuple(each for each in facts.terms if data.draw(st.booleans())),
            rates={key: rate for key, rate in facts.rates.items() if data.draw(st.booleans())},
            sales=tuple(
                each if data.draw(st.booleans()) else replace(each, outcome="waiting", member_id=None, clicked_at=None)
                for each in facts.sales
            ),
        )
        write(warehouse_url, part)
        if cut_over is not None and not is_opened and data.draw(st.booleans(), label="opened"):
            is_opened = _open(warehouse_url, cut_over)
        accrue(context(warehouse_url, tmp_path, f"part-{number}"), day)
        assert read(warehouse_url) == naive.books(_since(part, cut_over if is_opened else None), day)
    write(warehouse_url, facts)
    if cut_over is not None and not is_opened:
        _open(warehouse_url, cut_over)
    facts = _since(facts, cut_over)
    accrue(context(warehouse_url, tmp_path, "whole"), LAST)
    assert read(warehouse_url) == naive.books(facts, LAST)
    assert accrue(context(warehouse_url, tmp_path, "again"), LAST).count("postings") == 0
    broken = [check.name for check in verify(context(warehouse_url, tmp_path), LAST) if not check.is_ok]
    # What was paid is told by hand here: no remittance stands behind it.
    about_money = ("remittance", "paid for", "clearing")
    assert [name for name in broken if not any(word in name for word in about_money)] == []


def _since(facts: naive.World, cut_over: date | None) -> naive.World:
    """Return what is counted: an opening holds the sales before its cut-over, whatever is delivered of them."""
    return replace(facts, sales=tuple(each for each in facts.sales if cut_over is None or each.sale_on >= cut_over))


def _open(url: str, cut_over: date) -> bool:
    """Write an opening of nothing owed, confirmed, that ends the day before the cut-over."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO ops.opening VALUES ('o', 1, 'f', 's', 1, 'p', 3, '{}', 'h', 'Olga', now(), 'r')"
        )
        for number, account in enumerate(ACCOUNTS, start=1):
            connection.execute(
                "INSERT INTO ops.opening_line VALUES ('o', 1, %s, 'commission_receivable', %s, '', 'EUR', 0, %s)",
                (number, account, cut_over - timedelta(days=1)),
            )
        connection.execute("INSERT INTO ops.opening_approval VALUES ('o', 1, 'Pavel', now())")
    return True


def test_two_runs_at_once_make_the_books_of_one(warehouse_url: str, tmp_path: Path) -> None:
    sales = tuple(sale(f"shop_a:{place}") for place in range(40))
    versions = [version("3.1005", sale_id=each.sale_id, transaction_id=each.sale_id) for each in sales]
    facts = world(versions, sales=sales)
    write(warehouse_url, facts)
    with ThreadPoolExecutor(3) as pool:
        runs = [
            pool.submit(accrue, context(warehouse_url, tmp_path, f"run-{number}"), FIRST + timedelta(days=number))
            for number in range(3)
        ]
    assert sorted(run.result().count("entries") for run in runs) == [0, 0, 40]
    assert read(warehouse_url) == naive.books(facts, FIRST)
    assert [check for check in verify(context(warehouse_url, tmp_path), FIRST) if not check.is_ok] == []
