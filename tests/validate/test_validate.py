"""A wrong row is rejected, a strange delivery is held, and both say why; nothing is done twice."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from etl.core.errors import Stop
from etl.core.expectations import EXPECTATIONS, VALUES_MAX, Check, Severity, load_suite, run_checks
from etl.core.schemas import TRANSACTION
from etl.validate import release
from tests.validate.desk import ACCOUNT, FACTS, FIRST_DAY, Desk, instant, row

WRONG = {
    "kind_known": {"kind": "gift"},
    "status_known": {"status": "maybe"},
    "status_given": {"status": None},
    "currency_is_a_code": {"currency": "eur"},
    "program_named": {"partner_program_id": None},
    "program_is_a_number": {"partner_program_id": "12a"},
    "no_lines": {"line_id": "1"},
    "cut_to_the_minute": {"occurred_precision_seconds": 1},
    "precision_is_up_to_a_day": {"occurred_precision_seconds": 0},
    "transaction_id_length": {"transaction_id": "x" * 201},
    "click_ref_length": {"click_ref": "x" * 501},
    "order_ref_length": {"order_ref": "x" * 501},
    "sale_amount_plausible": {"sale_amount": Decimal("10000000.0001")},
    "commission_plausible": {"commission_amount": Decimal("-1000000.0001"), "sale_amount": Decimal("-9999999")},
    "occurred_plausible": {"occurred_at": instant("1999-12-31T23:59:00")},
}
WARNED = {
    "commission_within_sale": {"commission_amount": Decimal("100.0001")},
    "one_direction": {"commission_amount": Decimal("-5")},
    "processed_after_sale": {"processed_at": instant("2026-09-01T11:58:00")},
    "clicked_before_sale": {"partner_clicked_at": instant("2026-09-01T12:01:01")},
}


@pytest.fixture
def desk(warehouse_url: str, tmp_path: Path) -> Desk:
    """An account without deliveries."""
    return Desk(warehouse_url, tmp_path)


def test_rows_that_are_right_are_accepted_as_they_are(desk: Desk) -> None:
    edge = {"sale_amount": Decimal("10000000.0000"), "commission_amount": Decimal("1000000.0000")}
    delivery = desk.deliver([row(1), row(2, **edge), row(3, status="declined", click_ref="c")])
    assert desk.validate().count("accepted") == 3
    assert desk.state(delivery) == ("passed", 3, 3, 0)
    assert desk.accepted(delivery) == [1, 2, 3]
    assert desk.failed(delivery) == {}
    checks = load_suite("transaction", "awin")
    assert desk.ask("SELECT count(*) FROM ops.check_result") == [(len(checks.rows) + len(checks.whole),)]


def test_every_wrong_row_is_rejected_by_name_and_the_others_are_kept(desk: Desk) -> None:
    rows = [row(number, **changes) for number, changes in enumerate(WRONG.values(), 1)]
    good = [row(number) for number in range(len(rows) + 1, 400)]
    delivery = desk.deliver(rows + good)
    assert desk.validate().count("rejects") == len(WRONG)
    assert desk.state(delivery) == ("passed", 399, 399 - len(WRONG), len(WRONG)), (
        "few rejects of many rows hold nothing"
    )
    assert desk.accepted(delivery) == list(range(len(rows) + 1, 400))
    found = desk.ask("SELECT row_number, rule, reason, column_name FROM ops.reject WHERE stage = 'validate'")
    by_row: dict[int, set[str]] = {}
    for number, rule, reason, column in found:
        assert reason and column
        by_row.setdefault(int(str(number)), set()).add(str(rule))
    for number, name in enumerate(WRONG, 1):
        assert name in by_row[number], f"row {number} is rejected by {by_row.get(number)}, not {name}"


def test_a_warning_is_recorded_and_rejects_nothing(desk: Desk) -> None:
    delivery = desk.deliver([row(number, **changes) for number, changes in enumerate(WARNED.values(), 1)])
    desk.validate()
    assert desk.state(delivery) == ("passed", len(WARNED), len(WARNED), 0)
    assert desk.failed(delivery) == dict.fromkeys(WARNED, 1)


def test_every_failing_row_is_listed_however_many(desk: Desk) -> None:
    delivery = desk.deliver([row(number, currency="eur" if number % 2 else "EUR") for number in range(1, 2001)])
    desk.validate()
    assert desk.ask("SELECT count(DISTINCT row_number) FROM ops.reject") == [(1000,)]
    assert desk.state(delivery) == ("held", 2000, 1000, 1000)
    assert "reject_share" in desk.failed(delivery)


def test_a_second_run_writes_nothing(desk: Desk) -> None:
    desk.deliver([row(1), row(2, kind="gift")])
    desk.validate()
    before = desk.ask("SELECT count(*) FROM ops.check_result"), desk.ask("SELECT count(*) FROM ops.reject")
    assert desk.validate().count("deliveries") == 0
    assert (desk.ask("SELECT count(*) FROM ops.check_result"), desk.ask("SELECT count(*) FROM ops.reject")) == before


def test_an_empty_delivery_is_a_fact_and_passes_without_a_history(desk: Desk) -> None:
    delivery = desk.deliver([])
    desk.validate()
    assert desk.state(delivery) == ("passed", 0, 0, 0)


@pytest.mark.parametrize(
    ("moment", "is_outside"),
    [
        # The day begins and ends at midnight in Berlin, which is 22:00 in UTC; a time cut to the minute may be later.
        ("2026-08-31T21:58:00", True),
        ("2026-08-31T21:59:30", False),
        ("2026-08-31T22:00:00", False),
        ("2026-09-01T21:59:00", False),
        ("2026-09-01T22:00:00", True),
    ],
)
def test_a_row_outside_the_window_holds_the_delivery(desk: Desk, moment: str, is_outside: bool) -> None:
    delivery = desk.deliver([row(1), row(2, occurred_at=instant(moment))])
    desk.validate()
    assert desk.state(delivery)[0] == ("held" if is_outside else "passed")
    assert desk.failed(delivery) == ({"dates_in_window": 1} if is_outside else {})


def test_one_key_with_two_contents_is_said(desk: Desk) -> None:
    delivery = desk.deliver(
        [row(1), row(2, transaction_id="t1"), row(3), row(4, transaction_id="t3", content_hash="h3")]
    )
    desk.validate()
    assert desk.failed(delivery) == {"keys_agree": 1}
    assert desk.state(delivery)[0] == "passed"


def history(desk: Desk, sizes: list[int]) -> None:
    for number, size in enumerate(sizes):
        on = FIRST_DAY + timedelta(days=number)
        day_of_rows(desk, on, size)


def day_of_rows(desk: Desk, on: date, size: int) -> str:
    moment = instant(f"{on}T12:00:00")
    return desk.deliver([row(each, occurred_at=moment) for each in range(1, size + 1)], on=on)


def test_a_volume_unlike_the_accounts_own_history_holds_the_delivery_and_is_no_history(desk: Desk) -> None:
    history(desk, [100, 110, 90, 105, 95, 100, 100] * 2)
    expected: list[tuple[int, set[str]]] = [
        (100, set()),
        (900, {"volume_like_before"}),
        (40, {"volume_like_before"}),
        (0, {"volume_like_before", "not_silent"}),
        (900, {"volume_like_before"}),
        (150, set()),
    ]
    deliveries = [day_of_rows(desk, FIRST_DAY + timedelta(days=14 + n), size) for n, (size, _) in enumerate(expected)]
    result = desk.validate()
    for delivery, (_, failed) in zip(deliveries, expected, strict=True):
        assert set(desk.failed(delivery)) == failed
        assert desk.state(delivery)[0] == ("held" if failed else "passed")
    held = [delivery for delivery, (_, failed) in zip(deliveries, expected, strict=True) if failed]
    assert result.count("held") == len(held) == 4
    # The note names the first three; `tallyback holds` lists them all.
    assert [delivery for delivery in deliveries if delivery in result.note] == held[:3]
    # What a person let through is usual from then on; what waits is not, in a later run neither.
    again = day_of_rows(desk, FIRST_DAY + timedelta(days=20), 900)
    desk.validate()
    assert desk.state(again)[0] == "held"
    release(desk.context, again, "Eva", "the shop had a sale")
    after = day_of_rows(desk, FIRST_DAY + timedelta(days=21), 900)
    desk.validate()
    assert desk.state(after)[0] == "passed"


def test_a_file_that_holds_its_rows_twice_is_held_without_any_history(desk: Desk) -> None:
    rows = [row(number) for number in range(1, 31)]
    doubled = desk.deliver(rows + [row(number + 30, **_key(number)) for number in range(1, 31)])
    few = desk.deliver(rows + [row(number + 30, **_key(number)) for number in range(1, 10)], later_days=1)
    desk.validate()
    assert desk.failed(doubled) == {"rows_once": 1}
    assert (desk.state(doubled)[0], desk.state(few)[0]) == ("held", "passed")


def _key(number: int) -> dict[str, object]:
    return {"transaction_id": f"t{number}", "content_hash": f"h{number}"}


def test_an_answer_cut_short_is_held_beside_the_one_before_it_for_the_same_window(desk: Desk) -> None:
    whole = [row(number) for number in range(1, 61)]
    first = desk.deliver(whole)
    cut = desk.deliver([row(number) for number in range(1, 41)], later_days=1)
    usual = desk.deliver([row(number) for number in range(1, 58)], later_days=2)
    desk.validate()
    assert [desk.state(each)[0] for each in (first, cut, usual)] == ["passed", "held", "passed"]
    assert desk.failed(cut) == {"nothing_lost": 1}


def test_a_held_delivery_is_released_once_by_a_person_with_a_reason(desk: Desk) -> None:
    held = desk.deliver([row(1, occurred_at=instant("2026-07-01T12:00:00"))])
    passed = desk.deliver([row(1)])
    with pytest.raises(Stop, match="was not validated"):
        release(desk.context, held, "Eva", "asked the partner")
    desk.validate()
    for person, reason in (("scheduler", "why not"), ("", "x"), ("Eva", " ")):
        with pytest.raises(Stop):
            release(desk.context, held, person, reason)
    with pytest.raises(Stop, match="not held"):
        release(desk.context, passed, "Eva", "asked the partner")
    for _ in range(2):
        release(desk.context, held, "Eva", "asked the partner")
    query = "SELECT delivery_id, parse_version, released_by, reason FROM ops.hold_release"
    assert desk.ask(query) == [(held, 1, "Eva", "asked the partner")]


def test_a_run_of_another_process_meanwhile_is_left_alone(desk: Desk) -> None:
    from etl.validate import validate

    delivery = desk.deliver([row(1)])
    desk.validate()
    assert validate(desk.context, ACCOUNT, replace(FACTS, parse_version=2)).count("deliveries") == 0
    assert validate(desk.context, ACCOUNT, FACTS, [delivery]).count("deliveries") == 0


# --- the suites themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partner", ["awin", "tradetracker", "rakuten"])
def test_every_suite_of_a_partner_can_be_computed_on_rows_and_on_none(partner: str) -> None:
    suite = load_suite("transaction", partner)
    assert len(suite.rows) > 15 and len(suite.whole) >= 6
    names = {check.name for check in suite.rows}
    assert names >= set(WARNED)
    columns = {str(check.kwargs["column"]) for check in suite.rows} - set(TRANSACTION.names)
    facts = {"is_sale_amount_plausible", "is_commission_plausible", "is_commission_within_sale", "is_one_direction"}
    assert facts <= columns
    assert all(check.reason and check.shows for check in (*suite.rows, *suite.whole))


def test_no_bound_of_money_is_left_to_great_expectations() -> None:
    paths = sorted(EXPECTATIONS.glob("*.yaml"))
    assert len(paths) == 7
    for path in paths:
        table = "click" if path.stem == "click" else "transaction"
        suite = load_suite(table, None if path.stem == table else path.stem)
        for check in suite.rows:
            assert check.expectation != "expect_column_values_to_be_between" or "amount" not in str(check.kwargs)


@pytest.mark.parametrize(
    "text",
    [
        "table: click",
        "rows: {}",
        "table: transaction\nrows: [{name: a}]",
        "table: transaction\nrows: [{name: a, expectation: e, kwargs: {}, severity: reject, reason: r}]",
        "table: transaction\nrows: [{name: a, expectation: e, kwargs: {column: c}, severity: shout, reason: r}]",
        "table: transaction\nwhole: [{name: a, expectation: e, kwargs: {column: c, mostly: 1}, severity: hold, "
        "reason: r}]",
        "table: transaction\nparameters: {a: 1.5}",
        "table: [",
    ],
)
def test_a_suite_that_is_wrong_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "transaction.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(Stop, match=r"transaction\.yaml"):
        load_suite("transaction", directory=tmp_path)


@pytest.mark.parametrize("expectation", ["expect_pigs_to_fly", "expect_column_mean_to_be_between"])
def test_an_expectation_that_is_unknown_or_names_no_rows_stops_the_stage(expectation: str) -> None:
    check = Check("strange", expectation, {"column": "n", "max_value": 0}, Severity.REJECT, "r", "n")
    with pytest.raises(Stop):
        run_checks([check], pa.table({"row_number": [1], "n": [5]}))


@pytest.mark.parametrize("together", [1, 200])
def test_small_deliveries_checked_together_are_judged_as_they_are_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr("etl.validate.GROUP_DELIVERIES_MAX", together)
    deliveries = [desk.deliver([row(number) for number in range(1, 40)], later_days=days) for days in (0, 1)]
    wrong = [row(number) for number in range(1, 40)]
    wrong[6] = row(7, status="maybe")
    deliveries.append(desk.deliver(wrong, later_days=2))
    assert desk.validate().count("deliveries") == 3
    assert [desk.state(each)[1:] for each in deliveries] == [(39, 39, 0), (39, 39, 0), (39, 38, 1)]
    found = desk.ask("SELECT delivery_id, row_number, rule, value FROM ops.reject WHERE stage = 'validate'")
    assert found == [(deliveries[2], 7, "status_known", "maybe")]
    assert "status_known" in desk.failed(deliveries[2])
    assert "status_known" not in {**desk.failed(deliveries[0]), **desk.failed(deliveries[1])}


def test_a_value_asked_of_once_is_judged_as_it_is_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    count = VALUES_MAX + 500
    table = pa.table(
        {
            "row_number": pa.array(range(1, count + 1), pa.int64()),
            "status": pa.array([("pending", "approved", "maybe", None)[number % 4] for number in range(count)]),
            "is_right": pa.array([(True, True, False, None)[number % 7 % 4] for number in range(count)]),
            "seconds": pa.array([(0, 60, 100_000, None)[number % 5 % 4] for number in range(count)], pa.int32()),
            "nothing": pa.array([None] * count, pa.string()),
            "transaction_id": pa.array([f"{'x' * (number % 6)}{number}" for number in range(count)]),
            "click_ref": pa.array(
                [None if number % 5 else "é" * (number % 9) + str(number) for number in range(count)]
            ),
            "occurred_at": pa.array([None if number % 7 == 0 else number for number in range(count)]).cast(
                pa.timestamp("us")
            ),
        }
    )
    checks = [
        Check(f"{expectation}_{kwargs['column']}", f"expect_column_{expectation}", kwargs, Severity.REJECT, "r", "n")
        for expectation, kwargs in (
            ("values_to_be_in_set", {"column": "status", "value_set": ["pending", "approved"]}),
            ("values_to_not_be_null", {"column": "status"}),
            ("values_to_match_regex", {"column": "status", "regex": "^[ap]"}),
            ("values_to_be_unique", {"column": "status"}),
            ("values_to_be_in_set", {"column": "is_right", "value_set": [True]}),
            ("values_to_be_between", {"column": "seconds", "min_value": 1, "max_value": 90_000}),
            ("values_to_not_be_null", {"column": "nothing"}),
            ("value_lengths_to_be_between", {"column": "nothing", "min_value": 1}),
            ("value_lengths_to_be_between", {"column": "transaction_id", "max_value": 7}),
            ("values_to_not_match_regex", {"column": "transaction_id", "regex": "xxx"}),
            ("value_lengths_to_equal", {"column": "click_ref", "value": 9}),
            ("values_to_not_be_null", {"column": "click_ref"}),
            ("values_to_not_be_null", {"column": "occurred_at"}),
        )
    ]
    found = run_checks(checks, table)
    assert sum(not outcome.is_passed for outcome in found) == len(checks) - 1
    monkeypatch.setattr("etl.core.expectations.VALUES_MAX", count)
    assert run_checks(checks, table) == found
