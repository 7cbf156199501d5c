"""Worked examples of a key that moves to another network: the sale goes on, nothing counts twice or is lost."""

from __future__ import annotations

import pytest

from etl.core.alias import moved_keys
from etl.core.errors import Stop
from tests.models.events import REF, RULE, Books, amounts, books, clicked, order
from tests.reconcile.naive import Row, World
from tests.reconcile.worlds import alias, delivery, model, program, world

A, T, R = "awin_main", "tradetracker_main", "rakuten_main"
AT_ONCE = {"processed_at": order("x", "0", "0")["occurred_at"]}


def there(name: str, sale: str, commission: str, **changed: object) -> Row:
    """Return a row of the network that the shop moved to: another program, and no word of the click."""
    return order(name, sale, commission, **{
        "partner": "tradetracker", "partner_program_id": "P3", "click_ref": None, **changed,
    })  # fmt: skip


def moving(*deliveries: tuple[str, list[Row]], aliases: list[Row] | None = None, **changed: object) -> World:
    """Return a world in which the shop moved on the first of April, unless the aliases say otherwise."""
    told = [delivery(f"d{number}", on, *rows) for number, (on, rows) in enumerate(deliveries)]
    moved = [alias("m1", f"{A}:t1", f"{T}:n1", "04-01")] if aliases is None else aliases
    plain = {
        "models": [
            model(),
            model("rakuten", reversal_model="signed_rows", signed_row_link="order", has_status=False),
            model("tradetracker"),
        ],
        "programs": [
            program(validation_days=None), program("p2", "rakuten", validation_days=60),
            program("p3", "tradetracker", validation_days=None),
        ],
        "clicks": clicked(REF),
    }  # fmt: skip
    return world(*told, **{**plain, "aliases": moved, **changed})


def booked(given: World) -> Books:
    return books(given, rules=[RULE, RULE | {"rule_id": "r3", "program_id": "p3"}])


BEFORE = ("03-02", [order("t1", "100", "10")])
AFTER = ("04-08", [there("n1", "80", "8", status="approved")])
OLD, NEW = f"{A}:t1", f"{T}:n1"


def test_the_sale_goes_on_at_the_other_account_with_its_click_and_rule() -> None:
    told = booked(moving(BEFORE, AFTER, ("04-20", [there("n1", "60", "6", status="approved")])))
    assert set(told.result.sales) == {OLD}
    assert told.result.sales[OLD]["click_id"] == REF
    assert not told.result.breaks
    assert told.on("03-31") == amounts(**{f"expected_by_{A}": "10", "pending": "5"})
    assert told.on("04-01") == amounts(**{f"owed_by_{T}": "8", "payable": "4"})
    assert told.on("04-20") == amounts(**{f"owed_by_{T}": "6", "payable": "3"})


def test_without_its_alias_it_is_two_sales_and_one_of_them_nobodys() -> None:
    told = booked(moving(BEFORE, AFTER, aliases=[]))
    assert told.on("05-01") == amounts(**{f"expected_by_{A}": "10", f"owed_by_{T}": "8", "pending": "5"})
    assert told.result.kinds() == {("n1", "unmatched")}


def test_a_higher_revision_undoes_it_and_another_sets_it_right() -> None:
    first = alias("m1", OLD, NEW, "04-01")
    undone = [first, alias("m1", OLD, NEW, "04-01", revision=2, state="void")]
    assert booked(moving(BEFORE, AFTER, aliases=undone)).flows == booked(moving(BEFORE, AFTER, aliases=[])).flows
    later = [*undone, alias("m1", OLD, NEW, "04-05", revision=3)]
    told = booked(moving(BEFORE, AFTER, aliases=later))
    assert told.on("04-04") == amounts(**{f"expected_by_{A}": "10", "pending": "5"})
    assert told.on("04-05") == amounts(**{f"owed_by_{T}": "8", "payable": "4"})


