"""Personal data is readable only with its key, unchanged, and in its own place."""

import stat
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.core import encryption
from etl.core.encryption import (
    BoundTo,
    KeyRing,
    blind_index,
    create_key_file,
    decrypt,
    decrypt_bytes,
    encrypt,
    encrypt_bytes,
    key_ring_from_file,
    key_ring_from_text,
    reencrypt,
    rotate_key_file,
)
from etl.core.errors import Stop

RING = KeyRing(keys={"k1": bytes(range(32)), "k2": bytes(range(32, 64))}, current="k1", index="k1")
HERE = BoundTo("pii.payee", "iban", "17")
FILE = BoundTo("payout.batch", "file", "B-2026-11")
IBAN = "DE89370400440532013000"


@given(st.text(max_size=300))
def test_what_was_encrypted_is_read_again(plain: str) -> None:
    sealed = encrypt(RING, plain, HERE)
    assert decrypt(RING, sealed, HERE) == plain
    assert sealed != encrypt(RING, plain, HERE), "a nonce was used twice"
    version, key_id, _, _ = sealed.split(":")
    assert (version, key_id) == ("v1", "k1")
    assert sealed.isascii()


@pytest.mark.parametrize(
    "elsewhere",
    [BoundTo("pii.payee", "iban", "18"), BoundTo("pii.payee", "name", "17"), BoundTo("pii.member", "iban", "17")],
)
def test_a_value_moved_to_another_place_does_not_open(elsewhere: BoundTo) -> None:
    with pytest.raises(Stop, match="does not open"):
        decrypt(RING, encrypt(RING, IBAN, HERE), elsewhere)


def test_no_changed_character_of_a_value_goes_unseen() -> None:
    sealed = encrypt(RING, IBAN, HERE)
    for place, character in enumerate(sealed):
        for other in "A", "B", ":", "=", "\n", "ä", "2":
            if other != character:
                with pytest.raises(Stop):
                    decrypt(RING, sealed[:place] + other + sealed[place + 1 :], HERE)
        with pytest.raises(Stop):
            decrypt(RING, sealed[:place], HERE)
    for longer in (sealed + "=", sealed + "A", sealed + ":", " " + sealed):
        with pytest.raises(Stop):
            decrypt(RING, longer, HERE)


def test_a_value_under_an_unknown_key_says_which_key_is_missing() -> None:
    sealed = encrypt(RING, IBAN, HERE)
    other = KeyRing(keys={"k9": bytes(32)}, current="k9", index="k9")
    with pytest.raises(Stop, match=r"pii\.payee\|iban\|17 needs key 'k1'.*'k9'"):
        decrypt(other, sealed, HERE)
    same_id = KeyRing(keys={"k1": bytes(32)}, current="k1", index="k1")
    with pytest.raises(Stop, match="does not open"):
        decrypt(same_id, sealed, HERE)
    # The ring holds k2: claiming that key for a value made with k1 is tampering.
    with pytest.raises(Stop, match="does not open"):
        decrypt(RING, sealed.replace(":k1:", ":k2:"), HERE)


def test_a_place_is_never_ambiguous() -> None:
    for parts in (("a|b", "c", "d"), ("a", "b|c", "d"), ("a", "b", "c|d"), ("", "b", "c"), ("a", "b", "")):
        with pytest.raises(Stop):
            BoundTo(*parts)


def test_a_text_that_is_no_text_is_refused_without_quoting_it() -> None:
    for refused in (lambda: encrypt(RING, f"{IBAN}\ud800", HERE), lambda: blind_index(RING, f"{IBAN}\ud800")):
        with pytest.raises(Stop, match="surrogate") as caught:
            refused()
        assert IBAN not in str(caught.value)


def test_a_value_too_long_is_refused() -> None:
    with pytest.raises(Stop, match="bytes"):
        encrypt(RING, "x" * (encryption.VALUE_BYTES_MAX + 1), HERE)
    with pytest.raises(Stop):
        decrypt(RING, "v1:k1:" + "A" * 10_000_000, HERE)


