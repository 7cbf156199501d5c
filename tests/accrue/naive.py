"""The accrual rules in plain Python and exact fractions: slow, sharing no line with the pipeline it judges.

What it reads is in naive_facts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from tests.accrue.naive_facts import SCALES, Books, Payment, Program, Rule, Sale, Term, Version, World

__all__ = [
    "Books", "Payment", "Program", "Rule", "Sale", "Term", "Version", "World", "books", "exact_factor", "expected",
    "factor", "rounded", "shares", "tolerated",
]  # fmt: skip


def rounded(value: Fraction, rounding: str) -> int:
    """Return a value that is not negative as a whole number."""
    whole = value.numerator // value.denominator
    rest = value - whole
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and (rounding == "half_up" or whole % 2)):
        whole += 1
    return whole


def shares(total: int, weights: list[int]) -> list[int]:
    """Return whole shares of a total that is not negative over weights with a positive sum."""
    exact = [Fraction(total * weight, sum(weights)) for weight in weights]
    floors = [share.numerator // share.denominator for share in exact]
    by_rest = sorted(range(len(weights)), key=lambda place: (floors[place] - exact[place], place))
    for place in by_rest[: total - sum(floors)]:
        floors[place] += 1
    return floors


def factor(world: World, source: str, target: str, on: date) -> Fraction | None:
    """Return the rate a posting records, in twelve digits; None while no later rate is known."""
    exact = exact_factor(world, source, target, on)
    return None if exact is None else Fraction(rounded(exact * 10**12, "half_even"), 10**12)


def exact_factor(world: World, source: str, target: str, on: date) -> Fraction | None:
    """Return what a member's amount is multiplied by before its one rounding."""
    if source == target:
        return Fraction(1)
    per_euro = []
    for currency in (source, target):
        if currency == "EUR":
            per_euro.append(Fraction(1))
            continue
        days = sorted(day for known, day in world.rates if known == currency)
        until = [day for day in days if day <= on]
        if not until or until[-1] == days[-1]:
            return None
        per_euro.append(Fraction(world.rates[currency, until[-1]]))
    return per_euro[1] / per_euro[0]


def books(world: World, day: date) -> Books:
    """Return what the sales should have in the ledger as of a day."""
    out: Books = defaultdict(int)
    # A payment belongs to the sale of its transaction: of one that is not known, to none.
    known = {(each.sale_id, each.transaction_id) for each in world.versions}
    paid = tuple(each for each in world.payments if (each.sale_id, each.transaction_id) in known)
    world = replace(world, payments=paid)
    for sale in world.sales:
        before: dict[tuple[str, str, str], int] = {}
        for step_on in _steps(world, sale, day):
            now = _balances(world, sale, step_on, day)
            for account in before.keys() | now.keys():
                out[sale.sale_id, *account, step_on] += now.get(account, 0) - before.get(account, 0)
            before = now
    return {key: amount for key, amount in out.items() if amount}


def _program(world: World, sale: Sale) -> Program | None:
    """Return the terms that were in force at the sale, else at the click, else the last there were."""
    terms = [each for each in world.programs if each.program_id == sale.program_id]
    for at in (sale.occurred_at, sale.clicked_at):
        for each in terms:
            if at is not None and each.valid_from <= at and (each.valid_until is None or at < each.valid_until):
                return each
    return max(terms, key=lambda each: each.valid_from, default=None)


def _approved_on(world: World, sale: Sale) -> date | None:
    program = _program(world, sale)
    if program is None or program.validation_days is None:
        return None
    return sale.sale_on + timedelta(days=program.validation_days)


def _steps(world: World, sale: Sale, day: date) -> list[date]:
    days = {each.effective_on for each in world.versions if each.sale_id == sale.sale_id and not each.is_absent}
    approved_on = _approved_on(world, sale)
    if approved_on is not None and approved_on <= day:
        days.add(approved_on)
    for paid in world.payments:
        if paid.sale_id == sale.sale_id:
            days |= {paid.received_on} if paid.funded_on is None else {paid.received_on, paid.funded_on}
    return sorted(days)


def _is_named(world: World, row: Version, on: date) -> bool:
    return any(
        paid.is_named and paid.received_on <= on and paid.transaction_id == row.transaction_id
        for paid in world.payments
        if paid.sale_id == row.sale_id and paid.line_id in ("", row.line_id)
    )


def _is_funded(world: World, sale: Sale, rows: list[tuple[Version, str]], on: date) -> bool:
    for currency in {row.currency for row, _ in rows}:
        mine = [(row, status) for row, status in rows if row.currency == currency]
        owed = sum(int(row.commission_amount * 10000) for row, status in mine if status == "approved")
        received = sum(
            paid.amount_minor
            for paid in world.payments
            if paid.sale_id == sale.sale_id
            and paid.currency == currency
            and paid.funded_on is not None
            and paid.funded_on <= on
        )
        unit = 10 ** (4 - SCALES[currency])
        if owed > 0 and owed - received > max(Fraction(unit), Fraction(unit * len(mine), 2)):
            return False
    return True


