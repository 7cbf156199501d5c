"""Money from partners, worked by hand: what each remittance pays, posts, and leaves for a person."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from etl.core.errors import Stop
from etl.remit import Decision, DecisionKind, ageing, decide, remit
from etl.trace import NodeKind, trace
from etl.verify import verify
from tests.accrue.books import balances, context, read, sale, version, world, write
from tests.remit.statements import line, load, statement, stored
from tests.remit.worked import APPROVED, DAY, NOW, ONE, SALES, again, breaks, money, outcomes, paid, run


def test_a_statement_pays_the_sale_it_names(warehouse_url: str, tmp_path: Path) -> None:
    run(warehouse_url, tmp_path, world([APPROVED]), *statement(ONE))
    assert money(warehouse_url) == {
        ("bank", "EUR/2"): 1000,
        ("border", "EUR/2"): -1000,
        ("border", "EUR/4"): 100000,
        ("commission_receivable", "EUR/4"): -100000,
    }
    both = {**read(warehouse_url), **read(warehouse_url, "remittance")}
    assert ("commission_receivable", "EUR/4") not in balances(both)
    assert {key[4] for key in read(warehouse_url, "remittance")} == {date(2026, 4, 15)}
    assert outcomes(warehouse_url, tmp_path) == {"shop_a:1": ("paid", 0, None)}
    assert breaks(warehouse_url) == []
    again(warehouse_url, tmp_path)


@pytest.mark.parametrize(
    ("named", "period", "rule"),
    [
        ({"transaction_id": "n1"}, {}, "transaction"),
        ({}, {"period_from": "2026-04-01", "period_until": "2026-05-01"}, "period"),
    ],
)
def test_a_sale_whose_key_moved_is_paid_by_the_account_it_moved_to(
    warehouse_url: str, tmp_path: Path, named: dict[str, str], period: dict[str, str], rule: str
) -> None:
    """Ten was approved at the one, then on the first of April it went on as eight at the other."""
    moved = date(2026, 4, 1)
    facts = world(
        [
            version("10", "approved"),
            version("0", "declined", version_no=2, effective_on=moved),
            version("8", "approved", transaction_id="n1", effective_on=moved, partner_account="shop_b"),
        ]
    )
    commission = line("commission", "8.00", **named)
    rows = statement(commission, net="8.00", gross="8.00", bank_amount="8.00", **period)
    run(warehouse_url, tmp_path, facts, *rows, account="shop_b")
    assert paid(warehouse_url) == [("n1", 80000, rule)]
    both = [*read(warehouse_url).items(), *read(warehouse_url, "remittance").items()]
    receivable = {
        owner: sum(amount for key, amount in both if key[1] == "commission_receivable" and key[2] == owner)
        for owner in ("shop_a", "shop_b")
    }
    assert receivable == {"shop_a": 0, "shop_b": 0}
    assert {key[4]: amount for key, amount in both if key[1:3] == ("commission_receivable", "shop_b")} == {
        moved: 80000, date(2026, 4, 15): -80000,
    }  # fmt: skip
    (sale_,) = ageing(context(warehouse_url, tmp_path, known_at=NOW), DAY).sales.to_pylist()
    assert (sale_["sale_id"], sale_["partner_account"], sale_["outcome"]) == ("shop_a:1", "shop_b", "paid")
    assert breaks(warehouse_url) == []
    again(warehouse_url, tmp_path)


def test_vat_withholding_and_fees_have_accounts_of_their_own(warehouse_url: str, tmp_path: Path) -> None:
    rows = statement(
        ONE,
        line("vat", "1.90"),
        line("withholding", "-1.00"),
        line("fee", "-0.25"),
        line("set_off", "-0.65"),
        vat="1.90",
        withholding="1.00",
        gross="11.90",
        bank_amount="10.00",
    )
    run(warehouse_url, tmp_path, world([APPROVED]), *rows)
    assert money(warehouse_url) == {
        ("bank", "EUR/2"): 1000,
        ("border", "EUR/2"): -1000,
        ("border", "EUR/4"): 100000,
        ("commission_receivable", "EUR/4"): -100000,
        ("vat_payable", "EUR/4"): -19000,
        ("withholding_tax", "EUR/4"): 10000,
        ("partner_fee", "EUR/4"): 2500,
        ("partner_set_off", "EUR/4"): 6500,
    }


def test_parts_of_a_cent_between_statement_and_bank_are_rounding(warehouse_url: str, tmp_path: Path) -> None:
    rows = statement(line("commission", "3.1005", transaction_id="1"), net="3.1005", gross="3.1005", bank_amount="3.10")
    run(warehouse_url, tmp_path, world([version("3.1005", "approved")]), *rows)
    booked = money(warehouse_url)
    assert (booked["rounding", "EUR/4"], booked["commission_receivable", "EUR/4"]) == (5, -31005)
    assert ("partner_clearing", "EUR/4") not in booked


def test_what_the_bank_did_not_receive_pays_nothing(warehouse_url: str, tmp_path: Path) -> None:
    run(warehouse_url, tmp_path, world([APPROVED]), *statement(ONE, bank_amount="9.99"))
    assert money(warehouse_url) == {
        ("bank", "EUR/2"): 999,
        ("border", "EUR/2"): -999,
        ("border", "EUR/4"): 99900,
        ("partner_clearing", "EUR/4"): -99900,
    }
    assert breaks(warehouse_url) == [("remittance_differs", "R-1", Decimal("0.0100"))]
    # The bank's charge was forgotten: the corrected statement tells of it.
    load(
        context(warehouse_url, tmp_path, "fix", NOW),
        statement(ONE, line("fee", "-0.01"), bank_amount="9.99", revision="2"),
        name="fix.csv",
    )
    run(warehouse_url, tmp_path, world([APPROVED]))
    assert money(warehouse_url)["commission_receivable", "EUR/4"] == -100000
    assert money(warehouse_url)["partner_fee", "EUR/4"] == 100
    assert breaks(warehouse_url) == []


@pytest.mark.parametrize(
    ("amount", "outcome", "kind"),
    [("8.00", ("short", 20000, "more"), "remittance_short"), ("12.00", ("over", -20000, None), "remittance_over")],
)
def test_less_and_more_than_approved_is_a_break(
    warehouse_url: str, tmp_path: Path, amount: str, outcome: tuple[str, int, str | None], kind: str
) -> None:
    rows = statement(line("commission", amount, transaction_id="1"), net=amount, gross=amount, bank_amount=amount)
    run(warehouse_url, tmp_path, world([APPROVED]), *rows)
    told = outcomes(warehouse_url, tmp_path, date(2026, 12, 1))
    assert told == {"shop_a:1": outcome}
    (found,) = breaks(warehouse_url)
    assert found == (kind, "1", Decimal(outcome[1]) / 10000)


def test_a_transaction_nobody_knows_stays_unallocated(warehouse_url: str, tmp_path: Path) -> None:
    rows = statement(
        ONE,
        line("commission", "5.00", transaction_id="unheard of"),
        line("adjustment", "2.00"),
        net="17.00",
        gross="17.00",
        bank_amount="17.00",
    )
    run(warehouse_url, tmp_path, world([APPROVED]), *rows)
    assert money(warehouse_url)["partner_clearing", "EUR/4"] == -70000
    assert breaks(warehouse_url) == [
        ("remittance_unallocated", "R-1", Decimal("5.0000")),
        ("remittance_unallocated", "R-1", Decimal("2.0000")),
    ]
    # It is reported later: the money finds its sale.
    late = version("5", "approved", sale_id="shop_a:2", transaction_id="unheard of")
    run(warehouse_url, tmp_path, world([APPROVED, late], sales=(sale(), sale("shop_a:2"))))
    assert money(warehouse_url)["partner_clearing", "EUR/4"] == -20000


def test_a_payment_pays_the_rows_that_bear_its_reference_as_they_were_then(warehouse_url: str, tmp_path: Path) -> None:
    facts = world(
        [
            replace(APPROVED, line_id="a", payment_ref="P-7"),
            version("4.0004", "approved", sale_id="shop_a:2", transaction_id="2", payment_ref="P-7"),
            version("9", "declined", sale_id="shop_a:2", transaction_id="2", payment_ref="P-7", version_no=2),
        ],
        sales=(sale(), sale("shop_a:2")),
    )
    rows = statement(line("commission", "14.00", payment_ref="P-7"), net="14", gross="14", bank_amount="14")
    run(warehouse_url, tmp_path, facts, *rows)
    assert paid(warehouse_url) == [("1", 99998, "payment_ref"), ("2", 40002, "payment_ref")]
    assert ("partner_clearing", "EUR/4") not in money(warehouse_url)
    # Declined after it was paid: the partner will want it back.
    assert outcomes(warehouse_url, tmp_path)["shop_a:2"] == ("over", -40002, None)


def test_a_row_declined_before_it_was_seen_again_was_paid_all_the_same(warehouse_url: str, tmp_path: Path) -> None:
    facts = world(
        [
            replace(APPROVED, payment_ref="P-7"),
            version("2.05", "approved", sale_id="shop_a:2", transaction_id="2"),
            # Paid and declined between two answers; its partner keeps amount and reference on it.
            version("2.05", "declined", sale_id="shop_a:2", transaction_id="2", payment_ref="P-7", version_no=2),
        ],
        sales=(sale(), sale("shop_a:2")),
    )
    rows = statement(line("commission", "12.05", payment_ref="P-7"), net="12.05", gross="12.05", bank_amount="12.05")
    run(warehouse_url, tmp_path, facts, *rows)
    assert paid(warehouse_url) == [("1", 100000, "payment_ref"), ("2", 20500, "payment_ref")]
    assert outcomes(warehouse_url, tmp_path)["shop_a:2"] == ("over", -20500, None)


def test_a_payment_whose_rows_do_not_sum_to_it_waits_for_a_person(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([replace(APPROVED, payment_ref="P-7")])
    rows = statement(line("commission", "9.00", payment_ref="P-7"), net="9", gross="9", bank_amount="9")
    run(warehouse_url, tmp_path, facts, *rows)
    assert paid(warehouse_url) == []
    assert breaks(warehouse_url) == [("remittance_unallocated", "R-1", Decimal("9.0000"))]


def test_a_remittance_withheld_by_a_person_pays_nothing(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([APPROVED])
    run(warehouse_url, tmp_path, facts, *statement(ONE))
    decide(context(warehouse_url, tmp_path, "d", NOW), Decision(DecisionKind.WITHHOLD, "R-1", "not ours"))
    run(warehouse_url, tmp_path, facts)
    assert money(warehouse_url)["partner_clearing", "EUR/4"] == -100000
    assert outcomes(warehouse_url, tmp_path)["shop_a:1"][0] == "unpaid"


def test_nobody_decides_about_a_remittance(warehouse_url: str, tmp_path: Path) -> None:
    run(warehouse_url, tmp_path, world([APPROVED]), *statement(ONE))
    scheduler = replace(context(warehouse_url, tmp_path, "d", NOW), actor="airflow")
    with pytest.raises(Stop, match="is no person"):
        decide(scheduler, Decision(DecisionKind.WITHHOLD, "R-1", "not ours"))
    assert stored(warehouse_url, "SELECT 1 FROM ops.remittance_decision") == []


def test_a_correction_takes_back_what_the_statement_before_paid(warehouse_url: str, tmp_path: Path) -> None:
    facts = world([APPROVED, version("10", "approved", sale_id="shop_a:2", transaction_id="2")], sales=SALES[:2])
    run(warehouse_url, tmp_path, facts, *statement(ONE))
    other = line("commission", "10.00", transaction_id="2")
    load(context(warehouse_url, tmp_path, "fix", NOW), statement(other, revision="2"), name="fix.csv")
    run(warehouse_url, tmp_path, facts)
    assert paid(warehouse_url) == [("2", 100000, "transaction")]
    assert {name: told[0] for name, told in outcomes(warehouse_url, tmp_path).items()} == {
        "shop_a:1": "unpaid",
        "shop_a:2": "paid",
    }


def test_converted_money_meets_in_fx_position_and_the_difference_to_the_days_rate_is_realised(
    warehouse_url: str, tmp_path: Path
) -> None:
    usd = version("100", "approved", currency="USD")
    rates = {("USD", on): Decimal("1.25") for on in (date(2026, 2, 27), date(2026, 3, 2), date(2026, 4, 14))}
    rows = statement(
        line("commission", "100", transaction_id="1"), currency="USD", net="100", gross="100", bank_amount="79.50"
    )
    run(warehouse_url, tmp_path, world([usd], rates=rates), *rows)
    waiting = {
        ("bank", "EUR/2"): 7950,
        ("fx_position", "EUR/2"): -7950,
        ("fx_position", "USD/4"): 1000000,
        ("commission_receivable", "USD/4"): -1000000,
    }
    assert money(warehouse_url) == waiting
    rates = {**rates, ("USD", date(2026, 4, 16)): Decimal("1.30")}
    run(warehouse_url, tmp_path, world([usd], rates=rates))
    assert money(warehouse_url) == {**waiting, ("fx_position", "EUR/2"): -8000, ("fx_realised", "EUR/2"): 50}
    again(warehouse_url, tmp_path)


def test_an_allocation_that_somebody_changed_is_found(warehouse_url: str, tmp_path: Path) -> None:
    run(warehouse_url, tmp_path, world([APPROVED]), *statement(ONE))
    with psycopg.connect(warehouse_url) as connection:
        connection.execute("UPDATE ops.remittance_allocation SET amount_minor = amount_minor + 1")
    broken = [check.name for check in verify(context(warehouse_url, tmp_path, "v", NOW), DAY) if not check.is_ok]
    assert broken == [
        "what remittances pay is what follows from them",
        "received = allocated + clearing of shop_a in EUR (in 1/10,000)",
    ]


def test_a_remittance_is_traced_to_its_sales_and_a_sale_to_its_remittances(warehouse_url: str, tmp_path: Path) -> None:
    run(warehouse_url, tmp_path, world([APPROVED]), *statement(ONE))
    here = context(warehouse_url, tmp_path, "trace", NOW)
    (down,) = trace(here, "R-1")
    assert [node.name for node in down.find(NodeKind.SALE)] == ["shop_a:1"]
    assert dict(down.facts)["file"] == "statement.csv"
    assert [node for node in down.children if node.kind is NodeKind.POSTING]
    (up,) = trace(here, "shop_a:1")
    (paid,) = up.find(NodeKind.REMITTANCE)
    assert paid.name == "shop_a:R-1 line 1"
    assert dict(paid.facts)["amount"] == "10.0000"


def test_a_run_that_is_killed_leaves_the_books_as_they_were(
    warehouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(warehouse_url, world([APPROVED]))
    here = context(warehouse_url, tmp_path, known_at=NOW)
    load(here, statement(ONE))
    original = psycopg.Connection.execute
    for number in range(1, 60):
        calls = 0

        def interrupted(*given: Any, number: int = number, **named: Any) -> object:
            nonlocal calls
            calls += 1
            if calls == number:
                raise KeyboardInterrupt
            return original(*given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(psycopg.Connection, "execute", interrupted)
            try:
                remit(context(warehouse_url, tmp_path, f"run-{number}", NOW), DAY)
            except KeyboardInterrupt:
                assert read(warehouse_url, "remittance") == {}
                assert paid(warehouse_url) == []
                continue
        break
    assert number > 3
    assert paid(warehouse_url) == [("1", 100000, "transaction")]
    assert money(warehouse_url)["commission_receivable", "EUR/4"] == -100000


def test_a_remittance_of_an_account_without_its_configuration_stops(warehouse_url: str, tmp_path: Path) -> None:
    here = context(warehouse_url, tmp_path, known_at=NOW)
    load(here, statement(ONE), "shop_b")
    fewer = replace(here.configuration, accounts=here.configuration.accounts[:1])
    with pytest.raises(Stop, match="shop_b"):
        remit(replace(here, configuration=fewer), DAY)
