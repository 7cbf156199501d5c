"""A payment file that was changed after it was written is refused, whatever was changed."""

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.providers.sepa.reader import ReadHeader, ReadPayment, read, verify
from etl.core.errors import Stop
from tests.connectors.providers.sepa_examples import IBANS, payment, validate, written

FILE = written([payment(1, bic="COBADEFFXXX"), payment(2), payment(3)])
TEXT = FILE.decode()
PAYMENTS = re.findall(r"<CdtTrfTxInf>.*?</CdtTrfTxInf>\n", TEXT)
BEGIN = '<?xml version="1.0" encoding="UTF-8"?>\n'


def everything(data: bytes) -> tuple[ReadHeader, list[ReadPayment]]:
    reading = read(io.BytesIO(data))
    return reading.header, list(reading)


def totals(text: str, count: int, euros: str) -> str:
    text = re.sub("<NbOfTxs>[0-9]+<", f"<NbOfTxs>{count}<", text)
    return re.sub("<CtrlSum>[0-9.]+<", f"<CtrlSum>{euros}<", text)


TAMPERED = {
    "an amount": TEXT.replace("12.51", "92.51", 1),
    "two amounts that change places with one cent": TEXT.replace("12.51", "12.50").replace("12.53", "12.55"),
    "a payment taken out": TEXT.replace(PAYMENTS[1], ""),
    "a payment twice": TEXT.replace(PAYMENTS[1], PAYMENTS[1] * 2),
    "a payment twice, totals set right": totals(TEXT.replace(PAYMENTS[1], PAYMENTS[1] * 2), 4, "50.08"),
    "all payments taken out": totals("".join(TEXT.split(PAYMENTS[0] + PAYMENTS[1] + PAYMENTS[2])), 0, "0.00"),
    "both control sums": TEXT.replace("<CtrlSum>37.56", "<CtrlSum>37.57"),
    "the first control sum": TEXT.replace("<CtrlSum>37.56", "<CtrlSum>37.57", 1),
    "the second control sum": "<CtrlSum>37.57".join(TEXT.rsplit("<CtrlSum>37.56", 1)),
    "both counts": TEXT.replace("<NbOfTxs>3", "<NbOfTxs>4"),
    "the second count": "<NbOfTxs>2".join(TEXT.rsplit("<NbOfTxs>3", 1)),
    "a digit of an account": TEXT.replace(IBANS[1], IBANS[1][:-1] + "7"),
    "a digit of the debtor's account": TEXT.replace(IBANS[0], IBANS[0][:-1] + "1", 1),
    "the currency": TEXT.replace('Ccy="EUR"', 'Ccy="USD"', 1),
    "no currency": TEXT.replace(' Ccy="EUR"', "", 1),
    "a third decimal": TEXT.replace("12.51<", "12.510<", 1),
    "an exponent": TEXT.replace("12.51<", "1251E-2<", 1),
    "a huge exponent": TEXT.replace("12.51<", "1e999990<", 1),
    "not a number": TEXT.replace("12.51<", "NaN<", 1),
    "digits of another script": TEXT.replace("12.51<", "1٢.51<", 1),
    "a negative amount": TEXT.replace("12.51<", "-12.51<", 1),
    "a blank in an amount": TEXT.replace("12.51<", " 12.51<", 1),
    "an amount of nothing": totals(TEXT.replace("12.51<", "0.00<", 1), 3, "25.05"),
    "a payment without an amount": TEXT.replace('<Amt><InstdAmt Ccy="EUR">12.51</InstdAmt></Amt>', "", 1),
    "a payment with two amounts": TEXT.replace("</InstdAmt>", '</InstdAmt><InstdAmt Ccy="EUR">1.00</InstdAmt>', 1),
    "a payment with two creditors": TEXT.replace("</Cdtr>", "</Cdtr><Cdtr><Nm>Eve</Nm></Cdtr>", 1),
    "a payment to an ultimate creditor": TEXT.replace("<Purp>", "<UltmtCdtr><Nm>Eve</Nm></UltmtCdtr><Purp>", 1),
    "an instruction to the bank": TEXT.replace("<Purp>", "<InstrForDbtrAgt>pay twice</InstrForDbtrAgt><Purp>", 1),
    "a second remittance text": TEXT.replace("</Ustrd>", "</Ustrd><Ustrd>more</Ustrd>", 1),
    "an empty payment": TEXT.replace(PAYMENTS[2], PAYMENTS[2] + "<CdtTrfTxInf/>"),
    "a payment outside its order": TEXT.replace("</PmtInf>", f"</PmtInf>{PAYMENTS[2]}"),
    "a second order": TEXT.replace("</PmtInf>", f"</PmtInf><PmtInf>{PAYMENTS[2]}</PmtInf>"),
    "the head again after the payments": TEXT.replace(
        "</PmtInf>", "<ReqdExctnDt><Dt>2027-01-01</Dt></ReqdExctnDt></PmtInf>"
    ),
    "a head that moved behind the payments": TEXT.replace("<ChrgBr>SLEV</ChrgBr>\n", "").replace(
        "</PmtInf>", "<ChrgBr>SLEV</ChrgBr></PmtInf>"
    ),
    "a second document in the document": TEXT.replace("</Document>", "<CstmrCdtTrfInitn/></Document>"),
    "something after the document": TEXT + "<Document/>",
    "the charges on us": TEXT.replace("SLEV", "DEBT"),
    "another service level": TEXT.replace("<Cd>SEPA<", "<Cd>URGP<"),
    "a cheque": TEXT.replace("<PmtMtd>TRF", "<PmtMtd>CHK"),
    "two banks of the debtor": TEXT.replace("<FinInstnId><Othr>", "<FinInstnId><BICFI>DEUTDEFF</BICFI><Othr>", 1),
    "no bank of the debtor": TEXT.replace("<Othr><Id>NOTPROVIDED</Id></Othr>", ""),
    "an address without a town": re.sub("<TwnNm>.*?</TwnNm>", "", TEXT),
    "a day outside the calendar": TEXT.replace("<Dt>2026-11-24", "<Dt>2026-11-31"),
    "an hour outside the day": TEXT.replace("T08:15:30Z", "T25:15:30Z"),
    "a name with other letters": TEXT.replace("Erika", "Еrika", 1),
    "a name too long": TEXT.replace("Erika", "E" * 70, 1),
    "a reference with a double slash": TEXT.replace("TB-P00000002", "TB//P0000002"),
    "a reference that ends with a slash": TEXT.replace("TB-P00000002", "TB-P0000002/"),
    "a text between two payments": TEXT.replace(PAYMENTS[1], "pay more" + PAYMENTS[1]),
    "a text before the first payment": TEXT.replace(PAYMENTS[0], "pay more" + PAYMENTS[0]),
    "a text after the last payment": TEXT.replace(PAYMENTS[2], PAYMENTS[2] + "pay more"),
    "a text in a container": TEXT.replace("<Amt>", "<Amt>99.00", 1),
    "a comment": TEXT.replace("<Purp>", "<!-- 1 --><Purp>", 1),
    "a comment inside a name": TEXT.replace("Erika", "Eri<!-- -->ka", 1),
    "a processing instruction": TEXT.replace("<Purp>", "<?pay twice?><Purp>", 1),
    "an attribute": TEXT.replace("<Purp>", '<Purp x="1">', 1),
    "a second attribute": TEXT.replace('Ccy="EUR"', 'Ccy="EUR" x="1"', 1),
    "an attribute of the root": TEXT.replace("<Document ", '<Document x="1" ', 1),
    "an element of no namespace": TEXT.replace("<Purp>", '<Purp xmlns="">', 1),
    "an element of another namespace": TEXT.replace("<Purp>", '<Purp xmlns="urn:other">', 1),
    "a prefix": TEXT.replace("<Purp><Cd>", '<p:Purp xmlns:p="urn:x"><Cd>', 1).replace("</Purp>", "</p:Purp>", 1),
    "another version": TEXT.replace("pain.001.001.09", "pain.001.001.03"),
    "another root": TEXT.replace("Document", "Dokument"),
    "another message": TEXT.replace("CstmrCdtTrfInitn", "CstmrDrctDbtInitn"),
    "a byte order mark": "\ufeff" + TEXT,
    "another encoding": TEXT.replace("UTF-8", "ISO-8859-1"),
    "no declaration": TEXT.removeprefix(BEGIN),
    "a DOCTYPE": TEXT.replace(BEGIN, BEGIN + '<!DOCTYPE Document SYSTEM "http://localhost/x.dtd">\n'),
    "an external entity": TEXT.replace(
        BEGIN, BEGIN + '<!DOCTYPE Document [<!ENTITY e SYSTEM "file:///etc/passwd">]>\n'
    ).replace("Erika", "&e;", 1),
    "a billion laughs": TEXT.replace(
        BEGIN,
        BEGIN
        + '<!DOCTYPE Document [<!ENTITY a "ha">'
        + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefghi", "bcdefghij", strict=True))
        + "]>\n",
    ).replace("Erika", "&j;", 1),
    "an entity nobody declared": TEXT.replace("Erika", "&e;", 1),
    "a character XML forbids": TEXT.replace("Erika", "Eri\x00ka", 1),
    "depth": TEXT.replace("<Purp>", "<Purp>" * 5000, 1),
    "nothing": "",
    "a login page": "<!DOCTYPE html><html><body>Please log in</body></html>",
    "an open tag": "<",
}


