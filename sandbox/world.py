"""Build a world from a seed: people, shops, orders, their lives, what goes wrong, and what is true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from sandbox import chance as chances
from sandbox import claims as claiming
from sandbox import orders as ordering
from sandbox import people, rates, shops, truth, uci
from sandbox.claims import Claim, Claimant
from sandbox.defects import planted, quota
from sandbox.defects import shops as shops_of
from sandbox.instants import midnight
from sandbox.model import (
    AWIN,
    RAKUTEN,
    Conversion,
    Counts,
    Defect,
    FindingRule,
    Member,
    Order,
    Placing,
    Program,
    Row,
    Rule,
    Sale,
    World,
)
from sandbox.orders import Clicks
from sandbox.rows import TransactionIds, rows_of
from sandbox.sizes import DEFECT_SHARES, SIZES

PIXEL_SHARE = 0.7
_PIXEL_WITHOUT_CLICK_SHARE = 0.02
# Beside real orders there are fewer idle clicks, or two years of them would fill the machine.
_IDLE_PER_REAL_ORDER = 2
# Real orders are fetched month by month, and each is to be seen before it may vanish.
_REAL_VANISHES_AFTER_DAYS = (35, 60)


@dataclass(frozen=True, slots=True)
class _Scene:
    """The world before anything is reported."""

    members: tuple[Member, ...]
    member_changes: tuple[Member, ...]
    programs: tuple[Program, ...]
    rules: tuple[Rule, ...]
    orders: list[Order]
    orphans: list[ordering.Orphan]
    clicks: Clicks
    placed: uci.Placed
    from_on: date
    until_on: date


def build_world(
    seed: int,
    size: str,
    from_on: date,
    until_on: date,
    orders_path: Path | None = None,
    rates_path: Path | None = None,
    defect_shares: Mapping[Defect, float] | None = None,
) -> World:
    """Return the world of a seed; the same arguments give the same world, byte for byte.

    `size` names an entry of SIZES. With `orders_path` the orders and the span are those of the table (see `uci`), and
    `size` only says whether defects are planted. `defect_shares` replaces some of the usual shares.
    """
    shares = {**DEFECT_SHARES, **(defect_shares or {})}
    if not SIZES[size].has_defects:
        shares = dict(defect_shares or {})
    if orders_path is None:
        scene = _generated_scene(seed, size, from_on, until_on, shares)
    else:
        scene = _real_scene(seed, orders_path)
        # Every real order must appear at a partner, and reversals without original come from the table itself.
        shares[Defect.MISSING_AT_PARTNER] = shares[Defect.REVERSAL_WITHOUT_ORIGINAL] = 0.0
    defect_of = planted(seed, scene.orders, scene.programs, shares)
    orders = _with_old_clicks(seed, scene, defect_of)
    claims = _claims(seed, scene, orders, defect_of, quota(shares.get(Defect.NO_CLICK_BONUS, 0.0), len(orders)))
    for order in orders:
        if defect_of.get(order.order_key) is Defect.NO_CLICK_COUPON:
            # Nobody clicked: the tracker must not know a click either.
            del scene.clicks.made[order.click_id]
    conversions, missing = _conversions(seed, scene, orders, defect_of)
    told, rows = _reported(seed, claims)
    programs = {program.program_id: program for program in scene.programs}
    sales = _judged(told, truth.ClickIndex(scene.clicks.made, conversions, programs))
    if rates_path is None:
        rates_text = rates.generated(seed, scene.from_on, scene.until_on)
    else:
        # A quarter of a century of rates, read anew each morning, would cost more than the orders of a month.
        first_on = scene.from_on - timedelta(days=rates.LEAD_DAYS)
        last_on = scene.until_on + timedelta(days=rates.TAIL_DAYS)
        rates_text = rates.cut(rates.read_text(rates_path), first_on, last_on)
    clicks = tuple(sorted(scene.clicks.made.values(), key=lambda click: (click.clicked_at, click.click_id)))
    return World(
        seed, size, scene.from_on, scene.until_on, scene.members, scene.member_changes, scene.programs, scene.rules,
        clicks, conversions, missing, sales, rows, rates_text,
        _counts(scene, len(orders), len(sales), len(rows), len(clicks)), tuple(scene.placed.cancellations),
    )  # fmt: skip


def _generated_scene(seed: int, size: str, from_on: date, until_on: date, shares: Mapping[Defect, float]) -> _Scene:
    wanted = SIZES[size]
    members, changes = people.members(seed, wanted.member_count, from_on, until_on)
    programs = shops.programs(seed, shops.shelves(wanted.pattern_count), from_on)
    clicks = Clicks(seed, "all")
    orders = ordering.generated(seed, wanted.order_count, members, programs, clicks, from_on, until_on)
    idle_count = wanted.click_count - len(orders)
    ordering.idle_clicks(seed, idle_count, orders, members, programs, clicks, from_on, until_on)
    orphan_count = quota(shares.get(Defect.REVERSAL_WITHOUT_ORIGINAL, 0.0), len(orders))
    at_rakuten = [program for program in programs if program.partner == RAKUTEN]
    orphans = ordering.orphans(seed, orphan_count, at_rakuten, from_on, until_on)
    rules = shops.rules(programs, from_on, until_on)
    return _Scene(members, changes, programs, rules, orders, orphans, clicks, uci.Placed(), from_on, until_on)


def _real_scene(seed: int, orders_path: Path) -> _Scene:
    invoices = uci.invoices(orders_path)
    from_on, until_on = uci.span(invoices)
    members, changes = people.members(seed, uci.customer_count(invoices), from_on, until_on)
    countries, shelves = uci.shelves(invoices)
    programs = shops.programs(seed, shelves, from_on)
    clicks = Clicks(seed, "all")
    placed = uci.placed(seed, invoices, members, countries, programs, clicks)
    idle_count = _IDLE_PER_REAL_ORDER * len(placed.orders)
    ordering.idle_clicks(seed, idle_count, placed.orders, members, programs, clicks, from_on, until_on)
    rules = shops.rules(programs, from_on, until_on)
    return _Scene(members, changes, programs, rules, placed.orders, placed.orphans, clicks, placed, from_on, until_on)


def _with_old_clicks(seed: int, scene: _Scene, defect_of: Mapping[str, Defect]) -> list[Order]:
    """Return the orders, those that come outside their window with a click old enough instead of their own."""
    chance = chances.stream(seed, "old clicks")
    programs = {program.program_id: program for program in scene.programs}
    orders = []
    for order in scene.orders:
        if defect_of.get(order.order_key) is Defect.OUTSIDE_WINDOW:
            del scene.clicks.made[order.click_id]
            program = programs[order.program_id]
            age = chances.days(chance, program.lookback_days + 2, program.lookback_days + 15)
            click = scene.clicks.click(program, order.member_id, order.occurred_at - age)
            orders.append(replace(order, click_id=click.click_id))
        else:
            orders.append(order)
    return orders


def _claims(
    seed: int, scene: _Scene, orders: Iterable[Order], defect_of: Mapping[str, Defect], bonus_count: int
) -> list[Claim]:
    chance = chances.stream(seed, "claims")
    claimant = Claimant(chance, shops_of(scene.programs), scene.clicks, scene.members)
    if scene.placed.orders:
        claimant = replace(claimant, vanishes_after_days=_REAL_VANISHES_AFTER_DAYS)
    claims = [claim for order in orders for claim in claimant.claims(order, defect_of.get(order.order_key))]
    programs = {program.program_id: program for program in scene.programs}
    at_awin = [program for program in scene.programs if program.partner == AWIN]
    start, end = midnight(scene.from_on), midnight(scene.until_on)
    for number in range(bonus_count if at_awin else 0):
        at = chances.instant_between(chance, start, end)
        claims.append(claiming.bonus(chance, number + 1, chance.choice(at_awin), at))
    for number, orphan in enumerate(scene.orphans):
        claims.append(claiming.reversal(chance, number + 1, orphan, programs))
    return claims


def _conversions(
    seed: int, scene: _Scene, orders: Iterable[Order], defect_of: Mapping[str, Defect]
) -> tuple[tuple[Conversion, ...], tuple[Conversion, ...]]:
    """Return what our pixel saw, and of it what no partner ever reports."""
    chance = chances.stream(seed, "pixel")
    programs = {program.program_id: program for program in scene.programs}
    seen, missing = [], []
    for order in orders:
        is_seen, is_blind = chance.random() < PIXEL_SHARE, chance.random() < _PIXEL_WITHOUT_CLICK_SHARE
        delay = timedelta(milliseconds=chance.randint(200, 4000))
        defect = defect_of.get(order.order_key)
        is_missing = defect is Defect.MISSING_AT_PARTNER
        if defect is Defect.NO_CLICK_COUPON or not (is_seen or is_missing):
            continue
        conversion = Conversion(
            conversion_id="v-" + chances.code(chance, 16),
            click_id=order.click_id if is_missing or not is_blind else None,
            order_ref=order.order_ref,
            occurred_at=order.occurred_at + delay,
            amount=order.amount,
            currency=programs[order.program_id].currency,
            committed_at=order.occurred_at + delay + timedelta(seconds=1),
        )
        seen.append(conversion)
        if is_missing:
            missing.append(conversion)
    return tuple(seen), tuple(missing)


def _reported(seed: int, claims: Sequence[Claim]) -> tuple[list[Sale], tuple[Row, ...]]:
    chance = chances.stream(seed, "rows")
    ids = TransactionIds(chances.stream(seed, "transaction ids"))
    sales: list[Sale] = []
    rows: list[Row] = []
    for claim in sorted(claims, key=lambda one: (one.occurred_at, one.order_key, one.program.program_id)):
        sale_key = f"s-{len(sales) + 1:06d}"
        made = rows_of(chance, ids, claim, sale_key)
        rows += made
        sales.append(_sale(claim, sale_key, made))
    return sales, tuple(rows)


def _sale(claim: Claim, sale_key: str, made: Sequence[Row]) -> Sale:
    # Rakuten's lines of one order are equals; the smallest id stands for the sale.
    first = min(row.transaction_id for row in made if row.processed_at == claim.processed_at)
    return Sale(
        sale_key=sale_key,
        order_key=claim.order_key,
        partner=claim.program.partner,
        program_id=claim.program.program_id,
        order_ref=claim.order_ref,
        click_ref=claim.click_ref,
        clicked_at=claim.clicked_at,
        occurred_at=claiming.reported_time(claim.program.partner, claim.occurred_at),
        reported_at=claim.reported_at,
        true_click_id=claim.true_click_id,
        true_member_id=claim.true_member_id,
        defects=",".join(claim.defects),
        life=claim.life,
        finding_rule=FindingRule.NONE,
        original_transaction_id=first,
        is_credited=True,
    )


def _judged(sales: Sequence[Sale], index: truth.ClickIndex) -> tuple[Sale, ...]:
    winners = truth.credited(sales)
    return tuple(
        replace(sale, finding_rule=index.rule_for(sale), is_credited=sale.sale_key in winners) for sale in sales
    )


def _counts(scene: _Scene, order_count: int, sale_count: int, row_count: int, click_count: int) -> Counts:
    placed = scene.placed
    of = {placing: placed.count(placing) for placing in Placing}
    return Counts(
        order_count - of[Placing.ALONE], sale_count, row_count, click_count, len(placed.cancellations),
        of[Placing.WHOLE], of[Placing.PART], of[Placing.SHORT], of[Placing.WITHOUT_ORIGINAL], of[Placing.ALONE],
    )  # fmt: skip
