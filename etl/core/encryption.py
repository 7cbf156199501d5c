"""Personal data at rest: each value, and each payment file, encrypted and bound to the place it belongs to.

A *value* (a name, an IBAN) becomes the text `v1:key_id:nonce:ciphertext` (AES-256-GCM, parts in base64url without
padding). What it is bound to, `table|column|row id`, is authenticated with it: a ciphertext copied to another row does
not decrypt. A *file* becomes `header, chunk, chunk, ...`, each chunk sealed on its own under a key of this file alone;
its number and whether it is the last are part of its nonce, so chunks left out, swapped, repeated or cut off are found.

A key of the ring is never used directly. Values, files and blind indexes each use one derived from it (HKDF-SHA256),
so what one of them gives away says nothing about the others. Nonces are random: 96 bits allow 2^32 values per key.

Rotation: add a key and make it current (`rotate_key_file`); old keys stay in the ring and still read; `reencrypt` moves
a value to the current key. The blind index keeps the key named `index`, because equal texts must stay equal across a
rotation; changing that key means to write every index anew.
"""

import binascii
import hashlib
import hmac
import json
import os
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from etl.core.errors import Stop

KEY_BYTES = 32
VALUE_BYTES_MAX = 64 * 1024
FILE_BYTES_MAX = 1024**3
CHUNK_BYTES = 1024 * 1024

_VERSION = "v1"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_SALT_BYTES = 32
_KEY_FILE_BYTES_MAX = 64 * 1024
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_MAGIC = b"TALLYBACK-SEALED-1\n"
# After the magic: bytes per chunk, length of the key id; then the key id and the salt.
_FILE_HEADER = struct.Struct(">IB")


@dataclass(frozen=True, slots=True)
class BoundTo:
    """The place a value belongs to; it cannot be decrypted as anything else's."""

    table: str
    column: str
    row_id: str

    def __post_init__(self) -> None:
        for part in (self.table, self.column, self.row_id):
            # Without this rule ("a|b", "c") and ("a", "b|c") would be the same place.
            if not part or "|" in part:
                raise Stop(f"a value is bound to table, column and row id, none empty or with a bar in it: {part!r}")

    def __str__(self) -> str:
        return f"{self.table}|{self.column}|{self.row_id}"


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """The keys by id, the id that encrypts, and the id that blind indexes are made with; its repr shows ids only."""

    keys: Mapping[str, bytes]
    current: str
    index: str

    def __post_init__(self) -> None:
        for key_id, key in self.keys.items():
            if _KEY_ID.fullmatch(key_id) is None:
                raise Stop(f"key id {key_id!r}: an id is 1 to 32 letters, digits, '-' or '_'; rename the key")
            if len(key) != KEY_BYTES:
                raise Stop(f"key {key_id!r} has {len(key)} bytes instead of {KEY_BYTES}; make one with create_key_file")
        for role, key_id in (("current", self.current), ("index", self.index)):
            if key_id not in self.keys:
                raise Stop(
                    f"the key ring names {key_id!r} as its {role} key but holds only {sorted(self.keys)}; add it"
                )

    def __repr__(self) -> str:
        return f"KeyRing(current={self.current!r}, index={self.index!r}, keys={sorted(self.keys)})"


