"""Versions: what comes back, what contradicts itself, what goes missing, and on which day it is true."""

from __future__ import annotations

from tests.reconcile.test_agrees_with_naive import agree
from tests.reconcile.worlds import Result, at, delivery, model, row, told, world


def statuses(result: Result) -> list[tuple[object, object]]:
    return [(one["status"], one["is_absent"]) for one in result.versions]


def test_pending_declined_pending_is_three_versions() -> None:
    given = world(
        delivery("d1", "03-02", row()),
        delivery("d2", "03-03", row(status="declined")),
        delivery("d3", "03-04", row()),
        delivery("d4", "03-05", row()),
    )
    result, _ = agree(given)
    assert statuses(result) == [("pending", False), ("declined", False), ("pending", False)]
    given.deliveries.reverse()
    assert statuses(told(given)) == [("pending", False), ("declined", False), ("pending", False)]


def test_the_modified_clock_orders_versions_that_arrive_the_wrong_way_round() -> None:
    given = world(
        delivery("d1", "03-05", row(status="pending", modified_at=at("03-02 08:00:10"))),
        delivery("d2", "03-04", row(status="approved", modified_at=at("03-03 08:00"))),
        models=[model(version_clock="modified", clock_precision_seconds=60)],
    )
    result, _ = agree(given)
    assert statuses(result) == [("pending", False), ("approved", False)]


def test_one_instant_told_twice_differently_is_a_break_and_no_version() -> None:
    given = world(delivery("d1", "03-02", row()), delivery("d2", "03-03", row(status="approved"), row("t1", 2)))
    result, _ = agree(given)
    assert statuses(result) == [("pending", False)]
    assert ("t1", "conflicting_versions") in result.kinds()
    assert result.sales["awin_main:t1"]["is_payout_held"]
    given.deliveries.append(delivery("d3", "03-04", row(status="approved")))
    result, _ = agree(given)
    assert ("t1", "conflicting_versions") not in result.kinds()


def test_a_row_missing_from_a_complete_answer_is_absent_until_it_returns() -> None:
    complete = {"states_scope": True, "from_at": at("03-01"), "until_at": at("03-02")}
    given = world(delivery("d1", "03-02", row()), delivery("d2", "03-03", row("t2"), **complete))
    result, _ = agree(given)
    assert [one["is_absent"] for one in result.versions if one["transaction_id"] == "t1"] == [False, True]
    assert ("t1", "vanished_at_partner") in result.kinds()
    given.deliveries.append(delivery("d3", "03-04", row(), row("t2", 2), **complete))
    result, _ = agree(given)
    assert ("t1", "vanished_at_partner") not in result.kinds()


def test_nothing_vanishes_from_an_answer_that_rejected_it_or_whose_window_is_another() -> None:
    for changed in (
        {"rejected": [("t1", None)]},
        {"rejected": [("t1", "")]},
        {"has_unkeyed_rejects": True},
        {"until_at": at("03-01 10:00")},
        {"from_at": at("03-01 10:00:01")},
        {"states_scope": False},
    ):
        scope = {"states_scope": True, **changed}
        result, _ = agree(world(delivery("d1", "03-02", row()), delivery("d2", "03-03", row("t2"), **scope)))
        assert not any(one["is_absent"] for one in result.versions), changed


def test_dates_null_then_set_say_when_a_version_is_true_and_never_go_back() -> None:
    given = world(
        delivery("d1", "03-02", row(occurred_at=at("03-01 23:30"))),
        delivery("d2", "03-04 23:30", row(status="approved", occurred_at=at("03-01 23:30"))),
        delivery("d3", "03-06", row(status="declined", occurred_at=at("03-01 23:30"), modified_at=at("03-03"))),
        delivery("d4", "03-07", row(occurred_at=at("03-01 23:30"), processed_at=at("03-06 12:00"))),
    )
    result, _ = agree(given)
    days = [str(one["effective_on"]) for one in result.versions]
    assert days == ["2026-03-02", "2026-03-05", "2026-03-05", "2026-03-06"]


def test_an_approval_taken_back_without_a_word_is_a_break() -> None:
    given = world(delivery("d1", "03-02", row(status="approved")), delivery("d2", "03-03", row(status="pending")))
    result, _ = agree(given)
    assert ("t1", "illegal_status_change") in result.kinds()
