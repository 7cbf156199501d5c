"""An IBAN is checked once, and never shown in full by accident."""

import copy
import pickle
from importlib.resources import files
from operator import mod

import pytest
import stdnum.iban
from hypothesis import example, given
from hypothesis import strategies as st

from etl.core.errors import TallybackError
from etl.core.iban import Iban, IbanFault, InvalidIban, checked_iban, mask

GERMAN = "DE89370400440532013000"
VALID = [
    GERMAN,
    "GB82WEST12345698765432",
    "FR1420041010050500013M02606",
    "NO9386011117947",
    "BE68539007547034",
    "ES9121000418450200051332",
    "MT84MALT011000012345MTLCAST001S",
]


def with_right_check_digits(country: str, rest: str) -> str:
    number = int("".join(str(int(character, 36)) for character in f"{rest}{country}00"))
    return f"{country}{98 - number % 97:02d}{rest}"


@pytest.mark.parametrize("text", VALID)
def test_a_real_iban_is_accepted_however_it_is_typed(text: str) -> None:
    blocks = " ".join(text[at : at + 4] for at in range(0, len(text), 4))
    for typed in (text, text.lower(), blocks, f"  {blocks}\n", blocks.replace(" ", "-"), blocks.replace(" ", "\u00a0")):
        assert checked_iban(typed).reveal() == text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", IbanFault.EMPTY),
        (" - ", IbanFault.EMPTY),
        ("not an iban", IbanFault.FORM),
        ("DE89", IbanFault.FORM),
        ("DE89/3704/0044/0532/0130/00", IbanFault.FORM),
        ("D\u0415893704004405320130 00", IbanFault.FORM),  # a Cyrillic E
        ("DE\u0668\u0669370400440532013000", IbanFault.FORM),  # Arabic digits
        ("DE893704004405320130\u00df", IbanFault.FORM),
        ("DE89" + "1" * 1_000_000, IbanFault.FORM),
        ("DE88370400440532013000", IbanFault.CHECK_DIGITS),
        ("DE89370400440532013001", IbanFault.CHECK_DIGITS),
        ("DE8937040044053201300", IbanFault.CHECK_DIGITS),
        (with_right_check_digits("XX", "370400440532013000"), IbanFault.COUNTRY),
        (with_right_check_digits("DE", "3704004405320130001"), IbanFault.STRUCTURE),
        (with_right_check_digits("DE", "37040044053201300A"), IbanFault.STRUCTURE),
        (with_right_check_digits("BE", "539007547035"), IbanFault.NATIONAL_CHECK),
        (with_right_check_digits("ES", "21000418450200051333"), IbanFault.NATIONAL_CHECK),
    ],
)
def test_a_wrong_iban_is_refused_with_the_reason(text: str, fault: IbanFault) -> None:
    with pytest.raises(InvalidIban) as caught:
        checked_iban(text)
    assert caught.value.fault is fault
    assert isinstance(caught.value, TallybackError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("twin", "true"), [("00", "97"), ("01", "98"), ("99", "02")])
def test_check_digits_that_only_look_right_to_mod_97_are_refused(twin: str, true: str) -> None:
    rest = next(
        f"3704004405320{end:05d}"
        for end in range(100_000)
        if with_right_check_digits("DE", f"3704004405320{end:05d}")[2:4] == true
    )
    assert checked_iban(f"DE{true}{rest}").country == "DE"
    with pytest.raises(InvalidIban):
        checked_iban(f"DE{twin}{rest}")


def test_an_unknown_bank_code_is_no_reason_to_refuse() -> None:
    rest = "1380000001"
    iban = with_right_check_digits("BE", f"{rest}{int(rest) % 97 or 97:02d}")
    assert checked_iban(iban).country == "BE"