def _rows(world: World, sale: Sale, on: date, day: date) -> list[tuple[Version, str]]:
    latest: dict[tuple[str, str, str], Version] = {}
    for each in sorted(world.versions, key=lambda version: version.version_no):
        if each.sale_id == sale.sale_id and not each.is_absent and each.effective_on <= on:
            latest[each.transaction_id, each.line_id, each.partner_account or ""] = each
    approved_on = _approved_on(world, sale)
    is_over = approved_on is not None and approved_on <= min(on, day)
    return [
        (
            row,
            row.status or ("approved" if row.partner_paid or is_over or _is_named(world, row, on) else "pending"),
        )
        for _, row in sorted(latest.items())
    ]


def _balances(world: World, sale: Sale, on: date, day: date) -> dict[tuple[str, str, str], int]:
    out: dict[tuple[str, str, str], int] = defaultdict(int)
    if _program(world, sale) is None:
        return out

    def flow(debit: tuple[str, str], credit: tuple[str, str], asset: str, amount: int) -> None:
        out[*debit, asset] += amount
        out[*credit, asset] -= amount

    account = sale.partner_account
    rows = _rows(world, sale, on, day)
    standing = [(row, status) for row, status in rows if status != "declined"]
    weights = [int(row.commission_amount * 10000) for row, _ in standing]
    for (row, status), minor in zip(standing, weights, strict=True):
        pair = ("commission_receivable", "commission_income")
        if status == "pending":
            pair = ("commission_expected", "commission_expected_contra")
        owing = row.partner_account or account
        flow((pair[0], owing), (pair[1], owing), f"{row.currency}/4", minor)
    for component in ("cashback", "bonus"):
        earned = _earned(world, sale, [row for row, _ in standing], component)
        if earned is not None:
            _give(world, sale, rows, on, earned, flow)
    return out


def _give(
    world: World,
    sale: Sale,
    rows: list[tuple[Version, str]],
    on: date,
    earned: tuple[int, int, str, Rule],
    flow: Callable[[tuple[str, str], tuple[str, str], str, int], None],
) -> None:
    """Book what a sale earns, shared out over its rows by their commission."""
    account = sale.partner_account
    standing = [(row, status) for row, status in rows if status != "declined"]
    weights = [int(row.commission_amount * 10000) for row, _ in standing]
    member_minor, source_minor, source, rule = earned
    scale = SCALES[rule.currency]
    member_shares = shares(member_minor, weights)
    source_shares = [share * 10 ** (4 - scale) for share in member_shares]
    bridge = "border"
    if source != rule.currency:
        source_shares, bridge = shares(source_minor, weights), "fx_position"
    is_paid = all(row.partner_paid or row.commission_amount <= 0 for row, status in standing if status == "approved")
    is_payable = {"approval": True, "partner_paid": is_paid, "funded": _is_funded(world, sale, rows, on)}
    payable_on = world.program_payable_on.get((account, sale.program_id or ""), world.payable_on[account])
    asset, member = f"{rule.currency}/{scale}", str(sale.member_id)
    for (_, status), member_share, source_share in zip(standing, member_shares, source_shares, strict=True):
        cost, owed = ("cashback_cost", "cashback_confirmed")
        if status == "pending":
            cost, owed = ("cashback_expected_cost", "cashback_pending")
        flow((cost, account), (bridge, ""), f"{source}/4", source_share)
        flow((bridge, ""), (owed, member), asset, member_share)
        if status == "approved" and is_payable[payable_on]:
            flow((owed, member), ("cashback_payable", member), asset, member_share)


