"""What a partner tells, through versions, sales and matches to the target, with nothing but the engine; day by day."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pyarrow as pa

from etl.core.schemas import CASHBACK_RULE, FX_RATE, PROGRAM, VERSION
from etl.core.target import SALE_FACT, VERSION_FACT, Facts, target
from tests.accrue import naive as accrual
from tests.chain.naive import facts_of
from tests.reconcile.naive import Row, World
from tests.reconcile.test_agrees_with_naive import agree
from tests.reconcile.worlds import ENGINE, Result, at, click, row

REF = "abcdefghijklmnopQRST"
RULE: Row = {
    "rule_id": "r1",
    "program_id": "p1",
    "basis": "commission_share",
    "value": Decimal("0.500000"),
    "cap": None,
    "currency": "EUR",
    "rounding": "half_even",
    "valid_from": at("01-01"),
    "valid_until": None,
    "commission_group": None,
    "component": "cashback",
}


def cents(text: str | None) -> Decimal | None:
    """Return an amount of four digits."""
    return None if text is None else Decimal(text).quantize(Decimal("0.0001"))


def order(transaction_id: str, sale: str, commission: str, number: int = 1, **changed: object) -> Row:
    """Return a row with amounts as they are written by hand; its click is the member's unless said otherwise."""
    amounts = {"sale_amount": cents(sale), "commission_amount": cents(commission)}
    return row(transaction_id, number, **{"click_ref": REF, **amounts, **changed})


def clicked(*click_ids: str, **changed: object) -> list[Row]:
    """Return clicks of one member on the first program."""
    return [click(each, member_id="member-1", **changed) for each in click_ids]


@dataclass(frozen=True, slots=True)
class Books:
    """What the sales of a world should have in the ledger, and what matching said of them."""

    result: Result
    flows: list[Row]

    def on(self, day: str, sale_id: str | None = None) -> dict[str, Decimal]:
        """Return the balances after a day, of one sale or all: a member's as what he is owed, zero ones left out.

        `owed` is commission receivable, `expected` commission not yet approved; each by account where there are
        several, and by currency where it is not the euro.
        """
        until = at(day).date()
        out: dict[str, Decimal] = defaultdict(Decimal)
        accounts = {each["debit_owner"] for each in self.flows if each["debit_kind"] in _COMMISSION}
        for flow in self.flows:
            if flow["effective_for"] > until or sale_id not in (None, flow["document_id"]):
                continue
            currency, scale = flow["asset"].split("/")
            amount = Decimal(flow["amount"]).scaleb(-int(scale))
            for side, sign in (("debit", 1), ("credit", -1)):
                word = {**_COMMISSION, **_CASHBACK}.get(flow[f"{side}_kind"])
                if word is None:
                    continue
                if word in _COMMISSION.values() and len(accounts) > 1:
                    word += f" by {flow[f'{side}_owner']}"
                if currency != "EUR":
                    word += f" {currency}"
                out[word] += amount * (sign if word.startswith(tuple(_COMMISSION.values())) else -sign)
        return {word: amount for word, amount in out.items() if amount}


_COMMISSION = {"commission_receivable": "owed", "commission_expected": "expected"}
_CASHBACK = {
    "cashback_pending": "pending",
    "cashback_confirmed": "confirmed",
    "cashback_payable": "payable",
}


def amounts(**told_: str) -> dict[str, Decimal]:
    """Return balances as written by hand; `by_` and `in_` in a name say account and currency."""
    return {name.replace("_by_", " by ").replace("_in_", " "): Decimal(text) for name, text in told_.items()}


def books(given: World, day: date | None = None, rules: list[Row] | None = None) -> Books:
    """Return the books of a world as of its day; SQL and the references in plain Python must agree on all of it."""
    result, answer = agree(given)
    on = day or given.day
    accounts = sorted({one["partner_account"] for one in given.models})
    payable = pa.table({"partner_account": accounts, "cashback_payable_on": ["approval"] * len(accounts)})
    used = [RULE] if rules is None else rules
    rates = [
        {"rate_on": each, "base": "EUR", "quote": "GBP", "rate": Decimal("0.800000000"), "source": "ecb"}
        for each in (date(2026, 2, 27), date(2026, 6, 29))
    ]
    facts = Facts(
        version=pa.Table.from_pylist(result.versions, schema=VERSION).select(VERSION_FACT.names),
        sale=result.tables.sale.select(SALE_FACT.names).cast(SALE_FACT),
        program=pa.Table.from_pylist(given.programs, schema=PROGRAM),
        cashback_rule=pa.Table.from_pylist(used, schema=CASHBACK_RULE),
        fx_rate=pa.Table.from_pylist(rates, schema=FX_RATE),
        account_setting=payable,
        base_currency="EUR",
    )
    flows = target(ENGINE, facts, on).flows.to_pylist()
    by_hand = accrual.books(
        facts_of(
            answer,
            given.programs,
            used,
            {("GBP", each["rate_on"]): each["rate"] for each in rates},
            dict.fromkeys(accounts, "approval"),
        ),
        on,
    )
    assert _summed(flows) == by_hand
    return Books(result, flows)


def _summed(flows: list[Row]) -> accrual.Books:
    out: accrual.Books = defaultdict(int)
    for flow in flows:
        for side, sign in (("debit", 1), ("credit", -1)):
            key = (
                flow["document_id"],
                flow[f"{side}_kind"],
                flow[f"{side}_owner"],
                flow["asset"],
                flow["effective_for"],
            )
            out[key] += sign * flow["amount"]
    return {key: amount for key, amount in out.items() if amount}
