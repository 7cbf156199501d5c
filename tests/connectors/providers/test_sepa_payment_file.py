"""A payment file is valid, the same every time, and says what the batch says: nothing more, nothing less."""

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import etree

from connectors.providers.sepa.payment import Debtor, Payment
from connectors.providers.sepa.reader import Limits, read, verify
from connectors.providers.sepa.rules import AMOUNT_MINOR_MAX, prepare
from connectors.providers.sepa.writer import write
from etl.core.errors import Stop
from tests.connectors.providers.sepa_examples import (
    BATCH,
    DEBTOR,
    IBANS,
    PROFILE,
    payment,
    validate,
    written,
    written_with_facts,
)

HOSTILE_NAMES = (
    "Smith & Sons <Ltd>",
    "]]><CdtTrfTxInf>",
    "&amp;&#0;&lol;",
    "Zoë \x00\x08\x1b",
    "漢字",
    "🦊 Fox",
    "Åse Ødegård-Ñúñez",
    "Ελένη Παπαδοπούλου",
    "Щерю Ъгълов",
    "\u202eesreveR",
    "x" * 300,
    "//",
    " ",
    "",
    "O'Brien-D’Arcy",
)
names = st.one_of(st.text(max_size=90), st.sampled_from(HOSTILE_NAMES), st.from_regex(r"[A-Za-zäöüÀ-ÿ '.-]{1,70}"))
payments_lists = st.lists(
    st.builds(
        lambda name, amount, iban, bic, text: (name, amount, iban, bic, text),
        names,
        st.one_of(st.integers(1, AMOUNT_MINOR_MAX), st.sampled_from((1, 9, 10, 99, 100, AMOUNT_MINOR_MAX))),
        st.sampled_from(IBANS),
        st.sampled_from((None, "COBADEFFXXX", "DEUTDEFF")),
        st.one_of(st.just("Cashback November 2026"), names),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(payments_lists)
@example([(name, 100, IBANS[0], None, "Cashback") for name in HOSTILE_NAMES])
@example([("Erika Mustermann", AMOUNT_MINOR_MAX, IBANS[0], None, text) for text in HOSTILE_NAMES])
def test_whatever_members_are_called_the_file_is_valid_and_read_as_it_was_meant(
    drawn: list[tuple[str, int, str, str | None, str]],
) -> None:
    raw = [
        payment(number, creditor_name=name, amount_minor=amount, iban=iban, bic=bic, remittance_text=text)
        for number, (name, amount, iban, bic, text) in enumerate([("Erika", 100, IBANS[0], None, "Cashback"), *drawn])
    ]
    prepared = prepare(BATCH, reversed(raw), PROFILE)

    # Each payment goes out or has a problem, and not both.
    refused = {problem.payout_id for problem in prepared.problems}
    assert refused | {one.payout_id for one in prepared.payments} == {one.payout_id for one in raw}
    assert not refused & {one.payout_id for one in prepared.payments}
    data, facts = written_with_facts(prepared.payments, prepared.batch)
    validate(data)
    assert (data, facts) == written_with_facts(prepared.payments, prepared.batch), "a second writing differs"
    reading = read(io.BytesIO(data))
    found = list(reading)
    assert [
        (one.end_to_end_id, one.amount_minor, one.currency, one.creditor_name, one.iban, one.bic, one.remittance)
        for one in found
    ] == [
        (one.end_to_end_id, one.amount_minor, one.currency, one.creditor_name, one.iban, one.bic, one.remittance_text)
        for one in prepared.payments
    ]
    assert (prepared.payment_count, prepared.control_sum_minor) == (facts.payment_count, facts.control_sum_minor)
    assert reading.facts.payment_count == facts.payment_count == len(found)
    assert reading.facts.control_sum_minor == facts.control_sum_minor
    assert reading.facts.sha256 == facts.sha256 == hashlib.sha256(data).hexdigest()
    assert reading.facts.byte_count == facts.byte_count == len(data)


@pytest.mark.parametrize("bic", [None, "COBADEFFXXX"])
@pytest.mark.parametrize("has_address", [True, False])
@pytest.mark.parametrize("batch_booking", [True, False])
def test_the_reader_finds_in_the_head_what_the_batch_says(
    bic: str | None, has_address: bool, batch_booking: bool
) -> None:
    debtor = replace(DEBTOR, bic=bic, address=DEBTOR.address if has_address else None)
    batch = replace(BATCH, debtor=debtor, batch_booking=batch_booking)
    profile = replace(PROFILE, batch_booking=batch_booking)
    data = written([payment(1, iban=IBANS[0]), payment(2, iban=IBANS[1])], batch, profile)
    validate(data)
    header, facts = verify(io.BytesIO(data))
    assert header.message_id == batch.message_id
    assert header.payment_information_id == batch.payment_information_id
    assert header.created_at == batch.created_at
    assert header.execute_on == batch.execute_on
    assert header.initiating_party == batch.initiating_party
    assert header.batch_booking == batch.batch_booking
    assert (header.debtor_name, header.debtor_iban, header.debtor_bic) == (debtor.name, debtor.iban, bic)
    assert (header.debtor_address is not None) == has_address
    if header.debtor_address is not None and debtor.address is not None:
        assert asdict(header.debtor_address) == asdict(debtor.address)
    assert header.stated_payment_count == header.order_payment_count == facts.payment_count == 2
    assert header.stated_control_sum_minor == header.order_control_sum_minor == facts.control_sum_minor == 2503


def test_the_purpose_of_each_payment_is_a_rebate() -> None:
    assert {one.purpose for one in read(io.BytesIO(written([payment(1), payment(2)])))} == {"REBT"}


def test_a_file_has_no_clock_and_no_chance_in_it() -> None:
    data = written([payment(1)])
    assert data == written([payment(1)])
    assert b"<CreDtTm>2026-11-23T08:15:30Z</CreDtTm>" in data
    cut = replace(BATCH, created_at=BATCH.created_at + timedelta(microseconds=999_999))
    assert written([payment(1)], cut) == data
    assert written([payment(1)], replace(BATCH, message_id="TB-2")) != data


def test_the_writer_takes_payments_in_order_and_once_each() -> None:
    for payments in ([payment(2), payment(1)], [payment(1), payment(1)]):
        with pytest.raises(Stop, match="ascending by payout_id"):
            written(payments)


@pytest.mark.parametrize(("count", "total"), [(1, 2503), (3, 2503), (2, 2502), (2, 2504), (2, -2503)])
def test_the_writer_stops_if_the_totals_announced_are_not_true(count: int, total: int) -> None:
    with pytest.raises(Stop, match="announced"):
        write(
            BATCH,
            [payment(1), payment(2)],
            io.BytesIO(),
            profile=PROFILE,
            payment_count=count,
            control_sum_minor=total,
        )


def test_the_writer_never_writes_more_payments_than_announced() -> None:
    taken = 0

    def endless() -> Iterator[Payment]:
        nonlocal taken
        while True:
            taken += 1
            yield payment(taken)

    with pytest.raises(Stop, match="at least 4"):
        write(BATCH, endless(), io.BytesIO(), profile=PROFILE, payment_count=3, control_sum_minor=1)
    assert taken == 4


@pytest.mark.parametrize(
    "wrong",
    [
        payment(1, iban="DE88370400440532013000"),
        payment(1, iban="DE89 3704 0044 0532 0130 00"),
        payment(1, creditor_name="Müller"),
        payment(1, creditor_name="A & B"),
        payment(1, creditor_name="x" * 71),
        payment(1, remittance_text=""),
        payment(1, amount_minor=0),
        payment(1, amount_minor=-5),
        payment(1, amount_minor=AMOUNT_MINOR_MAX + 1),
        payment(1, currency="USD"),
        payment(1, end_to_end_id="x" * 36),
        payment(1, end_to_end_id="a//b"),
        payment(1, bic="NONSENSE1"),
        payment(1, payout_id=""),
    ],
)
def test_the_writer_trusts_nobody_who_says_that_payments_were_checked(wrong: Payment) -> None:
    with pytest.raises(Stop):
        written([wrong])


@pytest.mark.parametrize(
    "changed",
    [
        {"message_id": "/x"},
        {"message_id": "x" * 36},
        {"payment_information_id": ""},
        {"initiating_party": "Müller & Co"},
        {"debtor": Debtor(name="x", iban="DE88370400440532013000")},
        {"created_at": datetime(2026, 11, 23, 8, 0)},
        {"created_at": datetime(2026, 11, 23, 8, 0, tzinfo=timezone(timedelta(hours=1)))},
        {"execute_on": date(2026, 11, 22)},
        {"purpose": "SALA"},
        {"batch_booking": False},
    ],
)
def test_the_writer_stops_at_a_batch_that_breaks_a_rule(changed: dict[str, Any]) -> None:
    with pytest.raises(Stop, match="payment file"):
        written([payment(1, iban=IBANS[0])], replace(BATCH, **changed))


def test_the_writer_stops_at_more_payments_than_the_bank_takes() -> None:
    with pytest.raises(Stop, match="split the batch"):
        written([payment(1), payment(2)], profile=replace(PROFILE, payments_max=1))
    with pytest.raises(Stop, match="split the batch"):
        written([])


def test_the_schema_is_the_real_one() -> None:
    # If this validated, the tests above would prove nothing.
    data = written([payment(1)])
    for wrong in (
        data.replace(b"<PmtMtd>TRF</PmtMtd>", b""),
        data.replace(b"<IBAN>DE", b"<IBAN>de"),
        data.replace(b"001.09", b"001.03"),
    ):
        assert wrong != data
        with pytest.raises(etree.XMLSyntaxError):
            validate(wrong)


def test_nothing_that_is_printed_shows_an_account_or_a_name() -> None:
    one = payment(1, iban=IBANS[0])
    reading = read(io.BytesIO(written([one])))
    for shown in (repr(one), repr(DEBTOR), repr(BATCH), repr(reading.header), repr(list(reading)), f"{one}"):
        assert "370400440532013" not in shown.replace(" ", "")
        assert "Mustermann" not in shown


_HUNDRED_THOUSAND = """
import hashlib, io, re, sys, tempfile
from pathlib import Path
from connectors.providers.sepa.reader import verify
from connectors.providers.sepa.writer import write
from tests.connectors.providers.sepa_examples import BATCH, PROFILE, payment

def peak_kilobytes():
    # VmHWM is this process's own; ru_maxrss would begin at the peak of the process that started it.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1))

def whole(count):
    with tempfile.TemporaryFile() as file:
        total = sum(1250 + number for number in range(1, count + 1))
        payments = (payment(number) for number in range(1, count + 1))
        facts = write(BATCH, payments, file, profile=PROFILE, payment_count=count, control_sum_minor=total)
        written_at = peak_kilobytes()
        file.seek(0)
        header, found = verify(file)
        assert (found.sha256, found.payment_count, found.control_sum_minor) == (facts.sha256, count, total)
        return written_at, peak_kilobytes(), facts.byte_count // 1024

whole(1000)
before = peak_kilobytes()
written_at, read_at, file_kilobytes = whole(100_000)
print(written_at - before, read_at - before, file_kilobytes)
"""


def test_a_hundred_thousand_payments_are_written_and_read_in_little_memory() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", _HUNDRED_THOUSAND],
        cwd=Path(__file__).parents[3],
        # Without coverage, which makes it ten times slower; other tests run the same code with it.
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert answer.returncode == 0, answer.stderr
    writing, reading, file_kilobytes = (int(text) for text in answer.stdout.split())
    assert file_kilobytes > 30_000, "the file is too small for the test to show anything"
    assert writing < 4_000, "writing is to be flat"
    # The reader remembers a fingerprint of each reference: about 100 bytes a payment.
    assert reading < 24_000


def test_a_file_longer_than_the_limits_is_refused() -> None:
    data = written([payment(1), payment(2)])
    verify(io.BytesIO(data), Limits(file_bytes=len(data), payments=2))
    with pytest.raises(Stop, match="longer than"):
        verify(io.BytesIO(data), Limits(file_bytes=len(data) - 1))
    with pytest.raises(Stop, match="more than 1 payments"):
        verify(io.BytesIO(data), Limits(payments=1))


def test_facts_exist_only_for_a_file_read_to_its_end() -> None:
    reading = read(io.BytesIO(written([payment(1), payment(2)])))
    with pytest.raises(Stop, match="not verified"):
        _ = reading.facts
    next(iter(reading))
    with pytest.raises(Stop, match="not verified"):
        _ = reading.facts


def test_the_instant_of_a_batch_may_be_midnight() -> None:
    batch = replace(BATCH, created_at=datetime(2026, 12, 31, tzinfo=UTC), execute_on=date(2026, 12, 31))
    header, _ = verify(io.BytesIO(written([payment(1)], batch)))
    assert header.created_at == batch.created_at
