"""What is really true: which rule can find a sale's click, and what each member is owed, to the cent.

Written from the rules in words, in exact fractions; it shares no line with the pipeline it judges.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa

from sandbox.instants import books_day
from sandbox.model import (
    ACCOUNTS,
    AWIN,
    RAKUTEN,
    TRADETRACKER,
    TRUNCATED_LENGTH,
    Click,
    Conversion,
    Defect,
    FindingRule,
    Program,
    Row,
    Rule,
    Sale,
    State,
    World,
)
from sandbox.rates import Rates

# To how many seconds each partner tells the time of a click (none at Rakuten) and of a sale.
CLICK_PRECISION_SECONDS = {AWIN: 60, TRADETRACKER: 1}
SALE_PRECISION_SECONDS = {AWIN: 60, TRADETRACKER: 1, RAKUTEN: 1}
_REPAIRABLE = (Defect.REF_TRUNCATED, Defect.REF_LOWER_CASED, Defect.REF_URL_ENCODED)

OWED = pa.schema(
    [
        ("partner", pa.string()),
        ("partner_account", pa.string()),
        ("transaction_id", pa.string()),
        ("sale_key", pa.string()),
        ("order_key", pa.string()),
        ("program_id", pa.string()),
        ("member_id", pa.string()),
        ("state", pa.string()),
        ("net_sale", pa.decimal128(18, 4)),
        ("net_commission", pa.decimal128(18, 4)),
        ("commission_currency", pa.string()),
        ("cashback_currency", pa.string()),
        ("pending_minor", pa.int64()),
        ("confirmed_minor", pa.int64()),
        ("defects", pa.string()),
        ("finding_rule", pa.string()),
        ("is_credited", pa.bool_()),
    ]
)
BALANCE = pa.schema(
    [
        ("member_id", pa.string()),
        ("currency", pa.string()),
        ("pending_minor", pa.int64()),
        ("confirmed_minor", pa.int64()),
    ]
)


class ClickIndex:
    """All clicks and conversions, to be asked whether a rule could single one out."""

    def __init__(
        self, clicks: Mapping[str, Click], conversions: Iterable[Conversion], programs: Mapping[str, Program]
    ) -> None:
        self._clicks = clicks
        self._programs = programs
        self._prefixes = Counter(click_id[:TRUNCATED_LENGTH] for click_id in clicks)
        self._folded = Counter(click_id.lower() for click_id in clicks)
        self._times: dict[str, list[datetime]] = defaultdict(list)
        for click in clicks.values():
            self._times[click.program_id].append(click.clicked_at)
        for times in self._times.values():
            times.sort()
        self._by_order: dict[str, list[Click]] = defaultdict(list)
        for conversion in conversions:
            if conversion.click_id is not None:
                self._by_order[conversion.order_ref].append(clicks[conversion.click_id])

    def rule_for(self, sale: Sale) -> FindingRule:
        """Return the first rule that can find the true click of a sale, or none."""
        if sale.true_click_id is None:
            return FindingRule.NONE
        true_click = self._clicks[sale.true_click_id]
        if not self._agrees(true_click, sale):
            return FindingRule.NONE
        if sale.click_ref in self._clicks:
            return FindingRule.CLICK_REF if sale.click_ref == sale.true_click_id else FindingRule.NONE
        if sale.click_ref is not None and self._is_repairable(sale, true_click):
            return FindingRule.CLICK_REF_REPAIRED
        if self._is_only_conversion(sale, true_click):
            return FindingRule.ORDER_REF
        return FindingRule.CLICK_TIME if self._is_only_click_then(sale) else FindingRule.NONE

    def _agrees(self, click: Click, sale: Sale) -> bool:
        lookback = timedelta(days=self._programs[sale.program_id].lookback_days)
        end = sale.occurred_at + timedelta(seconds=SALE_PRECISION_SECONDS[sale.partner])
        return click.program_id == sale.program_id and sale.occurred_at - lookback <= click.clicked_at < end

    def _is_repairable(self, sale: Sale, click: Click) -> bool:
        if not any(defect in sale.defects for defect in _REPAIRABLE):
            return False
        return self._prefixes[click.click_id[:TRUNCATED_LENGTH]] == 1 and self._folded[click.click_id.lower()] == 1

    def _is_only_conversion(self, sale: Sale, click: Click) -> bool:
        if sale.order_ref is None:
            return False
        seen = {one.click_id for one in self._by_order[sale.order_ref] if one.program_id == sale.program_id}
        return seen == {click.click_id}

    def _is_only_click_then(self, sale: Sale) -> bool:
        precision = CLICK_PRECISION_SECONDS.get(sale.partner)
        if precision is None or sale.clicked_at is None:
            return False
        told = sale.clicked_at.replace(second=0) if precision == 60 else sale.clicked_at
        times = self._times[sale.program_id]
        low = bisect_left(times, told - timedelta(seconds=precision))
        # One precision either side of the told interval: nobody could object to this one.
        return bisect_right(times, told + timedelta(seconds=2 * precision)) - low == 1


def credited(sales: Iterable[Sale]) -> set[str]:
    """Return the keys of the sales that are credited: of one real order only the earliest as told."""
    best: dict[str, tuple[tuple[datetime, str, str, str], str]] = {}
    for sale in sales:
        place = (sale.occurred_at, sale.partner, ACCOUNTS[sale.partner], sale.original_transaction_id)
        if sale.order_key not in best or place < best[sale.order_key][0]:
            best[sale.order_key] = (place, sale.sale_key)
    return {sale_key for _, sale_key in best.values()}


@dataclass(frozen=True, slots=True)
class Net:
    """A sale at an instant: what its rows that are not declined add up to."""

    sale: Decimal
    commission: Decimal
    currency: str
    row_count: int
    is_declined: bool
    is_approved: bool


def net_at(rows: Sequence[Row], as_of: datetime) -> Net | None:
    """Return what the rows of one sale say at an instant; None if nothing is reported yet."""
    seen = [state for row in rows if (state := row.state_at(as_of)) is not None]
    if not seen:
        return None
    standing: list[State] = [state for state in seen if state.status != "declined"]
    return Net(
        sum((state.sale_amount for state in standing), Decimal(0)),
        sum((state.commission_amount for state in standing), Decimal(0)),
        seen[0].currency,
        len(seen),
        not standing,
        bool(standing) and all(state.status == "approved" for state in standing),
    )


def cashback_minor(net: Net, rule: Rule, commission_rate: Decimal, rate: Fraction) -> int:
    """Return the cashback of a sale in cents; `rate` is units of its currency per unit of the rule's."""
    commission, sale = Fraction(net.commission), Fraction(net.sale)
    if commission <= 0 or net.is_declined:
        return 0
    contract = Fraction(commission_rate) * sale
    tolerance = max(Fraction(1, 100), Fraction(1, 200) * net.row_count)
    if commission - contract > tolerance:
        commission = max(contract, Fraction(0))
    value = Fraction(rule.value)
    match rule.basis:
        case "commission_share":
            exact = value * commission / rate
        case "sale_rate":
            exact = value * max(sale, Fraction(0)) / rate
        case "fixed":
            exact = value
        case _:
            raise ValueError(f"rule {rule.rule_id} has the unknown basis {rule.basis!r}")
    if rule.cap is not None:
        exact = min(exact, Fraction(rule.cap))
    return rounded(exact * 100, rule.rounding)


