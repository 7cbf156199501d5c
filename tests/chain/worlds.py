"""Random small worlds of the whole chain: what partners report, what we tracked, what people say of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from tests.chain.reported import (
    AWIN,
    BENT,
    CJ,
    CLOCKED,
    INSTANTS,
    KELKOO,
    NUMBERS,
    RAKUTEN,
    REFS,
    TRADETRACKER,
    Report,
    orders,
    reports,
)
from tests.reconcile.naive import Row
from tests.reconcile.worlds import alias, at, click, conversion, program

CHANGED_AT = at("03-01 10:00:10")
OVERLAP = timedelta(hours=6)


@dataclass(frozen=True)
class World:
    """All that comes in, and the day the books are kept for. `reports` differ in what identifies them."""

    reports: tuple[Report, ...]
    clicks: tuple[Row, ...]
    conversions: tuple[Row, ...]
    programs: tuple[Row, ...]
    rules: tuple[Row, ...]
    rates: dict[tuple[str, date], Decimal]
    tracked_until: datetime
    day: date
    decisions: tuple[Row, ...] = ()
    aliases: tuple[Row, ...] = ()


def decimals(least: str, most: str, places: int) -> st.SearchStrategy[Decimal]:
    """Return exact decimals between two."""
    return st.decimals(Decimal(least), Decimal(most), places=places, allow_nan=False)


@st.composite
def programs(draw: st.DrawFn) -> list[Row]:
    """Draw seven programs; the terms of one change at an instant between two sales."""

    def drawn(program_id: str, partner: str, number: str, **changed: object) -> Row:
        return program(
            program_id,
            partner,
            partner_program_id=number,
            merchant_id=draw(st.sampled_from(["m1", "m2"])),
            currency=draw(st.sampled_from(["EUR", "EUR", "GBP"])),
            commission_rate=draw(st.sampled_from([None, Decimal("0.100000"), Decimal("0.080000")])),
            validation_days=draw(st.sampled_from([None, 0, 10])),
            lookback_days=draw(st.sampled_from([1, 30, 30])),
            **changed,
        )

    return [
        drawn("p1", AWIN, "9001"),
        drawn("p2", AWIN, "9002", valid_until=CHANGED_AT),
        drawn("p2", AWIN, "9002", valid_from=CHANGED_AT),
        drawn("p3", TRADETRACKER, "777"),
        drawn("p4", RAKUTEN, "41000"),
        drawn("p5", CLOCKED, "P5"),
        drawn("p6", KELKOO, "fr"),
        drawn("p7", CJ, "41001"),
    ]


@st.composite
def rules(draw: st.DrawFn) -> list[Row]:
    """Draw how sales of each program become cashback; one program changes its rule."""
    out = []
    for program_id, begin, end in (
        ("p1", at("01-01"), at("03-01 09:00")),
        ("p1", at("03-01 09:00"), None),
        *((name, at("01-01"), None) for name in ("p2", "p3", "p4", "p5", "p6", "p7")),
    ):
        basis = draw(st.sampled_from(["commission_share", "commission_share", "sale_rate", "fixed"]))
        span = {"commission_share": ("0.1", "1.1", 3), "sale_rate": ("0.001", "0.1", 6), "fixed": ("0.01", "9", 4)}
        out.append(
            {
                "rule_id": f"r-{program_id}-{begin:%m%d}",
                "program_id": program_id,
                "basis": basis,
                "value": draw(decimals(*span[basis])),
                "cap": draw(st.none() | decimals("0.5", "20", 2)),
                "currency": draw(st.sampled_from(["EUR", "EUR", "EUR", "JPY"])),
                "rounding": draw(st.sampled_from(["half_even", "half_up"])),
                "valid_from": begin,
                "valid_until": end,
                "commission_group": None,
                "component": "cashback",
            }
        )
    return out


@st.composite
def aliases(draw: st.DrawFn, known: list[Row]) -> list[Row]:
    """Draw orders that moved from one partner to another, once or twice, or did not after all."""
    named = sorted(
        {f"{order['partner']}_main:{order['transaction_id']}" for order in known if "transaction_id" in order}
    )
    keys = draw(st.permutations(named))
    days = ["03-01", "03-04", "03-07"]
    moves = [alias(f"m{place}", *keys[place : place + 2], days[place]) for place in range(min(len(keys) - 1, 2))]
    told = moves[: draw(st.sampled_from([0, 0, 1, 2]))]
    return told + [each | {"revision": 2, "state": "void"} for each in told if draw(st.integers(0, 3)) == 3]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw a world; few values, so that keys, references and instants meet."""
    partners = draw(st.lists(st.sampled_from(sorted(NUMBERS)), min_size=4, max_size=8))
    known = [draw(orders(partner, number)) for number, partner in enumerate(partners, start=1)]
    told = draw(st.lists(reports(known), min_size=3, max_size=8))
    own = draw(programs())
    of_partner = {one["program_id"]: one["partner"] for one in own}
    clicks: list[Row] = []
    for name in draw(st.permutations(REFS))[: draw(st.sampled_from([3, 6, 6, 7]))]:
        # Mostly before a sale whose reference it is, or that has none, and of its program, so that some sales earn.
        meant = [
            (one["program_id"], order["occurred_at"])
            for order in known
            for one in own
            if order["click_ref"] == name or BENT.get(order["click_ref"]) == name
            if order["partner_program_id"] == one["partner_program_id"]
        ] or [
            (one["program_id"], order["occurred_at"])
            for order in known
            for one in own
            if order["click_ref"] is None and order["partner_program_id"] == one["partner_program_id"]
        ]
        program_id, sold_at = draw(st.sampled_from(meant * 8 + [(one, INSTANTS[-1]) for one in sorted(of_partner)]))
        before = [moment for moment in [at("02-27 12:00"), at("03-01 09:00")] if moment <= sold_at]
        moment = draw(st.sampled_from(before * 8 + INSTANTS))
        late = timedelta(hours=draw(st.sampled_from([0, 0, 0, 0, 3, 100])))
        clicks.append(
            click(name, program_id=program_id)
            | {"partner": of_partner[program_id], "clicked_at": moment, "committed_at": moment + late}
        )
    conversions = draw(
        st.lists(
            st.builds(
                lambda name, click_id, order_ref: (
                    conversion(name, click_id, order_ref) | {"committed_at": at("03-01 10:00")}
                ),
                st.sampled_from(["v1", "v2", "v3"]),
                st.sampled_from([*(one["click_id"] for one in clicks), None]),
                st.sampled_from(["o1", "o2", None]),
            ),
            max_size=3,
            unique_by=lambda one: one["conversion_id"],
        )
    )
    rates = {
        (currency, on): draw(decimals(*span))
        for currency, span in {"GBP": ("0.83", "0.88", 5), "JPY": ("150", "175", 2)}.items()
        for on in sorted(draw(st.sets(st.sampled_from([date(2026, 2, 26), *_DAYS]), min_size=1, max_size=4)))
    }
    return World(
        tuple({(one.account, one.window, one.observed_at, one.network, repr(one.rows)): one for one in told}.values()),
        tuple(clicks),
        tuple(conversions),
        tuple(own),
        tuple(draw(rules())),
        rates,
        draw(st.sampled_from([at("03-01 18:00"), at("03-12"), at("03-12")])),
        draw(st.sampled_from([date(2026, 3, 7), date(2026, 3, 12), date(2026, 4, 20)])),
        aliases=tuple(draw(aliases(known))),
    )


_DAYS = [date(2026, 2, 27), date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 5)]


@dataclass(frozen=True)
class Pick:
    """What a person will decide once there are breaks: about which of them, counted round and round."""

    break_no: int
    kind: str
    click_no: int
    is_stale: bool
    is_less: bool
    decided_at: datetime
    # None: nobody agreed, which matters only where somebody must.
    agreed_at: datetime | None
    is_proposed: bool


_days = st.sampled_from([at("03-20"), at("03-21"), at("03-21")])
picks = st.builds(
    Pick,
    st.integers(0, 50),
    st.sampled_from(
        ["accept_click", "accept_click", "no_cashback", "release_hold", "release_hold", "undo", "wait", "dispute"]
    ),
    st.integers(0, 7),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([False, False, False, True]),
    _days,
    st.sampled_from([None, None, None, at("03-20 12:00"), at("03-22")]),
    st.sampled_from([False, False, False, True]),
)
