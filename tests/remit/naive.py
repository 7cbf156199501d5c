"""The remittance rules in plain Python: slow, sharing no line with the pipeline it judges. One currency, EUR."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction

from tests.accrue import naive
from tests.accrue.naive import Books, Payment, World

UNIT = 100


@dataclass(frozen=True, slots=True)
class Line:
    """A line; amounts are in 1/10,000."""

    kind: str
    amount: int
    transaction_id: str | None = None
    line_id: str | None = None
    payment_ref: str | None = None


@dataclass(frozen=True, slots=True)
class Remittance:
    """One revision of a remittance of one account."""

    account: str
    remittance_id: str
    revision: int
    received_on: date | None
    bank_amount: int | None
    lines: tuple[Line, ...]
    period: tuple[date, date] | None = None
    is_withheld: bool = False

    @property
    def told(self) -> int:
        """Return what should arrive."""
        return sum(line.amount for line in self.lines)

    @property
    def is_allocated(self) -> bool:
        """Return whether its money came, ties, and may be allocated."""
        if self.received_on is None or self.bank_amount is None or self.is_withheld:
            return False
        return abs(self.told - self.bank_amount) < UNIT

    def held(self, sign: int) -> int:
        """Return what it carries forward (-1), or brings forward (1)."""
        return sum(abs(line.amount) for line in self.lines if line.kind == "carry_forward" and line.amount * sign > 0)


@dataclass(frozen=True, slots=True)
class WriteOff:
    """What a person said will never come of a sale: since when, how much, of which approved commission."""

    sale_id: str
    on: date
    amount: int
    approved: int


# (account, remittance_id, line_no, transaction_id, line_id) to (amount, rule, received_on, funded_on)
Allocations = dict[tuple[str, str, int, str, str], tuple[int, str, date, date | None]]


def newest(remittances: list[Remittance]) -> list[Remittance]:
    """Return the highest revision of each, in the order their money came."""
    found: dict[tuple[str, str], Remittance] = {}
    for each in sorted(remittances, key=lambda one: one.revision):
        found[each.account, each.remittance_id] = each
    return sorted(found.values(), key=lambda one: (one.received_on or date.max, one.account, one.remittance_id))


def funded_on(one: Remittance, remittances: list[Remittance]) -> date | None:
    """Return when all that was held back up to this one had come back."""
    if not one.held(-1):
        return one.received_on
    mine = [each for each in newest(remittances) if each.account == one.account and each.is_allocated]
    held = sum(each.held(-1) for each in mine[: mine.index(one) + 1])
    held_so_far = returned = excess = 0
    for place, each in enumerate(mine):
        held_so_far += each.held(-1)
        returned += each.held(1)
        excess = max(excess, returned - held_so_far)
        if place >= mine.index(one) and returned - excess >= held:
            return each.received_on
    return None


def _spread(amounts: list[int], whole: int) -> list[int] | None:
    """Return amounts that sum to the whole, if these do but for their rounding."""
    rounded = 0
    for amount in amounts:
        share = Fraction(abs(amount), UNIT)
        near = (share + Fraction(1, 2)).__floor__() * UNIT
        rounded += near if amount >= 0 else -near
    rest = whole - sum(amounts)
    if not amounts or (abs(rest) >= UNIT and rounded != whole):
        return None
    sign, size = (1 if rest > 0 else -1), abs(rest)
    return [
        amount + sign * (size // len(amounts) + (1 if place < size % len(amounts) else 0))
        for place, amount in enumerate(amounts)
    ]


def allocations(
    world: World, remittances: list[Remittance], day: date, is_oldest_first: bool, lost: Sequence[WriteOff] = ()
) -> Allocations:
    """Return what each line pays."""
    out: Allocations = {}
    versions = sorted(world.versions, key=lambda each: each.version_no)
    open_lines = []
    for one in newest(remittances):
        if not one.is_allocated or one.received_on is None:
            continue
        when = (one.received_on, funded_on(one, remittances))
        for number, line in enumerate(one.lines, start=1):
            mine = [each for each in versions if each.sale_id.startswith(one.account + ":") and each.currency == "EUR"]
            if line.kind not in ("commission", "adjustment"):
                continue
            if line.transaction_id is not None:
                if any(
                    each.transaction_id == line.transaction_id and line.line_id in (None, each.line_id) for each in mine
                ):
                    key = (one.account, one.remittance_id, number, line.transaction_id, line.line_id or "")
                    out[key] = (line.amount, "transaction", *when)
                continue
            first: dict[tuple[str, str], int] = {}
            for each in versions:
                is_mine = each.sale_id.startswith(one.account + ":") and each.payment_ref == line.payment_ref
                if line.payment_ref is not None and is_mine and not each.is_absent:
                    worth = int(each.commission_amount * 10000)
                    first.setdefault((each.transaction_id, each.line_id), worth)
            rows = sorted(first)
            shares = _spread([first[row] for row in rows], line.amount)
            if shares is not None:
                for row, share in zip(rows, shares, strict=True):
                    out[one.account, one.remittance_id, number, *row] = (share, "payment_ref", *when)
            elif line.kind == "commission":
                open_lines.append((one, number, line, when))
    named = replace(world, payments=payments(world, out))
    for one, number, line, when in open_lines:
        chosen: dict[str, int] | None = None
        rule = "oldest_first"
        # What was written off before the money came is paid only by name.
        gone = {each.sale_id for each in lost if each.on <= when[0] and each.sale_id.startswith(one.account + ":")}
        closed = {each.transaction_id for each in versions if each.sale_id in gone}
        if one.period is not None:
            for name, begin in (("period", one.period[0]), ("until_period", date.min)):
                left = _left(named, out, one.account, one.period[1], day)
                fitting = {of: amount for of, (amount, on) in sorted(left.items()) if on >= begin and of not in closed}
                shares = _spread(list(fitting.values()), line.amount)
                if shares is not None and chosen is None:
                    rule, chosen = name, dict(zip(fitting, shares, strict=True))
        if chosen is None and is_oldest_first:
            chosen = {}
            left = _left(named, out, one.account, date.fromordinal(when[0].toordinal() + 1), day)
            money = line.amount
            for name, (amount, _) in sorted(left.items(), key=lambda item: (item[1][0] > 0, item[1][1], item[0])):
                if name not in closed and (amount < 0 or money > 0):
                    chosen[name] = min(amount, money) if amount > 0 else amount
                    money -= amount
        for name, amount in (chosen or {}).items():
            out[one.account, one.remittance_id, number, name, ""] = (amount, rule, *when)
    return out


def _left(world: World, out: Allocations, account: str, until: date, day: date) -> dict[str, tuple[int, date]]:
    """Return what is approved of each transaction before a day and not paid yet, and when that last changed.

    A partner that processed a row late did not know of it before.
    """
    first = {(each.transaction_id, each.line_id): each.processed_on for each in world.versions if each.version_no == 1}
    known = [
        replace(each, effective_on=max(each.effective_on, first[each.transaction_id, each.line_id] or date.min))
        for each in world.versions
    ]
    world = replace(world, versions=tuple(known))
    found: dict[str, tuple[int, date]] = {}
    for sale in world.sales:
        if sale.partner_account != account or all(each.program_id != sale.program_id for each in world.programs):
            continue
        before: dict[str, int] = defaultdict(int)
        for step_on in naive._steps(world, sale, day):
            now: dict[str, int] = defaultdict(int)
            for row, status in naive._rows(world, sale, step_on, day):
                if status == "approved" and row.currency == "EUR":
                    now[row.transaction_id] += int(row.commission_amount * 10000)
            for name in sorted({*before, *now}):
                if now[name] != before[name] and step_on < until:
                    found[name] = (now[name], step_on)
            before = now
    paid: dict[str, int] = defaultdict(int)
    for (of, _, _, name, _), (amount, *_) in out.items():
        if of == account:
            paid[name] += amount
    return {name: (amount - paid[name], on) for name, (amount, on) in found.items() if amount != paid[name]}


def payments(world: World, out: Allocations) -> tuple[Payment, ...]:
    """Return the allocations by sale."""
    sale_of = {
        (each.sale_id.partition(":")[0], each.transaction_id): each.sale_id
        for each in sorted(world.versions, key=lambda one: one.sale_id, reverse=True)
    }
    return tuple(
        Payment(
            sale_of[account, name], name, line_id, "EUR", amount, received, funded,
            rule in ("transaction", "payment_ref"),
        )
        for (account, _, _, name, line_id), (amount, rule, received, funded) in out.items()
    )  # fmt: skip


def write_offs(world: World, lost: Sequence[WriteOff], day: date) -> Books:
    """Return what write-offs should have in the ledger; `world` knows all payments."""
    made: Books = defaultdict(int)
    for sale in world.sales:
        mine = sorted((each for each in lost if each.sale_id == sale.sale_id), key=lambda each: each.on)
        if not mine or all(each.program_id != sale.program_id for each in world.programs):
            continue
        steps = naive._steps(world, sale, day)
        paid = [each for each in world.payments if each.sale_id == sale.sale_id]
        before = 0
        for on in sorted({each.on for each in mine} | {*steps} | {each.received_on for each in paid}):
            said = [each for each in mine if each.on <= on]
            if not said:
                continue
            approved = 0
            for step_on in [each for each in steps if each <= on][-1:]:
                for row, status in naive._rows(world, sale, step_on, day):
                    approved += int(row.commission_amount * 10000) if status == "approved" else 0
            received = sum(each.amount_minor for each in paid if each.received_on <= on)
            still = min(approved, max(each.approved for each in said)) - received
            now = max(0, min(still, sum(each.amount for each in said)))
            made[sale.sale_id, "bad_debt", sale.partner_account, "EUR/4", on] += now - before
            made[sale.sale_id, "commission_receivable", sale.partner_account, "EUR/4", on] -= now - before
            before = now
    return {key: amount for key, amount in made.items() if amount}


OTHER = {
    "vat": "vat_payable",
    "withholding": "withholding_tax",
    "fee": "partner_fee",
    "carry_forward": "carried_forward",
    "set_off": "partner_set_off",
}


def books(remittances: list[Remittance], out: Allocations) -> Books:
    """Return what the remittances should have in the ledger."""
    made: Books = defaultdict(int)
    for one in newest(remittances):
        if one.received_on is None or one.bank_amount is None:
            continue
        document, on = f"{one.account}:{one.remittance_id}", one.received_on

        def add(kind: str, owner: str, asset: str, amount: int, document: str = document, on: date = on) -> None:
            made[document, kind, owner, asset, on] += amount

        add("bank", "house_bank", "EUR/2", one.bank_amount // UNIT)
        add("border", "", "EUR/2", -(one.bank_amount // UNIT))
        add("border", "", "EUR/4", one.bank_amount)
        add("partner_clearing", one.account, "EUR/4", -one.bank_amount)
        if not one.is_allocated:
            continue
        add("rounding", one.account, "EUR/4", one.told - one.bank_amount)
        add("partner_clearing", one.account, "EUR/4", one.bank_amount - one.told)
        for line in one.lines:
            if line.kind in OTHER:
                add("partner_clearing", one.account, "EUR/4", line.amount)
                add(OTHER[line.kind], one.account, "EUR/4", -line.amount)
        for (account, name, *_), (amount, *_) in out.items():
            if (account, name) == (one.account, one.remittance_id):
                add("partner_clearing", one.account, "EUR/4", amount)
                add("commission_receivable", one.account, "EUR/4", -amount)
    return {key: amount for key, amount in made.items() if amount}