@given(
    st.from_regex(r"[0-9]{18}", fullmatch=True, alphabet="0123456789"),
    st.integers(0, 21),
    st.sampled_from("0123456789"),
)
def test_one_mistyped_digit_is_always_found(account: str, place: int, digit: str) -> None:
    iban = with_right_check_digits("DE", account)
    assert checked_iban(iban).reveal() == iban
    if place >= 2 and iban[place] != digit:
        with pytest.raises(InvalidIban):
            checked_iban(iban[:place] + digit + iban[place + 1 :])


COUNTRIES = [
    line.split()[0] for line in files("stdnum").joinpath("iban.dat").read_text().splitlines() if line[:1].isalpha()
]
bodies = st.one_of(st.text("0123456789", min_size=11, max_size=30), st.text("0123456789ABYZ", min_size=11, max_size=30))


@given(st.sampled_from([*COUNTRIES, "XX", "AA"]), bodies, st.sampled_from(["right", "wrong"]))
@example("DE", "370400440532013000", "right")
@example("MT", "MALT011000012345MTLCAST001S", "right")
def test_the_verdict_is_the_one_of_python_stdnum(country: str, body: str, digits: str) -> None:
    iban = with_right_check_digits(country, body)
    if digits == "wrong":
        iban = f"{country}{(int(iban[2:4]) + 1) % 97:02d}{body}"
    try:
        ours = checked_iban(iban).reveal() == iban
    except InvalidIban as refused:
        ours = refused.fault is IbanFault.NATIONAL_CHECK
    assert ours == (stdnum.iban.is_valid(iban, check_country=False) and iban[2:4] not in ("00", "01", "99"))


def test_every_country_of_the_registry_is_known() -> None:
    assert len(COUNTRIES) > 80
    for country in COUNTRIES:
        with pytest.raises(InvalidIban) as caught:
            checked_iban(with_right_check_digits(country, "0" * 30))
        assert caught.value.fault is not IbanFault.COUNTRY


def test_an_iban_is_masked_wherever_it_is_shown() -> None:
    iban = checked_iban(GERMAN)
    shown = "DE89 **** **** **** **30 00"
    assert str(iban) == f"{iban}" == mod("%s", iban) == mask(GERMAN) == shown
    assert repr(iban) == f"Iban({shown})"
    for text in (repr([iban]), repr({iban: iban}), repr(InvalidIban(IbanFault.FORM, mask(GERMAN)))):
        assert "70400440532" not in text.replace(" ", "")
    assert (iban.country, iban.last_four) == ("DE", "3000")


@given(st.text(max_size=60))
@example(GERMAN)
@example("DE89370400440532013001")
@example("4111 1111 1111 1111")
@example("Erika Mustermann, Heidestr. 17")
# The message has "letters" in it.
@example("0000ers0000")
def test_neither_mask_nor_error_tells_more_than_eight_characters(text: str) -> None:
    masked = mask(text)
    assert masked == "****" or len(masked.replace(" ", "").replace("*", "")) == 8
    try:
        checked_iban(text)
    except InvalidIban as fault:
        assert str(fault).replace(fault.masked, "****", 1) == str(InvalidIban(fault.fault, "****"))
        if len(text) > 10 and text.strip() not in ("****", ""):
            assert text not in fault.masked
            assert text[4:-4] not in fault.masked or not text[4:-4].strip()
        assert fault.__cause__ is None


def test_an_iban_that_was_not_checked_cannot_exist() -> None:
    with pytest.raises(InvalidIban):
        Iban("DE88370400440532013000")
    with pytest.raises(InvalidIban):
        Iban("de89 3704 0044 0532 0130 00")


def test_an_iban_is_a_value_and_its_error_survives_a_process_border() -> None:
    iban = checked_iban(GERMAN)
    assert iban == checked_iban("DE89 3704 0044 0532 0130 00")
    assert hash(iban) == hash(copy.copy(iban))
    error = InvalidIban(IbanFault.COUNTRY, mask(GERMAN))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.fault) == (str(error), error.fault)