def test_old_values_stay_readable_and_equal_texts_findable_when_keys_rotate(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    before = create_key_file(path, "2026-11")
    sealed, index = encrypt(before, IBAN, HERE), blind_index(before, IBAN)
    sealed_file = encrypt_bytes(before, b"<Document/>", FILE)

    after = rotate_key_file(path, "2027-01")

    assert after == key_ring_from_file(path)
    assert after.current == "2027-01"
    assert decrypt(after, sealed, HERE) == IBAN
    assert decrypt_bytes(after, sealed_file, FILE) == b"<Document/>"
    assert blind_index(after, IBAN) == index
    moved = reencrypt(after, sealed, HERE)
    assert moved.startswith("v1:2027-01:")
    assert reencrypt(after, moved, HERE) == moved
    without_old = KeyRing(keys={"2027-01": after.keys["2027-01"]}, current="2027-01", index="2027-01")
    assert decrypt(without_old, moved, HERE) == IBAN
    with pytest.raises(Stop, match="already holds"):
        rotate_key_file(path, "2027-01")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_blind_index_finds_equal_texts_and_depends_on_its_key_alone() -> None:
    assert blind_index(RING, IBAN) == blind_index(RING, IBAN)
    assert blind_index(RING, IBAN) != blind_index(RING, IBAN[:-1] + "1")
    other_index = KeyRing(keys=RING.keys, current="k1", index="k2")
    other_current = KeyRing(keys=RING.keys, current="k2", index="k1")
    assert blind_index(other_index, IBAN) != blind_index(RING, IBAN) == blind_index(other_current, IBAN)
    assert len(blind_index(RING, "")) == 64


def test_a_key_file_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ring = create_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_ring_from_file(path) == ring
    assert create_key_file(tmp_path / "other.json").keys["k1"] != ring.keys["k1"]
    with pytest.raises(Stop, match="not overwritten"):
        create_key_file(path)
    assert key_ring_from_file(path) == ring
    path.chmod(0o640)
    with pytest.raises(Stop, match="chmod 600"):
        key_ring_from_file(path)
    with pytest.raises(Stop, match="does not exist"):
        key_ring_from_file(tmp_path / "missing.json")
    with pytest.raises(Stop, match="cannot be read"):
        key_ring_from_file(tmp_path)


KEY_TEXT = urlsafe_b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        KEY_TEXT,
        f'{{"current": "k1", "keys": {{"k1": "{KEY_TEXT}"}}}}',
        f'{{"current": "k2", "index": "k1", "keys": {{"k1": "{KEY_TEXT}"}}}}',
        f'{{"current": "k1", "index": "k2", "keys": {{"k1": "{KEY_TEXT}"}}}}',
        f'{{"current": "k:1", "index": "k:1", "keys": {{"k:1": "{KEY_TEXT}"}}}}',
        f'{{"current": "k1", "index": "k1", "keys": {{"k1": "{KEY_TEXT[:-4]}"}}}}',
        f'{{"current": "k1", "index": "k1", "keys": {{"k1": "!{KEY_TEXT}"}}}}',
        '{"current": "k1", "index": "k1", "keys": {"k1": 5}}',
        f'{{"current": "k1", "index": "k1", "keys": ["{KEY_TEXT}"]}}',
    ],
)
def test_a_text_that_is_no_key_ring_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(Stop) as caught:
        key_ring_from_text(text, origin="variable TALLYBACK_KEYS")
    assert KEY_TEXT[:12] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_key_ring_reads_from_text_and_never_shows_a_key() -> None:
    ring = key_ring_from_text(
        f'{{"current": "k1", "index": "k1", "keys": {{"k1": "{KEY_TEXT}"}}}}', origin="variable TALLYBACK_KEYS"
    )
    assert ring.keys["k1"] == bytes(range(32))
    for shown in (repr(ring), str(ring), f"{ring}", repr([ring])):
        assert "KeyRing(current='k1', index='k1', keys=['k1'])" in shown
        assert "\\x" not in shown