def _earned(world: World, sale: Sale, rows: list[Version], component: str) -> tuple[int, int, str, Rule] | None:
    commission = sum((Fraction(row.commission_amount) for row in rows), Fraction(0))
    if commission <= 0 or sale.outcome != "matched" or not sale.earns_cashback or sale.clicked_at is None:
        return None
    editions = {each.rule_id: each for each in world.rules}
    editions |= {each.rule_id: each for each, from_at in world.corrections if from_at <= sale.clicked_at}
    rules = [
        each
        for each in editions.values()
        if each.program_id == sale.program_id
        and each.component == component
        and each.valid_from <= sale.clicked_at
        and (each.valid_until is None or sale.clicked_at < each.valid_until)
    ]
    of_sale = [each for each in world.versions if each.sale_id == sale.sale_id and not each.is_absent]
    told = {each.commission_group for each in of_sale} - {None}
    by_rule: dict[str, list[Version]] = defaultdict(list)
    for row in rows:
        group = row.commission_group or (min(map(str, told)) if len(told) == 1 else None)
        mine = [each for each in rules if each.commission_group == group and group is not None]
        mine = mine or [each for each in rules if each.commission_group is None]
        if mine:
            by_rule[mine[0].rule_id].append(row)
    earning = [(each, by_rule[each.rule_id]) for each in rules if by_rule[each.rule_id]]
    if not earning:
        return None
    rule = earning[0][0]
    currencies = {row.currency for _, mine in earning for row in mine}
    is_fixed = rule.basis == "fixed"
    if not is_fixed and len(currencies) > 1:
        return None
    source = rule.currency if is_fixed else currencies.pop()
    value = sum((_value(each, mine) for each, mine in earning), Fraction(0))
    contract = expected(world, sale, rows)
    if contract is not None and commission - contract > tolerated(world, sale, rows, contract):
        shares_told = [Fraction(each.value) for each, _ in earning if each.basis == "commission_share"]
        value -= max(shares_told, default=Fraction(0)) * (commission - max(contract, Fraction(0)))
    value = Fraction(rounded(max(value, Fraction(0)) * 10**10, "half_up"), 10**10)
    there = exact_factor(world, source, rule.currency, sale.sale_on)
    back = factor(world, rule.currency, source, sale.sale_on)
    if there is None or back is None:
        return None
    at_member, at_source = value * there, value
    if rule.cap is not None and at_member > rule.cap:
        at_member, at_source = Fraction(rule.cap), Fraction(rule.cap) * back
    member_minor = rounded(at_member * 10 ** SCALES[rule.currency], rule.rounding)
    if member_minor == 0:
        return None
    return member_minor, rounded(at_source * 10**4, "half_even"), source, rule


def _value(rule: Rule, rows: list[Version]) -> Fraction:
    """Return what rows earn by their rule, before cap and rounding."""
    commission = sum((Fraction(row.commission_amount) for row in rows), Fraction(0))
    if rule.basis == "commission_share":
        return Fraction(rule.value) * commission
    if rule.basis == "sale_rate":
        return Fraction(rule.value) * sum((Fraction(row.sale_amount) for row in rows), Fraction(0))
    return Fraction(rule.value) if commission > 0 else Fraction(0)


def expected(world: World, sale: Sale, rows: list[Version]) -> Fraction | None:
    """Return what the contract says of the rows that stand, None if it says nothing of them."""
    at = sale.clicked_at or sale.occurred_at
    terms = [each for each in world.terms if each.program_id == sale.program_id and _is_in_force(each, at)]
    if not terms:
        program = _program(world, sale)
        rate = None if program is None else program.commission_rate
        if rate is None or not any(row.kind == "sale" for row in rows):
            return None
        return Fraction(rate) * sum((Fraction(row.sale_amount) for row in rows), Fraction(0))
    told = [each for each in world.versions if each.sale_id == sale.sale_id]
    total = Fraction(0)
    takes_back = [row for row in rows if row.sale_amount < 0 or row.commission_amount < 0]
    is_gone = bool(takes_back) and sum(row.commission_amount for row in rows) <= 0
    for row in rows:
        term = _term(terms, row, told)
        if row.kind == "bonus" or (row.kind == "lead" and (term is None or term.basis != "fixed")):
            total += Fraction(row.commission_amount)
        elif term is None:
            return None
        elif term.basis == "rate":
            total += Fraction(term.value) * Fraction(row.sale_amount)
        elif row not in takes_back and not is_gone:
            total += Fraction(term.value)
    return total


def tolerated(world: World, sale: Sale, rows: list[Version], contract: Fraction) -> Fraction:
    """Return by how much commission may differ from its contract."""
    amount, share = world.tolerance.get(sale.partner_account, (Decimal(0), Decimal(0)))
    relative = Fraction(rounded(abs(contract) * Fraction(share) * 10**10, "half_up"), 10**10)
    return max(Fraction(1, 100), Fraction(len(rows), 200), Fraction(amount), relative)


def _is_in_force(term: Term, at: datetime) -> bool:
    return term.valid_from <= at and (term.valid_until is None or at < term.valid_until)


def _term(terms: list[Term], row: Version, told: list[Version]) -> Term | None:
    """Return the narrowest term that fits the row; what it does not tell is what all of its sale tells."""
    groups = {each.commission_group for each in told} - {None}
    customers = {each.customer_type for each in told} - {None}
    group = row.commission_group or (min(map(str, groups)) if len(groups) == 1 else None)
    customer = row.customer_type or (min(map(str, customers)) if len(customers) == 1 else None)
    fitting = [
        each
        for each in terms
        if each.currency == row.currency
        and (each.commission_group == group or (each.commission_group is None and group != "several"))
        and each.customer_type in (None, customer)
    ]
    return min(fitting, key=lambda each: (each.commission_group is None, each.customer_type is None), default=None)