def rounded(value: Fraction, rounding: str) -> int:
    """Return a value that is not negative as a whole number, ties up or to the even neighbour."""
    whole, rest = divmod(value.numerator, value.denominator)
    twice = 2 * rest
    if twice > value.denominator or (twice == value.denominator and (rounding == "half_up" or whole % 2 == 1)):
        return whole + 1
    return whole


def rule_at(rules: Sequence[Rule], clicked_at: datetime) -> Rule | None:
    """Return the rule of a program that was valid when the member clicked."""
    for rule in rules:
        if rule.valid_from <= clicked_at and (rule.valid_until is None or clicked_at < rule.valid_until):
            return rule
    return None


def truth_owed(world: World, as_of: datetime) -> pa.Table:
    """Return one row per sale a partner has reported by an instant, with what its member is owed for it."""
    rows_of: dict[str, list[Row]] = defaultdict(list)
    for row in world.rows:
        rows_of[row.sale_key].append(row)
    rules_of: dict[str, list[Rule]] = defaultdict(list)
    for rule in world.rules:
        rules_of[rule.program_id].append(rule)
    programs = {program.program_id: program for program in world.programs}
    clicks = {click.click_id: click for click in world.clicks}
    rates = Rates(world.rates_text)
    known = [(sale, net) for sale in world.sales if (net := net_at(rows_of[sale.sale_key], as_of)) is not None]
    winners = credited(sale for sale, _ in known)
    out = []
    for sale, net in known:
        program = programs[sale.program_id]
        minor, currency = 0, "EUR"
        if sale.true_click_id is not None and sale.sale_key in winners:
            valid = rule_at(rules_of[sale.program_id], clicks[sale.true_click_id].clicked_at)
            if valid is not None:
                day = books_day(sale.occurred_at)
                rate = rates.per_euro(net.currency, day) / rates.per_euro(valid.currency, day)
                minor, currency = cashback_minor(net, valid, program.commission_rate, rate), valid.currency
        state = _state(sale, net, program, as_of)
        out.append(
            {
                "partner": sale.partner,
                "partner_account": ACCOUNTS[sale.partner],
                "transaction_id": sale.original_transaction_id,
                "sale_key": sale.sale_key,
                "order_key": sale.order_key,
                "program_id": sale.program_id,
                "member_id": sale.true_member_id,
                "state": state,
                "net_sale": net.sale,
                "net_commission": net.commission,
                "commission_currency": net.currency,
                "cashback_currency": currency,
                "pending_minor": minor if state == "pending" else 0,
                "confirmed_minor": minor if state == "approved" else 0,
                "defects": sale.defects,
                "finding_rule": sale.finding_rule.value,
                "is_credited": sale.sale_key in winners,
            }
        )
    return pa.Table.from_pylist(out, schema=OWED)


def truth_balance(world: World, as_of: datetime) -> pa.Table:
    """Return what each member is owed at an instant, per currency; members owed nothing at all are left out."""
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in truth_owed(world, as_of).to_pylist():
        if row["member_id"] is not None and (row["pending_minor"] or row["confirmed_minor"]):
            balance = sums[(row["member_id"], row["cashback_currency"])]
            balance[0] += row["pending_minor"]
            balance[1] += row["confirmed_minor"]
    out = [
        {"member_id": member_id, "currency": currency, "pending_minor": pending, "confirmed_minor": confirmed}
        for (member_id, currency), (pending, confirmed) in sorted(sums.items())
    ]
    return pa.Table.from_pylist(out, schema=BALANCE)


def _state(sale: Sale, net: Net, program: Program, as_of: datetime) -> str:
    if net.is_declined:
        return "declined"
    if sale.partner == RAKUTEN:
        due_on = books_day(sale.occurred_at) + timedelta(days=program.validation_days)
        return "approved" if due_on <= books_day(as_of) else "pending"
    return "approved" if net.is_approved else "pending"
