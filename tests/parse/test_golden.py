"""What each partner's answer becomes: whole rows, every status, and each row in is one record out."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from etl.core.schemas import TRANSACTION
from tests.parse.answers import (
    RAKUTEN_ROW,
    awin_answer,
    awin_row,
    cj_answer,
    cj_row,
    kelkoo_answer,
    kelkoo_row,
    parsed,
    rakuten_answer,
    tradetracker_answer,
    tradetracker_row,
)

GOLDEN: dict[str, dict[str, Any]] = {
    "awin": {
        "transaction_id": "700123456", "kind": "sale", "order_ref": None, "partner_program_id": "9001",
        "click_ref": "c-7f3a", "partner_clicked_at": datetime(2026, 3, 1, 8, 14),
        "partner_clicked_precision_seconds": 60, "occurred_at": datetime(2026, 3, 1, 8, 31),
        "occurred_precision_seconds": 60, "processed_at": datetime(2026, 4, 1, 22, 0), "status": "approved",
        "raw_status": "approved", "partner_paid": False, "payment_ref": None, "reason": "partial return",
        "sale_amount": Decimal("62.0000"), "commission_amount": Decimal("3.1000"), "currency": "GBP",
        "content_hash": "2eb783002ff326f031504a774e52b0c9d0c4a01a533fe2f12410f5e8f6ac59c9",
    },
    "tradetracker": {
        "transaction_id": "41000107", "kind": "sale", "order_ref": "W-5512", "partner_program_id": "777",
        "click_ref": "c-7f3a", "partner_clicked_at": datetime(2026, 9, 1, 7, 58, 22),
        "partner_clicked_precision_seconds": 1, "occurred_at": datetime(2026, 9, 1, 8, 15, 22),
        "occurred_precision_seconds": 1, "processed_at": None, "status": "approved", "raw_status": "accepted",
        "partner_paid": False, "payment_ref": None, "reason": None, "sale_amount": Decimal("62.0000"),
        "commission_amount": Decimal("3.1000"), "currency": "EUR", "commission_group": "1",
        "content_hash": "8283c808cc7f94cab1d8f4caa62801b385321cf67e777020018f13025af87ea0",
    },
    "rakuten": {
        "transaction_id": "00AA11BB22CC33DD44EE55FF66007788", "kind": "sale", "order_ref": "W-5512",
        "partner_program_id": "41000", "click_ref": "c-7f3a", "partner_clicked_at": None,
        "partner_clicked_precision_seconds": None, "occurred_at": datetime(2026, 3, 1, 9, 31, 12),
        "occurred_precision_seconds": 1, "processed_at": datetime(2026, 3, 1, 9, 31, 16), "status": None,
        "raw_status": None, "partner_paid": False, "payment_ref": None, "reason": None,
        "sale_amount": Decimal("40.0000"), "commission_amount": Decimal("2.0250"), "currency": "GBP",
        "content_hash": "b14dbc5a0706a2f0f3dc20e7e0499b5d6c67f0c3427e10deede3f4eac5579dc8",
    },
    "cj": {
        "transaction_id": "3001000007", "kind": "sale", "original_transaction_id": "880042", "order_ref": "W-5512",
        "partner_program_id": "41000", "click_ref": "c-7f3a", "partner_clicked_at": datetime(2026, 3, 1, 9, 14, 40),
        "partner_clicked_precision_seconds": 1, "occurred_at": datetime(2026, 3, 1, 9, 31, 12),
        "occurred_precision_seconds": 1, "processed_at": datetime(2026, 3, 1, 18, 0, 3), "status": "pending",
        "raw_status": "new/PENDING", "partner_paid": False, "payment_ref": None, "reason": None,
        "sale_amount": Decimal("62.0000"), "commission_amount": Decimal("3.1050"), "currency": "EUR",
        "content_hash": "7bfd5c8e6504ae609de97d260ee78bade24b43868190bbf064e5828cdd2b3a4d",
    },
    "kelkoo": {
        "transaction_id": "2026-03-01/fr/c-7f3a", "kind": "lead", "order_ref": None, "partner_program_id": "fr",
        "click_ref": "c-7f3a", "partner_clicked_at": None, "partner_clicked_precision_seconds": None,
        "occurred_at": datetime(2026, 2, 28, 23), "occurred_precision_seconds": 86_400, "processed_at": None,
        "status": None, "raw_status": None, "partner_paid": False, "payment_ref": None, "reason": None,
        "sale_amount": Decimal("0.0000"), "commission_amount": Decimal("1.2600"), "currency": "EUR",
        "content_hash": "d8538acbe14c14dd4bf63343d01b0de41547f090470e625065853f23c1b995c3",
    },
}  # fmt: skip
ANSWER = {
    "awin": awin_answer(awin_row()),
    "tradetracker": tradetracker_answer(tradetracker_row()),
    "rakuten": rakuten_answer(RAKUTEN_ROW),
    "cj": cj_answer(cj_row()),
    "kelkoo": kelkoo_answer(kelkoo_row()),
}
NOTHING = {
    "awin": b"[]",
    "cj": cj_answer(),
    "kelkoo": kelkoo_answer(),
    "rakuten": rakuten_answer("No Results Found"),
    "tradetracker": tradetracker_answer(),
}


@pytest.mark.parametrize("partner", sorted(GOLDEN))
def test_a_recorded_answer_becomes_exactly_this_transaction(partner: str, tmp_path: Path) -> None:
    good, bad = parsed(partner, tmp_path, ANSWER[partner])
    fixed = {
        "partner": partner, "partner_account": f"{partner}_main", "line_id": "", "original_transaction_id": None,
        "program_id": None, "modified_at": None, "delivery_id": "d1", "row_number": 1,
        "commission_group": None, "customer_type": None,
    }  # fmt: skip
    assert good.to_pylist() == [{name: {**fixed, **GOLDEN[partner]}[name] for name in TRANSACTION.names}]
    assert good.schema == TRANSACTION
    assert bad.num_rows == 0


@pytest.mark.parametrize("partner", sorted(NOTHING))
def test_an_empty_answer_is_a_fact_without_rows(partner: str, tmp_path: Path) -> None:
    good, bad = parsed(partner, tmp_path, NOTHING[partner])
    assert (good.num_rows, bad.num_rows) == (0, 0)


@pytest.mark.parametrize(
    ("partner", "word", "status"),
    [
        ("awin", "pending", "pending"), ("awin", "approved", "approved"), ("awin", "declined", "declined"),
        ("awin", "deleted", "declined"), ("tradetracker", "pending", "pending"),
        ("tradetracker", "accepted", "approved"), ("tradetracker", "rejected", "declined"),
        ("cj", "new", "pending"), ("cj", "EXTENDED", "pending"), ("cj", "locked", "approved"),
        ("cj", "closed", "approved"),
    ],
)  # fmt: skip
def test_every_status_word_has_one_meaning(partner: str, word: str, status: str, tmp_path: Path) -> None:
    content = {
        "awin": lambda: awin_answer(awin_row(commissionStatus=word)),
        "tradetracker": lambda: tradetracker_answer(tradetracker_row(transactionStatus=word)),
        "cj": lambda: cj_answer(cj_row(actionStatus=word, validationStatus=None)),
    }[partner]()
    good, _ = parsed(partner, tmp_path, content)
    assert [(row["status"], row["raw_status"]) for row in good.to_pylist()] == [(status, word)]


@pytest.mark.parametrize(
    ("parts", "acquisition", "group", "customer"),
    [
        ([{"commissionGroupCode": "TOYS", "commissionGroupId": 12}], "NEW", "TOYS", "new"),
        ([{"commissionGroupId": 12}, {"commissionGroupId": 12}], "returning", "12", "existing"),
        ([{"commissionGroupCode": "TOYS"}, {"commissionGroupCode": "CD"}], "lapsed", "several", "lapsed"),
        ([], None, None, None),
        (None, " ", None, None),
    ],
)
def test_what_terms_depend_on_is_taken_from_awin(
    parts: Any, acquisition: str | None, group: str | None, customer: str | None, tmp_path: Path
) -> None:
    answer = awin_answer(awin_row(transactionParts=parts, customerAcquisition=acquisition))
    good, bad = parsed("awin", tmp_path, answer)
    assert [(row["commission_group"], row["customer_type"]) for row in good.to_pylist()] == [(group, customer)]
    assert bad.num_rows == 0


AMOUNT = {"amount": 62.0, "currency": "GBP"}
REJECTED = [
    ("awin", awin_row(commissionStatus="closed"), "unknown", "status"),
    ("awin", awin_row(commissionStatus=None), "missing", "status"),
    ("awin", awin_row(type="Mystery"), "unknown", "type"),
    ("awin", awin_row(id=...), "missing", "transaction_id"),
    ("awin", awin_row(id="../x y"), "malformed", "transaction_id"),
    ("awin", awin_row(transactionDate=None), "missing", "occurred_at"),
    ("awin", awin_row(transactionDate="2026-03-29T02:30:00"), "malformed", "occurred_at"),
    ("awin", awin_row(transactionDate="2026-02-30T02:30:00"), "malformed", "occurred_at"),
    ("awin", awin_row(saleAmount=None), "missing", "sale_amount"),
    ("awin", awin_row(saleAmount={"amount": "1,23,4", "currency": "GBP"}), "malformed", "sale_amount"),
    ("awin", awin_row(saleAmount={"amount": "1_000", "currency": "GBP"}), "malformed", "sale_amount"),
    ("awin", awin_row(saleAmount=AMOUNT | {"currency": "EUR"}), "two_currencies", "currency"),
    ("awin", awin_row(commissionAmount={"amount": 0.00005, "currency": "GBP"}), "malformed", "commission_amount"),
    ("awin", awin_row(commissionAmount={"amount": 3.1, "currency": "gbp"}), "malformed", "currency"),
    ("awin", awin_row(paidToPublisher=...), "missing", "partner_paid"),
    ("awin", awin_row(saleAmount=5), "broken_row", None),
    ("awin", awin_row(orderRef="a\0b"), "broken_row", None),
    ("awin", awin_row(orderRef="\ud800"), "broken_row", None),
    ("awin", awin_row(orderRef="x" * 9_000), "broken_row", None),
    ("tradetracker", tradetracker_row(transactionStatus="under evaluation"), "unknown", "status"),
    ("tradetracker", tradetracker_row(orderAmount=None), "missing", "sale_amount"),
    ("tradetracker", tradetracker_row(transactionType="click"), "unknown", "kind"),
    ("tradetracker", tradetracker_row(registrationDate="01/09/2026, 10:15:22"), "malformed", "occurred_at"),
    ("tradetracker", tradetracker_row(commission="NaN"), "malformed", "commission_amount"),
    ("tradetracker", tradetracker_row() .replace("<ID>777</ID>", ""), "missing", "partner_program_id"),
    ("tradetracker", tradetracker_row().replace("</item>", "<currency>USD</currency></item>"), "broken_row", None),
    ("rakuten", RAKUTEN_ROW.replace(",40,", ',"1,23,4",'), "malformed", "sale_amount"),
    ("rakuten", RAKUTEN_ROW.replace(",40,", ",1_000,"), "malformed", "sale_amount"),
    ("rakuten", RAKUTEN_ROW.replace(",40,", ",1e999990,"), "malformed", "sale_amount"),
    ("rakuten", RAKUTEN_ROW.replace(",40,", ",NaN,"), "malformed", "sale_amount"),
    ("rakuten", RAKUTEN_ROW.replace(",40,", ",,"), "missing", "sale_amount"),
    ("rakuten", RAKUTEN_ROW.replace("3/1/26,9:31:12", "13/1/26,9:31:12"), "malformed", "occurred_at"),
    ("rakuten", RAKUTEN_ROW.replace("3/1/26,9:31:12", ",9:31:12"), "missing", "occurred_at"),
    ("rakuten", RAKUTEN_ROW + ",more", "broken_row", None),
    ("rakuten", RAKUTEN_ROW.replace('"Shop"', '"Shop'), "broken_row", None),
    ("cj", cj_row(commissionId=None), "missing", "transaction_id"),
    ("cj", cj_row(originalActionId=...), "missing", "original_transaction_id"),
    ("cj", cj_row(original="perhaps"), "malformed", "kind"),
    ("cj", cj_row(original=...), "missing", "kind"),
    ("cj", cj_row(actionType="sale_of_a_soul"), "unknown", "kind"),
    ("cj", cj_row(actionStatus="reversed"), "unknown", "status"),
    ("cj", cj_row(validationStatus="MAYBE"), "unknown", "status"),
    ("cj", cj_row(eventDate="2026-03-01 09:31:12"), "malformed", "occurred_at"),
    ("cj", cj_row(postingDate=None), "missing", "processed_at"),
    ("cj", cj_row(saleAmountPubCurrency=None), "missing", "sale_amount"),
    ("cj", cj_row(pubCommissionAmountPubCurrency="1e5"), "malformed", "commission_amount"),
    ("cj", cj_row(saleAmountPubCurrency={"amount": "1"}), "broken_row", None),
    ("kelkoo", kelkoo_row(day=None), "missing", "occurred_at"),
    ("kelkoo", kelkoo_row(day="01/03/2026"), "malformed", "occurred_at"),
    ("kelkoo", kelkoo_row(day="2026-02-30"), "malformed", "occurred_at"),
    ("kelkoo", kelkoo_row(day="2026-03-01T10:00:00"), "malformed", "occurred_at"),
    ("kelkoo", kelkoo_row(revenue=None), "missing", "commission_amount"),
    ("kelkoo", kelkoo_row(revenue=" "), "missing", "commission_amount"),
    ("kelkoo", kelkoo_row(revenue="1,26"), "malformed", "commission_amount"),
    ("kelkoo", kelkoo_row(revenue="1e999990"), "malformed", "commission_amount"),
    ("kelkoo", kelkoo_row().replace("</tracking>", "<day>2026-03-02</day></tracking>"), "broken_row", None),
    ("kelkoo", kelkoo_row().replace("c-7f3a", "<b>c</b>"), "broken_row", None),
]  # fmt: skip


@pytest.mark.parametrize(("partner", "row", "rule", "column"), REJECTED)
def test_a_wrong_row_is_a_reject_with_its_reason_and_the_rows_beside_it_stand(
    partner: str, row: Any, rule: str, column: str | None, tmp_path: Path
) -> None:
    pairs: dict[str, tuple[Callable[..., Any], Any]] = {
        "awin": (awin_answer, awin_row()),
        "tradetracker": (tradetracker_answer, tradetracker_row()),
        "rakuten": (rakuten_answer, RAKUTEN_ROW),
        "cj": (cj_answer, cj_row()),
        "kelkoo": (kelkoo_answer, kelkoo_row()),
    }
    answer, right = pairs[partner]
    good, bad = parsed(partner, tmp_path, answer(right, row, right))
    assert good["row_number"].to_pylist() == [1, 3]
    (reject,) = bad.to_pylist()
    assert (reject["row_number"], reject["rule"], reject["column_name"]) == (2, rule, column)
    assert reject["reason"]
    assert 0 < len(reject["raw"].encode()) <= 4_096


def test_numbers_of_awin_are_read_as_they_stand_and_never_pass_through_a_float(tmp_path: Path) -> None:
    text = awin_answer(awin_row()).decode()
    exact = text.replace("62.0", "12345678901234.5678")
    good, _ = parsed("awin", tmp_path, exact.encode())
    assert good["sale_amount"].to_pylist() == [Decimal("12345678901234.5678")]
    for number in ("1e999990", "NaN", "Infinity", "1E2", "-0.00001"):
        good, bad = parsed("awin", tmp_path, text.replace("62.0", number).encode())
        assert good.num_rows == 0
        assert [row["value"] for row in bad.to_pylist()] == [number]


def test_the_second_reference_of_awin_counts_where_the_first_was_not_set(tmp_path: Path) -> None:
    rows = [
        awin_row(clickRefs=refs) for refs in ({"clickRef2": "b"}, {"clickRef": "a", "clickRef2": "b"}, {}, None, ...)
    ]
    good, _ = parsed("awin", tmp_path, awin_answer(*rows))
    assert good["click_ref"].to_pylist() == ["b", "a", None, None, None]


def test_an_awin_bonus_has_no_click_and_a_paid_sale_its_payment(tmp_path: Path) -> None:
    bonus = awin_row(type="Bonus", clickRefs=None, clickDate=None, saleAmount={"amount": 0, "currency": "GBP"})
    paid = awin_row(paidToPublisher=True, paymentId=9123456)
    good, _ = parsed("awin", tmp_path, awin_answer(bonus, paid))
    rows = good.to_pylist()
    assert (rows[0]["kind"], rows[0]["click_ref"], rows[0]["partner_clicked_precision_seconds"]) == (
        "bonus",
        None,
        None,
    )
    assert (rows[1]["partner_paid"], rows[1]["payment_ref"]) == (True, "9123456")


def test_a_lead_of_tradetracker_sells_nothing_and_a_missing_reference_is_null(tmp_path: Path) -> None:
    lead = tradetracker_row(transactionType="lead", orderAmount=None, reference="", originatingClickDate=None)
    rejected = tradetracker_row(transactionStatus="rejected", rejectionReason="returned", paidOut="true")
    good, _ = parsed("tradetracker", tmp_path, tradetracker_answer(lead), tradetracker_answer(rejected))
    rows = good.to_pylist()
    assert (rows[0]["kind"], rows[0]["sale_amount"], rows[0]["click_ref"]) == ("lead", Decimal("0.0000"), None)
    assert (rows[1]["row_number"], rows[1]["reason"], rows[1]["partner_paid"]) == (2, "returned", True)


def test_a_campaign_that_is_told_once_and_referred_to_later_is_the_same(tmp_path: Path) -> None:
    first = tradetracker_row().replace("<campaign>", '<campaign id="ref1">')
    second = tradetracker_row(ID="2")
    second = second.replace(
        second[second.index("<campaign>") : second.index("<campaignProduct>")], '<campaign href="#ref1"/>'
    )
    good, _ = parsed("tradetracker", tmp_path, tradetracker_answer(first, second))
    assert good["partner_program_id"].to_pylist() == ["777", "777"]


def test_rakuten_takes_back_by_rows_of_their_own(tmp_path: Path) -> None:
    discount = RAKUTEN_ROW.replace(",40,1,2.025,", ",-5,0,-.25,".replace("-.25", "-0.25"))
    later = RAKUTEN_ROW.replace(",40,1,2.025,3/1/26", ',"-1,040.5",1,-52.025,3/19/26')
    absent = RAKUTEN_ROW.replace('"c-7f3a"', '"null"').replace("W-5512", '"null"')
    good, bad = parsed("rakuten", tmp_path, rakuten_answer(discount, later, absent))
    assert bad.num_rows == 0
    rows = good.to_pylist()
    assert [row["kind"] for row in rows] == ["sale", "adjustment", "sale"]
    assert (rows[1]["sale_amount"], rows[1]["commission_amount"]) == (Decimal("-1040.5000"), Decimal("-52.0250"))
    assert rows[1]["occurred_at"] == rows[0]["occurred_at"]
    assert (rows[2]["click_ref"], rows[2]["order_ref"]) == (None, None)


@pytest.mark.parametrize(
    ("network", "currency"), [("1", "USD"), ("3", "GBP"), ("5", "CAD"), ("7", "EUR"), ("9", "EUR"), ("41", "AUD")]
)
def test_the_currency_of_rakuten_follows_from_its_network(network: str, currency: str, tmp_path: Path) -> None:
    good, _ = parsed("rakuten", tmp_path, rakuten_answer(RAKUTEN_ROW), media_type=f"text/csv;network={network}")
    assert good["currency"].to_pylist() == [currency]


@pytest.mark.parametrize("media_type", ["text/csv;network=2", "text/csv"])
def test_a_report_of_an_unknown_network_is_rejected_and_not_guessed(media_type: str, tmp_path: Path) -> None:
    good, bad = parsed("rakuten", tmp_path, rakuten_answer(RAKUTEN_ROW), media_type=media_type)
    assert (good.num_rows, bad.num_rows) == (0, 1)


def test_a_file_of_rakuten_that_was_cut_loses_only_its_last_line_and_says_so(tmp_path: Path) -> None:
    whole = rakuten_answer(RAKUTEN_ROW, RAKUTEN_ROW)
    good, bad = parsed("rakuten", tmp_path, whole[:-9])
    assert good.num_rows == 1
    assert bad["row_number"].to_pylist() == [2]


def test_an_absent_row_number_never_appears_and_parts_are_counted_on(tmp_path: Path) -> None:
    good, bad = parsed("awin", tmp_path, awin_answer(awin_row(), awin_row(id=2, type="?")), awin_answer(awin_row(id=3)))
    assert sorted([*good["row_number"].to_pylist(), *bad["row_number"].to_pylist()]) == [1, 2, 3]
    assert isinstance(good, pa.Table)


def test_a_sum_of_kelkoo_has_the_key_of_its_day_country_and_reference(tmp_path: Path) -> None:
    refs = [None, "", " ", "a+b/c", "x" * 150, "Ünïcode", "null"]
    rows = [kelkoo_row(Custom1=ref) for ref in refs]
    # Clocks are put on in the night to the 29th of March, and back in that to the 25th of October.
    days = [kelkoo_row(day=day) for day in ("2026-03-29", "2026-10-25")]
    good, bad = parsed("kelkoo", tmp_path, kelkoo_answer(*rows, *days), media_type="text/xml;country=de;currency=GBP")
    assert bad.num_rows == 0
    keys = good["transaction_id"].to_pylist()
    assert keys[:3] == ["2026-03-01/de/"] * 3
    assert [key.removeprefix("2026-03-01/de/")[:1] for key in keys[3:7]] == ["~", "~", "~", "~"]
    assert len(set(keys)) == 7
    assert max(len(key) for key in keys) < 100
    assert good["click_ref"].to_pylist()[:4] == [None, None, None, "a+b/c"]
    assert good["occurred_precision_seconds"].to_pylist()[-2:] == [82_800, 90_000]
    assert set(good["currency"].to_pylist()) == {"GBP"}


def test_a_restatement_of_cj_is_two_corrections_and_what_was_declined_is_worth_nothing(tmp_path: Path) -> None:
    back = {"original": False, "correctionReason": "RETURNED_MERCHANDISE"}
    rows = [
        cj_row(commissionId="1", saleAmountPubCurrency="-62.0", pubCommissionAmountPubCurrency="-3.105", **back),
        cj_row(commissionId="2", saleAmountPubCurrency="40", pubCommissionAmountPubCurrency="2", **back),
        cj_row(commissionId="3", actionStatus="locked", validationStatus="DECLINED"),
        cj_row(commissionId="4", actionType="bonus", saleAmountPubCurrency=None, shopperId="", clickDate=None),
    ]
    good, bad = parsed("cj", tmp_path, cj_answer(*rows))
    assert bad.num_rows == 0
    assert good.select(["kind", "status", "sale_amount", "original_transaction_id"]).to_pylist() == [
        {"kind": kind, "status": status, "sale_amount": Decimal(amount), "original_transaction_id": "880042"}
        for kind, status, amount in (
            ("adjustment", "pending", "-62"), ("adjustment", "pending", "40"), ("sale", "declined", "62"),
            ("bonus", "pending", "0"),
        )
    ]  # fmt: skip
    assert good["click_ref"].to_pylist()[-1] is None
