"""The SQL and a reference in plain Python say the same of small worlds, whatever the order, split or repetition."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.reconcile import naive
from tests.reconcile.naive import Delivery, Row, World
from tests.reconcile.worlds import DAY, Result, alias, at, click, conversion, model, program, row, told

REFS = ["abcdefghijklmnopQRST", "abcdefghijklmnopQRSX", "Zz+9/x=1234567890aaa", "otherprogram00000001"]
BENT = [REFS[0][:16], REFS[2].lower(), "Zz%2B9%2Fx%3D1234567890aaa", "Zz 9/x=1234567890aaa", "nobodys-reference"]
INSTANTS = [
    at(text) for text in ("02-27 23:30", "03-01 09:00", "03-01 10:00", "03-01 10:00:20", "03-01 10:01", "04-15")
]
MODELS = {
    "awin": model("awin", version_clock="modified", clock_precision_seconds=60),
    "tradetracker": model("tradetracker"),
    "rakuten": model("rakuten", reversal_model="signed_rows", signed_row_link="order", has_status=False),
    "cj": model("cj", reversal_model="signed_rows", signed_row_link="original"),
    "kelkoo": model("kelkoo", reversal_model="aggregate", has_status=False),
}
SIGNED = ("rakuten", "cj", "kelkoo")
PROGRAMS = [
    program("p1", lookback_days=20),
    program("p2", merchant_id="m2", valid_until=at("03-01 10:00:10")),
    program("p3", "tradetracker"),
    program("p4", "rakuten"),
    program("p5", "cj"),
    program("p6", "kelkoo"),
]

instants = st.sampled_from(INSTANTS)
clicks = st.lists(
    st.builds(
        lambda name, at_, one: (
            click(name, program_id=one["program_id"], clicked_at="03-01")
            | {"clicked_at": at_, "partner": one["partner"]}
        ),
        st.sampled_from([*REFS, "late", "LATE"]),
        instants,
        st.sampled_from(PROGRAMS),
    ),
    max_size=6,
)
conversions = st.lists(
    st.builds(
        conversion,
        st.sampled_from(["v1", "v2", "v3"]),
        st.sampled_from([*REFS, None]),
        st.sampled_from(["o1", "o2", None]),
    ),
    max_size=3,
    unique_by=lambda one: one["conversion_id"],
)


@st.composite
def rows(draw: st.DrawFn, partner: str) -> Row:
    """Draw one row of a partner: few values, so that keys, references and instants meet."""
    number = {"awin": ["P1", "P2", "P9"], "tradetracker": ["P3"], "rakuten": ["P4"], "cj": ["P5"], "kelkoo": ["P6"]}
    amount = draw(st.sampled_from([100, 50, -100] if partner in SIGNED else [100, 50]))
    factor = draw(st.sampled_from(["0.1", "0.1", "0.2"]))
    clicked_at = draw(st.sampled_from([None, at("03-01 09:00"), at("03-01 09:00:30")]))
    return row(
        draw(st.sampled_from(["t1", "t2", "t3"])),
        draw(st.integers(1, 4)),
        partner=partner,
        kind=draw(st.sampled_from(["sale", "sale", "sale", "adjustment" if partner == "cj" else "bonus"])),
        original_transaction_id=draw(st.sampled_from([None, "t1", "t2"])) if partner == "cj" else None,
        order_ref=draw(st.sampled_from([None, "o1", "o2"])),
        partner_program_id=draw(st.sampled_from(number[partner])),
        click_ref=draw(st.sampled_from([None, *REFS, *BENT])),
        partner_clicked_at=clicked_at,
        partner_clicked_precision_seconds=60 if clicked_at else None,
        occurred_at=draw(instants),
        occurred_precision_seconds=86_400 if partner == "kelkoo" else draw(st.sampled_from([1, 60])),
        processed_at=draw(st.sampled_from([None, at("03-01 10:30"), at("03-05 12:00")])),
        modified_at=draw(st.sampled_from([None, at("03-02 08:00"), at("03-02 08:00:30"), at("04-01 23:30")])),
        status=None if partner in ("rakuten", "kelkoo") else draw(st.sampled_from(["pending", "approved", "declined"])),
        sale_amount=Decimal(amount).quantize(Decimal("0.0001")),
        commission_amount=(Decimal(amount) * Decimal(factor)).quantize(Decimal("0.0001")),
        currency=draw(st.sampled_from(["EUR", "EUR", "GBP"])),
    )


@st.composite
def deliveries(draw: st.DrawFn) -> list[Delivery]:
    """Draw deliveries of any account, some of which state their scope, some with rejects."""
    out = []
    for number in range(draw(st.integers(1, 5))):
        partner = draw(st.sampled_from(sorted(MODELS)))
        each = Delivery(
            f"d{number}",
            f"{partner}_main",
            at("03-10") + timedelta(days=draw(st.integers(0, 3)), hours=draw(st.sampled_from([0, 23]))),
            draw(st.lists(rows(partner), max_size=3, unique_by=lambda one: (one["transaction_id"], one["row_number"]))),
        )
        each.states_scope = draw(st.booleans())
        each.has_unkeyed_rejects = draw(st.sampled_from([False, False, True]))
        each.until_at = draw(st.sampled_from([at("03-01 10:00"), at("06-01")]))
        each.rejected = draw(st.sampled_from([[], [], [("t1", None)]]))
        out.append(each)
    return out


@st.composite
def aliases(draw: st.DrawFn) -> list[Row]:
    """Draw keys that move, some of them twice, some of which never did after all."""
    keys = draw(st.permutations([f"{partner}_main:t{number}" for partner in MODELS for number in (1, 2, 3)]))
    days = draw(st.permutations(["03-01", "03-05", "03-11", "04-10"]))
    first, second = sorted(days[:2])
    chain = [alias("m1", keys[0], keys[1], first), alias("m2", keys[1], keys[2], second)]
    others = [alias("m3", keys[3], keys[4], days[2]), alias("m4", keys[5], keys[6], days[3])]
    told_ = draw(st.sampled_from([[], chain[:1], chain, others, [*chain, *others]]))
    return told_ + [each | {"revision": 2, "state": "void"} for each in told_ if draw(st.integers(0, 5)) == 5]


worlds = st.builds(
    lambda told_, clicks_, conversions_, sealed, aliases_: World(
        list(MODELS.values()), told_, PROGRAMS, clicks_, conversions_, DAY, sealed, aliases=aliases_
    ),
    deliveries(),
    clicks,
    conversions,
    st.sampled_from([None, at("03-01 10:00:30"), at("06-01")]),
    aliases(),
)
PROPERTY = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _versions_of(result: Result) -> list[tuple[object, ...]]:
    return [tuple(one[name] for name in _VERSION) for one in result.versions]


_VERSION = (
    "partner_account", "transaction_id", "line_id", "version_no", "content_hash", "is_absent", "sale_id",
    "effective_on", "observed_at", "status", "commission_amount",
)  # fmt: skip


def agree(given_: World) -> tuple[Result, naive.Answer]:
    """Assert that both say the same, and return what each says."""
    by_sql, by_hand = told(given_), naive.reconcile(given_)
    chains = [
        tuple(one[name] for name in _VERSION) for key in sorted(by_hand.versions) for one in by_hand.versions[key]
    ]
    assert _versions_of(by_sql) == chains
    for sale_id, sale in by_hand.sales.items():
        said = by_sql.sales[sale_id]
        click_id = None if sale.click is None else sale.click["click_id"]
        assert (said["outcome"], said["rule"], said["click_id"]) == (sale.outcome, sale.rule, click_id), sale_id
        assert said["program_id"] == (None if sale.program is None else sale.program["program_id"])
        assert (said["earns_cashback"], said["is_payout_held"]) == (sale.earns, sale_id in by_hand.held), sale_id
    assert set(by_sql.sales) == set(by_hand.sales)
    breaks = {
        ((one["partner_account"], one["transaction_id"], one["line_id"]), one["kind"]): one["amount"]
        for one in by_sql.breaks
        if one["kind"] != "rate_missing"
    }
    assert set(breaks) == set(by_hand.breaks)
    for key, amount in by_hand.breaks.items():
        assert key[1] == "commission_differs" or breaks[key] == amount, key
    return by_sql, by_hand


@PROPERTY
@given(worlds)
def test_sql_and_the_naive_reference_agree(given_: World) -> None:
    agree(given_)


@PROPERTY
@given(worlds, st.randoms(use_true_random=False))
def test_the_order_and_repetition_of_what_comes_in_changes_nothing(given_: World, chance: object) -> None:
    assert isinstance(chance, random.Random)
    once = told(given_)
    shuffled = World(**{name: getattr(given_, name) for name in World.__dataclass_fields__})
    shuffled.deliveries = chance.sample(given_.deliveries, len(given_.deliveries))
    shuffled.clicks = chance.sample(given_.clicks * 2, 2 * len(given_.clicks))
    shuffled.aliases = chance.sample(given_.aliases, len(given_.aliases))
    shuffled.programs = chance.sample(given_.programs, len(given_.programs))
    shuffled.conversions = chance.sample(given_.conversions, len(given_.conversions))
    again = told(shuffled)
    assert again.versions == once.versions
    assert again.sales == once.sales
    assert again.tables.match == once.tables.match
    assert again.breaks == once.breaks