def key_ring_from_text(text: str, *, origin: str) -> KeyRing:
    """Return the ring that `text` describes: `{"current": id, "index": id, "keys": {id: 32 bytes in base64url}}`.

    `origin` says in an error where the text came from: a file, a variable of the environment. Raises Stop.
    """
    try:
        described = json.loads(text)
        keys = {str(key_id): _from_base64(key.rstrip("=")) for key_id, key in described["keys"].items()}
        return KeyRing(keys=keys, current=str(described["current"]), index=str(described["index"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        # Not chained: the text of a JSON or base64 error may quote the key.
        shape = '{"current": id, "index": id, "keys": {id: key}}'
        raise Stop(f"{origin} is not a key ring ({type(fault).__name__}); it must be {shape}") from None


def key_ring_from_file(path: Path) -> KeyRing:
    """Return the ring in the file at `path`; Stop if it is missing, or open to anybody but its owner."""
    return key_ring_from_text(_key_file_text(path), origin=f"key file {path}")


def create_key_file(path: Path, key_id: str = "k1") -> KeyRing:
    """Write a new ring with one new key to `path`, mode 0600, and return it; Stop if the file exists."""
    ring = KeyRing(keys={key_id: os.urandom(KEY_BYTES)}, current=key_id, index=key_id)
    _write_private(path, _described(ring))
    return ring


def rotate_key_file(path: Path, key_id: str) -> KeyRing:
    """Add a new key to the ring at `path`, make it the current one and return the ring; Stop if the id is taken."""
    ring = key_ring_from_file(path)
    if key_id in ring.keys:
        raise Stop(f"key file {path} already holds a key {key_id!r}; choose another id")
    rotated = KeyRing(keys={**ring.keys, key_id: os.urandom(KEY_BYTES)}, current=key_id, index=ring.index)
    # Written beside and renamed: a crash leaves the old ring or the new one, never half a file and lost keys.
    beside = path.with_name(f"{path.name}.new")
    _write_private(beside, _described(rotated))
    beside.replace(path)
    return rotated


def encrypt(keyring: KeyRing, plain: str, bound_to: BoundTo) -> str:
    """Return `plain` as `v1:key_id:nonce:ciphertext` under the current key, readable only in its place `bound_to`."""
    data = _utf8(plain, f"the value of {bound_to}")
    if len(data) > VALUE_BYTES_MAX:
        raise Stop(f"the value of {bound_to} has {len(data)} bytes, more than {VALUE_BYTES_MAX}; it is no name or IBAN")
    nonce = os.urandom(_NONCE_BYTES)
    key = _derived(keyring.keys[keyring.current], b"value")
    sealed = AESGCM(key).encrypt(nonce, data, _bound(keyring.current, bound_to))
    return f"{_VERSION}:{keyring.current}:{_to_base64(nonce)}:{_to_base64(sealed)}"


def decrypt(keyring: KeyRing, sealed: str, bound_to: BoundTo) -> str:
    """Return the text that `encrypt` sealed for `bound_to`.

    Raises Stop if the form or key is unknown, or if the value was changed, or moved here from another place.
    """
    parts = sealed.split(":") if len(sealed) <= 2 * VALUE_BYTES_MAX else []
    if len(parts) != 4 or parts[0] != _VERSION:
        raise Stop(f"the value of {bound_to} is not of the form {_VERSION}:key_id:nonce:ciphertext; restore the row")
    _, key_id, nonce_text, sealed_text = parts
    key = _derived(_key(keyring, key_id, f"the value of {bound_to}"), b"value")
    try:
        nonce = _from_base64(nonce_text)
        if len(nonce) != _NONCE_BYTES:
            raise ValueError("nonce of another length")
        return AESGCM(key).decrypt(nonce, _from_base64(sealed_text), _bound(key_id, bound_to)).decode()
    except (InvalidTag, ValueError):
        raise Stop(_BROKEN.format(what=f"the value of {bound_to}", key_id=key_id)) from None


def reencrypt(keyring: KeyRing, sealed: str, bound_to: BoundTo) -> str:
    """Return the same value under the current key; `sealed` itself if it is under that key already."""
    if sealed.startswith(f"{_VERSION}:{keyring.current}:"):
        return sealed
    return encrypt(keyring, decrypt(keyring, sealed, bound_to), bound_to)


def blind_index(keyring: KeyRing, text: str) -> str:
    """Return the keyed fingerprint (HMAC-SHA256, hex) by which equal texts are found without decrypting.

    Normalise `text` first (`Iban.reveal()` is normal). The same text has the same index across rotations.
    """
    key = _derived(keyring.keys[keyring.index], b"blind index")
    return hmac.new(key, _utf8(text, "a text to index"), hashlib.sha256).hexdigest()


def encrypt_bytes(keyring: KeyRing, plain: bytes, bound_to: BoundTo) -> bytes:
    """Return a whole file (at most 1 GiB) sealed in chunks, readable only as the file of `bound_to`."""
    if len(plain) > FILE_BYTES_MAX:
        raise Stop(f"the file of {bound_to} has {len(plain)} bytes, more than {FILE_BYTES_MAX}; make smaller batches")
    key_id = keyring.current.encode()
    salt = os.urandom(_SALT_BYTES)
    header = _MAGIC + _FILE_HEADER.pack(CHUNK_BYTES, len(key_id)) + key_id + salt
    cipher = AESGCM(_derived(keyring.keys[keyring.current], b"file", salt))
    bound = header + str(bound_to).encode()
    # An empty file still has one (empty, final) chunk, so that "nothing" is authenticated too.
    last = max(0, (len(plain) - 1) // CHUNK_BYTES)
    view = memoryview(plain)
    sealed = bytearray(header)
    for number in range(last + 1):
        chunk = view[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]
        sealed += cipher.encrypt(_chunk_nonce(number, is_last=number == last), chunk, bound)
    return bytes(sealed)


def decrypt_bytes(keyring: KeyRing, sealed: bytes, bound_to: BoundTo) -> bytes:
    """Return the file that `encrypt_bytes` sealed for `bound_to`.

    Raises Stop if the form or key is unknown, or if the file was changed, cut, extended, or belongs elsewhere.
    """
    what = f"the file of {bound_to}"
    if not sealed.startswith(_MAGIC) or len(sealed) < len(_MAGIC) + _FILE_HEADER.size:
        raise Stop(f"{what} is not a file sealed by Tallyback; fetch it again from where it was stored")
    if len(sealed) > FILE_BYTES_MAX + FILE_BYTES_MAX // 64:
        raise Stop(f"{what} has {len(sealed)} bytes, more than a sealed file may have; look at where it comes from")
    chunk_bytes, key_id_bytes = _FILE_HEADER.unpack_from(sealed, len(_MAGIC))
    key_id_at = len(_MAGIC) + _FILE_HEADER.size
    salt_at = key_id_at + key_id_bytes
    body_at = salt_at + _SALT_BYTES
    if chunk_bytes != CHUNK_BYTES or len(sealed) < body_at + _TAG_BYTES:
        raise Stop(f"the header of {what} is damaged or cut; fetch it again from where it was stored")
    # A damaged key id becomes one that no ring holds, and is named as such.
    key_id = sealed[key_id_at:salt_at].decode("ascii", errors="replace")
    cipher = AESGCM(_derived(_key(keyring, key_id, what), b"file", sealed[salt_at:body_at]))
    bound = sealed[:body_at] + str(bound_to).encode()
    view = memoryview(sealed)
    step = chunk_bytes + _TAG_BYTES
    last = (len(sealed) - body_at - 1) // step
    plain = bytearray()
    for number in range(last + 1):
        chunk = view[body_at + number * step : body_at + (number + 1) * step]
        try:
            plain += cipher.decrypt(_chunk_nonce(number, is_last=number == last), chunk, bound)
        except (InvalidTag, ValueError):
            raise Stop(_BROKEN.format(what=f"{what}, chunk {number + 1} of {last + 1},", key_id=key_id)) from None
    return bytes(plain)


_BROKEN = (
    "{what} does not open with key {key_id!r}: it was changed or cut, it belongs somewhere else, or the key of that id "
    "is another one; restore it from a backup, or put the right key into the ring"
)


def _key(keyring: KeyRing, key_id: str, what: str) -> bytes:
    key = keyring.keys.get(key_id)
    if key is None:
        raise Stop(f"{what} needs key {key_id[:32]!r}, the ring holds {sorted(keyring.keys)}; add that key to the ring")
    return key


def _derived(key: bytes, purpose: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"tallyback v1 " + purpose).derive(key)


def _bound(key_id: str, bound_to: BoundTo) -> bytes:
    return f"{_VERSION}|{key_id}|{bound_to}".encode()


def _chunk_nonce(number: int, *, is_last: bool) -> bytes:
    # Unique because the key is this file's own; seven zero bytes, the number, and whether anything may follow.
    return bytes(7) + struct.pack(">I?", number, is_last)


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Not chained: that error carries the whole text.
        raise Stop(f"{what} holds half of a surrogate pair and is no text; read it again from its source") from None


def _to_base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _from_base64(text: str) -> bytes:
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # Python's decoder skips foreign characters and ignores spare bits: one value, one spelling.
    if _to_base64(data) != text:
        raise binascii.Error("not base64url")
    return data


def _described(ring: KeyRing) -> str:
    keys = {key_id: _to_base64(key) for key_id, key in sorted(ring.keys.items())}
    return json.dumps({"current": ring.current, "index": ring.index, "keys": keys}, indent=2) + "\n"


def _key_file_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & 0o077:
                raise Stop(f"key file {path} is open to others (mode {mode & 0o777:o}); run: chmod 600 {path}")
            return file.read(_KEY_FILE_BYTES_MAX)
    except FileNotFoundError:
        raise Stop(f"key file {path} does not exist; put it there, or make one with create_key_file") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise Stop(f"key file {path} cannot be read ({type(fault).__name__}); look at its owner and content") from None


def _write_private(path: Path, text: str) -> None:
    try:
        # Created with its mode, not changed to it later: there is no moment in which others can read it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Stop(f"key file {path} exists already and is not overwritten; it may be the only copy of a key") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