def test_the_file_that_is_tampered_with_is_itself_in_order() -> None:
    validate(FILE)
    header, facts = verify(io.BytesIO(FILE))
    assert (header.stated_control_sum_minor, facts.payment_count, len(PAYMENTS)) == (3756, 3, 3)
    assert len(TAMPERED) > 60


@pytest.mark.parametrize("what", TAMPERED)
def test_a_file_is_refused_if_somebody_changed(what: str) -> None:
    data = TAMPERED[what].encode()
    assert data != FILE
    with pytest.raises(Stop, match="payment file refused"):
        verify(io.BytesIO(data))


def test_a_file_cut_anywhere_is_refused() -> None:
    # The last byte is a newline behind the document; without it nothing is missing.
    for kept in range(len(FILE) - 1):
        with pytest.raises(Stop, match="payment file refused"):
            verify(io.BytesIO(FILE[:kept]))


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_seen_in_what_is_read(place: int, flip: int) -> None:
    changed = bytearray(FILE)
    changed[place] ^= flip
    try:
        _, facts = verify(io.BytesIO(bytes(changed)))
    except Stop:
        return
    # A letter of a name may well become another letter: then the comparison with the books finds it; a blank for a
    # newline says the same. The fingerprint differs in either case.
    assert facts.sha256 != verify(io.BytesIO(FILE))[1].sha256
    if everything(bytes(changed)) == everything(FILE):
        assert FILE[place : place + 1].isspace()


class Dribble(io.BytesIO):
    """A stream that answers with one byte at a time, as a slow socket may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(1, size or 0))


def test_a_stream_that_answers_byte_by_byte_is_read_the_same() -> None:
    assert verify(Dribble(FILE)) == verify(io.BytesIO(FILE))


def test_no_refusal_shows_an_account_in_full() -> None:
    with pytest.raises(Stop) as caught:
        verify(io.BytesIO(TAMPERED["a digit of an account"].encode()))
    assert "FR14 **** **** **** **** ***2 607" in str(caught.value)
