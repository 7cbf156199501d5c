"""What SEPA refuses is found before the bank finds it, and said as a person can act on it."""

import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.providers.sepa.charset import TRANSPORTED, transliterate
from connectors.providers.sepa.payment import BankProfile, Payment, PostalAddress
from connectors.providers.sepa.rules import (
    AMOUNT_MINOR_MAX,
    Rule,
    batch_problems,
    in_sepa_text,
    payment_problems,
    prepare,
)
from etl.core.errors import Stop
from tests.connectors.providers.sepa_examples import BATCH, DEBTOR, IBANS, PROFILE, payment


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Erika Mustermann", "Erika Mustermann"),
        ("Jürgen Groß", "Juergen Gross"),
        ("Österreich ÖSTERREICH Ö", "Oesterreich OESTERREICH OE"),
        ("GROẞ", "GROSS"),
        ("Åse Ødegård", "Aase Oedegaard"),
        ("Þór Æsir Œuvre", "Thor Aesir Oeuvre"),
        ("Łukasz Żółć", "Lukasz Zolc"),
        ("François Müller-Lefèvre", "Francois Mueller-Lefevre"),
        ("José Muñoz Íñigo", "Jose Munoz Inigo"),
        ("Dvořák Čapek", "Dvorak Capek"),
        ("Đorđe Šćepanović", "Dorde Scepanovic"),
        ("İbrahim Yıldız", "Ibrahim Yildiz"),
        ("Ελένη Παπαδοπούλου", "Eleni Papadopoyloy"),
        ("Θεόδωρος", "Theodoros"),
        ("Щерю Ъгълов Юлия", "Shteryu Agalov Yuliya"),
        ("O’Brien „Bob“ D‘Arcy", "O'Brien 'Bob' D'Arcy"),
        ("Smith & Sons", "Smith + Sons"),
        ("A_B; C! [D] {E}", "A-B, C. (D) (E)"),
        ("Ｆｕｌｌ　ｗｉｄｔｈ", "Full width"),
        ("5 €", "5 EUR"),
        ("  two\u00a0 \t\n blanks ", "two blanks"),
        ("Zoe\u0308", "Zoe"),
        ("Mu\u0308ller", "Mueller"),
        ("Gal·la", "Galla"),
        ("ﬁn ½ №5", "fin 1/2 No5"),
    ],
)
def test_a_name_is_written_as_its_bearer_would_expect(text: str, written: str) -> None:
    result = transliterate(text)
    assert (result.text, result.refused) == (written, ())


@pytest.mark.parametrize(
    "character",
    [
        "漢",
        "🦊",
        "ع",
        "\u202e",
        "\u200b",
        "\u00ad",
        "\x00",
        "\x1b",
        "<",
        ">",
        "@",
        "*",
        "=",
        "#",
        "%",
        "|",
        "\\",
        "~",
        "ы",
        "٣",
    ],
)
def test_what_nobody_can_write_is_refused_and_never_dropped(character: str) -> None:
    assert character in transliterate(f"Erika {character} M").refused
    raw = payment(1, creditor_name=f"Erika {character} M")
    assert in_sepa_text(raw).creditor_name == raw.creditor_name
    prepared = prepare(BATCH, [raw, payment(2)], PROFILE)
    assert [one.payout_id for one in prepared.payments] == ["P00000002"]
    [problem] = prepared.problems
    assert (problem.payout_id, problem.field, problem.rule) == ("P00000001", "creditor_name", Rule.CHARSET)
    assert f"U+{ord(character):04X}" in problem.value_masked
    assert "Erika" not in str(problem)


