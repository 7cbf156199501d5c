"""The chain in plain Python: the references of matching and of accrual, one after the other, on what came in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from tests.accrue import naive as accrual
from tests.chain.dialects import ZONES
from tests.chain.reported import CJ, RAKUTEN, Report
from tests.chain.worlds import OVERLAP, World
from tests.reconcile import naive as matching
from tests.reconcile.naive import Answer, Delivery, Row
from tests.reconcile.naive_facts import local_day
from tests.reconcile.worlds import model

MODELS = [
    model("awin"),
    model("cj", reversal_model="signed_rows", signed_row_link="original"),
    model("clocked", version_clock="modified", clock_precision_seconds=60),
    model("kelkoo", reversal_model="aggregate", has_status=False),
    model("rakuten", reversal_model="signed_rows", signed_row_link="order", has_status=False),
    model("tradetracker"),
]


def reconciled(world: World, id_of: Callable[[Report], str]) -> Answer:
    """Return what the rules of matching say of a world; `id_of` names a delivery."""
    deliveries: dict[str, Delivery] = {}
    for report in world.reports:
        delivery_id = id_of(report)
        if _is_accepted(report) or any(one.is_released for one in world.reports if id_of(one) == delivery_id):
            deliveries[delivery_id] = _delivery(report, delivery_id)
    return matching.reconcile(
        matching.World(
            models=MODELS,
            deliveries=list(deliveries.values()),
            programs=list(world.programs),
            clicks=[one for one in world.clicks if one["committed_at"] < world.tracked_until],
            conversions=[one for one in world.conversions if one["committed_at"] < world.tracked_until],
            day=world.day,
            sealed_until=world.tracked_until - OVERLAP,
            decisions=list(world.decisions),
            rules=list(world.rules),
            rate_days=_rate_days(world),
            aliases=list(world.aliases),
        )
    )


def _rate_days(world: World) -> dict[str, set[object]]:
    days: dict[str, set[object]] = {}
    for currency, on in world.rates:
        days.setdefault(currency, set()).add(on)
    return days


def _span(report: Report) -> tuple[datetime, datetime]:
    zone = ZoneInfo(ZONES[report.account.removesuffix("_main")])
    from_at, until_at = (
        datetime.combine(day, time(), zone).astimezone(UTC).replace(tzinfo=None)
        for day in (report.window.from_on, report.window.until_on)
    )
    return from_at, until_at


def _is_good(report: Report, told: Row) -> bool:
    """Return whether a row is whole, and not of a day that had not come."""
    return told["fault"] is None and told["occurred_at"] <= report.observed_at + timedelta(days=1)


def _is_accepted(report: Report) -> bool:
    """Return whether all good rows are of the window; a delivery with others is held until somebody releases it."""
    from_at, until_at = _span(report)
    for told in report.rows:
        if not _is_good(report, told):
            continue
        happened_at, precision = told["occurred_at"], told["occurred_precision_seconds"]
        if report.account in (f"{CJ}_main", f"{RAKUTEN}_main"):
            happened_at, precision = told["processed_at"], 60
        if happened_at >= until_at or happened_at + timedelta(seconds=precision) <= from_at:
            return False
    return True


def _delivery(report: Report, delivery_id: str) -> Delivery:
    from_at, until_at = _span(report)
    bad = [told for told in report.rows if not _is_good(report, told)]
    return Delivery(
        delivery_id,
        report.account,
        report.observed_at,
        [told for told in report.rows if _is_good(report, told)],
        from_at,
        until_at,
        report.states_scope,
        any(told["fault"] == "key" for told in bad),
        [(told["transaction_id"], told["line_id"]) for told in bad if told["fault"] != "key"],
    )


def booked(world: World, answer: Answer, payable_on: dict[str, str]) -> accrual.Books:
    """Return the books that follow from what matching said."""
    return accrual.books(facts_of(answer, world.programs, world.rules, dict(world.rates), payable_on), world.day)


def facts_of(
    answer: Answer,
    programs: Iterable[Row],
    rules: Iterable[Row],
    rates: dict[tuple[str, date], Decimal],
    payable_on: dict[str, str],
) -> accrual.World:
    """Return the facts of accrual that follow from what matching said."""
    sales = [
        accrual.Sale(
            sale_id,
            sale.lead["partner_account"],
            None if sale.program is None else sale.program["program_id"],
            sale.lead["occurred_at"],
            local_day(sale.lead["occurred_at"], "Europe/Berlin"),
            None if sale.click is None else sale.click["clicked_at"],
            sale.member_id,
            sale.outcome,
            sale.earns,
        )
        for sale_id, sale in answer.sales.items()
    ]
    versions = [
        accrual.Version(
            each["sale_id"], each["transaction_id"], each["line_id"], each["version_no"], each["effective_on"],
            each["status"], each["sale_amount"], each["commission_amount"], each["currency"], each["kind"],
            each["partner_paid"], each["is_absent"], each["payment_ref"], partner_account=each["partner_account"],
        )
        for chain in answer.versions.values()
        for each in chain
    ]  # fmt: skip
    terms = [
        accrual.Program(
            one["program_id"], one["commission_rate"], one["validation_days"], one["valid_from"], one["valid_until"]
        )
        for one in programs
    ]
    own_rules = tuple(accrual.Rule(**one) for one in rules)
    return accrual.World(tuple(versions), tuple(sales), tuple(terms), own_rules, rates, payable_on)


def told_breaks(answer: Answer) -> dict[tuple[object, ...], Decimal | None]:
    """Return the open breaks with the money at stake; of a commission that differs it is not said here how much."""
    return {
        (*key, kind): None if kind == "commission_differs" else amount for (key, kind), amount in answer.breaks.items()
    }
