"""What partners owe by contract: worked examples of terms, and what is claimed where they report less."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from etl.core.configuration import Configuration
from etl.core.errors import Stop
from etl.reference import load_terms
from etl.shortfall import Shortfall, shortfall
from tests.accrue import naive
from tests.accrue.books import balances, book, context, read, sale, term, version, world, write
from tests.accrue.naive import Version, World

DAY = date(2026, 3, 20)
GROUPS = (
    term("0.05", term_id="all"),
    term("0.08", term_id="toys", commission_group="toys"),
    term("0.12", term_id="toys-new", commission_group="toys", customer_type="new"),
    term("0.06", term_id="new", customer_type="new"),
    term("7", term_id="lead", commission_group="lead", basis="fixed"),
)


def _short(url: str, folder: Path, facts: World, **asked: Any) -> Shortfall:
    write(url, facts)
    return shortfall(context(url, folder), DAY, **asked)


def _row(sold: str, commission: str, group: str | None = None, customer: str | None = None, **more: Any) -> Version:
    return version(commission, sale_amount=Decimal(sold), commission_group=group, customer_type=customer, **more)


@pytest.mark.parametrize(
    ("row", "expected", "contract"),
    [
        (_row("100", "4"), "5.0000", "terms all"),
        (_row("100", "4", "books"), "5.0000", "terms all"),
        (_row("100", "4", "toys"), "8.0000", "terms toys"),
        (_row("100", "4", "toys", "existing"), "8.0000", "terms toys"),
        (_row("100", "4", "toys", "new"), "12.0000", "terms toys-new"),
        (_row("100", "4", None, "new"), "6.0000", "terms new"),
        (_row("0", "4", "lead", kind="lead"), "7.0000", "terms lead"),
        # 5 % of 99.999 is 4.99995, rounded once, half up.
        (_row("99.999", "4"), "5.0000", "terms all"),
    ],
)
def test_the_narrowest_term_says_what_is_expected(
    shared_url: str, tmp_path: Path, row: Version, expected: str, contract: str
) -> None:
    (found,) = _short(shared_url, tmp_path, world([row], terms=GROUPS)).sales
    assert (str(found.expected), found.contract) == (expected, contract)
    assert found.shortfall == Decimal(expected) - 4


@pytest.mark.parametrize(
    "rows",
    [
        # As the contract says, a half cent a row apart.
        (_row("100", "4.995"), _row("100", "4.995", line_id="b")),
        # More than the contract says.
        (_row("100", "9"),),
        # Parts of several groups: nobody can say what is due.
        (_row("100", "1", "several"),),
        # A bonus, and a lead no term is for, are worth what is told.
        (_row("0", "1", kind="bonus"),),
        (_row("0", "1", kind="lead"),),
        # Declined.
        (_row("100", "1", status="declined"),),
        # Refunded by a row that does not tell its group: it is that of the sale.
        (_row("100", "8", "toys"), _row("-40", "-3.2", transaction_id="2", kind="adjustment")),
        # A lead that was taken back whole.
        (_row("0", "7", "lead", kind="lead"), _row("0", "-7", "lead", transaction_id="2", kind="adjustment")),
    ],
)
def test_nothing_is_claimed_where_nothing_is_missing(
    shared_url: str, tmp_path: Path, rows: tuple[Version, ...]
) -> None:
    assert _short(shared_url, tmp_path, world(rows, terms=GROUPS)).sales == ()


def test_a_term_holds_as_of_the_click_and_the_sale_where_no_click_is_known(shared_url: str, tmp_path: Path) -> None:
    # The plain sale was clicked at 9 and bought at 10.
    changed_at = datetime.fromisoformat("2026-03-01T09:30")
    terms = (
        term("0.05", term_id="before", valid_until=changed_at),
        term("0.1", term_id="after", valid_from=changed_at),
    )
    clicked = world([_row("100", "1")], terms=terms)
    assert _short(shared_url, tmp_path, clicked).sales[0].expected == 5
    unknown = replace(clicked, sales=(sale(outcome="unmatched", clicked_at=None, member_id=None),))
    assert _short(shared_url, tmp_path, unknown).sales[0].expected == 10


def test_without_terms_the_rate_of_the_program_counts_and_with_them_no_more(shared_url: str, tmp_path: Path) -> None:
    plain = world([_row("100", "4")])
    (found,) = _short(shared_url, tmp_path, plain).sales
    assert (found.expected, found.contract) == (10, "rate 0.100000 of the program")
    assert _short(shared_url, tmp_path, replace(plain, terms=(term(commission_group="toys"),))).sales == ()


def test_an_account_tolerates_what_its_configuration_says(shared_url: str, tmp_path: Path) -> None:
    write(shared_url, world([_row("100", "4.40")], terms=GROUPS))
    here = context(shared_url, tmp_path)

    def short(amount: str, share: str) -> int:
        accounts = tuple(
            replace(each, commission_tolerance=amount, commission_tolerance_share=share)
            for each in here.configuration.accounts
        )
        configuration: Configuration = replace(here.configuration, accounts=accounts)
        return len(shortfall(replace(here, configuration=configuration), DAY).sales)

    # 0.60 is missing of 5.00.
    assert [short("0.59", "0"), short("0.60", "0"), short("0", "0.119"), short("0", "0.12")] == [1, 0, 1, 0]


def test_shortfall_is_summed_by_program_and_currency_and_asked_for_by_account_and_month(
    shared_url: str, tmp_path: Path
) -> None:
    april = sale("shop_a:3", sale_on=date(2026, 4, 1))
    rows = [
        _row("100", "4"),
        _row("50", "2", transaction_id="2", sale_id="shop_b:2"),
        _row("10", "0.1", transaction_id="3", sale_id="shop_a:3"),
    ]
    facts = world(rows, sales=(sale(), sale("shop_b:2"), april), terms=GROUPS)
    found = _short(shared_url, tmp_path, facts)
    assert [(each.partner_account, each.sale_count, each.shortfall) for each in found.programs] == [
        ("shop_a", 2, Decimal("1.4000")),
        ("shop_b", 1, Decimal("0.5000")),
    ]
    of_account = _short(shared_url, tmp_path, facts, account="shop_a", starts_on=date(2026, 4, 1))
    assert [each.sale_id for each in of_account.sales] == ["shop_a:3"]
    with pytest.raises(Stop, match="there is no partner account"):
        _short(shared_url, tmp_path, facts, account="nobody")


def test_the_claim_holds_its_evidence_and_no_formula(shared_url: str, tmp_path: Path) -> None:
    row = _row("100", "4", "=cmd()", "new", transaction_id="=1+1")
    terms = (term("0.05", term_id="c1", valid_until=datetime.fromisoformat("2027-01-01T00:00")),)
    written = _short(shared_url, tmp_path, world([row], terms=terms)).as_csv().decode()
    header, line = written.splitlines()
    told = dict(zip(header.split(","), line.split(","), strict=True))
    assert told == {
        "partner_account": "shop_a", "program_id": "p1", "program": "Shop", "transaction_id": "'=1+1",
        "order_ref": "", "click_ref": "", "partner_clicked_at": "", "clicked_at": "2026-03-01 09:00:00 UTC",
        "occurred_at": "2026-03-01 12:00:00 UTC", "sale_on": "2026-03-01", "status": "pending",
        "commission_group": "'=cmd()", "customer_type": "new", "currency": "EUR", "sale_amount": "100.0000",
        "commission_reported": "4.0000", "contract": "terms c1", "contract_from": "2025-01-01 00:00:00 UTC",
        "contract_until": "2027-01-01 00:00:00 UTC", "commission_expected": "5.0000", "shortfall": "1.0000",
        "delivery_row": "d:1",
    }  # fmt: skip


def test_what_is_reported_above_the_terms_does_not_raise_cashback(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([_row("100", "9", "toys")], terms=GROUPS)
    book(warehouse_url, tmp_path, facts)
    assert read(warehouse_url) == naive.books(facts, DAY)
    # 8 % of 100 are 8.00, of which the member gets half; commission is booked as reported.
    assert balances(read(warehouse_url))["cashback_pending", "EUR/2"] == -400
    assert balances(read(warehouse_url))["commission_expected", "EUR/4"] == 90000


def test_terms_are_loaded_once_and_never_changed_by_the_way(shared_url: str, tmp_path: Path) -> None:
    write(shared_url, world([]))
    path = tmp_path / "contract_terms.csv"
    header = "term_id,program_id,commission_group,customer_type,basis,value,currency,valid_from,valid_until\n"
    lines = "c1,p1,,,rate,0.05,EUR,2026-01-01T00:00:00Z,\nc2,p1,toys,new,fixed,7,EUR,2026-01-01T00:00:00Z,\n"

    def load(text: str) -> tuple[int, int, int]:
        path.write_text(header + text, encoding="utf-8")
        result = load_terms(context(shared_url, tmp_path), path)
        return result.count("new"), result.count("changed"), result.count("known")

    assert load(lines) == (2, 0, 0)
    assert load(lines) == (0, 0, 2)
    with pytest.raises(Stop, match=r"line 2, column value: 0\.06 differs from 0\.05"):
        load(lines.replace("0.05", "0.06"))
    with pytest.raises(Stop, match="c1 and c3 are both in force"):
        load(lines + "c3,p1,,,rate,0.07,EUR,2026-02-01T00:00:00Z,\n")
