"""Awin's server refuses what the documentation refuses and tells transactions the way Awin does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from sandbox import clock, credentials, folder
from sandbox.instants import in_zone, parsed
from sandbox.model import AWIN, Defect, World
from sandbox.servers.awin import CallBudget
from sandbox.truth import truth_owed
from sandbox.up import Sandbox, start
from tests.sandbox.places import LATER

SEPTEMBER = {"startDate": "2026-08-31T00:00:00", "endDate": "2026-09-30T23:59:59", "timezone": "UTC"}
Record = dict[str, Any]


def get(
    sandbox: Sandbox, query: Mapping[str, str], token: str | None = None, path: str = "/publishers/50123/transactions/"
) -> httpx.Response:
    if token is None:
        token = credentials.load(sandbox.directory).awin_token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.get(f"{sandbox.addresses['awin']['url']}{path}", params=dict(query), headers=headers)


def records(sandbox: Sandbox, **query: str) -> dict[str, Record]:
    answer = get(sandbox, {**SEPTEMBER, **query})
    assert answer.status_code == 200, answer.text
    return {str(record["id"]): record for record in answer.json()}


def test_a_wrong_or_missing_token_is_refused(running: Sandbox) -> None:
    for token in ("", "wrong"):
        answer = get(running, SEPTEMBER, token)
        assert answer.status_code == 401
        assert answer.json()["error"] == "unauthorized"


def test_the_token_may_come_in_the_query(running: Sandbox) -> None:
    token = credentials.load(running.directory).awin_token
    assert get(running, {**SEPTEMBER, "accessToken": token}, "").status_code == 200


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"endDate": "2026-10-01T00:00:01"}, "31 days"),
        ({"endDate": "2026-08-30T00:00:00"}, "before startDate"),
        ({"startDate": "2026-09-01"}, "startDate must look like"),
        ({"startDate": "2026-09-01T00:00:00Z"}, "startDate must look like"),
        ({"timezone": "Asia/Tokyo"}, "timezone must be one of"),
        ({"dateType": "click"}, "dateType"),
        ({"status": "paid"}, "status"),
    ],
)  # fmt: skip
def test_a_window_it_does_not_allow_is_a_bad_request(running: Sandbox, change: dict[str, str], told: str) -> None:
    answer = get(running, {**SEPTEMBER, **change})
    assert answer.status_code == 400
    assert answer.json()["error"] == "bad_request"
    assert told in answer.json()["description"]


@pytest.mark.parametrize("missing", ["startDate", "endDate", "timezone"])
def test_start_end_and_zone_are_required(running: Sandbox, missing: str) -> None:
    answer = get(running, {name: value for name, value in SEPTEMBER.items() if name != missing})
    assert answer.status_code == 400
    assert missing in answer.json()["description"]


def test_another_publisher_is_not_found(running: Sandbox) -> None:
    assert get(running, SEPTEMBER, path="/publishers/1/transactions/").status_code == 404


def test_thirty_one_days_are_allowed(running: Sandbox) -> None:
    answer = get(running, {**SEPTEMBER, "startDate": "2026-08-31T00:00:00", "endDate": "2026-10-01T00:00:00"})
    assert answer.status_code == 200


def test_the_twenty_first_call_of_a_minute_is_refused(tiny_folder: Path) -> None:
    with start(tiny_folder) as sandbox:
        statuses = [get(sandbox, SEPTEMBER).status_code for _ in range(21)]
    assert statuses == [200] * 20 + [429]


def test_a_minute_later_calls_are_allowed_again() -> None:
    now = [0.0]
    budget = CallBudget(2, lambda: now[0])
    assert [budget.takes() for _ in range(3)] == [True, True, False]
    now[0] = 59.9
    assert not budget.takes()
    now[0] = 60.0
    assert [budget.takes() for _ in range(3)] == [True, True, False]


def test_the_answer_is_dated_by_the_simulated_clock(running: Sandbox) -> None:
    assert get(running, SEPTEMBER).headers["Date"] == "Tue, 01 Dec 2026 06:00:00 GMT"


def test_every_sale_of_the_month_that_has_not_vanished_is_told_once(running: Sandbox, small: World) -> None:
    vanished = {sale.original_transaction_id for sale in small.sales if Defect.VANISHED in sale.defects}
    expected = {row.transaction_id for row in small.rows if row.partner == AWIN} - vanished
    assert len(expected) > 200
    assert set(records(running)) == expected


def test_times_are_cut_to_the_minute_in_the_zone_asked_for(running: Sandbox, small: World) -> None:
    rows = {row.transaction_id: row for row in small.rows if row.partner == AWIN}
    for zone in ("UTC", "Europe/Berlin", "US/Pacific"):
        told = records(running, timezone=zone)
        assert len(told) > 200
        for number, record in told.items():
            local = in_zone(rows[number].occurred_at, ZoneInfo(zone)).replace(second=0)
            assert record["transactionDate"] == local.strftime("%Y-%m-%dT%H:%M:%S")
    assert any(row.occurred_at.second for row in rows.values())


def test_the_zone_moves_the_edges_of_the_window(running: Sandbox, small: World) -> None:
    day = {"startDate": "2026-09-10T00:00:00", "endDate": "2026-09-10T23:59:59"}
    rows = [row for row in small.rows if row.partner == AWIN]
    for zone, start_at, end_at in (
        ("UTC", "2026-09-10T00:00:00Z", "2026-09-11T00:00:00Z"),
        ("Europe/Berlin", "2026-09-09T22:00:00Z", "2026-09-10T22:00:00Z"),
    ):
        expected = {row.transaction_id for row in rows if parsed(start_at) <= row.occurred_at < parsed(end_at)}
        assert set(records(running, **day, timezone=zone)) == expected


def test_amounts_are_numbers_and_agree_with_the_truth(running: Sandbox, small: World) -> None:
    told = records(running)
    owed = {row["transaction_id"]: row for row in truth_owed(small, LATER).to_pylist() if row["partner"] == AWIN}
    for number, record in told.items():
        assert isinstance(record["commissionAmount"]["amount"], float)
        commission = Decimal(repr(record["commissionAmount"]["amount"]))
        expected = Decimal(0) if record["commissionStatus"] == "declined" else commission
        assert owed[number]["net_commission"] == expected
        assert owed[number]["commission_currency"] == record["commissionAmount"]["currency"]


def test_a_declined_row_keeps_its_amounts_and_says_why(running: Sandbox) -> None:
    declined = records(running, status="declined")
    assert len(declined) > 3
    for record in declined.values():
        assert record["commissionStatus"] == "declined"
        assert record["commissionAmount"]["amount"] > 0
        assert record["declineReason"]


def test_an_amended_row_tells_its_old_amounts_too(running: Sandbox) -> None:
    amended = [record for record in records(running).values() if record["amended"]]
    assert len(amended) > 3
    for record in amended:
        assert record["oldSaleAmount"]["amount"] > record["saleAmount"]["amount"]
        assert record["oldCommissionAmount"]["amount"] > record["commissionAmount"]["amount"]
        assert record["amendReason"] == "partial return"


def test_paid_is_a_flag_beside_the_status(running: Sandbox) -> None:
    paid = [record for record in records(running).values() if record["paidToPublisher"]]
    assert len(paid) > 50
    assert all(record["paymentId"] > 0 for record in paid)
    assert {record["commissionStatus"] for record in paid} <= {"approved", "declined"}
    assert all(record["paymentId"] == 0 for record in records(running).values() if not record["paidToPublisher"])


def test_click_references_are_absent_null_empty_or_hold_only_what_was_set(running: Sandbox, small: World) -> None:
    rows = {row.transaction_id: row for row in small.rows if row.partner == AWIN}
    seen = set()
    for number, record in records(running).items():
        refs = record.get("clickRefs")
        if rows[number].click_ref is None:
            assert not refs
            seen.add("none")
        else:
            assert refs is not None
            assert refs.get("clickRef", refs.get("clickRef2")) == rows[number].click_ref
            assert None not in refs.values()
            seen.add("first" if "clickRef" in refs else "second only")
    assert seen == {"none", "first", "second only"}


def test_a_bonus_has_no_sale_and_no_click(running: Sandbox) -> None:
    bonuses = [record for record in records(running).values() if record["type"] == "Bonus"]
    assert bonuses
    for record in bonuses:
        assert record["saleAmount"]["amount"] == 0
        assert record["commissionAmount"]["amount"] > 0
        assert record["clickDate"] is None


def test_validation_and_amendment_dates_can_be_asked_for(running: Sandbox) -> None:
    october = {"startDate": "2026-09-15T00:00:00", "endDate": "2026-10-15T00:00:00"}
    validated = records(running, dateType="validation", **october)
    assert len(validated) > 50
    for record in validated.values():
        assert "2026-09-15" <= record["validationDate"][:10] <= "2026-10-15"
    amended = records(running, dateType="amendment", **october)
    assert amended
    assert all(record["amended"] for record in amended.values())


def test_transactions_can_be_asked_for_by_number(running: Sandbox) -> None:
    wanted = sorted(records(running))[:3]
    answer = get(running, {"ids": ",".join(wanted), "timezone": "UTC"})
    assert sorted(str(record["id"]) for record in answer.json()) == wanted


def test_the_clock_decides_what_is_known_and_the_same_clock_gives_the_same_bytes(small: World, tmp_path: Path) -> None:
    early, late = parsed("2026-09-08T06:00:00Z"), parsed("2026-09-29T06:00:00Z")
    answers: dict[datetime, list[bytes]] = {early: [], late: []}
    for name in ("one", "two"):
        folder.save(small, tmp_path / name)
        with start(tmp_path / name) as sandbox:
            for at in (early, late):
                clock.move_to(tmp_path / name, at)
                answers[at].append(get(sandbox, SEPTEMBER).content)
    assert answers[early][0] == answers[early][1]
    assert answers[late][0] == answers[late][1]
    assert 0 < len(answers[early][0]) < len(answers[late][0]) / 2