@settings(max_examples=40)
@given(st.integers(0, 4), st.integers(-2, 2), st.integers(1, 64))
def test_a_file_of_any_length_is_read_again(chunks: int, more: int, chunk_bytes: int) -> None:
    plain = bytes(index % 251 for index in range(max(0, chunks * chunk_bytes + more)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encryption, "CHUNK_BYTES", chunk_bytes)
        sealed = encrypt_bytes(RING, plain, FILE)
        assert decrypt_bytes(RING, sealed, FILE) == plain
        assert sealed != encrypt_bytes(RING, plain, FILE)


def test_a_file_of_several_whole_chunks_is_read_again() -> None:
    for length in (0, 1, encryption.CHUNK_BYTES, 2 * encryption.CHUNK_BYTES, 3 * encryption.CHUNK_BYTES + 5):
        plain = bytes(length)
        assert decrypt_bytes(RING, encrypt_bytes(RING, plain, FILE), FILE) == plain


def test_a_file_cut_anywhere_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "CHUNK_BYTES", 16)
    for length in (0, 1, 16, 32, 40):
        sealed = encrypt_bytes(RING, bytes(length), FILE)
        for kept in range(len(sealed)):
            with pytest.raises(Stop):
                decrypt_bytes(RING, sealed[:kept], FILE)
        with pytest.raises(Stop):
            decrypt_bytes(RING, sealed + b"\0", FILE)
        with pytest.raises(Stop):
            decrypt_bytes(RING, sealed + sealed[-32:], FILE)


def test_no_changed_byte_of_a_file_goes_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "CHUNK_BYTES", 16)
    sealed = encrypt_bytes(RING, bytes(40), FILE)
    for place in range(len(sealed)):
        for flip in 0x01, 0x80:
            changed = bytearray(sealed)
            changed[place] ^= flip
            with pytest.raises(Stop):
                decrypt_bytes(RING, bytes(changed), FILE)


def test_chunks_swapped_repeated_or_taken_from_another_file_do_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "CHUNK_BYTES", 16)
    sealed, other = (encrypt_bytes(RING, bytes([fill]) * 64, FILE) for fill in (1, 2))
    step = 16 + 16
    body_at = len(sealed) - 4 * step
    chunks = [sealed[at : at + step] for at in range(body_at, len(sealed), step)]
    header = sealed[:body_at]
    assert decrypt_bytes(RING, header + b"".join(chunks), FILE) == b"\1" * 64
    first, second, third, last = chunks
    for forged in (
        [second, first, third, last],
        [first, first, third, last],
        [first, third, last],
        [first, second, third],
    ):
        with pytest.raises(Stop):
            decrypt_bytes(RING, header + b"".join(forged), FILE)
    with pytest.raises(Stop):
        decrypt_bytes(RING, header + first + other[body_at + step :], FILE)
    with pytest.raises(Stop):
        decrypt_bytes(RING, other[:body_at] + sealed[body_at:], FILE)


def test_a_file_opens_only_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = encrypt_bytes(RING, b"payments", FILE)
    with pytest.raises(Stop, match="does not open"):
        decrypt_bytes(RING, sealed, BoundTo("payout.batch", "file", "B-2026-12"))
    with pytest.raises(Stop, match="needs key 'k1'"):
        decrypt_bytes(KeyRing(keys={"k2": bytes(32)}, current="k2", index="k2"), sealed, FILE)
    with pytest.raises(Stop, match="not a file sealed by Tallyback"):
        decrypt_bytes(RING, b"<?xml version='1.0'?>" * 20, FILE)
    assert b"payments" not in sealed
    monkeypatch.setattr(encryption, "FILE_BYTES_MAX", 4)
    with pytest.raises(Stop, match="smaller batches"):
        encrypt_bytes(RING, b"payments", FILE)
    with pytest.raises(Stop, match="more than a sealed file"):
        decrypt_bytes(RING, sealed, FILE)