@given(st.text(max_size=120))
@example("Ä" * 40)
@example("\u1e9e\u0345\u03b0\ufdfa")
def test_what_is_written_is_always_transported_and_writing_it_again_changes_nothing(text: str) -> None:
    result = transliterate(text)
    assert set(result.text) <= TRANSPORTED
    assert result.text == result.text.strip()
    assert "  " not in result.text
    assert transliterate(result.text) == replace(result, refused=())
    assert transliterate(unicodedata.normalize("NFD", text)).text == result.text
    # Each letter and digit is written or refused: none disappears.
    if any(character.isalnum() for character in text):
        assert result.text or result.refused


@given(st.text("/-?:().,'+ abcXYZ019", max_size=60))
def test_what_is_transported_already_stays_as_it_is(text: str) -> None:
    assert transliterate(text).text == " ".join(text.split())


CASES: list[tuple[dict[str, object], str, Rule]] = [
    ({"payout_id": ""}, "payout_id", Rule.EMPTY),
    ({"end_to_end_id": ""}, "end_to_end_id", Rule.EMPTY),
    ({"end_to_end_id": "x" * 36}, "end_to_end_id", Rule.TOO_LONG),
    ({"end_to_end_id": "ä"}, "end_to_end_id", Rule.CHARSET),
    ({"end_to_end_id": "a\n"}, "end_to_end_id", Rule.CHARSET),
    ({"end_to_end_id": " a"}, "end_to_end_id", Rule.CHARSET),
    ({"end_to_end_id": "/a"}, "end_to_end_id", Rule.SLASHES),
    ({"end_to_end_id": "a/"}, "end_to_end_id", Rule.SLASHES),
    ({"end_to_end_id": "a//b"}, "end_to_end_id", Rule.SLASHES),
    ({"amount_minor": 0}, "amount_minor", Rule.AMOUNT),
    ({"amount_minor": -1}, "amount_minor", Rule.AMOUNT),
    ({"amount_minor": AMOUNT_MINOR_MAX + 1}, "amount_minor", Rule.AMOUNT),
    ({"amount_minor": 10**4000}, "amount_minor", Rule.AMOUNT),
    ({"currency": "USD"}, "currency", Rule.CURRENCY),
    ({"currency": "eur"}, "currency", Rule.CURRENCY),
    ({"creditor_name": ""}, "creditor_name", Rule.EMPTY),
    ({"creditor_name": " \u00a0 "}, "creditor_name", Rule.EMPTY),
    ({"creditor_name": "\u0301"}, "creditor_name", Rule.EMPTY),
    ({"creditor_name": "x" * 71}, "creditor_name", Rule.TOO_LONG),
    ({"creditor_name": "ä" * 36}, "creditor_name", Rule.TOO_LONG),
    ({"creditor_name": "漢" * 300}, "creditor_name", Rule.TOO_LONG),
    ({"creditor_name": "x" + " " * 2000 + "y"}, "creditor_name", Rule.TOO_LONG),
    ({"creditor_name": "x" * 1_000_000}, "creditor_name", Rule.TOO_LONG),
    ({"remittance_text": ""}, "remittance_text", Rule.EMPTY),
    ({"remittance_text": "x" * 141}, "remittance_text", Rule.TOO_LONG),
    ({"remittance_text": "a//b"}, "remittance_text", Rule.SLASHES),
    ({"remittance_text": "⁄a"}, "remittance_text", Rule.SLASHES),
    ({"bic": "DEUTDEF"}, "bic", Rule.BIC),
    ({"bic": "deutdeff"}, "bic", Rule.BIC),
    ({"bic": ""}, "bic", Rule.BIC),
    ({"iban": ""}, "iban", Rule.IBAN),
    ({"iban": "DE88370400440532013000"}, "iban", Rule.IBAN),
    ({"iban": "BR1800360305000010009795493C1"}, "iban", Rule.COUNTRY),
]