@pytest.mark.parametrize(
    "goodbye",
    [
        [order("t1", "100", "10", status="declined")],
        [order("t1", "100", "10", status="approved")],
        # Left out of a whole answer.
        [],
    ],
)
def test_what_the_former_network_says_after_the_move_is_not_heard(goodbye: list[Row]) -> None:
    gone = delivery("gone", "04-03", *goodbye, states_scope=True)
    alone = moving(BEFORE)
    alone.deliveries.append(gone)
    # As long as the other one has said nothing, what was last known holds.
    assert booked(alone).on("05-01") == amounts(expected="10", pending="5")
    given = moving(BEFORE, AFTER)
    given.deliveries.append(gone)
    told = booked(given)
    assert told.on("05-01") == amounts(**{f"owed_by_{T}": "8", "payable": "4"})
    assert not told.result.breaks


def test_what_both_tell_before_the_move_counts_once() -> None:
    early = ("03-10", [there("n1", "100", "10", status="pending")])
    told = booked(moving(BEFORE, early, AFTER))
    assert told.on("03-31") == amounts(**{f"expected_by_{A}": "10", "pending": "5"})
    assert told.on("04-01") == amounts(**{f"expected_by_{T}": "10", "pending": "5"})
    assert told.on("04-08") == amounts(**{f"owed_by_{T}": "8", "payable": "4"})


def test_a_key_that_nobody_told_before_is_a_sale_of_its_own() -> None:
    told = booked(moving(AFTER))
    assert set(told.result.sales) == {NEW}
    assert told.on("03-31") == amounts(owed="8")


def test_it_may_move_twice_and_under_the_same_id_and_within_an_account() -> None:
    chain = [alias("m1", OLD, f"{T}:t1", "04-01"), alias("m2", f"{T}:t1", f"{T}:t9", "05-01")]
    again = ("05-09", [there("t9", "50", "5", status="approved")])
    told = booked(moving(BEFORE, ("04-08", [there("t1", "80", "8")]), again, aliases=chain))
    assert set(told.result.sales) == {OLD}
    assert told.on("04-01") == amounts(**{f"expected_by_{T}": "8", "pending": "4"})
    assert told.on("05-01") == amounts(**{f"owed_by_{T}": "5", "payable": "2.50"})


def test_an_order_of_signed_rows_moves_whole_with_its_corrections() -> None:
    line = {"partner": "rakuten", "partner_program_id": "P2", "order_ref": "o1", "status": None, **AT_ONCE}
    back = {**line, "kind": "adjustment", "processed_at": order("x", "0", "0")["occurred_at"].replace(day=9)}
    rows = [
        order("t1", "70", "7", **line), order("t2", "30", "3", 2, **line),
        order("t3", "-30", "-3", 3, **back),
        # What the former network takes back because the shop left it.
        order("t4", "-70", "-7", 4, **{**back, "processed_at": back["processed_at"].replace(month=4)}),
    ]  # fmt: skip
    moved = [alias("m1", f"{R}:t1", NEW, "04-01")]
    click_there = [clicked(REF)[0] | {"program_id": "p2", "partner": "rakuten"}]
    given = moving(("04-12", rows), ("04-13", [there("n1", "70", "7", status="approved")]), aliases=moved)
    given.clicks = click_there
    told = books(given, rules=[RULE | {"program_id": "p2"}])
    assert set(told.result.sales) == {f"{R}:P2/o1"}
    assert told.on("03-08") == amounts(**{f"expected_by_{R}": "10", "pending": "5"})
    assert told.on("03-09") == amounts(**{f"expected_by_{R}": "7", "pending": "3.50"})
    assert told.on("04-30") == amounts(**{f"owed_by_{T}": "7", "payable": "3.50"})


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        ([alias("m1", OLD, NEW, "04-01"), alias("m2", OLD, f"{T}:n2", "04-02")], "awin_main:t1 moves away by alias m1"),
        ([alias("m1", OLD, NEW, "04-01"), alias("m2", f"{A}:t2", NEW, "04-02")], "tradetracker_main:n1 is moved to by"),
        ([alias("m1", OLD, NEW, "04-01"), alias("m2", NEW, OLD, "04-02")], "not after it came"),
        ([alias("m1", OLD, NEW, "04-02"), alias("m2", NEW, f"{T}:n2", "04-02")], "not after it came"),
    ],
)
def test_aliases_that_contradict_one_another_are_refused(aliases: list[Row], said: str) -> None:
    with pytest.raises(Stop, match=said):
        moved_keys(aliases)
    void = [each | {"revision": 2, "state": "void"} for each in aliases[1:]]
    assert moved_keys([*aliases, *void]).num_rows == 2