@pytest.mark.parametrize(("changes", "field", "rule"), CASES)
def test_a_payment_that_breaks_a_rule_stays_out_and_the_others_go(
    changes: dict[str, Any], field: str, rule: Rule
) -> None:
    prepared = prepare(BATCH, [payment(1, **changes), payment(2)], PROFILE)
    assert [one.payout_id for one in prepared.payments] == ["P00000002"]
    assert (field, rule) in {(problem.field, problem.rule) for problem in prepared.problems}
    assert {problem.payout_id for problem in prepared.problems} == {changes.get("payout_id", "P00000001")}
    assert all(problem.next_step for problem in prepared.problems)
    assert (prepared.payment_count, prepared.control_sum_minor) == (1, payment(2).amount_minor)


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_minor": 1},
        {"amount_minor": AMOUNT_MINOR_MAX},
        {"creditor_name": "x" * 70},
        {"creditor_name": "ä" * 35},
        {"remittance_text": "x" * 140},
        {"end_to_end_id": "x" * 35},
        {"end_to_end_id": "a/b"},
        {"bic": "COBADEFFXXX"},
        {"iban": "de89 3704 0044 0532 0130 00"},
    ],
)
def test_a_payment_at_the_edge_of_a_rule_goes_out(changes: dict[str, Any]) -> None:
    assert prepare(BATCH, [payment(1, **changes)], PROFILE).problems == ()


def test_of_payments_that_share_a_reference_none_goes_out() -> None:
    prepared = prepare(BATCH, [payment(1), payment(2, end_to_end_id="TB-P00000001"), payment(3)], PROFILE)
    assert [one.payout_id for one in prepared.payments] == ["P00000003"]
    assert [(one.payout_id, one.field, one.rule) for one in prepared.problems] == [
        ("P00000001", "end_to_end_id", Rule.DUPLICATE),
        ("P00000002", "end_to_end_id", Rule.DUPLICATE),
    ]
    twice = prepare(BATCH, [payment(1), payment(1, end_to_end_id="other"), payment(3)], PROFILE)
    assert [one.payout_id for one in twice.payments] == ["P00000003"]


def test_a_payment_outside_the_economic_area_needs_the_address_of_the_payer() -> None:
    british = payment(1, iban="GB82WEST12345698765432")
    assert prepare(BATCH, [british], PROFILE).problems == ()
    without = replace(BATCH, debtor=replace(DEBTOR, address=None))
    prepared = prepare(without, [british, payment(2, iban=IBANS[0])], PROFILE)
    assert [(one.payout_id, one.rule) for one in prepared.problems] == [("P00000001", Rule.DEBTOR_ADDRESS)]
    assert [one.payout_id for one in prepared.payments] == ["P00000002"]


def test_a_bank_that_wants_a_bic_or_few_countries_gets_what_it_wants() -> None:
    profile = replace(PROFILE, needs_bic=True, countries=frozenset({"DE"}), name_length_max=20)
    batch = replace(BATCH, debtor=replace(DEBTOR, bic="COBADEFFXXX"))

    def rules(one: Payment) -> set[Rule]:
        return {problem.rule for problem in payment_problems(one, batch, profile)}

    assert rules(payment(1, iban=IBANS[0], bic="DEUTDEFF")) == set()
    assert rules(payment(1, iban=IBANS[1])) == {Rule.BIC_MISSING, Rule.COUNTRY}
    assert rules(payment(1, iban=IBANS[0], bic="DEUTDEFF", creditor_name="x" * 21)) == {Rule.TOO_LONG}
    assert {problem.field for problem in batch_problems(BATCH, profile)} == {"debtor.bic"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"message_id": "a//b"}, "message_id"),
        ({"payment_information_id": "x" * 36}, "payment_information_id"),
        ({"initiating_party": "漢"}, "initiating_party"),
        ({"debtor": replace(DEBTOR, name="")}, "debtor.name"),
        ({"debtor": replace(DEBTOR, iban="DE88370400440532013000")}, "debtor.iban"),
        ({"debtor": replace(DEBTOR, bic="x")}, "debtor.bic"),
        ({"debtor": replace(DEBTOR, address=PostalAddress("Deutschland", "Berlin"))}, "debtor.address.country"),
        ({"debtor": replace(DEBTOR, address=PostalAddress("DE", ""))}, "debtor.address.town"),
        ({"debtor": replace(DEBTOR, address=PostalAddress("DE", "Berlin", "1" * 17))}, "debtor.address.post_code"),
        ({"created_at": BATCH.created_at.replace(tzinfo=None)}, "created_at"),
        ({"execute_on": BATCH.created_at.date().replace(day=1)}, "execute_on"),
        ({"purpose": "SALA"}, "purpose"),
        ({"batch_booking": False}, "batch_booking"),
    ],
)
def test_a_batch_that_breaks_a_rule_is_named_without_any_payout(changes: dict[str, Any], field: str) -> None:
    batch = replace(BATCH, **changes)
    prepared = prepare(batch, [payment(1)], PROFILE)
    assert [(problem.payout_id, problem.field) for problem in prepared.problems if not problem.payout_id] == [
        ("", field)
    ]
    assert "370400440532013000" not in str(prepared.problems)


def test_our_own_name_and_address_are_transliterated_too() -> None:
    address = PostalAddress("DE", "Köln", "50667", "Große Straße", "7")
    debtor = replace(DEBTOR, name="Rückvergütung GmbH", address=address, iban="DE89 3704 0044 0532 0130 00")
    prepared = prepare(replace(BATCH, debtor=debtor, initiating_party="Rück & Co"), [payment(1)], PROFILE)
    assert prepared.problems == ()
    assert prepared.batch.initiating_party == "Rueck + Co"
    assert prepared.batch.debtor.name == "Rueckverguetung GmbH"
    assert prepared.batch.debtor.iban == "DE89370400440532013000"
    assert prepared.batch.debtor.address == PostalAddress("DE", "Koeln", "50667", "Grosse Strasse", "7")


def test_a_batch_has_at_least_one_payment_and_at_most_what_the_bank_takes() -> None:
    assert [one.rule for one in prepare(BATCH, [], PROFILE).problems] == [Rule.COUNT]
    few = replace(PROFILE, payments_max=2)
    assert prepare(BATCH, [payment(1), payment(2)], few).problems == ()
    assert [one.rule for one in prepare(BATCH, [payment(n) for n in (1, 2, 3)], few).problems] == [Rule.COUNT]


@given(st.permutations(range(1, 6)))
def test_the_order_in_which_payments_come_makes_no_difference(order: list[int]) -> None:
    ordered = [payment(number, creditor_name="漢" if number == 3 else "Erika") for number in range(1, 6)]
    assert prepare(BATCH, [ordered[number - 1] for number in order], PROFILE) == prepare(BATCH, ordered, PROFILE)


@pytest.mark.parametrize(
    "changes",
    [
        {"message_version": "pain.001.001.03"},
        {"service_level": "URGP"},
        {"charge_bearer": "DEBT"},
        {"name_length_max": 0},
        {"name_length_max": 140},
        {"payments_max": 0},
        {"payments_max": 10_000_000},
        {"countries": frozenset()},
        {"countries": frozenset({"DE", "US"})},
    ],
)
def test_a_bank_profile_that_cannot_be_true_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Stop, match="bank profile sandbox_bank"):
        _ = replace(PROFILE, **changes)
    assert isinstance(PROFILE, BankProfile)


def test_a_problem_never_shows_an_account_in_full() -> None:
    for iban in ("DE88370400440532013000", "BR1800360305000010009795493C1", "DE88 3704 0044 0532 0130 00"):
        prepared = prepare(BATCH, [payment(1, iban=iban), payment(2)], PROFILE)
        assert prepared.problems
        for problem in prepared.problems:
            shown = f"{problem} {problem!r}".replace(" ", "")
            assert iban.replace(" ", "")[4:-4] not in shown
            assert iban[:4] in shown
